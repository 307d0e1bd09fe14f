"""What every driver promises: a contract that describes operations without a network, and a connection that performs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from contracts.call import Call
from contracts.errors import UpstreamRejected
from mappings.language import Shortcut
from mappings.language.shape import Exchange


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: one document per page, in the form that the operation's answer message names."""

    documents: tuple[Any, ...]
    as_of: datetime | None = None
    """When the system says its statement was true; None = now."""
    etag: str | None = None
    absent: UpstreamRejected | None = None
    """The system says that there is no such thing: an empty answer of a read, a refusal of a write."""


class Contract(Protocol):
    """A system's own description, read once from its contract file. Pure: no network, may take seconds, so it is loaded in a thread."""

    def operations(self) -> tuple[str, ...]: ...

    def exchange(self, operation: str) -> Exchange:
        """Raises KeyError for an unknown operation; the estate's check turns that into a finding with the nearest name."""
        ...


class Connection(Protocol):
    """A live connection to one system. Knows the protocol and the contract; knows no capability and no channel's meaning."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def call(self, operation: str, request: Mapping[str, Any], call: Call, seconds: float, shortcut: Shortcut | None = None) -> Reply:
        """One attempt, within `seconds`. `request` is the plain request document (nested dicts, lists, strings, Decimals, dates) that the
        request mapping wrote. Raises contracts.errors.UpstreamError only; a cancellation passes through untouched. Never retries
        (a renewed session login inside an attempt is part of the attempt). `shortcut` is the answer mapping's: a driver that need not look
        into what it leaves out may answer with what it made of the text, in the place of a document.
        """
        ...
