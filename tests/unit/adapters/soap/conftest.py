import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters.options import read
from adapters.soap.driver import SoapConnection, load
from adapters.soap.spec import SoapOptions
from contracts.call import Call

NS = "urn:sap-com:document:sap:soap:functions:retail"
CALL = Call(channel="web", client="shop", deadline=1e12)
OPTIONS: dict[str, Any] = {
    "session": {
        "operation": "Login",
        "user": "TILLGATE",
        "password": "retail-sandbox",
        "user_field": "USER",
        "password_field": "PASSWORD",
        "token": "SESSION_ID",
        "header": "SessionHeader.SESSION_ID",
        "pause": "200ms",
    },
    "results": {"path": "T_RETURN.item"},
    "meanings": [{"code": ["SESSION_EXPIRED", "SESSION_MISSING"], "means": "expired"}],
    "operations": {
        "GetStock": {
            "meanings": [{"code": ["M3/305", "M3/351"], "means": "tolerated"}],
            "as_of": {"fields": ["STICHTAG", "UZEIT"], "format": "%Y%m%d%H%M%S"},
        },
        "GetMaterials": {"meanings": [{"code": "*", "means": "tolerated"}]},
    },
}
Answer = tuple[int, str, bytes]
"""HTTP status, Content-Type, body."""


def envelope(inner: str, soap: str = "http://schemas.xmlsoap.org/soap/envelope/") -> bytes:
    return f'<s:Envelope xmlns:s="{soap}" xmlns:n="{NS}"><s:Body>{inner}</s:Body></s:Envelope>'.encode()


@pytest.fixture(scope="session")
def wsdl(root: Path) -> Path:
    return root / "contracts/systems/erp/retail.wsdl"


@asynccontextmanager
async def connected(wsdl: Path, endpoint: str, changes: dict[str, Any] | None = None) -> AsyncIterator[SoapConnection]:
    chosen = read(SoapOptions, {**OPTIONS, **(changes or {})})
    connection = SoapConnection("erp", load("erp", wsdl, chosen), endpoint, chosen)
    await connection.start()
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def scripted(answer: Callable[[bytes, bytes], Awaitable[Answer | bytes]]) -> AsyncIterator[str]:
    """A server that answers (head, body) with a status, type and body, or with raw bytes after which it hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(next(line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")))
                said = await answer(head, await reader.readexactly(length))
                if isinstance(said, bytes):
                    writer.write(said)
                    await writer.drain()
                    break
                status, kind, body = said
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/soap"
    finally:
        server.close()
