"""What is noticed about files and tills without being an error: late, missing, out of order, come again, numbers left out, odd days."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import msgspec

from contracts.canonical.file import FindingKind, FindingState


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` and `subject` identify it, so it stands once, however many workers notice it. An `open` one closes itself when what was
    missed comes (`closed_by` says which file); a `noted` one is a fact that nothing can mend.
    """

    kind: FindingKind
    subject: str
    """`feed/store/business date` of windows, `feed/store/first-last` of file numbers, `store/workstation/business date` of tills."""
    feed: str
    detail: str
    state: FindingState = "open"
    store: str = ""
    workstation: str = ""
    business_date: str = ""
    file: str = ""
    digest: str = ""
    missing: int = 0
    """Files, or transactions of a till, that are not there."""
    opened_at: datetime | None = None
    changed_at: datetime | None = None
    closed_by: str = ""
    revision: int = 1
    """Grows with every change; each change leaves as one event."""
    id: int = 0


@dataclass(frozen=True)
class Arrival:
    """A complete file as it was first seen. `number`: its place in the `series` of its store, None where the name counts nothing."""

    feed: str
    digest: str
    file: str
    at: datetime
    store: str = ""
    business_date: str = ""
    series: str = ""
    number: int | None = None
    wraps: int = 0
    """The number after which the series begins again; 0 for one that never does."""


@dataclass(frozen=True)
class TillDay:
    """A business day of one till, when more of it was booked. `file`: the last that added to it, by its `digest`; empty for a person."""

    store: str
    workstation: str
    business_date: str
    known: int
    """Transactions at the look before; 0 at the first."""
    booked: int
    at: datetime
    file: str
    digest: str
    other: bool
    """Another file of this store and day has come."""


class FindingBook(Protocol):
    async def record(self, findings: Sequence[Finding], now: datetime) -> int:
        """Opens or notes each that does not stand yet, with one event each; a closed `file_refused` is opened again. Returns how many were
        new."""
        ...

    async def arrived(self, arrival: Arrival, findings: Sequence[Finding], now: datetime) -> bool:
        """A file came, and what is to be noted of it. Closes what waited for it (late, missing, a gap that it fills), and notices a gap
        before it or that it is out of order. A repeat changes nothing. Returns whether it is the first time.
        """
        ...

    async def close(self, findings: Sequence[Finding], by: str, now: datetime) -> int:
        """Those of this kind and subject that are open, `by` a file or a person. Returns how many were."""
        ...

    async def came(self, feed: str, business_dates: Sequence[str]) -> AbstractSet[tuple[str, str]]:
        """(store, business date) of what arrived for these days."""
        ...

    async def stores(self, feed: str, since: datetime) -> AbstractSet[str]:
        """Who has delivered since."""
        ...

    async def tills(
        self,
        feed: str,
        settled: datetime,
        now: datetime,
        *,
        say: bool = True,
        odd: Callable[[TillDay], Iterable[Finding]] | None = None,
        limit: int = 500,
    ) -> int:
        """Looks at the tills that booked from this feed since the last look, and were silent since `settled`: numbers of a business day
        that no transaction has are one open finding of the till's day, if they are to be said; it closes when they come. What is `odd`
        about such a day is recorded with the look; it may be asked again. Returns how many tills were looked at."""
        ...

    async def list(
        self,
        limit: int,
        *,
        state: FindingState | None = None,
        kind: FindingKind | None = None,
        feed: str | None = None,
        stores: Collection[str] = (),
        about: str | None = None,
        before: int | None = None,
    ) -> Sequence[Finding]:
        """Newest first. `stores` empty: all; `about`: the digest of a file; `before`: the id behind which to go on."""
        ...

    async def purge(self, before: datetime) -> int:
        """Findings that are not open and changed last before, and arrivals of that age. Returns how many findings went."""
        ...
