"""Background loops: busy while there is work, idle in between, started again when they fail, ended by one event."""

import asyncio

from contracts.errors import StoreUnavailable
from gateway.worker import Every, supervised, wait


async def test_a_job_is_done_at_once_while_it_finds_work_then_rests() -> None:
    stop, left = asyncio.Event(), [3, 2, 1, 0]
    done = asyncio.Event()

    async def job() -> int:
        found = left.pop(0)
        if not left:
            done.set()
        return found

    running = asyncio.create_task(Every("test", job, 60).run(stop))
    await asyncio.wait_for(done.wait(), 5)
    stop.set()
    await asyncio.wait_for(running, 5)
    assert left == []


async def test_a_loop_that_fails_is_started_again() -> None:
    stop, starts = asyncio.Event(), 0

    async def loop(stop: asyncio.Event) -> None:
        nonlocal starts
        starts += 1
        if starts == 1:
            raise StoreUnavailable(reason="away")
        await stop.wait()

    running = asyncio.create_task(supervised("test", loop, stop))
    async with asyncio.timeout(5):
        while starts < 2:  # noqa: ASYNC110  # half a second of pause, seen from outside
            await asyncio.sleep(0.01)
    stop.set()
    await asyncio.wait_for(running, 5)
    assert starts == 2


async def test_waiting_ends_with_the_event() -> None:
    stop = asyncio.Event()
    stop.set()
    async with asyncio.timeout(1):
        await wait(stop, 60)
