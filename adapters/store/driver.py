"""The one way to open the store: books over the engine that the address names."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from adapters.store.books.audit import Audit
from adapters.store.books.cell import Cells
from adapters.store.books.client import Clients
from adapters.store.books.dispatch import Dispatches
from adapters.store.books.file import Files
from adapters.store.books.finding import Findings
from adapters.store.books.idempotency import Idempotency
from adapters.store.books.incident import Incidents
from adapters.store.books.lease import Leases
from adapters.store.books.meta import MetaBook
from adapters.store.books.order import Orders
from adapters.store.books.outbox import EventOutbox
from adapters.store.books.quarantine import Quarantine
from adapters.store.books.reservation import Reservations
from adapters.store.books.sale import Sales
from adapters.store.books.session import Sessions
from adapters.store.books.usage import Usage
from adapters.store.books.webhook import Webhooks
from adapters.store.schema import FOLDER, migrate
from adapters.store.spec import StoreOptions
from adapters.store.unit import Engine, Transaction
from contracts.books import (
    AuditBook,
    Books,
    CellBook,
    ClientBook,
    DispatchBook,
    FileBook,
    FindingBook,
    IdempotencyBook,
    IncidentBook,
    LeaseBook,
    Meta,
    OrderBook,
    Outbox,
    QuarantineBook,
    ReservationBook,
    SaleBook,
    SessionBook,
    UsageBook,
    WebhookBook,
)


class Store:
    """Fulfils `contracts.books.Books`."""

    def __init__(self, engine: Engine, options: StoreOptions) -> None:
        self._engine = engine
        self._step = 0
        self._outbox = EventOutbox(engine, options.source)
        self._sales = Sales(engine)
        self.clients: ClientBook = Clients(engine)
        self.audit: AuditBook = Audit(engine)
        self.sessions: SessionBook = Sessions(engine)
        self.usage: UsageBook = Usage(engine)
        self.idempotency: IdempotencyBook = Idempotency(engine)
        self.reservations: ReservationBook = Reservations(engine)
        self.sales: SaleBook = self._sales
        self.files: FileBook = Files(engine)
        self.findings: FindingBook = Findings(engine, options.source)
        self.quarantine: QuarantineBook = Quarantine(engine)
        self.dispatches: DispatchBook = Dispatches(engine)
        self.incidents: IncidentBook = Incidents(engine, options.source)
        self.orders: OrderBook = Orders(engine)
        self.outbox: Outbox = self._outbox
        self.webhooks: WebhookBook = Webhooks(engine, self._outbox)
        self.leases: LeaseBook = Leases(engine)
        self.cells: CellBook = Cells(engine)
        self.meta: Meta = MetaBook(engine)

    async def start(self) -> None:
        async def prepare(tx: Transaction) -> int:
            return await migrate(tx, self._engine.dialect)

        await self._engine.start()
        try:
            self._step = await self._engine.write(prepare)
            self._outbox.origin = (await self.meta.put_if_absent("store.id", secrets.token_hex(8).encode())).decode()
        except BaseException:
            await self._engine.close()
            raise

    async def close(self) -> None:
        self._sales.close()
        await self._engine.close()

    async def check(self) -> dict[str, Any]:
        async def touch(tx: Transaction) -> None:
            await tx.execute(
                "insert into meta (key, value) values ($1, $2) on conflict (key) do update set value = excluded.value", "store.checked", b""
            )

        await self._engine.write(touch)
        return {**self._engine.describe(), "step": self._step}


@asynccontextmanager
async def cell_file(path: Path) -> AsyncIterator[CellBook]:
    """Cells in a file of their own, which several processes of a host may share. What a power cut takes of it is no loss."""
    from adapters.store.sqlite import Sqlite

    options = StoreOptions(url=f"sqlite:///{path}", synchronous="normal", readers=1, queue=64)
    engine = Sqlite(options, path, cache_kib=4_096)  # what is written is hardly read again

    async def prepare(tx: Transaction) -> None:
        await tx.lock("schema")
        if not await tx.query("select 1 from sqlite_schema where name = 'cell'"):
            await tx.script((FOLDER / "0009_cells.sql").read_text("utf-8").format(**engine.dialect))

    await engine.start()
    try:
        await engine.write(prepare)
        yield Cells(engine)
    finally:
        await engine.close()


def open_store(options: StoreOptions) -> Books:
    """Nothing is touched before `start()`."""
    if (path := options.path) is not None:
        from adapters.store.sqlite import Sqlite

        return Store(Sqlite(options, path), options)
    try:
        from adapters.store.postgres import Postgres
    except ImportError as exc:
        from contracts.errors import StoreUnavailable

        raise StoreUnavailable(reason="PostgreSQL needs the extra `pg`: pip install 'tillgate[pg]'") from exc
    return Store(Postgres(options), options)
