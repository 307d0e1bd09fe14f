"""The options of the broker and of a queue that is read, typed: the only source of their defaults, bounds and secrecy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from msgspec import Meta

from adapters.options import Options, Secret, Tls
from contracts.policy import Duration

Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_.:\-]+$")]
Key = Annotated[str, Meta(min_length=1, max_length=255)]


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of an AMQP URL."""

    host: str
    port: int
    vhost: str
    tls: bool
    user: str
    password: str = field(repr=False)


class BrokerOptions(Options, frozen=True, kw_only=True):
    url: Secret
    """`amqp://user:password@host:port/vhost`, or amqps; without a path the vhost is `/`, which is written `%2F`."""
    exchange: Name = "tillgate.events"
    """A durable topic exchange; the routing key is the event's type."""
    unroutable: Literal["accept", "refuse"] = "accept"
    """An event that no queue asked for: fine, or a failure until somebody asks for it."""
    in_flight: Annotated[int, Meta(ge=1, le=10_000, description="Most events sent and not yet confirmed")] = 1024
    waiting: Annotated[int, Meta(ge=0, le=100_000, description="Most callers that wait for a place among them")] = 1024
    connect_limit: Duration = Duration(5)
    confirm_limit: Duration = Duration(10)
    """From the call to the broker's confirm, waiting included."""
    close_limit: Duration = Duration(5)
    heartbeat: Annotated[int, Meta(ge=5, le=600, description="Seconds; two missed ones end the connection")] = 20
    backoff: Duration = Duration(0.2)
    backoff_max: Duration = Duration(15)
    tls: Tls = Tls()

    def __post_init__(self) -> None:
        _ = self.address

    @property
    def address(self) -> Address:
        expected = "url: expected amqp(s)://user:password@host:port/vhost and nothing behind it; other options have fields of their own"
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError:
            raise ValueError(expected) from None  # the reason would quote the password
        path = parts.path.removeprefix("/")
        if parts.scheme not in {"amqp", "amqps"} or not parts.hostname or "/" in path or parts.query or parts.fragment:
            raise ValueError(expected)
        tls = parts.scheme == "amqps"
        return Address(
            parts.hostname,
            port or (5671 if tls else 5672),
            unquote(path) or "/",
            tls,
            unquote(parts.username or "guest"),
            unquote(parts.password or "guest"),
        )

    def __repr__(self) -> str:
        at = self.address
        return f"BrokerOptions({at.user}@{at.host}:{at.port}{' by TLS' if at.tls else ''}, vhost {at.vhost!r}, exchange {self.exchange!r})"


class Subscription(Options, frozen=True, kw_only=True):
    """A quorum queue that is read. Its dead letters lie in `<queue>.dead`."""

    queue: Name
    keys: tuple[Key, ...] = ("#",)
    """Event types, as topic patterns such as `io.tillgate.sale.#`."""
    prefetch: Annotated[int, Meta(ge=1, le=1000, description="Most events fetched ahead; 1 keeps their order even when one fails")] = 32
    workers: Annotated[int, Meta(ge=1, le=100, description="Events handled at once; 1 keeps their order")] = 1
    delivery_limit: Annotated[int, Meta(ge=1, le=1000, description="Failed deliveries before an event becomes a dead letter")] = 10
    max_length: Annotated[int, Meta(ge=1, description="Most events in the queue; beyond it the publisher is refused")] = 1_000_000
    body_limit: Annotated[int, Meta(ge=1000, description="Bytes; a larger message is a dead letter at once")] = 1_000_000
    handler_limit: Duration = Duration(60)
    backoff: Duration = Duration(0.1)
    """Before a failed event is handed back; doubles with each failure."""
    backoff_max: Duration = Duration(5)
