"""Where clients learn who issues tokens for this API: protected resource metadata (RFC 9728)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import msgspec
from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler

from gateway.edge.identity.scopes import SCOPES
from gateway.estate import Issuer

_WELL_KNOWN = "/.well-known/oauth-protected-resource"


def metadata_url(resource: str) -> str:
    """The well-known part stands between host and path (RFC 9728 §3.1)."""
    parts = urlsplit(resource)
    return f"{parts.scheme}://{parts.netloc}{_WELL_KNOWN}{parts.path.rstrip('/')}"


def routes(resource: str, name: str, issuers: Iterable[Issuer]) -> list[HTTPRouteHandler]:
    """`resource`: how callers reach the gateway. Open to everybody: it holds nothing that an issuer does not publish itself."""
    issuers = tuple(issuers)
    body = msgspec.json.encode(
        {
            "resource": resource,
            "resource_name": name,
            "resource_documentation": f"{resource.rstrip('/')}/docs",
            "authorization_servers": [issuer.url for issuer in issuers],
            "scopes_supported": sorted({word for issuer in issuers for word in issuer.scopes or SCOPES}),
            "bearer_methods_supported": ["header"],
            "tls_client_certificate_bound_access_tokens": all(issuer.bound for issuer in issuers),
        }
    )

    async def metadata(request: Request[Any, Any, Any]) -> Response[bytes]:
        return Response(body, media_type="application/json", headers={"cache-control": "public, max-age=3600"})

    paths = sorted({_WELL_KNOWN, urlsplit(metadata_url(resource)).path})
    return [HTTPRouteHandler(paths, http_method=["GET"], status_code=200)(metadata)]
