"""The recorder: opens flights, and when one ends counts it, decides whether to keep it, and hands the kept ones on."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic_ns, time
from typing import Final, Protocol

from observability.baseline import BUCKETS, LOWEST_S, SOON, bucket
from observability.blame import LATE_S, Blame, Counted, Overdue
from observability.cells import Cell, Cells
from observability.durations import Durations, Lasted
from observability.flight import FlightRecord
from observability.keep import Keep
from observability.logs import get_logger
from observability.rings import MINUTE, Key, Rings, Seen
from observability.rootcause.model import Exemplar, Losses, NotSeen, Where
from observability.vocabulary import FAILURE_CLASSES, FlightKind, SampleReason

_Kind = tuple[str, str, str, SampleReason]
"""Name, channel, API version, and why one of them would be kept."""


class Sink(Protocol):
    """Where kept flights go."""

    def put(self, record: FlightRecord) -> None:
        """Take it or count it as dropped; never wait."""
        ...

    @property
    def losses(self) -> Mapping[str, int]:
        """What of it was dropped, by place."""
        ...

    async def close(self) -> None:
        """Deliver what is queued, within a few seconds."""
        ...


UNCOUNTED: Final = frozenset({"hops_over_limit", "cells_folded", "cells_unwritten", "counted_too_late", "recording_faults"})
"""Places where a loss makes counts wrong, or blunt; elsewhere only traces go."""
_LOWEST_NS: Final = int(LOWEST_S * 1e9)
REJECTED: Final = FAILURE_CLASSES.index("rejected")
REJECTED_GAP: Final = 1.0
"""Seconds from one whole record of a refusal to the next of its kind: between them refusals are only counted."""


@dataclass(slots=True)
class _Tally:
    """Flights of one kind that ended well, or were refused, as long as none of them is to be kept. Only the event loop adds to `n` and
    `ns`.
    """

    key: Key
    cell: Cell
    stratum: list[float]
    reason: SampleReason
    due: int
    """Monotonic, ns: from then on the next one may be kept."""
    most: int
    """ns: what took longer is counted one by one."""
    n: int = 0
    ns: int = 0
    longer: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    """Of `n`, those beyond the first bucket."""
    told_n: int = 0
    told_us: int = 0
    told_longer: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    """What of it is in cell and stratum already."""


class Recorder:
    """`Recorder()` alone is harmless: it counts, exports nothing, and serves tests."""

    def __init__(
        self,
        *,
        sinks: Sequence[Sink] = (),
        keep: Keep | None = None,
        objective: float | None = None,
        objectives: Mapping[str, float] | None = None,
        head_share: float = 0.0,
    ) -> None:
        """`objectives`: seconds beyond which a flight (by name) or a call (by `system.operation`) is late; `objective` for all others,
        if it is given. Late is else what takes longer than usual (see Blame.count).
        `head_share`: share of new traces that leave with the sampled flag, so that traces of others meet ours.
        """
        self.sinks = tuple(sinks)
        self.keep = keep or Keep()
        self.cells = Cells()
        self._lock = Lock()
        self._tallies: dict[_Kind, _Tally] = {}
        self.objective, self.head_share = objective, head_share
        self.objectives = dict(objectives or {})
        self.suspected: frozenset[tuple[str, str]] = frozenset()
        """(channel, flight name) or (system, operation) under suspicion: flights that touch them are kept."""
        self.lost_hops = 0
        self.faults = 0
        """How often recording itself failed; the flight went on."""
        self._open: dict[FlightRecord, None] = {}
        self._own_losses, self._told_losses, self._last_losses = Counter[str](), Counter[str](), Counter[str]()
        self._marks = deque[tuple[float, dict[str, int]]](maxlen=180)  # losses as they were, by minute
        self._overdue: dict[FlightRecord, Overdue] = {}
        self.deadlines: Mapping[str, float] = {}
        """Seconds by flight name, after which a request that has not ended counts as overdue; else four times its objective."""
        self.durations = Durations()
        self.rings = Rings()
        self.blame = Blame(self.rings, under_way=lambda: self._open)

    def flight(
        self,
        kind: FlightKind,
        name: str,
        *,
        channel: str = "",
        api_version: str = "",
        store: str = "",
        client: str = "",
        parent: str | None = None,
        tracestate: str = "",
        trusted: bool = False,
        system: str = "",
        operation: str = "",
    ) -> FlightRecord:
        """A flight, to be used as `with recorder.flight("request", "GET /inventory") as record:`.

        `name` is a template (`GET /products/{sku}`, a feed, a queue), never a path. `parent` is a traceparent as it came: continued
        when `trusted`, otherwise a new trace begins and the caller's is kept as a link. `system` and `operation`: whose doing a file
        is; it counts as one call of that feed.
        """
        return FlightRecord(
            self,
            kind,
            name,
            channel=channel,
            api_version=api_version,
            store=store,
            client=client,
            parent=parent,
            tracestate=tracestate,
            trusted=trusted,
            head_share=self.head_share,
            system=system,
            operation=operation,
        )

    @property
    def objectives(self) -> Mapping[str, float]:
        return self._objectives

    @objectives.setter
    def objectives(self, seconds: Mapping[str, float]) -> None:
        with self._lock:
            self._tell()
            self._objectives = seconds
            self._tallies.clear()

    @property
    def open_flights(self) -> list[FlightRecord]:
        """Flights that have not ended, oldest first."""
        return list(self._open)

    def snapshot(self) -> Cells:
        """A copy of the cells, to be read or merged at leisure."""
        with self._lock:
            self._tell()
            return self.cells.copy()

    async def close(self) -> None:
        for sink in self.sinks:
            await sink.close()

    def passed(self, name: str, channel: str, api_version: str, began: int, reason: SampleReason = "baseline") -> bool:
        """Counts a request that the event loop answered with success in one go, since `began` (monotonic, ns), for a fraction of what a
        record costs; or that it refused (`reason` rejected). False: nothing was counted, it is to be remembered whole; its record, with
        the true times, is given to `end`.
        """
        now = monotonic_ns()
        tally = self._tallies.get((name, channel, api_version, reason))
        if tally is None or now >= tally.due:
            tally = self._tally((name, channel, api_version, reason), now)
        if tally is None or (ns := now - began) > tally.most or (self.suspected and (channel, name) in self.suspected):
            return False
        tally.n += 1
        tally.ns += ns
        if ns >= _LOWEST_NS:
            tally.longer[bucket(ns * 1e-9)] += 1
        return True

    def _tally(self, kind: _Kind, now: int) -> _Tally | None:
        """None: the next flight of the kind may be one to keep."""
        name, channel, api_version, reason = kind
        cell = self.cells.routes.get((channel, name, api_version))  # type: ignore[call-overload]  # equal keys
        stratum = self.keep.stratum(name, channel, reason)
        if cell is None or stratum is None:
            return None
        if reason == "baseline":
            due = int((stratum[1] + self.keep.baseline_gap) * 1e9)
        elif kind in self._tallies:  # the next one is offered to be kept, whether or not there is budget for it
            with self._lock:
                self._tell(kind)
                del self._tallies[kind]
            return None
        else:
            due = now + int(REJECTED_GAP * 1e9)
        if due <= now:
            return None
        most = min(int(self.objectives.get(name, LATE_S if self.objective is None else self.objective) * 1e9), int(SOON * 1e9) - 1)
        with self._lock:
            self._tell(kind)
            found = self._tallies[kind] = _Tally(("", "", channel, name, api_version, ""), cell, stratum, reason, due, most)
        return found

    def _tell(self, kind: _Kind | None = None) -> None:
        """Adds to cells and strata what they have not been told yet: of one kind, or of all. Under the lock."""
        for tally in self._tallies.values() if kind is None else filter(None, [self._tallies.get(kind)]):
            longer = tally.longer.copy()  # before `n`, which is never behind
            n, us = tally.n - tally.told_n, tally.ns // 1000 - tally.told_us
            tally.told_n += n
            tally.told_us += us
            tally.cell.n += n
            tally.cell.total_us += us
            durations = tally.cell.durations
            durations[0] += n
            if longer != tally.told_longer:
                for index, (now, before) in enumerate(zip(longer, tally.told_longer, strict=True)):
                    durations[index] += now - before
                    durations[0] -= now - before
                tally.told_longer = longer
            tally.stratum[0] += n
            self.keep.seen += n
            if not n:
                continue
            if (second := int(time())) != self.rings.second:
                self.rings.turn(second)
            if tally.reason == "rejected":
                tally.cell.failures[REJECTED] += n
                self.blame.refused(tally.key, n, second)
            else:
                self.rings.count(tally.key, n)

    def begin(self, record: FlightRecord) -> None:
        self._open[record] = None

    def behind(self, due: int, now: int) -> None:
        """The event loop, which counts flights, was to go on at `due` and did `now` (monotonic, ns)."""
        self.blame.behind(due, now)

    def tick(self) -> None:
        """Once a second, by any one thread: what hangs is counted as overdue, and complete seconds go into the rings."""
        at = time()
        with self._lock:
            self._tell()
            for record in list(self._open):
                if record.kind == "request" and record not in self._overdue and record.t0:
                    limit = self.deadlines.get(record.name) or 4 * (
                        record.objective or self._objectives.get(record.name) or self.blame.usually_late(record.name)
                    )
                    if record.seconds > limit:
                        self._overdue[record] = self.blame.overdue(record, at)
            self.rings.turn(int(at))
            if not self._marks or at - self._marks[-1][0] >= MINUTE:
                self._marks.append((at, self.lost()))
        self.rings.forget(int(at) + MINUTE)
        self.rings.fold()

    def end(self, record: FlightRecord) -> None:
        self._open.pop(record, None)
        try:
            self._end(record)
        except Exception:  # noqa: BLE001  # what is recorded must never suffer from the recording
            self.faults += 1
            get_logger(__name__).exception("recording_failed", flight=record.name)

    def _end(self, record: FlightRecord) -> None:
        suspected = self._suspected(record)
        with self._lock:
            if self._tallies:
                self._tell((record.name, record.channel, record.api_version, "rejected" if record.outcome == "rejected" else "baseline"))
            self.lost_hops += record.lost
            at = (record.wall + record.t1 - record.t0) / 1e9
            if record in self._overdue:  # what was counted is taken back, and this comes in its place
                at = self.blame.corrected(self._overdue.pop(record))
            counted = self._count(record, at, learn=not suspected)
            self.cells.add(record, counted)
            kept = self.keep.decide(record, late=counted.late, suspected=suspected)
            if kept:
                self.cells.exemplify(record)
                self._exemplify(record, at, counted)
        if kept:
            for sink in self.sinks:
                sink.put(record)

    def _suspected(self, record: FlightRecord) -> bool:
        suspects = self.suspected
        return bool(suspects) and (
            (record.channel, record.name) in suspects or any((h.system, h.operation) in suspects for h in record.hops)
        )

    def count(self, record: FlightRecord, at: float | None = None) -> None:
        """Cells only, for flights that happened elsewhere or never (their times are theirs): nothing is kept or handed on. `at`: seconds
        since 1970, when it ended.
        """
        if at is None:
            at = (record.wall + record.t1 - record.t0) / 1e9
        with self._lock:
            self._exemplify(record, at, self._count(record, at, learn=not self._suspected(record)))

    def _count(self, record: FlightRecord, at: float, *, learn: bool) -> Counted:
        return self.blame.count(record, at, objective=self.objective, objectives=self._objectives, learn=learn)

    def _exemplify(self, record: FlightRecord, at: float, counted: Counted) -> None:
        if counted.shares:
            exemplar = Exemplar(record.trace_id, at, counted.seconds)
            where = ("" if record.kind == "task" else record.channel, record.name, record.api_version, record.store)
            for part in counted.shares:
                self.rings.exemplar((*part, *where), exemplar)
        elif record.outcome == "success":
            self.rings.twin(record.name, record.channel, record.store, record.trace_id)

    def seen(self, now: float | None = None, *, since: float = 0.0) -> Seen:
        """What was counted, for `Evidence(now=now, map=..., losses=recorder.losses(), **recorder.seen(now)._asdict())`: bins of minutes
        before the last 15 and of ten seconds in them, and the seconds of the last 15. May be called from any thread.
        """
        if now is None:
            now = time()
        with self._lock:
            self._tell()
            self.rings.turn(int(now))
        return self.rings.seen(now, since=since)

    def losses(self, since: float = 0.0) -> Losses:
        """What nobody could see since then, of this process and of those it heard of."""
        with self._lock:  # marks come from another thread
            before = next((counts for at, counts in reversed(self._marks) if at <= since), {})
            now = self.lost()
        seen = now.pop("seen") - before.get("seen", 0)
        lost = {place: n - before.get(place, 0) for place, n in now.items()}
        unseen = tuple(NotSeen(what=place, dropped=n, of=seen) for place, n in lost.items() if n > 0)
        return Losses(seen=seen, lost=sum(n for place, n in lost.items() if place in UNCOUNTED), unseen=unseen)

    def lost(self) -> dict[str, int]:
        """By place, and `seen`: flights counted; since the start."""
        counts = self._told_losses + self._own_losses
        counts.update(
            seen=self.keep.seen,
            hops_over_limit=self.lost_hops,
            cells_folded=self.cells.folded + self.rings.keys.folded,
            counted_too_late=self.rings.too_late,
            recording_faults=self.faults,
            over_budget=sum(self.keep.over_budget.values()),
        )
        for sink in self.sinks:
            counts.update(sink.losses)
        return dict(counts)

    def new_losses(self) -> dict[str, int]:
        """Of this process, since the last call."""
        with self._lock:
            now = Counter(self.lost())
            now.subtract(self._told_losses)
        told, self._last_losses = now - self._last_losses, now
        return dict(told)

    def new_durations(self) -> list[Lasted]:
        """Of this process, since the last call."""
        with self._lock:
            self._tell()
            return self.durations.new(self.cells)

    def told(
        self,
        exemplars: Iterable[tuple[Where, Exemplar]],
        twins: Iterable[tuple[tuple[str, str, str], str]],
        losses: Mapping[str, int],
    ) -> None:
        """What another process saw."""
        with self._lock:
            for where, exemplar in exemplars:
                self.rings.exemplar(where, exemplar, own=False)
            for (route, channel, store), trace_id in twins:
                self.rings.twin(route, channel, store, trace_id, own=False)
            self._told_losses.update(losses)

    def lose(self, place: str, n: int = 1) -> None:
        """Something could not be seen, or was not kept."""
        self._own_losses[place] += n
