"""The options of the shared store, typed: the only source of their defaults, bounds and secrecy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import unquote, urlsplit

from msgspec import Meta

from adapters.options import Options, Secret, Tls
from contracts.policy import Duration


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of a URL."""

    host: str
    port: int
    database: int
    tls: bool
    user: str
    password: str = field(repr=False)


class ValkeyOptions(Options, frozen=True, kw_only=True):
    url: Secret
    """`redis://user:password@host:port/database`, or rediss for TLS. Redis from 6.2 and Valkey are the same here."""
    limit: Duration = Duration(0.05)
    """Within which a decision is there, waiting included; else the store counts as away."""
    connections: Annotated[int, Meta(ge=1, le=64)] = 2
    waiting: Annotated[int, Meta(ge=1, le=100_000, description="Most calls that wait to be sent; beyond it the store counts as away")] = (
        10_000
    )
    batch: Annotated[int, Meta(ge=1, le=10_000, description="Most calls that travel together")] = 256
    connect_limit: Duration = Duration(1)
    backoff: Duration = Duration(0.1)
    """Between attempts to come back."""
    backoff_max: Duration = Duration(2)
    beat: Duration = Duration(2)
    """How often a process says that it lives; it is forgotten after five times of that."""
    tls: Tls = Tls()

    def __post_init__(self) -> None:
        _ = self.address

    @property
    def address(self) -> Address:
        expected = "url: expected redis(s)://user:password@host:port/database and nothing behind it; other options have fields of their own"
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError:
            raise ValueError(expected) from None  # the reason would quote the password
        path = parts.path.removeprefix("/")
        if parts.scheme not in {"redis", "rediss"} or not parts.hostname or parts.query or parts.fragment or not (path or "0").isdecimal():
            raise ValueError(expected)
        return Address(
            parts.hostname,
            port or 6379,
            int(path or "0"),
            parts.scheme == "rediss",
            unquote(parts.username or ""),
            unquote(parts.password or ""),
        )

    def __repr__(self) -> str:
        at = self.address
        return f"ValkeyOptions({at.host}:{at.port}{' by TLS' if at.tls else ''}, database {at.database})"
