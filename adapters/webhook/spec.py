"""The options of deliveries over HTTP, typed: the only source of their defaults and bounds."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

from msgspec import Meta

from adapters.options import Options, Tls
from contracts.policy import Duration


class WebhookOptions(Options, frozen=True, kw_only=True):
    networks: tuple[str, ...] = ()
    """Networks that are not public and may hold receivers all the same, as `10.20.0.0/16`."""
    limit: Duration = Duration(10)
    """For one delivery, from connecting to the end of the answer."""
    connections: Annotated[int, Meta(ge=1, le=100, description="Most deliveries under way at once, per receiver")] = 8
    body_limit: Annotated[int, Meta(ge=0, description="Bytes of an answer that are read: its status says it all")] = 65_536
    tls: Tls = Tls()

    def __post_init__(self) -> None:
        _ = self.declared

    @property
    def declared(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Raises ValueError."""
        return tuple(ip_network(each) for each in self.networks)
