"""One delivery over real sockets: signed, sent once, bounded; its answer is a status and nothing more."""

import asyncio
import hashlib
import hmac
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from adapters.options import Tls
from adapters.webhook.driver import HttpWebhooks, message_id, signatures
from adapters.webhook.spec import WebhookOptions
from adapters.wire import TlsFailed, client_tls
from contracts.errors import ConnectFailed, ContractViolation, UpstreamTimeout
from contracts.events import Event
from contracts.policy import Duration
from contracts.ports import Answered
from tests.servers.receiver import Post, receiving

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
EVENT = Event(id="sale.0001/1", source="/tillgate/test", type="io.tillgate.sale.committed.v1", time=AT, subject="s", data={"n": "ä"})
KEYS = (b"k" * 32, b"o" * 32)


def shown(key: bytes) -> str:
    return "whsec_" + b64encode(key).decode()


@pytest.fixture
async def here() -> AsyncIterator[HttpWebhooks]:
    sender = HttpWebhooks(WebhookOptions(networks=("127.0.0.0/8",), limit=Duration(1)))
    yield sender
    await sender.close()


async def test_delivery_is_signed_with_each_secret_over_the_bytes_that_are_sent(here: HttpWebhooks) -> None:
    async with receiving() as receiver:
        assert await here.send("shop", receiver.url + "?a=%20b", EVENT, KEYS, AT) == Answered(204, None)
    (post,) = receiver.posts
    assert (post.path, post.body, post.headers["content-type"]) == ("/hook?a=%20b", EVENT.encode(), "application/cloudevents+json")
    assert post.headers["webhook-timestamp"] == str(int(AT.timestamp()))
    assert post.headers["webhook-id"] == message_id(EVENT)
    assert "." not in message_id(EVENT)
    assert all(post.signed_with(shown(key)) for key in KEYS)
    assert not post.signed_with(shown(b"x" * 32))


def test_signature_is_that_of_the_standards_own_example() -> None:
    """https://www.standardwebhooks.com, the example of its specification."""
    key = b"whsec-test-key-of-32-bytes-long!"
    body = b'{"test": 2432232314}'
    signed = b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330." + body
    wanted = "v1," + b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert signatures((key,), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == wanted
    assert signatures((key, key), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == f"{wanted} {wanted}"


async def test_redirect_is_an_answer_and_followed_nowhere(here: HttpWebhooks) -> None:
    async with receiving() as elsewhere:

        def away(_: Post) -> bytes:
            return f"HTTP/1.1 307 X\r\nlocation: {elsewhere.url}\r\ncontent-length: 0\r\n\r\n".encode()

        async with receiving(away) as receiver:
            assert (await here.send("shop", receiver.url, EVENT, KEYS, AT)).status == 307
        assert elsewhere.posts == []


async def test_what_a_receiver_asks_for_is_told(here: HttpWebhooks) -> None:
    async with receiving(lambda _: b"HTTP/1.1 429 X\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n") as receiver:
        assert await here.send("shop", receiver.url, EVENT, KEYS, AT) == Answered(429, 120.0)


@pytest.mark.parametrize("status", [200, 500])
async def test_answer_counts_by_its_status_however_large_its_body(here: HttpWebhooks, status: int) -> None:
    body = f"HTTP/1.1 {status} X\r\ncontent-length: 1000000\r\n\r\n".encode() + b"x" * 1_000_000
    async with receiving(lambda _: body) as receiver:
        assert (await here.send("shop", receiver.url, EVENT, KEYS, AT)).status == status


async def test_answer_that_is_too_slow_is_given_up(here: HttpWebhooks) -> None:
    async with receiving() as receiver:
        receiver.open.clear()
        with pytest.raises(UpstreamTimeout):
            await here.send("slow", receiver.url, EVENT, KEYS, AT)


async def test_name_that_leads_to_an_address_that_is_not_public_is_not_connected_to() -> None:
    sender = HttpWebhooks(WebhookOptions())
    async with receiving() as receiver:
        port = receiver.url.split(":")[2]
        with pytest.raises(ConnectFailed, match="not public"):
            await sender.send("shop", f"http://localhost:{port}", EVENT, KEYS, AT)
        for host in ("127.1", "2130706433", "0x7f.1", "127.0.0.1", "[::ffff:127.0.0.1]"):  # other ways to write the same address
            with pytest.raises((ConnectFailed, ContractViolation)):
                await sender.send("shop", f"http://{host}:{port}", EVENT, KEYS, AT)
        assert receiver.posts == []
    await sender.close()


async def test_nobody_listens_is_a_failure_that_sent_nothing(here: HttpWebhooks) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectFailed) as caught:
            await here.send("shop", f"http://127.0.0.1:{probe.getsockname()[1]}/", EVENT, KEYS, AT)
    assert caught.value.sent is False


async def test_certificate_counts_and_an_own_authority_can_be_declared(here: HttpWebhooks, tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    options = WebhookOptions(networks=("127.0.0.0/8",))
    trusting = HttpWebhooks(options, await asyncio.to_thread(client_tls, Tls(ca=str(tmp_path / "ca.pem"))))
    async with receiving(tls=context) as receiver:
        assert (await trusting.send("shop", receiver.url, EVENT, KEYS, AT)).status == 204
        with pytest.raises(TlsFailed):
            await here.send("shop", receiver.url, EVENT, KEYS, AT)
    await trusting.close()
