"""TLS at the gateway's own port: which files it stands on, and how renewed ones are taken over while connections stay."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from gateway.estate import EdgeTls, resolve

_ASKS = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_MINIMUM = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def server_context(options: EdgeTls, environment: Mapping[str, str]) -> ssl.SSLContext:
    """Reads the files. Raises LookupError for one that cannot be read or does not fit."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = _MINIMUM[options.minimum]
    context.verify_mode = _ASKS[options.client_certificates]
    context.set_alpn_protocols(["http/1.1"])
    if options.client_ca:
        context.options |= ssl.OP_NO_TICKET  # a certificate is shown and checked with each connection, none is resumed
        context.num_tickets = 0
    password = resolve(options.password, environment) if options.password else ""
    try:
        context.load_cert_chain(options.certificate, options.key, lambda: password)
        if options.client_ca:
            context.load_verify_locations(options.client_ca)
    except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
        reason = exc.strerror or str(exc) if isinstance(exc, OSError) else str(exc)
        raise LookupError(f"[edge.tls] {options.certificate}, {options.key}, {options.client_ca or 'no client_ca'}: {reason}") from exc
    return context


class ServerTls:
    """`context` is the server's for its whole life; what is renewed holds for connections from then on."""

    def __init__(self, first: ssl.SSLContext) -> None:
        self.context = self._current = first
        first.sni_callback = self._choose  # called for each connection, whether it names a server or not

    def renew(self, context: ssl.SSLContext) -> None:
        """Certificate, key and the authorities of clients. Whether clients are asked, and versions, stay as they are until a restart."""
        self._current = context

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        connection.context = self._current
