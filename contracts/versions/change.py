"""How a breaking change is written down: one class, which says what became of one type."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from contracts.problem import Problem
from contracts.versions.shapes import choices, names

Plain = dict[str, Any]


class Misshapen(ValueError):
    """A value is not in the shape of its version: raised by `Change.up` with what was expected and got; the walk adds the place.

    `member`: of the old value, if only one is wrong.
    """

    def __init__(self, expected: str, got: str, member: str = "") -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected, self.got, self.member = expected, got, member
        self.path: list[str | int] = []


class Change:
    """One breaking change. The class docstring is the sentence for the customer. Subclasses are never instantiated.

    What is only called otherwise needs no code: `down` and `up` follow `renamed` and `values`.
    """

    of: ClassVar[type[msgspec.Struct]]
    """The type whose shape changed."""
    old: ClassVar[type[msgspec.Struct]]
    """Its shape before the change; the published contract of older versions shows it under the name of `of`. A member that it lacks is
    dropped from answers and refused in requests."""
    renamed: ClassVar[Mapping[str, str]] = {}
    """Members: new name -> old name, as they stand in JSON. Problems point to a member by the name that its sender used."""
    values: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    """Member (by its new name) -> value that the old shape does not know -> the value that stands for it there. A value without such a
    line is refused at start: a typed client could not read it."""
    parameters: ClassVar[Mapping[str, str]] = {}
    """Renamed query parameters: new name -> old name, wherever the new name is a parameter of a route whose answer holds `of`."""
    example: ClassVar[msgspec.Struct | None] = None
    """An `of`, for the changelog, which shows it before and after."""

    @classmethod
    def down(cls, value: Plain) -> Plain:
        """The new shape as the old one."""
        return {cls.renamed.get(k, k): _mapped(v, cls.values[k]) if k in cls.values else v for k, v in value.items()}

    @classmethod
    def up(cls, value: Plain) -> Plain:
        """The old shape as the new one. Raises Misshapen."""
        new = {old: new for new, old in cls.renamed.items()}
        values = {k: _backwards(cls, k) for k in cls.values}
        return {(n := new.get(k, k)): _mapped(v, values[n]) if n in values else v for k, v in value.items()}

    @classmethod
    def sentence(cls) -> str:
        return " ".join((cls.__doc__ or cls.__name__).split())

    @classmethod
    def shown(cls) -> tuple[Plain, Plain] | None:
        """`example` before and after."""
        if cls.example is None:
            return None
        new = msgspec.to_builtins(cls.example)
        return cls.down(new), new


@dataclass(frozen=True)
class Former:
    """How a problem was told before. Where whose fault it was and whether trying again helped were the same, they are left out."""

    code: str
    title: str
    status: int
    advice: str
    fault: str = ""
    retryable: bool | None = None
    type: str = ""
    """Registered elsewhere; else the catalogue's page of `code`."""

    def told(self, problem: Plain) -> Plain:
        own: Plain = {"type": self.type or f"/problems/{self.code}", "title": self.title, "status": self.status, "code": self.code}
        own |= {"advice": self.advice, "fault": self.fault or problem["fault"]}
        return {**problem, **own, "retryable": problem["retryable"] if self.retryable is None else self.retryable}


class ProblemChange(Change):
    """Problems have other codes, statuses or words. Nobody sends one, so it only leads down."""

    of = Problem
    old = Problem
    codes: ClassVar[Mapping[str, Former]]
    """Code -> how it was told before."""

    @classmethod
    def down(cls, value: Plain) -> Plain:
        former = cls.codes.get(value["code"])
        return former.told(value) if former else value

    @classmethod
    def shown(cls) -> tuple[Plain, Plain] | None:
        """Of `example`, what is otherwise."""
        if (each := super().shown()) is None:
            return None
        before, after = each
        differing = [name for name in after if before[name] != after[name]]
        return {name: before[name] for name in differing}, {name: after[name] for name in differing}


def _mapped(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return values.get(value, value)
    return [_mapped(v, values) for v in value] if isinstance(value, list | tuple) else value


def _backwards(change: type[Change], member: str) -> dict[str, str]:
    """Old value -> new one, for those that the new shape does not know any more."""
    kept = choices(names(change.of)[member])
    return {old: new for new, old in change.values[member].items() if old not in kept}


def mistakes(change: type[Change]) -> typing.Iterator[str]:
    """What a change says that does not fit its own types."""
    new, old = names(change.of), names(change.old)
    for name, before in change.renamed.items():
        if name not in new:
            yield f"renames {name!r}, which {change.of.__name__} has not"
        if before not in old:
            yield f"renames {name!r} to {before!r}, which {change.old.__name__} has not"
    for name in change.values.keys() - new.keys():
        yield f"maps values of {name!r}, which {change.of.__name__} has not"
    for name, hint in new.items():
        before = change.renamed.get(name, name)
        known, meant = choices(old[before]) if before in old else frozenset(), change.values.get(name, {})
        for value in sorted(choices(hint) - known if known else ()):
            if meant.get(value) not in known:
                yield f"{change.old.__name__} does not know the value {value!r} of {name!r}, and `values` names none that stands for it"
        for value in sorted(known - choices(hint)):
            if value not in meant.values():
                yield f"{change.of.__name__} does not know the old value {value!r} of {name!r}, and no line of `values` leads to it"
    if change.example is not None:
        plain = msgspec.to_builtins(change.example)
        try:
            msgspec.convert(change.down(dict(plain)), change.old)
        except msgspec.ValidationError as exc:
            yield f"its example is no {change.old.__name__} before: {exc}"
        except Exception as exc:  # noqa: BLE001  # whatever a change does wrong is a finding
            yield f"its example does not go down: {type(exc).__name__}: {exc}"
        else:
            if not issubclass(change, ProblemChange) and change.up(change.down(dict(plain))) != plain:
                yield "its example does not come up again as it went down"


@dataclass(frozen=True)
class Version:
    """A dated version with the changes that it introduced. `deprecated` and `sunset` are its last two stages."""

    date: str
    summary: str
    changes: tuple[type[Change], ...] = ()
    added: tuple[str, ...] = ()
    """What has come to all versions since this one was published and breaks nobody: a sentence each."""
    deprecated: datetime | None = None
    sunset: datetime | None = None
    """From this moment on the version is answered with 410."""

    def retired(self, at: datetime) -> bool:
        return self.sunset is not None and at >= self.sunset
