"""The layout's equations over cells that may change, by asking them of numbers that are not known yet."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from adapters.files.learning.cells import Cell, Unfit

_UNITS: Final = [Decimal(1).scaleb(-digits) for digits in range(13)]


class Unknown:
    """A value that nobody may ask for."""

    def __eq__(self, other: object) -> bool:
        raise Unfit

    def __bool__(self) -> bool:
        raise Unfit

    __hash__ = None  # type: ignore[assignment]  # as above


class Linear(Unknown):
    """A number that is made of cells. Asked whether two of them differ, it notes the question and says no."""

    def __init__(self, differs: list[Linear], terms: Mapping[str, Decimal], constant: Decimal = Decimal(0)) -> None:
        self._differs, self.terms, self.constant = differs, terms, constant

    def _plus(self, other: Any, sign: int) -> Linear:
        if not isinstance(other, Linear):
            return Linear(self._differs, self.terms, self.constant + sign * Decimal(other))
        terms = dict(self.terms)
        for name, factor in other.terms.items():
            terms[name] = terms.get(name, Decimal(0)) + sign * factor
        return Linear(self._differs, terms, self.constant + sign * other.constant)

    def __add__(self, other: Any) -> Linear:
        return self._plus(other, 1)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Linear:
        return self._plus(other, -1)

    def __rsub__(self, other: Any) -> Linear:
        return Linear(self._differs, {}, Decimal(other)) - self

    def __ne__(self, other: object) -> bool:
        self._differs.append(self - other)
        return False

    def named(self, names: Mapping[str, str]) -> Linear:
        """With other names for its cells; those that are added and taken away again are left out."""
        made: dict[str, Decimal] = {}
        for name, factor in self.terms.items():
            name = names.get(name, name)
            made[name] = made.get(name, Decimal(0)) + factor
        return Linear(self._differs, {name: factor for name, factor in made.items() if factor}, self.constant)

    def tie(self, cells: Mapping[str, Cell]) -> tuple[str, str] | None:
        """The earlier and the later of two cells, where it says that they have one text."""
        if self.constant or len(self.terms) != 2 or sum(self.terms.values()) or not cells.keys() >= self.terms.keys():
            return None
        first, second = sorted(self.terms, key=lambda name: int(name[1:]))
        a, b = cells[first], cells[second]
        same = a.canonical and a.core == b.core and a.decimals == b.decimals
        return (first, second) if same and all(form in ("money", "unit_price") for cell in (a, b) for _, form, _ in cell.uses) else None

    def code(self, cells: Mapping[str, Cell]) -> str:
        """Condition under which it is not nothing."""
        if sorted(self.terms.values()) in ([-one, one] for one in _UNITS) and not self.constant:
            left, right = self.terms
            if cells[left].canonical and cells[right].canonical:
                return f"{left} != {right}"
        digits = max([-min(_exponent(v), 0) for v in (*self.terms.values(), self.constant)], default=0)
        code = self.sum(cells, digits)
        if not any(self.terms.values()):
            if self.constant:
                raise Unfit
            return ""
        return f"{code} != 0"

    def sum(self, cells: Mapping[str, Cell], digits: int) -> str:
        """In units of so many decimals."""
        made = []
        for name, factor in self.terms.items():
            if scaled := _integer(factor.scaleb(digits)):
                cells[name].whole = True
                made.append(f"n{name}" if scaled == 1 else f"{scaled} * n{name}")
        if constant := _integer(self.constant.scaleb(digits)):
            made.append(str(constant))
        return " + ".join(made).replace("+ -1 * ", "- ").replace("+ -", "- ")


class Numbers:
    """What the generated equations turn values into numbers with."""

    def __init__(self, differs: list[Linear]) -> None:
        self._differs = differs

    def __getitem__(self, value: Any) -> Linear:
        return value if isinstance(value, Linear) else Linear(self._differs, {}, Decimal(value or 0))


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):
        raise Unfit
    return exponent


def _integer(value: Decimal) -> int:
    if value != (whole := int(value)):
        raise Unfit
    return whole
