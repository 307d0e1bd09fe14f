"""Which connections come about before and after a renewal, in both loops that the gateway may run in."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
import uvloop

from gateway.edge.tls import ServerTls, server_context
from gateway.estate import EdgeTls

HOST = "127.0.0.1"


def options(folder: Path, server: trustme.CA, clients: trustme.CA) -> EdgeTls:
    server.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(folder / "own.pem")
    clients.cert_pem.write_to_path(folder / "clients.pem")
    own = str(folder / "own.pem")
    return EdgeTls(certificate=own, key=own, client_ca=str(folder / "clients.pem"), client_certificates="required")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_renewed_certificate_key_and_authorities_count_for_connections_from_then_on(
    tmp_path: Path, version: ssl.TLSVersion, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    before, after = trustme.CA(), trustme.CA()
    old, new = before.issue_cert("old@example.test"), after.issue_cert("new@example.test")

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.write(b"%d\n" % len(shown))
        await writer.drain()
        writer.close()

    async def main() -> None:
        tls = ServerTls(server_context(options(tmp_path, before, before), {}))
        server = await asyncio.start_server(greet, HOST, 0, ssl=tls.context)
        port = server.sockets[0].getsockname()[1]

        async def greeted(trusted: trustme.CA, certificate: trustme.LeafCert | None) -> bool:
            context = ssl.create_default_context()
            context.minimum_version = context.maximum_version = version
            trusted.configure_trust(context)
            if certificate is not None:
                certificate.configure_cert(context)
            try:
                reader, writer = await asyncio.open_connection(HOST, port, ssl=context, server_hostname=HOST)
                line = await reader.readline()
                writer.close()
            except (ssl.SSLError, ConnectionError):
                return False
            return line not in (b"", b"0\n")

        assert [await greeted(before, each) for each in (old, new, None)] == [True, False, False]
        tls.renew(server_context(options(tmp_path, after, after), {}))
        assert [await greeted(after, each) for each in (old, new, None)] == [False, True, False]
        assert not await greeted(before, new)
        server.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    good = options(tmp_path, trustme.CA(), trustme.CA())
    (tmp_path / "other.pem").write_text("no certificate")
    other = trustme.CA().issue_cert(HOST).private_key_pem
    other.write_to_path(tmp_path / "key.pem")
    for wrong in (
        EdgeTls(certificate=good.certificate, key=str(tmp_path / "key.pem")),
        EdgeTls(certificate=str(tmp_path / "other.pem"), key=good.key),
        EdgeTls(certificate=str(tmp_path / "gone.pem"), key=good.key),
        EdgeTls(certificate=good.certificate, key=good.key, client_ca=str(tmp_path / "other.pem"), client_certificates="optional"),
    ):
        with pytest.raises(LookupError, match=r"\[edge.tls\]"):
            server_context(wrong, {})
