"""Whether the moment that answers are as of moves on, where a system says one: stock that stands still is told from stock that is sold."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

STEPS: Final = 32
"""Steps that are remembered."""
FEWEST_STEPS: Final = 3
"""Before that many were seen nobody knows how far apart they usually are."""
FEWEST_ANSWERS: Final = 5
LEAST: Final = timedelta(seconds=15)
PATIENCE: Final = 3
"""Times the longest step seen."""
STORES: Final = 2_000
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Frozen:
    store: str
    as_of: datetime
    """What all answers since say."""
    answers: int
    usual: timedelta
    """The longest it took until now to move on."""


@dataclass(slots=True)
class _Clock:
    as_of: datetime = _NEVER
    moved: datetime = _NEVER
    asked: datetime = _NEVER
    answers: int = 0
    """Since it moved."""
    steps: deque[timedelta] = field(default_factory=lambda: deque(maxlen=STEPS))


class Freshness:
    """One per operation. Of a question about one store also by store, for as many as there is room for."""

    def __init__(self) -> None:
        self._clocks: dict[str, _Clock] = {}

    def seen(self, as_of: datetime, received: datetime, store: str = "") -> None:
        as_of = min(as_of, received)  # one answer from next year must not make all later ones look old
        for name in ("", store) if store else ("",):
            clock = self._clocks.get(name)
            if clock is None:
                if len(self._clocks) > STORES:
                    continue
                clock = self._clocks[name] = _Clock()
            if as_of > clock.as_of:
                if clock.moved != _NEVER and not self._stands(clock):
                    step = received - clock.moved
                    clock.steps.append(step if clock.answers else min(step, LEAST))  # without a question nobody knows when it moved
                clock.as_of, clock.moved, clock.answers = as_of, received, 0
            else:
                clock.answers += 1
            clock.asked = received

    def frozen(self) -> list[Frozen]:
        """What has not moved for much longer than usual, although it was asked for until lately; the operation as a whole alone, if it is
        that."""
        found = [Frozen(store, c.as_of, c.answers, max(c.steps)) for store, c in self._clocks.items() if self._stands(c)]
        return [f for f in found if not f.store] or sorted(found, key=lambda f: f.store)

    def _stands(self, clock: _Clock) -> bool:
        if len(clock.steps) < FEWEST_STEPS or clock.answers < FEWEST_ANSWERS:
            return False
        return clock.asked - clock.moved > max(LEAST, PATIENCE * max(clock.steps))
