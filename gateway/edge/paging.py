"""Cursors and the Link header of a collection (RFC 8288): clients follow links and build no URLs.

A cursor is signed, and good for the collection and the parameters that it came with (`limit` and `fields` may change): whoever builds one,
or takes it elsewhere, is told so instead of getting pages that nobody meant.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

import msgspec

from contracts import errors
from gateway.edge.endpoint import AnyEndpoint
from gateway.edge.request import Request

P = TypeVar("P", bound=msgspec.Struct)

SIGNATURE_BYTES = 9
PAGING = frozenset(("cursor", "limit"))
"""Parameters that choose a page, not what is paged through."""


class Cursors:
    """`secret` is the same in all processes, so that a link leads on at any of them."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"cursors", "sha256")

    def opened(self, parameters: P, endpoint: AnyEndpoint) -> P:
        """With the position that a cursor stands for in its place. Raises InvalidCursor for one that this API has not made for this."""
        cursor: str | None = getattr(parameters, "cursor", None)
        if cursor is None:
            return parameters
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            raw = b""
        signature, position = raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(position, parameters, endpoint)):
            raise errors.InvalidCursor(
                expected="a cursor from a Link header of this collection, with the parameters that it came with",
                got=f"{cursor[:40]!r}",
            )
        return msgspec.structs.replace(parameters, cursor=position.decode())

    def links(self, request: Request, endpoint: AnyEndpoint, parameters: msgspec.Struct, position: str | None) -> str:
        """To the page behind `position`, and to the first one from any other; empty for a collection that is one page."""
        found = []
        if position is not None:
            behind = position.encode()
            cursor = base64.urlsafe_b64encode(self._signature(behind, parameters, endpoint) + behind).decode().rstrip("=")
            found.append(_link(request, "next", cursor))
        if getattr(parameters, "cursor", None) is not None:
            found.append(_link(request, "first"))
        return ", ".join(found)

    def _signature(self, position: bytes, parameters: msgspec.Struct, endpoint: AnyEndpoint) -> bytes:
        of: dict[str, Any] = {n: v for n in parameters.__struct_fields__ if n not in PAGING and (v := getattr(parameters, n)) is not None}
        said = msgspec.json.encode((endpoint.route, of, position))
        return hmac.digest(self._key, said, "sha256")[:SIGNATURE_BYTES]


def _link(request: Request, relation: str, cursor: str | None = None) -> str:
    kept = [(k, v) for k, v in parse_qsl(request.query.decode("ascii"), keep_blank_values=True) if k != "cursor"]
    query = urlencode([*kept, *([("cursor", cursor)] if cursor else [])])
    return f'<{quote(request.path)}{"?" if query else ""}{query}>; rel="{relation}"'
