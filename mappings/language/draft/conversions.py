"""What a value has to go through to become a canonical field, or the other way round: pipelines, the best first."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Final

from contracts.canonical.amounts import UNITS
from mappings.language.draft.places import Place, amount_of
from mappings.language.likeness import DATES, TIMES, bare, cases, concepts, dated, evidence, padded
from mappings.language.shape import Field, Leaf

SHOWN: Final = 60
"""Codes of a list that a question holds."""


def codes_of(target_name: str, wanted: Leaf, codes: Sequence[str]) -> tuple[dict[str, str], list[str], bool]:
    """Code -> canonical value; codes without a certain meaning; whether every code is the value's own name."""
    words, values = cases().get(target_name, {}), wanted.enum or ()
    own = {bare(v): v for v in values}
    meant_by: dict[str, str] = {}
    unknown = []
    for code in codes:
        value = own.get(bare(code)) or words.get(bare(code))
        if value is not None and (wanted.kind == "boolean" or not values or value in values):
            meant_by[code] = value
        else:
            unknown.append(code)
    return meant_by, unknown, all(bare(c) in own for c in codes)


def _listed(known: Mapping[str, str], unknown: Sequence[str]) -> dict[str, str]:
    """Codes for a person to fill in: as many as anybody reads."""
    return {**dict(islice(known.items(), SHOWN)), **dict.fromkeys(unknown[:SHOWN], "…")}


def enum_of(meant_by: Mapping[str, str], *, boolean: bool = False, otherwise: str = "") -> str:
    def shown(value: str) -> str:
        return value if boolean else repr(value)

    more = f", otherwise={otherwise}" if otherwise else ""
    if all(c.isidentifier() and not keyword.iskeyword(c) and c not in ("otherwise", "table") for c in meant_by):
        return f"enum({', '.join(f'{c}={shown(v)}' for c, v in meant_by.items())}{more})"
    return f"enum({{{', '.join(f'{c!r}: {shown(v)}' for c, v in meant_by.items())}}}{more})"


@dataclass(frozen=True, slots=True)
class Way:
    """One pipeline, whether nothing about it is a guess, and what the guess is."""

    text: str
    sure: bool = True
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Open:
    """There is no line without a person: what they have to say, with a line to begin from."""

    question: str


class AnswerWays:
    """From a value of an answer to a canonical field. `form`: of the answer; `implied`: concepts that go without saying; `around`: values
    of the records around the one that is filled; `values`: those that were seen.
    """

    def __init__(self, form: str, implied: frozenset[str], around: Sequence[Place], values: Sequence[str]) -> None:
        self.form, self.implied, self.around, self.values = form, implied, around, values

    def of(self, f: Field, place: Place, places: Sequence[Place]) -> Iterator[Way | Open]:
        for way in self._plain(f, place, places):
            yield way
            if isinstance(way, Way) and f.required:
                yield Way(f"{way.text} | required", way.sure, way.remark)

    def _plain(self, f: Field, place: Place, places: Sequence[Place]) -> Iterator[Way | Open]:
        base, leaf, name, values = place.text, place.leaf, f.name, self.values
        convert = ("", " | decimal", " | string | decimal")
        match amount_of(f) or (f.shape.kind if isinstance(f.shape, Leaf) else "localized"):
            case "quantity":
                unit = self._beside("unit", place, places)
                for c in convert:
                    if unit:
                        yield Way(f"{base}{c} | quantity({unit})")
                        yield Way(f"{base}{c} | quantity({unit} | default('EA'))", sure=False, remark="without a unit EA is a guess")
                    else:
                        yield Way(f"{base}{c} | quantity('EA')", sure=False, remark="the contract says no unit, EA is a guess")
                if unit:
                    line = f'{name} = "{base} | quantity({unit}, units)"'
                    yield Open(
                        f"its unit is in {unit}: write {line}, and under [tables.units] for each of its codes one of {', '.join(UNITS)}"
                    )
                    return
            case "money" | "unit_price" as amount:
                code = self._beside("currency", place, places)
                small = leaf.kind == "integer" and {"cent", "cents", "minor"} & set(
                    re.findall(r"[a-z]+", f"{place.name} {place.field.doc}".lower())
                )
                whole = leaf.kind != "integer" or bool(small)
                digits = ", 2" if padded("matnr") is not None and place.name.isupper() and leaf.digits and leaf.digits[1] == 2 else ""
                if not code:
                    yield Open(f"{base} is the amount, but of which currency? write {name} = \"{base} | {amount}('EUR')\" with yours")
                    return
                for c, given in product(convert, (code, f"{code} | required")):
                    if small:
                        yield Way(f"{base}{c} | cents({given})")
                    elif amount == "money":
                        remark = "" if whole else "whole units, or the smallest? then | cents(…)"
                        yield Way(f"{base}{c} | money({given}{digits})", whole, remark)
                    else:
                        yield Way(f"{base}{c} | unit_price({given})", sure=whole)
            case "localized":
                yield Way(f"{base} | text | localized('en')", sure=False, remark=f"{place.name} by name; in which language is it?")
            case "string" if isinstance(f.shape, Leaf) and f.shape.enum:
                yield from self._enumerated(f, place, values)
            case "string":
                if name == "business_date" or (evidence(values) == "date" and "date" in name):
                    yield from (w for w in self._day(base, leaf, values, " | string"))
                width = padded(place.name)
                if width is not None and leaf.kind == "string":
                    width = width or leaf.max_length or 0
                    yield Way(f"{base} | strip_zeros({width})" if width else f"{base} | strip_zeros")
                    yield Way(f"{base} | text | strip_zeros({width})" if width else f"{base} | text | strip_zeros")
                if name == "locale" and leaf.enum and not all(re.fullmatch(r"[a-z]{2,3}([-_][A-Za-z]+)?", c) for c in leaf.enum):
                    known, unknown, _ = codes_of("locale", Leaf("string"), leaf.enum)
                    if not unknown:
                        yield Way(f"{base} | {enum_of(known)}", sure=False, remark="languages by their usual codes")
                    line = f'locale = "{base} | {enum_of(_listed(known, unknown))}"'
                    yield Open(f"which languages are {', '.join(map(repr, unknown[:8]))}? write {line}")
                    return
                if not f.required and leaf.kind == "string":
                    yield Way(f"{base} | text")
                yield Way(base)
                yield Way(f"{base} | text")
                yield Way(f"{base} | string")
                most = f.shape.max_length if isinstance(f.shape, Leaf) else None
                if most:
                    yield Way(f"{base} | text | cut({most})", sure=False, remark=f"longer ones lose what is beyond {most} characters")
            case "boolean":
                yield from self._truth(f, place, values)
            case "integer" | "decimal" as kind:
                yield Way(base)
                yield Way(f"{base} | {kind}")
            case "datetime":
                yield from self._instant(f, place, places, values)
            case "date":
                yield from self._day(base, leaf, values, "")
            case _:
                yield Way(base)

    def _enumerated(self, f: Field, place: Place, values: Sequence[str]) -> Iterator[Way | Open]:
        wanted, codes = f.shape, place.leaf.enum or tuple(dict.fromkeys(values))[:20]
        assert isinstance(wanted, Leaf)  # noqa: S101 - as the caller saw
        seen = "" if place.leaf.enum else "codes as seen in the sample; "
        if not codes:
            if wanted.enum and "EA" in wanted.enum:
                yield Way(
                    f"{place.text} | enum(ST='EA', PCE='EA', EA='EA', KG='KGM', otherwise=refuse)",
                    sure=False,
                    remark="the contract lists no units",
                )
            values_of = ", ".join(map(repr, wanted.enum or ()))
            line = f'{f.name} = "{place.text} | enum(CODE={(wanted.enum or ("…",))[0]!r}, …)"'
            yield Open(f"{place.text} holds its code, which the contract does not list: write {line} with one of {values_of} for each")
            return
        known, unknown, same = codes_of("order_state" if f.name == "state" else f.name, wanted, codes)
        otherwise = "" if place.leaf.enum else "refuse"
        if not unknown:
            if same and all(k == v for k, v in known.items()) and place.leaf.enum:
                yield Way(place.text)
            yield Way(f"{place.text} | {enum_of(known, otherwise=otherwise)}", same and not seen, f"{seen}cases by their usual meaning")
        listed = enum_of(_listed(known, unknown), otherwise=otherwise)
        line = f'{f.name} = "{place.text} | {listed}"'
        yield Open(
            f"what does {', '.join(map(repr, unknown[:8]))} mean? write {line} with {', '.join(wanted.enum or ())}, or otherwise=refuse"
        )

    def _truth(self, f: Field, place: Place, values: Sequence[str]) -> Iterator[Way | Open]:
        base, leaf = place.text, place.leaf
        turned = " == False" if ("deleted" in concepts(place.name)) != ("deleted" in f.name) else ""
        if leaf.kind in ("boolean", "any"):
            yield Way(f"{base}{turned}")
            yield Way(
                f"({base} | default({bool(turned)})){turned}" if turned else f"{base} | default(True)",
                sure=False,
                remark="absent is taken for true",
            )
        codes = leaf.enum or tuple(dict.fromkeys(values))[:6]
        known, unknown, _ = codes_of(f.name, Leaf("boolean"), codes)
        if known and any(c.strip() for c in unknown) and leaf.kind == "string":
            line = f'{f.name} = "{base} | {enum_of(_listed(known, unknown), boolean=True)}"'
            yield Open(f"what does {', '.join(map(repr, unknown[:8]))} mean? write {line} with True or False")
            return
        if codes and not unknown and leaf.kind in ("string", "integer"):
            yield Way(
                f"{base} | {enum_of(known, boolean=True, otherwise='' if leaf.enum else 'refuse')}",
                sure=False,
                remark="codes by their usual meaning",
            )
        marks = [c for c in codes if c.strip()] or (["X"] if leaf.max_length == 1 else [])
        if leaf.kind == "string" and len(marks) == 1:
            text = f"{base} | boolean(true={marks[0]!r})"
            yield Way(f"({text}){turned}" if turned else text, bool(codes), "X is SAP's true")
        yield Open(
            f"which codes of {base} mean true? write {f.name} = \"{base} | boolean(true='…', false='…')\""
            + (", turned by == False" if turned else "")
        )

    def _day(self, base: str, leaf: Leaf, values: Sequence[str], end: str) -> Iterator[Way | Open]:
        if leaf.kind == "date":
            yield Way(f"{base}{end}")
        if leaf.kind == "datetime":
            yield Way(f"{base} | local_datetime('UTC') | day('UTC'){end}", sure=False, remark="the day in UTC")
        known = dated(values, DATES)
        for text in filter(None, (known, "YYYYMMDD" if leaf.max_length == 8 or leaf.pattern == r"\d{8}" else "")):
            yield Way(f"{base} | date('{text}'){end}", bool(known) or bool(leaf.pattern), "eight characters of a date")
        yield Way(f"{base} | date{end}", sure=False, remark="written as YYYY-MM-DD?")
        yield Way(f"{base} | string | date('YYYYMMDD'){end}", sure=False, remark="written as YYYYMMDD?")

    def _instant(self, f: Field, place: Place, places: Sequence[Place], values: Sequence[str]) -> Iterator[Way | Open]:
        base, leaf = place.text, place.leaf
        zone = "'UTC'"
        day = f" | end_of_day({zone})" if f.name == "valid_until" else f" | start_of_day({zone})"
        if leaf.kind == "datetime":
            if self.form == "json":
                yield Way(base)
            yield Way(f"{base} | local_datetime({zone})", sure=False, remark="an offset in it counts; without one UTC is a guess")
        if leaf.kind == "integer":
            yield Way(f"{base} | epoch_millis", sure=False, remark="milliseconds since 1970?")
        if leaf.kind == "date":
            yield Way(f"{base}{day}", sure=False, remark="the day begins in UTC, a guess")
        if leaf.kind in ("string", "any"):
            beside = [p for p in places if p.anchor == place.anchor and p.steps[:-1] == place.steps[:-1] and "time" in concepts(p.name)]
            clock = [p for p in beside if p.leaf.kind == "string" and p.leaf.max_length == 6]
            if clock and leaf.max_length == 8:
                text = f"concat({base}, {clock[0].text}) | local_datetime({zone}, 'YYYYMMDDhhmmss')"
                yield Way(text, sure=False, remark="day and time together, in UTC: a guess")
            if known := dated(values, TIMES):
                yield Way(f"{base} | local_datetime({zone}, '{known}')", sure=False, remark="in UTC, a guess")
            if dated(values, DATES) or leaf.max_length in (8, 10):
                text = dated(values, DATES) or ("YYYYMMDD" if leaf.max_length == 8 else "YYYY-MM-DD")
                yield Way(f"{base} | date('{text}'){day}", sure=False, remark=f"written as {text}, and the day begins in UTC: guesses")
            text = "YYYYMMDDhhmmss" if leaf.max_length == 14 else "YYYY-MM-DD hh:mm:ss"
            if not known:
                yield Way(f"{base} | local_datetime({zone}, '{text}')", sure=False, remark=f"written as {text}, in UTC: guesses")

    def _beside(self, concept: str, place: Place, places: Sequence[Place]) -> str:
        """The field of that meaning which is nearest: in the same record, then above it."""
        found = [
            p
            for p in (*places, *self.around)
            if concept in concepts(p.name) and p.leaf.kind in ("string", "any") and "flag" not in concepts(p.name)
        ]
        odd = {"regular", "global", "location", "web"}  # the books' currency, not that of the document
        found.sort(
            key=lambda p: (
                p.anchor != place.anchor,
                p.steps[:-1] != place.steps[:-1],
                abs(len(p.steps) - len(place.steps)),
                len(odd & set(concepts(p.name))),
                not self.implied & set(concepts(p.name)),
                len(concepts(p.name)),
            )
        )
        return found[0].text if found else ""


def request_ways(f: Field, place: Place, row: str) -> Iterator[Way | Open]:
    assert isinstance(f.shape, Leaf)  # noqa: S101 - as the caller saw
    base = place.text
    if place.listed and place.listed != row:
        inner = "" if place.text == "this" else f".{place.text}"
        if f.repeated:
            for way in _pipes(f, place, place.text):
                yield Way(place.listed if way.text == "this" else f"{place.listed} | each({way.text})", way.sure, way.remark)
            return
        base = f"({place.listed} | first){inner}" if inner else f"{place.listed} | first"
    elif row and not place.listed:
        base = f"parent.{base}"
    for way in _pipes(f, place, base):
        for end in ("", " | required") if f.required or (place.listed and place.listed != row) else ("",):
            yield Way(f"{way.text}{end}", way.sure, way.remark)


def _pipes(f: Field, place: Place, base: str) -> Iterator[Way]:
    leaf = f.shape
    assert isinstance(leaf, Leaf)  # noqa: S101 - as the caller saw
    if place.part == "amount":
        name = "quantity" if any("quantity" in s for s in place.steps) else "money"
        if leaf.kind == "integer" and name == "money":
            yield Way(f"{base} | minor_units", sure=False, remark="in the smallest unit of the currency?")
        if leaf.kind == "decimal" and leaf.digits and name == "money":
            yield Way(f"{base} | amount")
            yield Way(
                f"{base} | minor_units | implied({leaf.digits[1]})",
                sure=False,
                remark=f"with {leaf.digits[1]} digits whatever the currency",
            )
        for end in ("", " | integer", " | string(2)" if name == "money" else " | string", " | decimal(3)", " | decimal(2)"):
            yield Way(f"{base} | amount{end}")
        return
    if place.part in ("currency", "unit"):
        base = f"{base} | {place.part}"
    kind = place.leaf.kind
    if leaf.enum and kind == "string":
        name = place.part or place.steps[-1]
        values = place.leaf.enum or tuple(dict.fromkeys(cases().get(name, {}).values()))
        turned = _turned(name, values, leaf.enum)
        rest = [v for v in values if v not in turned]
        if turned:
            yield Way(f"{base} | {enum_of(turned, otherwise='refuse' if rest or not place.leaf.enum else '')}", sure=False,
                       remark="cases by their usual meaning" + (f"; {', '.join(rest[:6])} are refused" if rest else ""))  # fmt: skip
            yield Way(
                f"{base} | {enum_of(turned, otherwise='refuse')}", sure=False, remark="cases by their usual meaning; others are refused"
            )
    if kind == "datetime" and leaf.kind in ("string", "date", "integer", "any"):
        if leaf.kind == "integer":
            yield Way(f"{base} | epoch_millis", sure=False, remark="milliseconds since 1970?")
        yield Way(f"{base} | day('UTC')", sure=False, remark="the day in UTC")
        text = "YYYYMMDD" if leaf.max_length == 8 else "YYYY-MM-DD"
        yield Way(f"{base} | day('UTC') | format('{text}')", sure=False, remark=f"the day in UTC, written as {text}")
    width = padded(f.name)
    if width is not None and leaf.kind == "string" and (width or leaf.max_length):
        yield Way(f"{base} | pad_zeros({width or leaf.max_length})")
    yield Way(base)
    if leaf.max_length and kind == "string":
        yield Way(f"{base} | at_most({leaf.max_length})")
    for end in ("string", "integer", "decimal"):
        yield Way(f"{base} | {end}")
        if leaf.max_length and end == "string":
            yield Way(f"{base} | string | at_most({leaf.max_length})")


def _turned(name: str, values: Sequence[str], codes: Sequence[str]) -> dict[str, str]:
    """Canonical value -> the code of the system that means it."""
    words = cases().get(name, {})
    found: dict[str, str] = {}
    for value, code in product(values, codes):
        if value not in found and (bare(code) == bare(value) or words.get(bare(code)) == value):
            found[value] = code
    return found
