"""Options of the store, typed: where it lies and how much it may hold in memory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

_PASSWORD = re.compile(r"(://[^:/@]*:).*(?=@)|([?&](?:ssl)?password=)[^&]*")


class StoreOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`sqlite:///relative/path`, `sqlite:////absolute/path` or `postgresql://user@host/database`."""

    url: Annotated[
        str,
        Meta(
            description="Where the books lie",
            examples=["sqlite:///var/tillgate.db", "postgresql://tillgate@db/tillgate"],
            extra={"secret": True},
        ),
    ]
    """May hold a password: `shown` is for people."""
    synchronous: Annotated[
        Literal["full", "normal"],
        Meta(description="SQLite: `full` survives a power cut; `normal` only a killed process"),
    ] = "full"
    group: Annotated[int, Meta(ge=1, le=4096, description="SQLite: most units of work that share one commit")] = 256
    queue: Annotated[int, Meta(ge=1, le=100_000, description="Most units of work that wait; beyond it the store refuses at once")] = 1024
    readers: Annotated[int, Meta(ge=1, le=64, description="SQLite: threads that read, each with its own connection")] = 2
    connections: Annotated[int, Meta(ge=1, le=500, description="PostgreSQL: most connections of this process")] = 10
    wait: Annotated[float, Meta(gt=0, le=60, description="Seconds to wait for a lock or a connection")] = 5.0
    statement_cache: Annotated[
        int,
        Meta(ge=0, le=10_000, description="PostgreSQL: statements kept prepared per connection; 0 behind PgBouncer in transaction mode"),
    ] = 200
    source: Annotated[
        str, Meta(min_length=1, max_length=200, description="CloudEvents `source` of events that the store itself writes")
    ] = "/tillgate"

    def __post_init__(self) -> None:
        if self.url.startswith("sqlite:///") and len(self.url) > len("sqlite:///"):
            return
        if not self.url.startswith(("postgresql://", "postgres://")):
            raise ValueError(f"expected sqlite:///path or postgresql://user@host/database, got {self.shown!r}")

    @property
    def path(self) -> Path | None:
        """The database file; None for a server."""
        return Path(self.url.removeprefix("sqlite:///")) if self.url.startswith("sqlite:///") else None

    @property
    def shown(self) -> str:
        """The address without its password."""
        return _PASSWORD.sub(r"\1\2***", self.url)

    def __repr__(self) -> str:
        return f"StoreOptions(url={self.shown!r})"
