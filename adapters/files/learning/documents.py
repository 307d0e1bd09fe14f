"""Places in the document of a sale, their types, and what of a sale does not change from one to the next."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, get_args

import msgspec

from adapters.files.layout import FieldRule
from adapters.files.learning.cells import PLAIN_PATTERN, lengths
from adapters.files.values import reader
from contracts.canonical.base import Sku
from contracts.canonical.sale import PosSale
from mappings.language import runtime

MOST_TILLS: Final = 1000

encoded = msgspec.json.Encoder().encode

_SKU: Final = next(meta.pattern for meta in get_args(Sku) if isinstance(meta, msgspec.Meta))
"""Any text that begins with a letter or digit and holds those, `-` and `_` alone is one."""


class Tills(dict[str, tuple[str, str, str]]):
    """Store, workstation and day by workstation, each once."""

    def __init__(self, sale: PosSale) -> None:
        super().__init__()
        self._key = sale.key

    def __missing__(self, workstation: str) -> tuple[str, str, str]:
        if len(self) > MOST_TILLS:
            self.clear()
        found = self[workstation] = (self._key.store_number, workstation, self._key.business_date)
        return found


def plain(sale: PosSale) -> bool:
    """Nothing returned, voided or linked: what decides about the whole is as in any other such sale."""
    if sale.transaction_type != "sale" or not sale.counts_as_sale or sale.links or sale.totals is None:
        return False
    return all(
        line.line_type == "sale" and line.item_type == "stock" and not line.voided and line.voids_line is None for line in sale.lines
    )


def parted(sale: PosSale) -> tuple[bytes, bytes]:
    """The document up to its provenance, and the rest."""
    body = encoded(sale)
    cut = body.rindex(b',"provenance":[') if sale.provenance else -1
    return body[:cut], body[cut:]


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def at_place(document: Any, place: tuple[str | int, ...]) -> Any:
    for step in place:
        document = document[_camel(step) if isinstance(step, str) else step]
    return document


def put(document: Any, place: tuple[str | int, ...], value: Any) -> None:
    last = place[-1]
    at_place(document, place[:-1])[_camel(last) if isinstance(last, str) else last] = value


def type_at(place: tuple[str | int, ...]) -> Any:
    """Type of a field, without the absence that it may allow."""
    return _type_of(tuple(step for step in place if isinstance(step, str)))


@lru_cache(256)
def _type_of(names: tuple[str, ...]) -> Any:
    kind: Any = msgspec.inspect.type_info(PosSale)
    for step in names:
        kind = _bare(kind)
        if isinstance(kind, msgspec.inspect.VarTupleType):
            kind = _bare(kind.item_type)
        kind = next(f.type for f in kind.fields if f.name == step)
    return _bare(kind)


def _bare(kind: Any) -> Any:
    while isinstance(kind, msgspec.inspect.Metadata | msgspec.inspect.UnionType):
        if isinstance(kind, msgspec.inspect.Metadata):
            kind = kind.type
        else:
            (kind,) = (t for t in kind.types if not isinstance(t, msgspec.inspect.NoneType))
    return kind


def surely(f: FieldRule, kind: Any) -> bool:
    """Whether the layout's limits alone keep the type's."""
    if f.pattern:
        return bool(PLAIN_PATTERN(f.pattern)) and f.min is f.max is kind.pattern is kind.min_length is kind.max_length is None
    low, high = lengths(f)
    return kind.pattern in (None, _SKU) and (kind.min_length or 0) <= low and (kind.max_length or high) >= high


def allowed_text(f: FieldRule, kind: Any, *, stripped: bool) -> Callable[[str | None], str]:
    read, _ = reader(f)
    matches = re.compile(kind.pattern).search if kind.pattern else None

    def allowed(text: str | None) -> str:
        value = read(text)
        if stripped:
            value = runtime.strip_zeros(value)
        if not (kind.min_length or 0) <= len(value) <= (kind.max_length or 1000) or (matches is not None and matches(value) is None):
            raise ValueError
        return str(value)

    return allowed


def counted_text(f: FieldRule, unit: str) -> Callable[[str | None], tuple[str, int]]:
    read, _ = reader(f)

    def counted(text: str | None) -> tuple[str, int]:
        """As the sale says it, and in millionths."""
        value = runtime.quantity(read(text), unit).value
        moved = Decimal(value).scaleb(6)
        if moved != (whole := int(moved)) or whole >= 10**15:
            raise ValueError
        return value, whole

    return counted
