"""What tills must know, told in files: changes against what each store was told last, one numbered file at a time, until it is answered."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from contracts.books import Books, Dispatch, Finding, Verdict
from contracts.call import Call
from contracts.canonical.location import Location
from contracts.canonical.price import Price
from contracts.canonical.product import Product
from contracts.errors import BadFile, ContractViolation, InvalidBody, TillgateError
from contracts.ports import PRICE_PUBLISH, SkuAt
from gateway.services.catalogue import Catalogue, Zones
from gateway.services.clock import Now
from mappings.language import CompiledMapping, ReadContext
from observability import Recorder, get_logger

log = get_logger(__name__)

LEASE: Final = 60.0
"""Seconds after which another worker goes on with what a dead one began."""
ASKING: Final = 30.0
"""Seconds that one page may take."""


class Options(Protocol):
    @property
    def stores(self) -> tuple[str, ...]: ...
    @property
    def every(self) -> float: ...
    @property
    def sweep(self) -> float: ...
    @property
    def most(self) -> int: ...
    @property
    def page(self) -> int: ...
    @property
    def pause(self) -> float: ...
    @property
    def answer_within(self) -> float: ...


class Outlet(Protocol):
    """Where files for the tills are written. Everything that touches it raises UpstreamError when it cannot be reached."""

    system: str
    name: str

    @property
    def options(self) -> Options: ...
    @property
    def parameters(self) -> Mapping[str, Any]: ...

    def item(self, document: Mapping[str, Any]) -> bytes:
        """One noun as it will stand in a file. Raises BadFile for what the layout cannot hold."""
        ...

    def file(
        self, documents: Sequence[Mapping[str, Any]], store: str, number: int, at: datetime, zone: ZoneInfo | None
    ) -> tuple[str, bytes]:
        """Name and content. Raises BadFile."""
        ...

    async def hide(self, name: str, token: str, body: bytes) -> None:
        """Whole and durable beside where it will stand."""
        ...

    async def publish(self, name: str, token: str, own: str, *, first: bool = False) -> bool:
        """The hidden one whose token counts gets its name; False when it had it before. `own` goes if it is another one. `first`: nobody
        has tried it before."""
        ...

    async def answer(self, name: str, digest: str) -> Verdict | None:
        """None while there is none. Raises BadFile for one that says nothing."""
        ...

    async def forget(self, name: str) -> None:
        """The answer is in the books."""
        ...


@dataclass(slots=True)
class _Draft:
    """What is new for a store: rows, and the hash of all that is said of each article."""

    documents: list[Mapping[str, Any]]
    changes: dict[str, bytes]
    left_out: int = 0
    reason: str = ""
    full_at: str | None = None
    """The article with which the file is full."""


class Publication:
    """One kind of files. Many workers may run it; one of them does the work, and whatever it leaves undone the next one ends as it was."""

    def __init__(
        self,
        outlet: Outlet,
        provides: str,
        mapping: CompiledMapping,
        catalogue: Catalogue,
        books: Books,
        zones: Zones,
        recorder: Recorder,
        owner: str,
        now: Now,
    ) -> None:
        self._outlet, self._mapping, self._catalogue, self._books = outlet, mapping, catalogue, books
        self._prices = provides == PRICE_PUBLISH.name
        self._zones, self._recorder, self._owner, self._now = zones, recorder, owner, now
        self.feed = f"{outlet.system}.{outlet.name}"
        self._looked: dict[str, datetime] = {}
        self._position: dict[str, str] = {}
        """Where a store's last file was full: its next one goes on there."""

    @property
    def pause(self) -> float:
        return float(self._outlet.options.sweep)

    async def round(self) -> int:
        """Every store one step further. Returns how many files were written or have ended. A store that stumbles stops no other."""
        if not await self._leads():
            return 0
        moved = 0
        for store, location in (await self._stores()).items():
            if not await self._leads():
                break
            try:
                moved += await self._step(store, location)
            except TillgateError as error:
                log.warning("a store is told nothing for now", feed=self.feed, store=store, reason=str(error)[:300])
        return moved

    async def _leads(self) -> bool:
        return await self._books.leases.acquire(f"publish {self.feed}", self._owner, self._now(), LEASE)

    async def close(self) -> None:
        """Another worker need not wait for the lease to end."""
        await self._books.leases.release(f"publish {self.feed}", self._owner)

    async def _stores(self) -> dict[str, Location | None]:
        """Raises UpstreamError."""
        known = {x.number: x for x in (await self._catalogue.locations(self._call())).items}
        self._zones.learn(known.values())
        wanted = self._outlet.options.stores
        return {n: known.get(n) for n in wanted} if wanted else {n: x for n, x in sorted(known.items()) if x.active and x.type == "store"}

    async def _step(self, store: str, location: Location | None) -> int:
        current, first = await self._books.dispatches.latest(self.feed, store), False
        if current is None or current.ended:
            drafted = await self._drafted(store, location, current)
            if drafted is None:
                return 0
            current, first = drafted, True
        if current.state == "drafted":
            return await self._write(current, first=first)
        return await self._await(current)

    # ---- drafting -----------------------------------------------------------------------------------------------------

    async def _drafted(self, store: str, location: Location | None, before: Dispatch | None) -> Dispatch | None:
        """The next number with what has changed; None when nothing has, or it was looked at a short while ago."""
        now, looked = self._now(), self._looked.get(store)
        if looked is not None and now < looked + timedelta(seconds=float(self._outlet.options.every)):
            return None
        with self._recorder.flight("task", f"publish {self.feed}", store=store, system=self._outlet.system, operation=self._outlet.name):
            draft = await self._changes(store, location)
            if draft is None:
                return None
            if draft.left_out:
                log.warning("left out of the files for a store", feed=self.feed, store=store, count=draft.left_out, first=draft.reason)
            if not draft.changes:
                self._go_on(store, None, now)
                return None
            number = before.number + 1 if before else 1
            name, body = self._outlet.file(draft.documents, store, number, now, self._zones.of(store))
            made = Dispatch(
                feed=self.feed,
                store=store,
                number=number,
                name=name,
                digest=hashlib.sha256(body).hexdigest(),
                size=len(body),
                items=len(draft.changes),
                drafted_at=now,
            )
            if not await self._books.dispatches.draft(made, body, draft.changes):
                return None
            self._go_on(store, draft.full_at, now)
            return made

    def _go_on(self, store: str, after: str | None, now: datetime) -> None:
        """Behind a full file at once, else after a while from the first article on."""
        self._position.pop(store, None)
        if after is not None:
            self._position[store] = after
        else:
            self._looked[store] = now

    async def _changes(self, store: str, location: Location | None) -> _Draft | None:
        """None when somebody else has taken over."""
        draft = _Draft([], {})
        options = self._outlet.options
        context = ReadContext(
            self._outlet.system,
            self._outlet.name,
            self._now(),
            zone_of=self._zones.of,
            location_of=self._zones.location,
            parameters=self._outlet.parameters,
        )
        async for products in self._pages(self._position.get(store)):
            said = await self._said(products, store, location)
            told = await self._books.dispatches.told(self.feed, store, list(said))
            for sku, nouns in said.items():
                try:
                    documents = [self._mapping.write(noun, context) for noun in nouns]
                    found = hashlib.blake2b(b"\0".join(map(self._outlet.item, documents)), digest_size=16).digest()
                except (InvalidBody, ContractViolation, BadFile) as error:
                    draft.left_out += 1
                    draft.reason = draft.reason or f"{sku}: {error}"[:300]
                    continue
                if documents and told.get(sku) != found:
                    draft.documents += documents
                    draft.changes[sku] = found
            if len(draft.changes) >= options.most:
                draft.full_at = products[-1].sku
                return draft
            await asyncio.sleep(float(options.pause))
            if not await self._leads():
                return None
        return draft

    async def _pages(self, after: str | None) -> AsyncIterator[Sequence[Product]]:
        """Raises UpstreamError. Some systems continue at the row they are given, others behind it: one more is asked for then."""
        while True:
            most = self._outlet.options.page + (after is not None)
            items = (await self._catalogue.page(after, most, self._call())).items
            fresh = [p for p in items if p.sku != after]
            if fresh:
                yield fresh
            if len(items) < most or not fresh or fresh[-1].sku == after:
                return
            after = fresh[-1].sku

    async def _said(self, products: Sequence[Product], store: str, location: Location | None) -> Mapping[str, Sequence[Product | Price]]:
        """What is to be told of each article, always in the same order. Raises UpstreamError, also when a part of the prices is missing:
        no change is concluded from what nobody said."""
        if not self._prices:
            return {p.sku: [p] for p in products}
        answer, _ = await self._catalogue.prices([SkuAt(sku=p.sku, location_id=store) for p in products], self._call())
        country = location.address.country if location and location.address else None
        found: dict[str, list[Product | Price]] = {p.sku: [] for p in products}
        for price in answer.items:
            here = price.location_id == store or (price.location_id is None and price.country in (None, country))
            if here and price.sku in found:
                found[price.sku].append(replace(price, location_id=store))
        return found

    def _call(self) -> Call:
        return Call(channel="store", client="tillgate", deadline=asyncio.get_running_loop().time() + ASKING)

    # ---- writing, and what comes back -------------------------------------------------------------------------------------

    async def _write(self, file: Dispatch, *, first: bool) -> int:
        """Hidden first; then the books say which hidden one counts; then that one gets its name. It can get it only once, since the hidden
        one goes with it: whoever goes on after a crash writes no second file."""
        dispatches, own = self._books.dispatches, f"{file.number}-{secrets.token_hex(6)}"
        await self._outlet.hide(file.name, own, await dispatches.body(file.feed, file.store, file.number))
        counts = await dispatches.stage(file.feed, file.store, file.number, own)
        await self._outlet.publish(file.name, counts or "none", own, first=first)
        if counts is not None and await dispatches.written(file.feed, file.store, file.number, self._now()):
            log.info("file written for the tills", feed=file.feed, store=file.store, file=file.name, items=file.items)
            return 1
        return 0

    async def _await(self, file: Dispatch) -> int:
        now, why = self._now(), "no answer"
        try:
            verdict = await self._outlet.answer(file.name, file.digest)
        except BadFile as error:
            verdict, why = None, str(error)[:300]
        if verdict is not None:
            await self._books.findings.close([unanswered(file)], file.name, now)  # first: who goes on after a crash finds the answer again
            ended = await self._books.dispatches.answered(
                file.feed, file.store, file.number, verdict.state, verdict.reason, verdict.refused, now
            )
            await self._outlet.forget(file.name)
            level = log.info if verdict.state == "accepted" and not verdict.refused else log.warning
            level("tills have answered", file=file.name, state=verdict.state, reason=verdict.reason, refused=len(verdict.refused))
            return int(ended)
        within = timedelta(seconds=float(self._outlet.options.answer_within))
        if file.state == "written" and file.written_at is not None and now >= file.written_at + within:
            await self._books.findings.record([unanswered(file, why)], now)
            await self._books.dispatches.overdue(file.feed, file.store, file.number)
        return 0


def unanswered(file: Dispatch, why: str = "") -> Finding:
    return Finding(
        kind="file_unanswered",
        subject=f"{file.feed}/{file.store}/{file.number}",
        feed=file.feed,
        detail=f"the tills have not answered {file.name} in time: {why}",
        store=file.store,
        file=file.name,
        digest=file.digest,
        missing=1,
    )
