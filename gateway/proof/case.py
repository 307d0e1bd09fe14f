"""What a case of a catalogue is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

Tier = Literal["bronze", "silver", "gold"]


class Differs(Exception):
    """Something else came than was expected."""


class NotHere(Exception):
    """The case does not apply: what it needs is not in the contract or the estate."""


@dataclass(eq=False)
class Trial:
    """One run of one case. `lab`: the system it is run on; `calls`: what its stand-ins saw."""

    lab: Any
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """`run` answers what came; it raises Differs, or NotHere. `alone`: no other case runs meanwhile."""

    name: str
    tier: Tier
    did: str
    expected: str
    run: Callable[[Trial], Awaitable[str]]
    alone: bool = False
