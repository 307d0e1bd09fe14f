"""What systems said before: a bounded, least-recently-used store of immutable answers with their age."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

import msgspec

from contracts.canonical.base import Provenance

Rows = tuple[msgspec.Struct, ...]


@dataclass(slots=True)
class Entry:
    """The rows that one key was answered with (none at all is an answer too), and where they come from.

    `asked` and `received` are readings of the loop's clock: what was asked later is the newer statement.
    """

    rows: Rows
    source: Provenance
    asked: float
    received: float
    _aged: dict[bool, tuple[Rows, Provenance]] = field(default_factory=dict)

    def aged(self, *, stale: bool) -> tuple[Rows, Provenance]:
        """Rows and source as they are served from here: `via="cache"`, on every row too. Made once, then shared."""
        found = self._aged.get(stale)
        if found is None:
            source = msgspec.structs.replace(self.source, via="cache", stale=stale)
            found = self._aged[stale] = (tuple(_restamp(row, self.source, source) for row in self.rows), source)
        return found


class Cache:
    """Bounded by rows: an entry weighs as many as it has, an empty one weighs one."""

    def __init__(self, rows: int = 50_000) -> None:
        self._most, self._weight = rows, 0
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()

    def get(self, key: Hashable, since: float) -> Entry | None:
        """The entry, if it was received at `since` or later (a reading of the loop's clock)."""
        entry = self._entries.get(key)
        if entry is None or entry.received < since:
            return None
        self._entries.move_to_end(key)
        return entry

    def put(self, key: Hashable, entry: Entry) -> None:
        known = self._entries.get(key)
        if known is not None:
            if known.asked > entry.asked:
                return
            self._weight -= len(known.rows) or 1
        self._entries[key] = entry
        self._entries.move_to_end(key)
        self._weight += len(entry.rows) or 1
        while self._weight > self._most:
            _, oldest = self._entries.popitem(last=False)
            self._weight -= len(oldest.rows) or 1

    def __len__(self) -> int:
        return len(self._entries)


def _restamp(row: msgspec.Struct, live: Provenance, aged: Provenance) -> msgspec.Struct:
    known: tuple[Provenance, ...] | None = getattr(row, "provenance", None)
    if not known:
        return row
    return msgspec.structs.replace(row, provenance=tuple(aged if p == live else p for p in known))
