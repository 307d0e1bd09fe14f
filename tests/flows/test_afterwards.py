"""What becomes of finished files: acknowledged once, kept as long as declared, never removed while somebody may need them."""

import json
import os
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.files.inbox import kept
from adapters.files.inbox.folder import Folders
from contracts.admin import Dismissal, GivingUp, RecordsParameters
from gateway.bootstrap.reviewing import given
from gateway.services.clients import Actor
from gateway.services.intake.retention import Retention
from gateway.services.intake.review import Review, Source, Sources
from tests.flows.test_intake import MAPPINGS, Shop
from tests.flows.test_review import dropped, rung


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    found = Shop(tmp_path)
    await found.books.start()
    yield found
    for feed in found.feeds:
        await feed.close()
    await found.books.close()


def desk(shop: Shop) -> Review:
    sources = Sources({f"pos.{f.name}": Source(f, MAPPINGS[f.name]) for f in shop.feeds}, given(shop.zones))
    return Review(shop.books, given(sources), Actor("anna"), shop._clock)


def acknowledged(shop: Shop) -> dict[str, bytes]:
    folder = shop.folder / "acks"
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())} if folder.exists() else {}


def rule(shop: Shop, **more: Any) -> dict[str, Any]:
    return {"acknowledge": {"folder": str(shop.folder / "acks"), "name": "{stem}.ack", **more}}


async def test_a_finished_file_is_acknowledged_with_what_was_accepted_and_what_was_not(shop: Shop) -> None:
    record = await dropped(shop, rung(1), rung(2, sku="abc"), **rule(shop))
    ((name, body),) = acknowledged(shop).items()
    told = json.loads(body)
    assert (name, told["state"], told["records"], told["accepted"], told["rejected"]) == ("TLOG_0001_20260311_00001.ack", "done", 2, 1, 1)
    assert (told["digest"], told["rejections"][0]["line"]) == (record.digest, 7)
    assert "expected" in told["rejections"][0]["reason"]
    await dropped(shop, rung(3), number=2, wrong=1, **rule(shop, format="lines", name="{name}.{state}"))
    lines = acknowledged(shop)["TLOG_0001_20260311_00002.tlog.refused"].decode().splitlines()
    assert {"STATE=refused", "ACCEPTED=0", "REJECTED=0"} <= set(lines)
    assert any(line.startswith("REASON=") and "trailer" in line for line in lines)


async def test_a_name_is_acknowledged_once_however_often_its_file_is_settled_and_again_under_another_name(shop: Shop) -> None:
    record = await dropped(shop, rung(1), **rule(shop))
    archived = shop.folder / record.kept
    (shop.folder / "acks/TLOG_0001_20260311_00001.ack").unlink()  # its reader has taken it
    shutil.copy2(archived, shop.inbox / record.name)
    await shop.sweep(**rule(shop))
    assert (acknowledged(shop), shop.left()) == ({}, [])
    shutil.copy2(archived, shop.inbox / "TLOG_0001_20260311_00007.tlog")
    await shop.sweep(**rule(shop))
    assert json.loads(acknowledged(shop)["TLOG_0001_20260311_00007.ack"])["sameAs"] == record.name


@pytest.mark.parametrize("dies", ["before it counts", "before it has its name", "before the file is moved"])
async def test_a_worker_that_dies_while_it_acknowledges_leaves_one_acknowledgement_in_the_end(shop: Shop, dies: str) -> None:
    """What it did until then is done here step by step; another worker settles the file."""
    record = await dropped(shop, rung(1))
    folder, name = shop.folder / "acks", "TLOG_0001_20260311_00001.ack"
    token = f"{record.fence}-{'0' * 12}"
    kept.written(Folders(), folder, name, token, b"of the dead worker")
    if dies != "before it counts":
        assert await shop.books.files.acknowledge(record.digest, record.name, record.fence, token) == token
    if dies == "before the file is moved":
        assert kept.published(Folders(), folder, name, token, token)
        (folder / name).unlink()  # taken at once
    (shop.folder / record.kept).rename(shop.inbox / record.name)
    await shop.sweep(**rule(shop))
    await shop.sweep(**rule(shop))
    expected = {"before it counts": [name], "before it has its name": [name], "before the file is moved": []}[dies]
    assert [*acknowledged(shop)] == expected
    if dies == "before it has its name":
        assert acknowledged(shop)[name] == b"of the dead worker"
    assert shop.left() == []


async def test_many_workers_that_settle_one_file_write_one_acknowledgement(shop: Shop) -> None:
    folder = shop.folder / "acks"
    tokens = [f"1-{n:012}" for n in range(5)]
    for token in tokens:
        kept.written(Folders(), folder, "f.ack", token, token.encode())
    counts = [await shop.books.files.acknowledge("d", "f", 1, token) for token in tokens]
    done = [kept.published(Folders(), folder, "f.ack", c, own) for c, own in zip(counts, tokens, strict=True)]
    assert done == [True, False, False, False, False]
    assert acknowledged(shop) == {"f.ack": tokens[0].encode()}


async def test_a_file_that_cannot_be_acknowledged_stays_until_it_can(shop: Shop) -> None:
    (shop.folder / "acks").touch()
    record = await dropped(shop, rung(1), **rule(shop))
    assert (record.state, shop.left()) == ("done", [record.name])
    (shop.folder / "acks").unlink()
    await shop.sweep(**rule(shop))
    assert (len(acknowledged(shop)), shop.left()) == (1, [])


# ---- retention


async def retention(shop: Shop, days: float = 0) -> int:
    """One sweep over everything that is older than some hours, that many days from now."""
    at = shop.now() + timedelta(days=days)
    intake = await shop.intake("tlog", retention={"archive": "10h", "quarantine": "10h"})
    feed = intake._feed
    return await Retention(feed, shop.books, lambda: at).sweep()


async def test_booked_files_are_removed_when_their_time_is_over_and_the_ledger_says_so(shop: Shop) -> None:
    record = await dropped(shop, rung(1))
    assert await retention(shop) == 0
    assert (shop.folder / record.kept).is_file()
    assert await retention(shop, days=1) == 1
    gone = await shop.record(record.name)
    assert (gone.kept, gone.removed_at is not None, (shop.folder / record.kept).exists()) == ("", True, False)
    assert not [*(shop.inbox.parent / "archive").iterdir()]
    assert (await desk(shop).show(record.digest)).told[-1].startswith("The file itself was kept as long as declared and removed on")
    assert (await shop.books.sales.totals())["0001"]["sales"] == 1


async def test_a_file_with_a_record_that_waits_for_a_person_is_kept(shop: Shop) -> None:
    record = await dropped(shop, rung(1), rung(2, sku="abc"))
    assert await retention(shop, days=1) == 0
    assert (shop.folder / record.kept).is_file()
    (row,) = await desk(shop).records(RecordsParameters())
    await desk(shop).dismiss(row.id, Dismissal(version=0, reason="rung again"))
    assert await retention(shop, days=1) == 1


async def test_one_that_stays_is_looked_at_again_and_goes_once_its_records_are_decided(shop: Shop) -> None:
    record = await dropped(shop, rung(1), rung(2, sku="abc"))
    ahead = [timedelta(days=1)]
    intake = await shop.intake("tlog", retention={"archive": "10h"})
    sweeper = Retention(intake._feed, shop.books, lambda: shop.now() + ahead[0])
    assert [await sweeper.sweep(), await sweeper.sweep()] == [0, 0]
    (row,) = await desk(shop).records(RecordsParameters())
    await desk(shop).dismiss(row.id, Dismissal(version=0, reason="rung again"))
    assert [await sweeper.sweep(), await sweeper.sweep()] == [1, 0]
    assert not (shop.folder / record.kept).exists()


async def test_a_refused_file_is_removed_only_when_a_person_gave_it_up(shop: Shop) -> None:
    record = await dropped(shop, rung(1), wrong=1)
    assert await retention(shop, days=1) == 0
    await desk(shop).give_up(record.digest, GivingUp(reason="the till was broken"))
    assert await retention(shop, days=1) == 1
    assert not [*(shop.inbox.parent / "quarantine").iterdir()]
    assert [e.what for e in await shop.books.audit.list(5)] == ["file.given_up"]


async def test_what_the_ledger_does_not_know_is_never_removed_whatever_it_is_called(shop: Shop) -> None:
    record = await dropped(shop, rung(1))
    place = shop.folder / record.kept
    place.write_bytes(b"somebody put another content here")
    stray = place.with_name("unknown.tlog")
    stray.write_bytes(b"never booked")
    link = place.with_name("link.tlog")
    link.symlink_to("/etc/passwd")
    os.utime(stray, (0, 0))
    assert await retention(shop, days=30) == 0
    assert place.exists()
    assert stray.exists()
    assert link.is_symlink()
