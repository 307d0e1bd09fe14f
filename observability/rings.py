"""Cells over time, in memory: seconds by route and operation, ten seconds and then minutes by everything; merged by addition."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from threading import Lock
from time import sleep
from typing import Final, NamedTuple

from observability.rootcause.model import COUNTERS, Exemplar, Rows, Where

Key = tuple[str, str, str, str, str, str]
"""As Where, before it is one."""
Plain = dict[Key, int]
"""Requests about which there is nothing to say."""
Full = dict[Key, list[int]]
"""All COUNTERS of the others."""

OTHER: Final = "other"
_NO_STORE: Final = frozenset({"", OTHER})
WIDTH: Final = len(COUNTERS)
SECOND, COARSE, MINUTE = 1, 10, 60
FINE_S: Final = 900
"""How long seconds and ten seconds are held."""
HELD_S: Final = 5_400
"""How long minutes are held."""
KEYS: Final = 50_000
PENDING: Final = 30
"""Seconds that may wait for the thread that folds them, before whoever counts does it."""
EXEMPLARS: Final = 1_000
"""Cells of one minute that keep some."""
TWINS: Final = 10_000
PAUSE_S: Final = 0.0005
"""Of whoever reads everything: the event loop goes on in between."""


class Seen(NamedTuple):
    """The share of an Evidence that is counted: `Evidence(now=now, map=map, losses=..., **seen._asdict())`."""

    coarse: Rows
    fine: Rows
    exemplars: dict[Where, tuple[Exemplar, ...]]
    twins: dict[tuple[str, str, str], str]


class Keys:
    """Cell keys and their numbers. A key that no bin holds any more gives its number away; beyond `limit` of those with a store it becomes
    `other`. Those without are few: routes and operations are declared.
    """

    def __init__(self, limit: int = KEYS) -> None:
        self.limit = limit
        self.known: list[Where] = []
        self.folded = 0
        self._number: dict[Key, int] = {}
        self._last: list[int] = []  # the latest bin in which it occurs
        self._free: list[int] = []
        self._of_stores = self._swept = 0

    def number(self, key: Key, begin: int) -> int:
        found = self._number.get(key)
        if found is None:
            named = key[5] not in _NO_STORE
            if named and self._of_stores >= self.limit and not self._sweep(begin):
                self.folded += 1
                return self.number((*key[:5], OTHER), begin)
            if len(self._number) >= 2 * self.limit and key != (OTHER,) * 6:
                self.folded += 1
                return self.number((OTHER,) * 6, begin)
            self._of_stores += named
            where = Where(*key)
            if self._free:
                found = self._free.pop()
                self.known[found] = where
            else:
                found = len(self.known)
                self.known.append(where)
                self._last.append(begin)
            self._number[key] = found
        self._last[found] = max(self._last[found], begin)
        return found

    def _sweep(self, begin: int) -> bool:
        """Once a minute at most: numbers of keys that have left all bins."""
        if begin - self._swept < MINUTE:
            return False
        self._swept = begin
        gone = [key for key, number in self._number.items() if self._last[number] < begin - HELD_S - MINUTE]
        for key in gone:
            self._free.append(number := self._number.pop(key))
            self._of_stores -= key[5] not in _NO_STORE
            self._last[number] = begin
        return bool(gone)


class _Sealed(NamedTuple):
    """A bin that is complete: numbers of keys with their n, and numbers of keys with all counters."""

    plain: tuple[array[int], array[int]]
    full: tuple[array[int], ...]


def add(plain: Plain, full: Full, key: Key, counters: Sequence[int]) -> None:
    """`counters` may be negative, as corrections are."""
    there = full.get(key)
    if there is None:
        full[key] = list(counters)
    else:
        for index, value in enumerate(counters):
            if value:
                there[index] += value


def sealed(keys: Keys, begin: int, plain: Plain, full: Full) -> _Sealed:
    """A bin as columns, one row per key."""
    number = keys.number
    numbers, counts = array("q"), array("q")
    bad: dict[int, list[int]] = {}
    for key, counters in full.items():
        at = number(key, begin)
        bad[at] = [a + b for a, b in zip(there, counters, strict=True)] if (there := bad.get(at)) else counters
    merged: dict[int, int] = {}
    for key, n in plain.items():
        at = number(key, begin)
        if at in bad:
            bad[at] = [bad[at][0] + n, *bad[at][1:]]
        else:
            merged[at] = merged.get(at, 0) + n
    numbers.extend(merged)
    counts.extend(merged.values())
    columns = zip(*bad.values(), strict=True) if bad else [()] * WIDTH
    return _Sealed((numbers, counts), (array("q", bad), *(array("q", column) for column in columns)))


class _Ring:
    """Bins of one width. The newest are dictionaries, older ones columns; one that is added to later becomes a dictionary again."""

    def __init__(self, width: int, keys: Keys) -> None:
        self.width, self._keys = width, keys
        self._open: dict[int, tuple[Plain, Full]] = {}
        self._sealed: dict[int, _Sealed] = {}

    def fold(self, at: int, plain: Plain, full: Full) -> None:
        begin = at - at % self.width
        here = self._open.get(begin)
        if here is None:
            here = self._open[begin] = self._unsealed(begin) if begin in self._sealed else ({}, {})
            if len(self._open) > 4:
                for old in sorted(self._open)[:-2]:
                    self._seal(old)
            if begin not in self._open:  # older than what is written now
                self._open[begin] = here = self._unsealed(begin)
        into, whole = here
        limit = self._keys.limit
        for key, n in plain.items():
            if key in into:
                into[key] += n
            elif len(into) < limit or key[5] in _NO_STORE:
                into[key] = n
            else:
                self._keys.folded += 1
                key = (*key[:5], OTHER)
                into[key] = into.get(key, 0) + n
        for key, counters in full.items():
            if key not in whole and len(whole) >= limit and key[5] not in _NO_STORE:
                self._keys.folded += 1
                key = (*key[:5], OTHER)
            add(into, whole, key, counters)

    def take(self, before: int) -> Iterator[tuple[int, Plain, Full]]:
        """Removes the bins that began before, oldest first."""
        for begin in sorted(b for b in (*self._open, *self._sealed) if b < before):
            yield begin, *(self._open.pop(begin, None) or self._unsealed(begin))

    def drop(self, before: int, after: int = 1 << 62) -> None:
        for bins in (self._open, self._sealed):
            for begin in [b for b in bins if not before <= b <= after]:
                del bins[begin]

    def since(self, begin: int) -> list[tuple[int, _Sealed]]:
        """Bins that began then or later, oldest first. What is open is sealed for good but for the newest two, into which most goes."""
        for old in sorted(self._open)[:-2]:
            self._seal(old)
        there = [(at, complete) for at, complete in self._sealed.items() if at >= begin]
        there += [(at, sealed(self._keys, at, *here)) for at, here in self._open.items() if at >= begin]
        return sorted(there, key=_begin)

    def newest(self) -> int:
        return max((*self._open, *self._sealed), default=0)

    def of(self, begin: int) -> tuple[Plain, Full]:
        """A copy of one bin."""
        plain, full = self._open.get(begin) or (self._unpacked(self._sealed[begin]) if begin in self._sealed else ({}, {}))
        return dict(plain), {key: list(counters) for key, counters in full.items()}

    def _seal(self, begin: int) -> None:
        self._sealed[begin] = sealed(self._keys, begin, *self._open.pop(begin))

    def _unsealed(self, begin: int) -> tuple[Plain, Full]:
        return self._unpacked(self._sealed.pop(begin))

    def _unpacked(self, sealed: _Sealed) -> tuple[Plain, Full]:
        known = self._keys.known
        plain = {tuple(known[key]): n for key, n in zip(*sealed.plain, strict=True)}
        full = {tuple(known[key]): list(counters) for key, *counters in zip(*sealed.full, strict=True)}
        return plain, full  # type: ignore[return-value]  # a Where as the tuple it was


def _begin(counted: tuple[int, _Sealed]) -> int:
    return counted[0]


def rows_of(bins: Sequence[tuple[int, _Sealed]], keys: Sequence[Where]) -> Rows:
    """One row per bin and key. Large joins let other threads go on; what is left takes a few ms at a time."""
    numbers = _joined(part for _, (plain, full) in bins for part in (plain[0], full[0]))
    begins = _joined(array("q", [begin]) * (len(plain[0]) + len(full[0])) for begin, (plain, full) in bins)
    counts = _joined(part for _, (plain, full) in bins for part in (plain[1], full[1]))
    nothing = memoryview(bytes(8 * max((len(plain[0]) for _, (plain, _) in bins), default=0)))
    others = (
        _joined(part for _, (plain, full) in bins for part in (nothing[: 8 * len(plain[0])], full[column]))
        for column in range(2, WIDTH + 1)
    )
    return Rows(keys, numbers, begins, (counts, *others))


def _joined(parts: Iterable[array[int] | memoryview]) -> array[int]:
    sleep(PAUSE_S)
    whole = b"".join(parts)
    sleep(PAUSE_S)
    return array("q", whole)


class Fresh:
    """What was counted, to be kept or told to other processes: bins of ten seconds, and the seconds in them."""

    def __init__(self) -> None:
        self.tens: dict[int, tuple[Plain, Full]] = {}
        self.seconds: dict[int, list[tuple[int, Plain, Full]]] = {}
        self.exemplars: list[tuple[Where, Exemplar]] = []
        self.twins: dict[tuple[str, str, str], str] = {}

    def add(self, second: int, plain: Plain, full: Full, few: Plain, some: Full) -> None:
        begin = second - second % COARSE
        into, whole = self.tens.setdefault(begin, ({}, {}))
        for key, n in plain.items():
            into[key] = into.get(key, 0) + n
        for key, counters in full.items():
            add(into, whole, key, counters)
        self.seconds.setdefault(begin, []).append((second, few, some))


class Rings:
    """Counts go to the current second; whoever looks, or a thread that calls `tick`, folds complete seconds into the rings.

    `add` and `count` belong to one thread at a time (the recorder's lock); the rest may be called from any.
    """

    def __init__(self, *, limit: int = KEYS) -> None:
        self.keys = Keys(limit)
        self.second = 0
        self.plain: Plain = {}
        self.full: Full = {}
        self.too_late = 0
        """Requests that came for minutes that are not held any more."""
        self._pending: list[tuple[int, Plain, Full]] = []
        self._lock = Lock()
        self._seconds, self._tens, self._minutes = (_Ring(width, self.keys) for width in (SECOND, COARSE, MINUTE))
        self.fresh: Fresh | None = None
        """Collects what was counted here, for whoever keeps it (see cellstore); None: nobody does."""
        self._exemplars: dict[int, dict[Where, list[Exemplar]]] = {}
        self._twins: dict[tuple[str, str, str], str] = {}

    def turn(self, second: int) -> None:
        """What is counted from now on belongs to that second."""
        if self.plain or self.full:
            self._pending.append((self.second, self.plain, self.full))
            self.plain, self.full = {}, {}
        self.second = second
        if len(self._pending) > PENDING:
            self.fold()

    def count(self, key: Key, n: int = 1) -> None:
        self.plain[key] = self.plain.get(key, 0) + n

    def add(self, key: Key, counters: Sequence[int]) -> None:
        add(self.plain, self.full, key, counters)

    def fold(self) -> None:
        with self._lock:
            while self._pending:
                counted = self._pending.pop(0)
                few, some = self._fold(*counted)
                if self.fresh is not None:
                    self.fresh.add(*counted, few, some)

    def forget(self, after: int) -> None:
        """Bins that begin later: the clock was ahead, and beside them what comes now would be too old to be counted."""
        with self._lock:
            for ring in (self._seconds, self._tens, self._minutes):
                ring.drop(0, after)
            if (fresh := self.fresh) is not None:
                for begin in [b for b in fresh.tens if b > after]:
                    del fresh.tens[begin], fresh.seconds[begin]

    def take_fresh(self, before: float) -> Fresh:
        """What was counted here since the last time, in bins that ended before."""
        taken = Fresh()
        with self._lock:
            fresh = self.fresh
            if fresh is not None and (ended := sorted(begin for begin in fresh.tens if begin + COARSE <= before)):
                for begin in ended:
                    taken.tens[begin], taken.seconds[begin] = fresh.tens.pop(begin), fresh.seconds.pop(begin)
                taken.exemplars, fresh.exemplars = fresh.exemplars, []
                taken.twins, fresh.twins = fresh.twins, {}
        return taken

    def restore(self, width: int, begin: int, plain: Plain, full: Full) -> None:
        """What was counted elsewhere, or in an earlier life: a bin of a second (by route and by operation), of ten or of a minute."""
        with self._lock:
            newest = max(self._tens.newest(), begin)
            if width == SECOND:
                if begin >= newest - FINE_S:
                    self._seconds.fold(begin, plain, full)
            elif begin >= newest - newest % MINUTE - HELD_S:
                tens = width == COARSE and begin >= newest - newest % COARSE - FINE_S
                (self._tens if tens else self._minutes).fold(begin, plain, full)

    def _fold(self, second: int, plain: Plain, full: Full) -> tuple[Plain, Full]:
        newest = max(self._tens.newest(), second)
        if second < newest - newest % MINUTE - HELD_S:
            self.too_late += sum(plain.values()) + sum(counters[0] for counters in full.values())
            return {}, {}
        few: Plain = {}
        some: Full = {}
        if second >= newest - FINE_S:
            for key, n in plain.items():
                short = _short(key)
                few[short] = few.get(short, 0) + n
            for key, counters in full.items():
                add(few, some, _short(key), counters)
            self._seconds.fold(second, few, some)
        oldest = newest - newest % COARSE - FINE_S
        (self._tens if second >= oldest else self._minutes).fold(second, plain, full)
        self._seconds.drop(newest - FINE_S)
        for counted in self._tens.take(oldest):
            self._minutes.fold(*counted)
        self._minutes.drop(newest - newest % MINUTE - HELD_S)
        return few, some

    def exemplar(self, where: Where | Key, exemplar: Exemplar, *, own: bool = True) -> None:
        minute = int(exemplar.at) // MINUTE
        here = self._exemplars.get(minute)
        if here is None:
            here = self._exemplars[minute] = {}
            for old in [m for m in self._exemplars if m < minute - HELD_S // MINUTE]:
                del self._exemplars[old]
        found = here.get(where)  # type: ignore[arg-type]  # equal keys
        if found is None:
            if len(here) < EXEMPLARS:
                where = Where(*where)
                here[where] = [exemplar, exemplar]
                if own and self.fresh is not None:
                    self.fresh.exemplars.append((where, exemplar))
            return
        if exemplar.at < found[0].at:
            found[0] = exemplar
        if exemplar.seconds > found[1].seconds:
            found[1] = exemplar

    def twin(self, route: str, channel: str, store: str, trace_id: str, *, own: bool = True) -> None:
        at = (route, channel, store)
        self._twins.pop(at, None)
        self._twins[at] = trace_id
        if len(self._twins) > TWINS:
            del self._twins[next(iter(self._twins))]
        if own and self.fresh is not None:
            self.fresh.twins[at] = trace_id

    def seen(self, now: float, *, since: float = 0.0) -> Seen:
        """All bins that began at `since` or later and before `now`; first `turn`, then this."""
        self.fold()
        begin = int(since)
        with self._lock:
            coarse = self._minutes.since(begin - begin % MINUTE)
            sleep(PAUSE_S)
            coarse += self._tens.since(begin - begin % COARSE)
            sleep(PAUSE_S)
            fine = self._seconds.since(max(begin, int(now) - FINE_S))
            keys = tuple(self.keys.known)
        exemplars: dict[Where, list[Exemplar]] = {}
        for minute in sorted(self._exemplars):
            for where, (first, slowest) in list(self._exemplars.get(minute, {}).items()):
                exemplars.setdefault(where, []).extend((first, slowest) if first is not slowest else (first,))
        return Seen(rows_of(coarse, keys), rows_of(fine, keys), {w: tuple(e) for w, e in exemplars.items()}, dict(self._twins))


def _short(key: Key) -> Key:
    return (key[0], key[1], "", "", "", "") if key[0] else ("", "", key[2], key[3], "", "")
