"""What is broken on purpose right now: rules set at run time, drawn by every sandbox system at each request."""

import asyncio
import difflib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Literal

import msgspec

System = Literal["erp", "oms", "pos"]
Kind = Literal[
    "refuse",  # nothing listens (rule for a whole system), or the connection is reset unanswered (partial rule)
    "hang",  # the request is read, no byte is answered until `seconds` passed (0: until the caller gives up)
    "slow",  # answered correctly after `seconds`
    "error",  # answered with the system's own error: HTTP 500 and a fault or error body
    "fault_in_200",  # SOAP only: a fault under HTTP 200
    "reset",  # the answer starts and the connection is reset in the middle of it
    "truncate",  # the body ends too early, under a matching Content-Length
    "wrong_type",  # one field holds a value of another type
    "unknown_enum",  # one enumeration holds a value the contract does not know
    "stale",  # answers are as of the moment the rule was set, and say so
    "lost_answer",  # the operation IS executed, then the connection dies without an answer
    "429",  # too many requests, with Retry-After = `seconds` (SOAP: HTTP 429 without an envelope)
]
LONGEST = 3600.0


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing to break. `share` of the matching requests are hit; after `count` hits the rule is spent."""

    system: System
    kind: Kind
    operation: str = "*"
    store: str = "*"
    share: float = 1.0
    seconds: float = 0.0
    count: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"share is the part of requests to hit, above 0 and up to 1; got {self.share}")
        if not 0.0 <= self.seconds <= LONGEST:
            raise ValueError(f"seconds lies between 0 and {LONGEST:.0f}; got {self.seconds}")
        if self.count is not None and self.count < 1:
            raise ValueError(f"count is at least 1, or absent for no limit; got {self.count}")
        if self.kind == "fault_in_200" and self.system != "erp":
            raise ValueError(f"fault_in_200 exists in SOAP only, so for system erp; got {self.system}")

    @property
    def whole_system(self) -> bool:
        return self.operation == self.store == "*" and self.share == 1.0 and self.count is None


@dataclass(frozen=True, slots=True)
class Fault:
    """What has to go wrong with this request."""

    rule: int
    """Which rule fired."""
    kind: Kind
    seconds: float
    since: datetime
    """When the rule was set (UTC)."""
    store: str = "*"
    """The store the rule was set for: of an answer about several stores only this one's part is to be spoilt."""


@dataclass(slots=True)
class _Live:
    number: int
    rule: Rule
    since: datetime
    random: Random
    left: int | None
    hits: int = 0


@dataclass(slots=True)
class Faults:
    """The table of rules. Rules are tried in the order they were set; the first that fires decides.

    Each rule has its own random numbers from (seed, how many rules were set before it): the same requests in the same
    order are hit again in the next run, whatever other systems did meanwhile.
    """

    seed: int = 1
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    _live: list[_Live] = field(default_factory=list)
    _set_so_far: int = 0
    _operations: dict[str, frozenset[str]] = field(default_factory=dict)
    _watchers: list[Callable[[], None]] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def know(self, system: System, operations: Iterable[str]) -> None:
        """A system names its operations, so that a rule with a typing error is refused instead of never firing."""
        self._operations[system] = frozenset(operations)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call back after every change of the table: for what acts before a request, such as a closed port."""
        self._watchers.append(changed)

    def add(self, *rules: Rule) -> None:
        """Append rules, all or none. ValueError for an operation the system does not have."""
        for rule in rules:
            known = self._operations.get(rule.system)
            if rule.operation != "*" and known and rule.operation not in known:
                near = difflib.get_close_matches(rule.operation, known, 1, 0.4)
                hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(sorted(known))}"
                raise ValueError(f"{rule.system} has no operation {rule.operation!r}{hint}")
        for rule in rules:
            self._set_so_far += 1
            self._live.append(_Live(self._set_so_far, rule, self.clock(), Random(f"{self.seed}/{self._set_so_far}"), rule.count))
        self._tell()

    def replace(self, *rules: Rule) -> None:
        before, self._live = self._live, []
        try:
            self.add(*rules)
        except ValueError:
            self._live = before
            raise

    def clear(self, system: System | None = None) -> None:
        """Forget all rules (of one system). Requests that hang on one of them are let go."""
        self._live = [live for live in self._live if system not in (None, live.rule.system)]
        self._tell()

    def rules(self) -> list[dict[str, object]]:
        """The table for display: each rule with since, hits, left."""
        return [
            {**msgspec.structs.asdict(live.rule), "since": live.since.isoformat(), "hits": live.hits, "left": live.left}
            for live in self._live
        ]

    def draw(self, system: System, operation: str, store: str | Iterable[str] | None = None) -> Fault | None:
        """What goes wrong with this request, if anything.

        `store`: the four-digit location the request is about, several (a rule for any of them matches), or None.
        """
        stores = {store} if isinstance(store, str) else set(store or ())
        for live in self._live:
            rule = live.rule
            if rule.system != system or rule.operation not in ("*", operation) or live.left == 0:
                continue
            if rule.store != "*" and rule.store not in stores:
                continue
            if rule.share < 1.0 and live.random.random() >= rule.share:
                continue
            live.hits += 1
            live.left = None if live.left is None else live.left - 1
            return Fault(live.number, rule.kind, rule.seconds, live.since, rule.store)
        return None

    def refused(self, system: System) -> bool:
        """Whether the whole system must not even be listening."""
        return any(live.rule.system == system and live.rule.kind == "refuse" and live.rule.whole_system for live in self._live)

    def stale_since(self, system: System) -> datetime | None:
        """The earliest moment a stale answer of this system may have to show; None if no such rule is set."""
        return min(
            (live.since for live in self._live if live.rule.system == system and live.rule.kind == "stale"),
            default=None,
        )

    async def hang(self, fault: Fault) -> None:
        """Wait as a hung server does: for the fault's seconds (0: without end), at most while its rule stands."""
        with suppress(TimeoutError):
            async with asyncio.timeout(fault.seconds or None):
                while any(live.number == fault.rule for live in self._live):
                    await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        for changed in self._watchers:
            changed()
