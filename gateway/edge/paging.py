"""Opaque cursors and the Link header of a collection (RFC 8288): clients follow links and build no URLs."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import parse_qsl, urlencode

from contracts import errors
from gateway.edge.request import Request


def next_link(request: Request, cursor: str) -> str:
    kept = [(k, v) for k, v in parse_qsl(request.query.decode("ascii"), keep_blank_values=True) if k != "cursor"]
    return f'<{request.path}?{urlencode([*kept, ("cursor", cursor)])}>; rel="next"'


def cursor_of(text: str) -> str:
    """An opaque cursor for a position."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def position_of(cursor: str | None) -> str | None:
    """Raises InvalidRequest for a cursor that this API has not made."""
    if cursor is None:
        return None
    try:
        position = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        if not position.isprintable():
            raise ValueError(position)
    except (binascii.Error, ValueError) as exc:
        raise errors.InvalidRequest(where="query:cursor", expected="a cursor from a Link header", got=f"{cursor[:40]!r}") from exc
    return position
