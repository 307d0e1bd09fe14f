"""Which flights are kept whole: every interesting one within a budget, and a baseline of healthy ones beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Final

from observability.flight import FlightRecord
from observability.vocabulary import SampleReason

_RESERVE: Final[dict[SampleReason, float]] = {
    "baseline": 0.5,
    "late": 0.25,
    "retried": 0.25,
    "degraded": 0.25,
    "guard": 0.1,
    "rejected": 0.1,
}
"""Share of the budget that must be left for this reason to use it: under pressure failures go last."""
_STRATA: Final = 4_096


class Keep:
    """The tail decision. A stratum is (reason, flight name, channel, outcome); what it could not
    keep adds to the weight of what it keeps next, so that the weights of a stratum sum to the flights it saw.
    """

    def __init__(self, *, per_second: float = 200.0, baseline_per_minute: float = 6.0, clock: Callable[[], float] = monotonic) -> None:
        self._rate, self._burst, self._clock = per_second, max(per_second, 1.0), clock
        self._tokens = self._burst
        self.baseline_gap = 60.0 / baseline_per_minute
        self._refilled = clock()
        self._strata: dict[tuple[str, ...], list[float]] = {}  # [seen since the last kept one, when that was kept]
        self.seen = self.kept = 0
        self.kept_for: Counter[str] = Counter()
        self.over_budget: Counter[str] = Counter()

    @property
    def dropped(self) -> int:
        return self.seen - self.kept

    def stratum(self, name: str, channel: str, reason: SampleReason = "baseline") -> list[float] | None:
        """Of healthy or rejected flights: how many were seen since one was kept, and when that was. None: there was none yet."""
        return self._strata.get((reason, name, channel, "success" if reason == "baseline" else reason))

    def decide(self, record: FlightRecord, *, late: bool, suspected: bool = False) -> bool:
        """Whether to keep it; the reason and the weight are then written on the record."""
        self.seen += 1
        now = self._clock()
        reason = _reason(record, late=late, suspected=suspected)
        key: tuple[str, ...] = (reason, record.name, record.channel, record.outcome)
        stratum = self._strata.get(key)
        if stratum is None:
            if len(self._strata) >= _STRATA:
                key = (reason,)
            stratum = self._strata.setdefault(key, [0, now - self.baseline_gap])
        stratum[0] += 1
        if reason == "baseline" and now - stratum[1] < self.baseline_gap:
            return False
        if not record.sampled and not self._spend(reason, now):
            self.over_budget[reason] += 1
            return False
        record.sample_reason, record.sample_weight = reason, int(stratum[0])
        stratum[0], stratum[1] = 0, now
        self.kept += 1
        self.kept_for[reason] += 1
        return True

    def _spend(self, reason: SampleReason, now: float) -> bool:
        self._tokens = min(self._burst, self._tokens + (now - self._refilled) * self._rate)
        self._refilled = now
        if self._tokens < max(1.0, _RESERVE.get(reason, 0.0) * self._burst):
            return False
        self._tokens -= 1
        return True


def _reason(record: FlightRecord, *, late: bool, suspected: bool) -> SampleReason:
    outcome = record.outcome
    if outcome == "failure":
        return "failed"
    if outcome == "rejected":
        return "rejected"
    if record.guarded:
        return "guard"
    if record.quarantined or (record.kind == "file" and any(h.attributes.get("records_quarantined") for h in record.hops)):
        return "quarantine"
    if outcome == "degraded":
        return "degraded"
    if record.retried:
        return "retried"
    if late:
        return "late"
    if suspected:
        return "suspected"
    return "propagated" if record.sampled else "baseline"
