"""The receiver's code in the API guide, over a real delivery."""

from __future__ import annotations

import base64
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.webhook.driver import HttpWebhooks
from adapters.webhook.spec import WebhookOptions
from contracts.events import Event
from tests.docs.demo import ROOT
from tests.servers.receiver import receiving


def guide() -> dict[str, Any]:
    (code,) = re.findall(r"```python file=verify\.py\n(.*?)```", (ROOT / "docs/api-guide.md").read_text(encoding="utf-8"), re.DOTALL)
    found: dict[str, Any] = {}
    exec(code, found)  # noqa: S102  # the manual's own code
    return found


async def test_code_of_the_guide_believes_a_delivery_and_nothing_that_was_changed_or_kept() -> None:
    verified = guide()["verified"]
    key, now = b"k" * 32, datetime.now(UTC)
    secret = "whsec_" + base64.b64encode(key).decode()
    event = Event(id="e1", source="/t", type="io.tillgate.order.accepted.v1", time=now, subject="orders/1", data={"n": "ä"})
    sender = HttpWebhooks(WebhookOptions(networks=("127.0.0.0/8",)))
    async with receiving() as receiver:
        await sender.send("shop", receiver.url, event, (b"o" * 32, key), now)
        await sender.send("shop", receiver.url, event, (key,), now - timedelta(hours=1))
    await sender.close()
    lately, old = receiver.posts
    assert verified(secret, lately.headers, lately.body)
    assert not verified(secret, old.headers, old.body)
    assert verified(secret, old.headers, old.body, tolerance=7200)
    assert not verified(secret, lately.headers, lately.body + b" ")
    assert not verified("whsec_" + base64.b64encode(b"x" * 32).decode(), lately.headers, lately.body)
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        assert not verified(secret, {k: v for k, v in lately.headers.items() if k != name}, lately.body)
        assert not verified(secret, {**lately.headers, name: "1"}, lately.body)
    assert not verified(secret, {**lately.headers, "webhook-timestamp": str(int(time.time()) + 1)}, lately.body)
