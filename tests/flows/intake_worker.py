"""One intake process over a folder, to be killed: `python -m tests.flows.intake_worker FOLDER [BOUND]`; it works until the inbox is empty.

With a BOUND it kills itself without warning at that step: a call of the folder's functions, or a coroutine of store, feed or intake
that begins or goes on.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from zoneinfo import ZoneInfo

from adapters.files.driver import FileContract, FileFeed
from adapters.files.spec import FeedOptions
from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts.canonical.location import Location
from contracts.canonical.sale import PosSale
from contracts.policy import Duration
from gateway.services.intake.intake import Intake
from mappings.language import load
from observability import Recorder

ROOT = Path(__file__).resolve().parents[2]


class Zones:
    known = 1

    def of(self, location: str) -> ZoneInfo | None:
        return ZoneInfo("Europe/Berlin")

    def location(self, number: str) -> Location | None:
        return None


def dies_after(bound: int) -> None:
    left = bound
    asynchronous = ("adapters/store/", "adapters/files/driver.py", "gateway/services/intake/")

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal left
        code = frame.f_code
        coroutine = code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR)
        if event == "call" and (
            (coroutine and any(a in code.co_filename for a in asynchronous)) or "adapters/files/inbox/folder.py" in code.co_filename
        ):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    threading.setprofile(count)
    sys.setprofile(count)


async def main(folder: Path, bound: int) -> None:
    if bound:
        dies_after(bound)
    contract = FileContract("pos", ROOT / "contracts/systems/pos/tlog.toml")
    text = (ROOT / "mappings/pos/tlog.toml").read_text(encoding="utf-8")
    mapping = load(text, "tlog", lambda name: contract.exchange(name.partition(".")[2]), {"PosSale": PosSale})
    books = open_store(StoreOptions(url=f"sqlite:///{folder}/books.db"))
    options = FeedOptions(inbox=str(folder / "inbox"), complete="renamed", lease=Duration(0.3), batch=7, watch=False)
    feed = FileFeed("pos", "tlog", contract, options)
    await books.start()
    await feed.start()
    intake = Intake(feed, mapping, books, Recorder(), Zones(), "/test")
    while any((folder / "inbox").iterdir()):
        await intake.sweep_once()
        await asyncio.sleep(0.05)
    await feed.close()
    await books.close()
    sys.setprofile(None)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
