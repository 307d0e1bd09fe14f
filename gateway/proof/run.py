"""Runs a catalogue over one system and awards a tier from the results alone."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol

import msgspec

from adapters.recording import Recorded
from contracts.suggestion import nearest
from gateway.bootstrap import Checked
from gateway.proof import catalogue, feeds
from gateway.proof.case import Case, Differs, NotHere, Tier, Trial
from gateway.proof.lab import Lab

Verdict = Literal["pass", "fail", "not applicable"]
TIERS: Final[tuple[Tier, ...]] = ("bronze", "silver", "gold")
AT_ONCE: Final = 6
LONGEST: Final = 90.0
"""Seconds that one case may take."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One case: what was done, what was expected, what came. `calls`: how many the stand-in saw; for files, how many files were taken."""

    case: str
    tier: Tier
    did: str
    expected: str
    verdict: Verdict
    came: str
    calls: int
    seconds: float


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """`tier` is none where bronze was not reached, or not all cases ran. `sources`: what the stand-in answered from, by operation."""

    estate: str
    system: str
    protocol: str
    at: datetime
    seconds: float
    tier: Literal["none", "bronze", "silver", "gold"]
    complete: bool
    results: list[Result]
    sources: dict[str, str]
    notes: list[str]

    @property
    def failed(self) -> list[Result]:
        return [r for r in self.results if r.verdict == "fail"]


class Listener(Protocol):
    """Is told while the catalogue runs."""

    def __call__(self, result: Result, done: int, of: int) -> None: ...


def cases(protocol: str) -> tuple[Case, ...]:
    return feeds.CASES if protocol == "files" else catalogue.CASES


async def prove(
    checked: Checked,
    system: str,
    *,
    environment: Mapping[str, str],
    recordings: Sequence[Recorded] = (),
    only: Collection[str] = (),
    told: Listener | None = None,
    lab: Lab | feeds.FileLab | None = None,
) -> Proof:
    """`lab`: one that was made already. Raises LookupError for an unknown system or case."""
    estate = checked.estate
    if system not in estate.system:
        raise LookupError(f"the estate has no system {system!r}; {nearest(system, estate.system)}")
    protocol = estate.system[system].protocol
    every = cases(protocol)
    for name in only:
        if name not in {c.name for c in every}:
            raise LookupError(f"no case {name!r} for systems of protocol {protocol}; {nearest(name, [c.name for c in every])}")
    chosen = [c for c in every if not only or c.name in only]
    began, loop = datetime.now(UTC), asyncio.get_running_loop()
    clock = loop.time()
    made: Any = lab or (feeds.FileLab(checked, system) if protocol == "files" else Lab(checked, system, environment, tuple(recordings)))
    await made.prepare()
    results: dict[str, Result] = {}
    places = asyncio.Semaphore(AT_ONCE)

    async def one(case: Case) -> None:
        async with places:
            results[case.name] = await _result(case, made)
        if told is not None:
            told(results[case.name], len(results), len(chosen))

    async with asyncio.TaskGroup() as group:
        for case in chosen:
            if not case.alone:
                group.create_task(one(case))
    for case in chosen:
        if case.alone:
            await one(case)
    ordered = [results[c.name] for c in chosen]
    return Proof(
        estate=estate.estate.name,
        system=system,
        protocol=protocol,
        at=began,
        seconds=round(loop.time() - clock, 2),
        tier=awarded(ordered) if len(chosen) == len(every) else "none",
        complete=len(chosen) == len(every),
        results=ordered,
        sources=made.sources,
        notes=made.notes,
    )


async def _result(case: Case, lab: Any) -> Result:
    loop = asyncio.get_running_loop()
    trial, began = Trial(lab), loop.time()
    verdict: Verdict = "pass"
    try:
        async with asyncio.timeout(LONGEST):
            came = await case.run(trial)
    except NotHere as exc:
        verdict, came = "not applicable", str(exc)
    except Differs as exc:
        verdict, came = "fail", str(exc)
    except TimeoutError:
        verdict, came = "fail", f"no end within {LONGEST:g} s"
    except Exception as exc:  # noqa: BLE001 - a case that breaks has proven nothing, and says so
        verdict, came = "fail", f"the case broke: {type(exc).__name__}: {str(exc)[:300]}"
    return Result(
        case=case.name,
        tier=case.tier,
        did=case.did,
        expected=case.expected,
        verdict=verdict,
        came=came,
        calls=trial.calls,
        seconds=round(loop.time() - began, 2),
    )


def awarded(results: Sequence[Result]) -> Literal["none", "bronze", "silver", "gold"]:
    """The highest tier of which no case, and no case of a lower one, failed. A system of which nothing could be shown has none."""
    reached: Literal["none", "bronze", "silver", "gold"] = "none"
    for tier in TIERS:
        own = [r for r in results if r.tier == tier]
        if any(r.verdict == "fail" for r in own) or not any(r.verdict == "pass" for r in own):
            break
        reached = tier
    return reached
