"""A file of a till and what it does: every process answers with the new figure as soon as the sales are committed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.flows.test_orders import SKU, hasty, until
from tests.flows.test_scale import house
from tests.products import LOCATION, Live, running

pytestmark = pytest.mark.slow


async def test_the_first_answer_after_the_commit_has_the_new_figure(tmp_path: Path) -> None:
    """Also when the answer before it is a moment old and the ERP's figure lies in the cache."""
    async with running(tmp_path, change=hasty, work=True) as live:

        async def free(live: Live = live) -> float:
            answer = await live.http.get(
                "/inventory", params={"sku": SKU, "location": LOCATION, "explain": "true"}, headers=live.auth("store")
            )
            (item,) = answer.json()["items"]
            return float(item["free"]["value"])

        before = await free()
        for round_ in range(1, 6):
            live.sandbox.tills.sell(LOCATION, [(SKU, 1)])
            live.sandbox.tills.write_file(LOCATION)

            async def booked(count: int = round_) -> bool:
                return sum(file.booked for file in await live.product.books.files.list(100)) == count

            await until(booked)
            assert await free() == before - round_


@pytest.mark.server
async def test_answers_of_every_process_have_moved_when_a_file_is_booked(tmp_path: Path, fresh_postgres_dsn: str) -> None:
    """Availability is arithmetic over the books at the moment of asking: nothing of it is kept, so no process has to be told."""
    async with house(tmp_path, TILLGATE_STORE=fresh_postgres_dsn) as it:
        await asyncio.gather(*(it.start(name, "serve", "--no-work", "--port", "0") for name in ("a", "b")))
        await it.start("w", "work")

        async def free(base: str) -> float:
            headers = {"authorization": f"Bearer {it.key}"}
            async with it.http.get(f"{base}/inventory?sku={SKU}&location={LOCATION}&explain=true", headers=headers) as answer:
                assert answer.status == 200, await answer.text()
                (item,) = (await answer.json())["items"]
                return float(item["free"]["value"])

        before = [await free(base) for base in it.bases]
        for round_ in range(1, 4):
            it.sandbox.tills.sell(LOCATION, [(SKU, 2)])
            it.sandbox.tills.write_file(LOCATION)

            async def booked(count: int = round_) -> bool:
                return sum(file.booked for file in await it.books.files.list(100)) == count

            await until(booked, 30)
            assert [await free(base) for base in it.bases] == [figure - 2 * round_ for figure in before], (
                "asked once, right after the commit"
            )
