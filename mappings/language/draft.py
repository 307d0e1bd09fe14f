"""Drafts of mappings: which operations fit a capability, which fields mean the same, and how one becomes the other.

A proposed line is proven by the check before it is written. What is certain is a line; what is likely is a line with a remark; the
rest is left to a person as a decision. Nothing here is believed later: a draft is checked like every other mapping.
"""

from __future__ import annotations

import functools
import json
import keyword
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any, Final

import msgspec

from contracts.canonical.amounts import UNITS
from contracts.errors import Finding, TillgateError
from contracts.ports import CAPABILITIES
from mappings.language import vocabulary
from mappings.language.build import Builder
from mappings.language.check import translate
from mappings.language.expression import ANCHORS
from mappings.language.kinds import AMOUNTS
from mappings.language.likeness import (
    DATES,
    TIMES,
    alike,
    bare,
    cases,
    concepts,
    dated,
    evidence,
    meant,
    padded,
    phrases_of,
    weight,
)
from mappings.language.likeness import _table as table
from mappings.language.read import GROUP_WORDS, UNDECIDED, read
from mappings.language.shape import TEXT, Exchange, Field, Leaf, Message, Record
from mappings.language.structs import GATEWAY_FILLED, GATEWAY_KEPT, StructRecord, message

__all__ = ["Decision", "Draft", "Line", "Offer", "Ranked", "alike", "draft_answer", "draft_request", "rank"]

CERTAIN: Final = 0.78
LIKELY: Final = 0.5
GUESSED: Final = 0.55
CANDIDATE: Final = 0.3
_CLEAR: Final = 0.06
"""How far the best must be ahead of the next to be certain."""
EXACT: Final = 1.08
"""What a field is worth more whose name is the canonical one."""
DEPTH: Final = 7
LEAVES: Final = 1500
RECORDS: Final = 400
LOOKED: Final = 6000
"""Values that are looked at to find the rows."""
LISTED: Final = 12
"""Operations whose shapes are looked at, per capability."""
Samples = Mapping[tuple[str, ...], Sequence[str]]
"""Values that were seen, by path from the document."""

_IMPLIED: Final = {
    "InventoryLevel": "stock",
    "Product": "product",
    "Price": "price",
    "Order": "order",
    "OrderReceipt": "order",
    "OrderProgress": "order",
    "OrderLine": "line order",
    "Customer": "customer",
    "OrderCustomer": "customer",
    "Location": "location",
    "Address": "address",
    "Payment": "payment",
    "Fulfilment": "delivery",
    "PackGtin": "product",
}
_CONSTANTS: Final = {
    ("Price", "price_type"): "'regular'",
    ("Price", "per"): "1 | quantity('EA')",
    ("Product", "active"): "True",
    ("Product", "base_unit"): "'EA'",
    ("Location", "active"): "True",
    ("Location", "type"): "'store'",
    ("PackGtin", "pack_level"): "'each'",
    ("SaleLine", "line_type"): "'sale'",
    ("PosSale", "transaction_type"): "'sale'",
}
"""What is mostly true where the contract does not say it; always with a remark."""
_MESSAGES: Final = frozenset({"type", "id", "number", "message"})
"""Rows that say how it went, not what is asked (BAPIRET2)."""
_ELSEWHERE: Final = ("source field ", "required target field ")
"""How findings begin that are not about one line."""
_WRAPPERS: Final = frozenset(("item", "items", "complexobjectarray", "string", "value", "entry", "element", "record", "row", "int", "text"))
"""Names that only say that something is in a list."""
_NOT_DRAFTED: Final = frozenset({"external_ids", "net_of", "merged_into", "voids_line", "links"})


@dataclass(frozen=True, slots=True)
class Line:
    """One proposed field. `path`: the target's dotted path. `score` 0 to 1; a certain line carries no remark."""

    path: str
    expression: str
    score: float
    certain: bool
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    path: str
    question: str


@dataclass(slots=True)
class _Group:
    """The lines of one target record, as they will be written."""

    words: dict[str, str] = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)
    groups: dict[str, _Group] = field(default_factory=dict)

    def empty(self) -> bool:
        return not self.lines and all(g.empty() for g in self.groups.values())


@dataclass(slots=True)
class Draft:
    """A mapping as text, and what is open in it. `unused`: source fields that a person has to decide about."""

    target: str
    source: str
    lines: list[Line]
    decisions: list[Decision]
    unused: list[str]
    text: str
    score: float = 0.0

    @property
    def confirm(self) -> list[Line]:
        return [line for line in self.lines if not line.certain]


# ---- which operation ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Offer:
    """One operation of a contract. `words`: what its documentation says; `verb` and `path`: what HTTP says."""

    name: str
    exchange: Callable[[], Exchange]
    words: str = ""
    verb: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Ranked:
    name: str
    score: float
    why: str
    about: str = ""
    """What it is about, in concepts."""


@functools.cache
def _verb_of() -> dict[str, str]:
    return {w: verb for verb, words in table(vocabulary.VERBS) for w in words.split()}


def _verbs(name: str) -> list[str]:
    """What the words of a name say is done, first word first."""
    known = _verb_of()
    tokens = [t.lower() for t in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    return [known[t] for t in tokens if t in known]


@functools.cache
def _tasks() -> dict[str, tuple[tuple[str, ...], tuple[tuple[tuple[str, ...], float], ...]]]:
    found = {}
    for capability, text in table(vocabulary.TASKS):
        verbs, _, about = text.partition(":")
        phrases = []
        for phrase in about.split(","):
            words = phrase.split()
            prior = float(words.pop()) if words[-1][0].isdigit() else 1.0
            phrases.append((tuple(words), prior))
        found[capability] = tuple(verbs.split()), tuple(phrases)
    return found


_MANY: Final = re.compile(r"(?i)(array|multi|bulk|batch|list)$")
"""Names of calls that do several at once."""
_TOKEN: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_LINKS: Final = frozenset(("from", "by", "with", "for", "to", "of", "on", "in", "all", "current"))


@functools.cache
def _verb_words() -> frozenset[str]:
    words = frozenset(w for _, said in table(vocabulary.VERBS) for w in said.split())
    return words - {"stock", "order", "line", "status", "reference", "invoice", "comment"}


def _does(offer: Offer) -> tuple[str, list[str]]:
    """What an operation does, and every verb in its name."""
    said = _verbs(offer.name)
    if offer.path:
        parts = [p for p in offer.path.split("/") if p]
        last = _verbs(parts[-1])[-1:] if parts and "{" not in parts[-1] else []
        if last and last[0] not in ("read", "find"):
            return last[0], last
        if offer.verb == "read":
            return ("read" if parts and "{" in parts[-1] else "find"), []
        return ("change" if offer.verb == "create" and parts and "{" in parts[-1] else offer.verb), []
    if not said:
        return (_verbs(offer.words) or [""])[0], []
    return ("find" if said[0] == "read" and "find" in said else said[0]), said


def _names(offer: Offer) -> tuple[list[str], list[str]]:
    """The concepts that an operation is about, and those around them."""
    if offer.path:
        fixed = [p for p in offer.path.split("/") if p and "{" not in p]
        while len(fixed) > 1 and all(t.lower() in _verb_words() for t in _TOKEN.findall(fixed[-1])):
            fixed.pop()
        own = list(concepts(fixed[-1])) if fixed else []
        return own, [c for p in fixed[:-1] for c in concepts(p)]
    left = [t for t in _TOKEN.findall(offer.name) if t.lower() not in _verb_words() and t.lower() not in _LINKS]
    return list(concepts("".join(t.capitalize() for t in left) or offer.name)), []


def _about(capability: str, offer: Offer) -> tuple[float, str]:
    """0 to 1 by name alone, and why."""
    verbs, phrases = _tasks()[capability]
    own, around = _names(offer)
    score = meant(phrases, own, around, frozenset())
    strange = len([c for c in around if not any(c in p for p, _ in phrases)])
    done, said = _does(offer)
    fits = 1.0 if done == verbs[0] else 0.8 if done in verbs else 0.7 if not done else 0.1
    more = len([v for v in said[1:] if v not in (*verbs, "read", "find", done)])
    return score * fits * 0.75**more * 0.8**strange, f"{' '.join(own) or offer.name} by name" + (f", {done}" if done else "")


def rank(capability: str, system: str, offers: Sequence[Offer]) -> list[Ranked]:
    """The operations that may provide a capability, best first: by their names, what they answer and what they can be asked with."""
    by_name = sorted(((*_about(capability, offer), offer) for offer in offers), key=lambda x: (-x[0], len(x[2].name)))[:LISTED]
    verb = CAPABILITIES[capability]
    found: list[Ranked] = []
    for score, why, offer in by_name:
        if score < 0.15:
            continue
        try:
            exchange = offer.exchange()
        except TillgateError as error:
            found.append(Ranked(offer.name, round(score * 0.1, 3), f"{why}; cannot be described: {str(error)[:80]}"))
            continue
        answer = _Reader(verb.answer, f"{system}.{offer.name}", exchange.answer).worth() if exchange.answer else 0.0
        asked = _Writer(verb.request, f"{system}.{offer.name}", exchange.request).worth() if exchange.request else 0.0
        total = score**0.7 * (0.3 + 0.45 * answer + 0.25 * asked)
        if verb.keys is None and _MANY.search(offer.name):
            total *= 0.95
        if answer < 0.15 and not verb.writes:
            total *= 0.8  # an answer that does not even say what it is about cannot be read
        found.append(
            Ranked(offer.name, round(total, 3), f"{why}; {answer:.0%} of the answer, {asked:.0%} of the request", why.partition(" by ")[0])
        )
    return sorted(found, key=lambda r: (-r.score, len(r.name)))


# ---- paths --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """A single value: its path, the names of the records on the way, and how an expression names it."""

    steps: tuple[str, ...]
    field: Field
    text: str
    anchor: str = ""
    part: str = ""
    """Of a canonical amount: `amount`, `currency` or `unit`."""
    owner: str = ""
    """Name of the Struct that holds it."""
    listed: str = ""
    """The canonical list it is in."""

    @property
    def name(self) -> str:
        return _said_name(self.steps)[0]

    @property
    def leaf(self) -> Leaf:
        assert isinstance(self.field.shape, Leaf)  # noqa: S101 - only leaves are made places
        return self.field.shape


def _said_name(steps: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The name that says something, and those above it: the text of an element is called like the element, an item like its list."""
    at = len(steps)
    while at > 1 and (steps[at - 1] == TEXT or bare(steps[at - 1]) in _WRAPPERS):
        at -= 1
    return steps[at - 1], tuple(steps[: at - 1])


def _expression(steps: tuple[str, ...], anchor: str = "") -> str:
    if _named(steps) and (anchor or steps[0] not in ANCHORS):
        return ".".join((*((anchor,) if anchor else ()), *steps))
    return f'path("{".".join(steps)}")'


def _named(steps: Sequence[str]) -> bool:
    return all(s.isidentifier() and not keyword.iskeyword(s) for s in steps)


def _leaves(record: Record, steps: tuple[str, ...] = (), seen: tuple[Record, ...] = ()) -> Iterator[tuple[tuple[str, ...], Field]]:
    """Single values below a record, lists left out."""
    for f in record.fields:
        if f.repeated or "." in f.name:
            continue
        if isinstance(f.shape, Leaf):
            yield (*steps, f.name), f
        elif f.shape not in seen and len(steps) < 4:
            yield from _leaves(f.shape, (*steps, f.name), (*seen, record))


def _records(record: Record, steps: tuple[str, ...] = (), seen: tuple[Record, ...] = ()) -> Iterator[tuple[tuple[str, ...], Record, int]]:
    """Every record that rows could be made of: its path, and how many lists lead there."""
    stack = [(record, steps, seen, 0)]
    count = 0
    while stack and count < RECORDS:
        record, steps, seen, lists = stack.pop(0)
        count += 1
        yield steps, record, lists
        if len(steps) < DEPTH:
            below = [
                (f, f.shape) for f in record.fields if isinstance(f.shape, Record) and f.shape not in seen and not {".", "/"} & set(f.name)
            ]
            stack += [(shape, (*steps, f.name), (*seen, record), lists + f.repeated) for f, shape in below]


def _amount(field: Field) -> str:
    return AMOUNTS.get(field.shape.name, "") if isinstance(field.shape, StructRecord) else ""


def _scalar(field: Field) -> bool:
    """A target that one line fills."""
    return isinstance(field.shape, Leaf) or bool(_amount(field)) or field.shape.name == "Localized"


def _fits(target: Field, place: _Place) -> float:
    """How well a value of the source's type can become the target: 0 to 1."""
    kind, wanted = place.leaf.kind, _amount(target) or ("string" if not isinstance(target.shape, Leaf) else target.shape.kind)
    if kind == "any":
        return 0.85
    if kind in ("date", "datetime") and target.name == "business_date":
        return 1.0
    if wanted in ("quantity", "money", "unit_price", "decimal", "integer"):
        return {"decimal": 1.0, "integer": 1.0, "string": 0.93}.get(kind, 0.1) * (0.3 if place.leaf.enum else 1.0)
    if wanted == "string":
        listed = isinstance(target.shape, Leaf) and target.shape.enum
        if listed:
            return 1.0 if place.leaf.enum else {"string": 0.85, "boolean": 0.4, "integer": 0.6}.get(kind, 0.2)
        return {"string": 1.0, "integer": 0.95, "date": 0.4, "datetime": 0.4, "decimal": 0.5}.get(kind, 0.2)
    if wanted == "boolean":
        return {"boolean": 1.0, "string": 0.9, "integer": 0.8}.get(kind, 0.2)
    return {"datetime": 1.0, "date": 0.95, "string": 0.9, "integer": 0.75, "time": 0.3}.get(kind, 0.2)


@functools.lru_cache(maxsize=50_000)
def _by_name(noun: str, path: str, name: str, above: tuple[str, ...]) -> float:
    """0 to a little over 1: how well a name below these records says what the target means."""
    phrases, implied = phrases_of(noun, path), _implied(noun)
    score = meant(phrases, concepts(name), [c for n in above for c in concepts(n)], implied)
    if not score:
        return 0.0
    expected = {c for phrase, _ in phrases for c in phrase} | implied
    strange = min(1.0, sum(weight(c) for c in (concepts(above[-1]) if above else ()) if c not in expected))
    return score * (EXACT if bare(name) == bare(path.rpartition(".")[2]) else 1.0) * (1 - 0.35 * strange)


def _implied(noun: str) -> frozenset[str]:
    return frozenset(_IMPLIED.get(noun, "").split())


def _said(noun: str, path: str, target: Field, place: _Place, values: Sequence[str] = ()) -> float:
    """How likely a source value is what the target means: by name, type, place and the values that were seen."""
    name, above = _said_name(place.steps)
    score = _by_name(noun, path, name, above[-2:])
    if not score:
        return 0.0
    score *= 0.97 ** max(0, len(above) - 1) * _fits(target, place) * (0.85 if place.anchor == "root" else 1.0)
    if values and (proven := evidence(values)):
        first = {c for phrase, _ in phrases_of(noun, path)[:2] for c in phrase}
        score = (
            min(EXACT, score * 1.15) if proven in first else score * (0.4 if proven in ("gtin", "currency", "country", "email") else 0.8)
        )
    return score


# ---- functions on the way ------------------------------------------------------------------------------------------


def _codes(target_name: str, wanted: Leaf, codes: Sequence[str]) -> tuple[dict[str, str], list[str], bool]:
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


def _enum(meant_by: Mapping[str, str], *, boolean: bool = False, otherwise: str = "") -> str:
    def shown(value: str) -> str:
        return value if boolean else repr(value)

    more = f", otherwise={otherwise}" if otherwise else ""
    if all(c.isidentifier() and not keyword.iskeyword(c) and c not in ("otherwise", "table") for c in meant_by):
        return f"enum({', '.join(f'{c}={shown(v)}' for c, v in meant_by.items())}{more})"
    return f"enum({{{', '.join(f'{c!r}: {shown(v)}' for c, v in meant_by.items())}}}{more})"


@dataclass(frozen=True, slots=True)
class _Way:
    """One pipeline, whether nothing about it is a guess, and what the guess is."""

    text: str
    sure: bool = True
    remark: str = ""


@dataclass(frozen=True, slots=True)
class _Open:
    """There is no line without a person: what they have to say, with a line to begin from."""

    question: str


class _Common:
    def __init__(self, source: Message, target: Message, head: dict[str, str], steps: tuple[str, ...] = ()) -> None:
        self.source, self.target, self.head, self.steps = source, target, head, steps
        self.top = _Group()
        self.decisions: list[Decision] = []
        self.filled: frozenset[str] = frozenset()
        """Target paths that the driver fills itself."""

    def proven(self, groups: Sequence[tuple[str, _Group]], name: str, text: str, *, whole: bool = False) -> list[Finding]:
        """What the check says about one line, in its place and alone; with `whole` about the record that it stands in, too."""
        group = _Group(dict(groups[-1][1].words) if groups else {}, {name: Line(name, text, 1, certain=True)})
        for at in range(len(groups) - 1, -1, -1):
            group = _Group(dict(groups[at - 1][1].words) if at else {}, {}, {groups[at][0]: group})
        rendered = _render(self.head, group)
        starts = (f"{_key(name)} ", f"{_key(name, group=True)} ")
        at = max((n for n, line in enumerate(rendered, 1) if line.startswith(starts)), default=0)
        parsed, findings = read("\n".join(rendered), "draft")
        if findings:
            return findings
        first = max((n for n, line in enumerate(rendered[:at], 1) if line.startswith("[")), default=at) if whole else at
        builder = Builder(parsed, self.source, self.target, self.steps)
        if self.target.form == "struct":
            builder.build_read()
        else:
            builder.build_write()
        return [f for f in builder.findings if first <= f.line <= at and (f.line == at or not f.message.startswith(_ELSEWHERE))]

    def first(self, groups: Sequence[tuple[str, _Group]], name: str, ways: Iterator[_Way | _Open]) -> _Way | _Open | None:
        """The first way that the check has nothing against."""
        asked: _Open | None = None
        failed: _Open | None = None
        for way in ways:
            if isinstance(way, _Open):
                asked = asked or way
            elif not (wrong := self.proven(groups, name, way.text)):
                return way
            elif failed is None:
                failed = _Open(f"{way.text} does not fit: {wrong[0].message}; {wrong[0].suggestion}")
        return asked or failed

    def finish(self, target: str, source: str, intro: str) -> Draft:
        """Lines that do not hold together become decisions; what is not used is left to decide."""
        unused: list[str] = []
        while True:
            text = "\n".join(_render(self.head, self.top, self.decisions, unused, intro)) + "\n"
            parsed, _ = read(text, "draft")
            found = translate(parsed, self.source, self.target, self.steps)[2]
            left = [m[1] for f in found if (m := re.match(r"source field (.+) is neither used nor dropped", f.message))]
            wrong = [f for f in found if not f.message.startswith(_ELSEWHERE)]
            broken = [(g, n, f) for f in wrong for g, n in _at_line(text, self.top, f.line)]
            for group, name, finding in broken:
                if (line := group.lines.pop(name, None)) is not None:
                    self.decide(line.path, f"{line.expression} does not fit: {finding.message}")
            missing = [m[1] for f in found if (m := re.match(r"required target field (\S+) ", f.message))]
            known = {d.path for d in self.decisions} | self.filled
            for path in missing:
                if path not in known and not path.count("."):
                    self.decide(path, f"nothing in {self.source.name} is clearly this")
            fresh = [p for p in left if p not in unused]
            if not broken and not fresh and not [p for p in missing if p not in known and not p.count(".")]:
                break
            unused.extend(fresh)
            if len(unused) > 2000:
                break
        lines = list(_lines(self.top))
        return Draft(target, source, lines, self.decisions, unused, text)

    def decide(self, path: str, question: str) -> None:
        if path not in {d.path for d in self.decisions}:
            self.decisions.append(Decision(path, question))


def _lines(group: _Group) -> Iterator[Line]:
    yield from group.lines.values()
    for inner in group.groups.values():
        yield from _lines(inner)


def _others(found: Sequence[tuple[float, _Place]], best: _Place) -> str:
    rest = [f"{p.text} ({min(s, 1.0):.2f})" for s, p in found if p is not best and s >= CANDIDATE][:3]
    return "; or " + ", ".join(rest) if rest else ""


# ---- reading: a system's answer becomes a noun -----------------------------------------------------------------------


class _Reader(_Common):
    def __init__(self, noun: type[msgspec.Struct], name: str, answer: Message, samples: Samples | None = None) -> None:
        self.noun, self.name, self.samples = noun, name, samples or {}
        target = message(noun)
        super().__init__(answer, target, {})
        assert isinstance(target.root, StructRecord)  # noqa: S101 - a Struct's record
        self.record: StructRecord = target.root
        self.implied = _implied(noun.__name__)
        self.spent: frozenset[tuple[str, ...]] = frozenset()
        """Values of the same record that the record around uses already."""
        self.around: list[_Place] = []
        """Values of the records around the one that is filled."""
        self.steps, self.item = self._rows()
        self.at = self.steps
        """Path of the record that is filled from."""
        self.head = {"target": noun.__name__, "source": "/".join((name, *self.steps))}

    def worth(self) -> float:
        """How much of the noun the answer seems to hold, 0 to 1; required fields count double."""
        wanted = [f for f in self.record.fields if f.name not in (*GATEWAY_FILLED, *_NOT_DRAFTED)]
        places = list(self._places(self.item))
        needed = sum(2.0 for f in wanted if f.required and _scalar(f))
        got = sum((2.0 if f.required else 0.5) * best for f in wanted if _scalar(f) and (best := self._best(f, places)) >= LIKELY)
        return min(1.0, got / (needed + 0.5))

    def _best(self, target: Field, places: Sequence[_Place]) -> float:
        return max((self._score(self.record.name, target, p) for p in places), default=0.0)

    def _score(self, noun: str, target: Field, place: _Place) -> float:
        at = place.steps if place.anchor == "root" else (*self.at, *place.steps)
        score = _said(noun, target.name, target, place, self.samples.get(at, ()))
        if score < GUESSED and place.leaf.enum and isinstance(target.shape, Leaf) and (target.shape.enum or target.shape.kind == "boolean"):
            wanted = set(concepts(target.name)) - {"flag"}
            if any(wanted & set(concepts(code)) for code in place.leaf.enum):
                return GUESSED  # one of its codes is called as the target is
        return score

    def _places(self, record: Record, *, root: bool = True) -> Iterator[_Place]:
        for n, (steps, f) in enumerate(_leaves(record)):
            if n >= LEAVES:
                return
            yield _Place(steps, f, _expression(steps))
        if root and self.steps:
            for steps, f in _leaves(self.source.root):
                if len(steps) < 3 and steps[0] != self.steps[0] and _named(steps):
                    yield _Place(steps, f, _expression(steps, "root"), "root")

    def _rows(self) -> tuple[tuple[str, ...], Record]:
        """The records that become one target each: those that hold most of what is wanted."""
        best: tuple[float, tuple[str, ...], Record] = (0.0, (), self.source.root)
        worth: dict[int, float] = {}
        looked = 0
        for steps, record, lists in _records(self.source.root):
            if {f.name.lower() for f in record.fields} >= _MESSAGES:
                continue
            if id(record) not in worth:
                own = [_Place(s, f, "") for s, f in islice(_leaves(record), max(50, LOOKED - looked))]
                looked += len(own)
                worth[id(record)] = self._rows_worth(own)
            own_name = [c for s in steps[-2:] for c in concepts(s)]
            about = meant(((tuple(self.implied), 1.0),), own_name, (), frozenset()) if self.implied else 0.0
            total = worth[id(record)] * (1 + 0.1 * about) * (0.96 ** max(0, lists - 1)) * (1.0 + 0.02 * min(len(steps), 2))
            if total > best[0] + 1e-9:
                best = (total, steps, record)
        return best[1], best[2]

    def _rows_worth(self, places: Sequence[_Place]) -> float:
        """How much of the noun's own fields these values say; required fields count double."""
        total, noun = 0.0, self.noun.__name__
        for target in self.record.fields:
            if _scalar(target) and target.name not in GATEWAY_FILLED:
                top = max((_said(noun, target.name, target, p) * (0.93 ** (len(p.steps) - 1)) for p in places), default=0.0)
                total += (2.0 if target.required else 1.0) * top if top >= 0.4 else 0.0
        return total

    def draft(self, intro: str) -> Draft:
        self._fill(self.top, [], self.record, self.item, "")
        return self.finish(self.noun.__name__, self.head["source"], intro)

    def _fill(self, group: _Group, groups: list[tuple[str, _Group]], target: StructRecord, source: Record, prefix: str) -> None:
        places = list(self._places(source, root=not prefix))
        fields = [f for f in target.fields if f.name not in (*GATEWAY_FILLED, *_NOT_DRAFTED)]
        wanted = [f for f in fields if _scalar(f) and not f.repeated]
        scored = {f.name: sorted(((self._score(target.name, f, p), p) for p in places), key=lambda x: -x[0])[:8] for f in wanted}
        order = sorted(
            ((s, f.required, f, p) for f in wanted for s, p in scored[f.name] if s >= CANDIDATE), key=lambda x: (-x[0], not x[1])
        )
        taken: dict[tuple[str, ...], str] = {}
        chosen: dict[str, tuple[float, _Place]] = {}
        for score, _, f, place in order:
            if place.steps in self.spent and not f.required and f.name != "name":
                continue
            shared = isinstance(f.shape, Leaf) and (f.shape.enum or f.shape.kind == "boolean") and place.leaf.enum
            if f.name not in chosen and (place.steps not in taken or shared) and score >= LIKELY:
                chosen[f.name] = score, place
                taken[place.steps] = f.name
        for f in fields:
            if f in wanted:
                self._line(group, groups, target, f, prefix, scored[f.name], chosen.get(f.name), places, taken)
            elif isinstance(f.shape, StructRecord) and len(groups) < 2 and not f.repeated:
                self._nested(group, groups, f, source, prefix, frozenset(taken))
            elif isinstance(f.shape, StructRecord) and len(groups) < 2:
                self._list(group, groups, f, source, prefix, frozenset(taken))
            elif f.repeated:
                self._texts(group, groups, target, f, places, prefix)

    def _line(
        self, group: _Group, groups: list[tuple[str, _Group]], target: StructRecord, f: Field, prefix: str,
        scored: Sequence[tuple[float, _Place]], chosen: tuple[float, _Place] | None, places: Sequence[_Place],
        taken: Mapping[tuple[str, ...], str],
    ) -> None:  # fmt: skip
        path = f"{prefix}{f.name}"
        best = next((s for s, p in scored if chosen is None or p is not chosen[1] if p.steps not in taken), 0.0)
        texts = self._translated(places) if f.name == "name" and isinstance(f.shape, Record) else None
        if texts is not None and (chosen is None or chosen[0] < CERTAIN):
            group.lines[f.name] = Line(path, texts, 0.8, certain=False, remark="likely (0.80): texts of a list, by language")
            return
        if chosen is not None:
            score, place = chosen
            way = self.first(groups, f.name, self._ways(target, f, place, places))
            if isinstance(way, _Way):
                certain = way.sure and score >= CERTAIN and score - best >= _CLEAR
                remark = (
                    "" if certain else f"likely ({min(score, 1.0):.2f}): {way.remark or place.name + ' by name'}{_others(scored, place)}"
                )
                group.lines[f.name] = Line(path, way.text, score, certain, remark)
                return
            if way is not None:
                self.decide(path, way.question)
                return
            scored = [(s, p) for s, p in scored if p is not place]
        constant = _CONSTANTS.get((target.name, f.name), "")
        if constant and (f.required or target.name == "PackGtin") and not self.proven(groups, f.name, constant):
            group.lines[f.name] = Line(path, constant, 0.5, certain=False, remark="likely (0.50): the contract has no field for it")
            return
        near = [f"{p.text} ({min(s, 1.0):.2f})" for s, p in scored if s >= CANDIDATE][:3]
        if near and isinstance(way := self.first(groups, f.name, self._ways(target, f, scored[0][1], places)), _Way):
            near[0] += f', then write {f.name} = "{way.text}"'
        if f.required or (near and scored[0][0] >= 0.42 and scored[0][1].steps not in taken):
            listed = f"one of {', '.join(map(repr, f.shape.enum))}" if isinstance(f.shape, Leaf) and f.shape.enum else ""
            hint = ("perhaps " + "; or ".join(near)) if near else f"no field of {self.name} is clearly this: a field, or a constant"
            self.decide(path, "; ".join(filter(None, (listed, hint))))

    def _nested(
        self, group: _Group, groups: list[tuple[str, _Group]], f: Field, source: Record, prefix: str, taken: frozenset[tuple[str, ...]]
    ) -> None:
        """One nested record: from the fields beside it, or from a record of the source."""
        assert isinstance(f.shape, StructRecord)  # noqa: S101 - as the caller saw
        best: tuple[float, tuple[str, ...], Record] = (0.0, (), source)
        for steps, record, lists in _records(source):
            if not lists and len(steps) < 3 and (worth := self._holds(f.shape, record)) * (1 if not steps else 1.05) > best[0]:
                best = (worth, steps, record)
        if best[0] < LIKELY:
            return
        inner = _Group({"of": _expression(best[1])} if best[1] else {})
        self.spent = frozenset() if best[1] else taken
        self._inner(group, groups, f, inner, best[1], best[2], source, prefix)

    def _list(
        self, group: _Group, groups: list[tuple[str, _Group]], f: Field, source: Record, prefix: str, taken: frozenset[tuple[str, ...]]
    ) -> None:
        """A list of records: from a list of the source, from one record, or from one value."""
        assert isinstance(f.shape, StructRecord)  # noqa: S101 - as the caller saw
        best: tuple[float, str, tuple[str, ...], Record] = (0.0, "", (), source)
        for steps, lists, record in self._below(source):
            score = self._holds(f.shape, record, taken if not steps else frozenset())
            named = meant(phrases_of("", f.name), [c for s in steps[-2:] for c in concepts(s)], (), frozenset()) if steps else 0.0
            score *= 0.75 + 0.25 * named if lists else 0.7 + 0.2 * named if steps else 0.72
            if score > best[0]:
                best = (score, (_expression(steps) if steps else "this") + ("" if lists else " | as_list"), steps, record)
        needed = [x for x in f.shape.fields if x.required and (f.shape.name, x.name) not in _CONSTANTS]
        if best[0] < LIKELY and len(needed) == 1 and _scalar(needed[0]):
            found = sorted(((self._score(f.shape.name, needed[0], p), p) for p in self._places(source, root=False)), key=lambda x: -x[0])
            if found and found[0][0] >= LIKELY and found[0][1].leaf.kind in ("string", "any"):
                inner = _Group({"each": f"{found[0][1].text} | text | as_list"})
                inner.lines[needed[0].name] = Line(f"{prefix}{f.name}.{needed[0].name}", "this", found[0][0], found[0][0] >= CERTAIN)
                if not self.proven([*groups, (f.name, inner)], needed[0].name, "this"):
                    group.groups[f.name] = inner
            return
        if best[0] >= LIKELY:
            self.spent = frozenset() if best[2] else taken
            self._inner(group, groups, f, _Group({"each": best[1]}), best[2], best[3], source, prefix)

    def _inner(
        self, group: _Group, groups: list[tuple[str, _Group]], f: Field, inner: _Group, steps: tuple[str, ...], source: Record,
        outer: Record, prefix: str,
    ) -> None:  # fmt: skip
        """Keeps the nested record only when all that it must have is found."""
        assert isinstance(f.shape, StructRecord)  # noqa: S101 - as the caller saw
        before, around, at = len(self.decisions), self.around, self.at
        if inner.words:
            above = [
                _Place(x.steps, x.field, f"parent.{x.text}", "parent")
                for x in (*self._places(outer, root=False), *around)
                if _named(x.steps)
            ]
            self.around = above
        self.at = (*at, *steps)
        self._fill(inner, [*groups, (f.name, inner)], f.shape, source, f"{prefix}{f.name}.")
        self.around, self.at, self.spent = around, at, frozenset()
        missing = [x.name for x in f.shape.fields if x.required and x.name not in inner.lines and x.name not in inner.groups]
        if (missing and not f.required) or inner.empty():
            del self.decisions[before:]
            return
        group.groups[f.name] = inner

    def _holds(self, target: StructRecord, record: Record, taken: frozenset[tuple[str, ...]] = frozenset()) -> float:
        """The share of a nested target that a record holds; 0 when something required is nowhere, or used for something else."""
        places = [_Place(s, f, "") for s, f in islice(_leaves(record), LEAVES)]
        wanted = [f for f in target.fields if _scalar(f) and not f.repeated and f.name not in GATEWAY_FILLED]
        scores = {f.name: max((self._score(target.name, f, p) for p in places), default=0.0) for f in wanted}
        needed = [f for f in wanted if f.required and (target.name, f.name) not in _CONSTANTS]
        free = [p for p in places if p.steps not in taken]
        alone = [f for f in needed if not (isinstance(f.shape, Leaf) and f.shape.enum)]
        if taken and any(max((self._score(target.name, f, p) for p in free), default=0.0) < LIKELY for f in alone):
            return 0.0
        if any(scores[f.name] < LIKELY for f in needed):
            return 0.0
        best = sorted(scores.values(), reverse=True)[: max(2, len(needed))]
        return sum(best) / len(best)

    def _below(self, source: Record) -> Iterator[tuple[tuple[str, ...], int, Record]]:
        for steps, record, lists in _records(source):
            if len(steps) <= 4 and lists <= 1:
                yield steps, lists, record

    def _texts(
        self, group: _Group, groups: list[tuple[str, _Group]], target: StructRecord, f: Field, places: Sequence[_Place], prefix: str
    ) -> None:
        """A list of texts (category path): from one value that holds several."""
        found = sorted(((self._score(target.name, f, p), p) for p in places), key=lambda x: -x[0])
        if found and found[0][0] >= LIKELY and f.required is False:
            score, place = found[0]
            text = f"{place.text} | text | as_list"
            if not self.proven(groups, f.name, text):
                remark = f"likely ({min(score, 1.0):.2f}): one text; | split('/') when it holds several"
                group.lines[f.name] = Line(f"{prefix}{f.name}", text, score, certain=False, remark=remark)

    def _translated(self, places: Sequence[_Place]) -> str | None:
        """Names in a list of their own, one row per language."""
        for steps, record, lists in _records(self.item):
            if not steps or lists != 1:
                continue
            rows = [(s, f) for s, f in _leaves(record)]
            language = next((_Place(s, f, _expression(s)) for s, f in rows if "language" in concepts(s[-1])), None)
            text = next(
                (_Place(s, f, _expression(s)) for s, f in rows if "name" in concepts(s[-1]) or "description" in concepts(s[-1])), None
            )
            if language and text:
                known, unknown, _ = _codes("locale", Leaf("string"), language.leaf.enum or ())
                tag = f"{language.text} | {_enum(known)}" if known and not unknown else f"{language.text} | lower"
                line = f"{_expression(steps)} | texts({tag}, {text.text} | text) | required"
                if not self.proven([], "name", line):
                    return line
        return None

    def _beside(self, concept: str, place: _Place, places: Sequence[_Place]) -> str:
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

    def _ways(self, target: StructRecord, f: Field, place: _Place, places: Sequence[_Place]) -> Iterator[_Way | _Open]:
        """Pipelines from a source value to the target, the best first."""
        at = place.steps if place.anchor == "root" else (*self.at, *place.steps)
        values = [v for v in self.samples.get(at, ()) if v]
        for way in self._plain_ways(target, f, place, places, values):
            if isinstance(way, _Open):
                yield way
                continue
            yield way
            if f.required:
                yield _Way(f"{way.text} | required", way.sure, way.remark)

    def _plain_ways(
        self, target: StructRecord, f: Field, place: _Place, places: Sequence[_Place], values: Sequence[str]
    ) -> Iterator[_Way | _Open]:
        base, leaf, name = place.text, place.leaf, f.name
        convert = ("", " | decimal", " | string | decimal")
        match _amount(f) or (f.shape.kind if isinstance(f.shape, Leaf) else "localized"):
            case "quantity":
                unit = self._beside("unit", place, places)
                for c in convert:
                    if unit:
                        yield _Way(f"{base}{c} | quantity({unit})")
                        yield _Way(f"{base}{c} | quantity({unit} | default('EA'))", sure=False, remark="without a unit EA is a guess")
                    else:
                        yield _Way(f"{base}{c} | quantity('EA')", sure=False, remark="the contract says no unit, EA is a guess")
                if unit:
                    line = f'{name} = "{base} | quantity({unit}, units)"'
                    yield _Open(
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
                    yield _Open(f"{base} is the amount, but of which currency? write {name} = \"{base} | {amount}('EUR')\" with yours")
                    return
                for c, given in product(convert, (code, f"{code} | required")):
                    if small:
                        yield _Way(f"{base}{c} | cents({given})")
                    elif amount == "money":
                        remark = "" if whole else "whole units, or the smallest? then | cents(…)"
                        yield _Way(f"{base}{c} | money({given}{digits})", whole, remark)
                    else:
                        yield _Way(f"{base}{c} | unit_price({given})", sure=whole)
            case "localized":
                yield _Way(f"{base} | text | localized('en')", sure=False, remark=f"{place.name} by name; in which language is it?")
            case "string" if isinstance(f.shape, Leaf) and f.shape.enum:
                yield from self._enumerated(f, place, values)
            case "string":
                if name == "business_date" or (evidence(values) == "date" and "date" in name):
                    yield from (w for w in self._day(base, leaf, values, " | string"))
                width = padded(place.name)
                if width is not None and leaf.kind == "string":
                    width = width or leaf.max_length or 0
                    yield _Way(f"{base} | strip_zeros({width})" if width else f"{base} | strip_zeros")
                    yield _Way(f"{base} | text | strip_zeros({width})" if width else f"{base} | text | strip_zeros")
                if name == "locale" and leaf.enum and not all(re.fullmatch(r"[a-z]{2,3}([-_][A-Za-z]+)?", c) for c in leaf.enum):
                    known, unknown, _ = _codes("locale", Leaf("string"), leaf.enum)
                    if not unknown:
                        yield _Way(f"{base} | {_enum(known)}", sure=False, remark="languages by their usual codes")
                    line = f'locale = "{base} | {_enum({**known, **dict.fromkeys(unknown, "…")})}"'
                    yield _Open(f"which languages are {', '.join(map(repr, unknown[:8]))}? write {line}")
                    return
                if not f.required and leaf.kind == "string":
                    yield _Way(f"{base} | text")
                yield _Way(base)
                yield _Way(f"{base} | text")
                yield _Way(f"{base} | string")
                most = f.shape.max_length if isinstance(f.shape, Leaf) else None
                if most:
                    yield _Way(f"{base} | text | cut({most})", sure=False, remark=f"longer ones lose what is beyond {most} characters")
            case "boolean":
                yield from self._truth(f, place, values)
            case "integer" | "decimal" as kind:
                yield _Way(base)
                yield _Way(f"{base} | {kind}")
            case "datetime":
                yield from self._instant(f, place, places, values)
            case "date":
                yield from self._day(base, leaf, values, "")
            case _:
                yield _Way(base)

    def _enumerated(self, f: Field, place: _Place, values: Sequence[str]) -> Iterator[_Way | _Open]:
        wanted, codes = f.shape, place.leaf.enum or tuple(dict.fromkeys(values))[:20]
        assert isinstance(wanted, Leaf)  # noqa: S101 - as the caller saw
        seen = "" if place.leaf.enum else "codes as seen in the sample; "
        if not codes:
            if wanted.enum and "EA" in wanted.enum:
                yield _Way(
                    f"{place.text} | enum(ST='EA', PCE='EA', EA='EA', KG='KGM', otherwise=refuse)",
                    sure=False,
                    remark="the contract lists no units",
                )
            values_of = ", ".join(map(repr, wanted.enum or ()))
            line = f'{f.name} = "{place.text} | enum(CODE={(wanted.enum or ("…",))[0]!r}, …)"'
            yield _Open(f"{place.text} holds its code, which the contract does not list: write {line} with one of {values_of} for each")
            return
        known, unknown, same = _codes("order_state" if f.name == "state" else f.name, wanted, codes)
        otherwise = "" if place.leaf.enum else "refuse"
        if not unknown:
            if same and all(k == v for k, v in known.items()) and place.leaf.enum:
                yield _Way(place.text)
            yield _Way(f"{place.text} | {_enum(known, otherwise=otherwise)}", same and not seen, f"{seen}cases by their usual meaning")
        listed = _enum({**known, **dict.fromkeys(unknown, "…")}, otherwise=otherwise)
        line = f'{f.name} = "{place.text} | {listed}"'
        yield _Open(
            f"what does {', '.join(map(repr, unknown[:8]))} mean? write {line} with {', '.join(wanted.enum or ())}, or otherwise=refuse"
        )

    def _truth(self, f: Field, place: _Place, values: Sequence[str]) -> Iterator[_Way | _Open]:
        base, leaf = place.text, place.leaf
        turned = " == False" if ("deleted" in concepts(place.name)) != ("deleted" in f.name) else ""
        if leaf.kind in ("boolean", "any"):
            yield _Way(f"{base}{turned}")
            yield _Way(
                f"({base} | default({bool(turned)})){turned}" if turned else f"{base} | default(True)",
                sure=False,
                remark="absent is taken for true",
            )
        codes = leaf.enum or tuple(dict.fromkeys(values))[:6]
        known, unknown, _ = _codes(f.name, Leaf("boolean"), codes)
        if known and any(c.strip() for c in unknown) and leaf.kind == "string":
            line = f'{f.name} = "{base} | {_enum({**known, **dict.fromkeys(unknown, "…")}, boolean=True)}"'
            yield _Open(f"what does {', '.join(map(repr, unknown[:8]))} mean? write {line} with True or False")
            return
        if codes and not unknown and leaf.kind in ("string", "integer"):
            yield _Way(
                f"{base} | {_enum(known, boolean=True, otherwise='' if leaf.enum else 'refuse')}",
                sure=False,
                remark="codes by their usual meaning",
            )
        marks = [c for c in codes if c.strip()] or (["X"] if leaf.max_length == 1 else [])
        if leaf.kind == "string" and len(marks) == 1:
            text = f"{base} | boolean(true={marks[0]!r})"
            yield _Way(f"({text}){turned}" if turned else text, bool(codes), "X is SAP's true")
        yield _Open(
            f"which codes of {base} mean true? write {f.name} = \"{base} | boolean(true='…', false='…')\""
            + (", turned by == False" if turned else "")
        )

    def _day(self, base: str, leaf: Leaf, values: Sequence[str], end: str) -> Iterator[_Way | _Open]:
        if leaf.kind == "date":
            yield _Way(f"{base}{end}")
        if leaf.kind == "datetime":
            yield _Way(f"{base} | local_datetime('UTC') | day('UTC'){end}", sure=False, remark="the day in UTC")
        known = dated(values, DATES)
        for text in filter(None, (known, "YYYYMMDD" if leaf.max_length == 8 or leaf.pattern == r"\d{8}" else "")):
            yield _Way(f"{base} | date('{text}'){end}", bool(known) or bool(leaf.pattern), "eight characters of a date")
        yield _Way(f"{base} | date{end}", sure=False, remark="written as YYYY-MM-DD?")
        yield _Way(f"{base} | string | date('YYYYMMDD'){end}", sure=False, remark="written as YYYYMMDD?")

    def _instant(self, f: Field, place: _Place, places: Sequence[_Place], values: Sequence[str]) -> Iterator[_Way | _Open]:
        base, leaf = place.text, place.leaf
        zone = "'UTC'"
        day = f" | end_of_day({zone})" if f.name == "valid_until" else f" | start_of_day({zone})"
        if leaf.kind == "datetime":
            if self.source.form == "json":
                yield _Way(base)
            yield _Way(f"{base} | local_datetime({zone})", sure=False, remark="an offset in it counts; without one UTC is a guess")
        if leaf.kind == "integer":
            yield _Way(f"{base} | epoch_millis", sure=False, remark="milliseconds since 1970?")
        if leaf.kind == "date":
            yield _Way(f"{base}{day}", sure=False, remark="the day begins in UTC, a guess")
        if leaf.kind in ("string", "any"):
            beside = [p for p in places if p.anchor == place.anchor and p.steps[:-1] == place.steps[:-1] and "time" in concepts(p.name)]
            clock = [p for p in beside if p.leaf.kind == "string" and p.leaf.max_length == 6]
            if clock and leaf.max_length == 8:
                text = f"concat({base}, {clock[0].text}) | local_datetime({zone}, 'YYYYMMDDhhmmss')"
                yield _Way(text, sure=False, remark="day and time together, in UTC: a guess")
            if known := dated(values, TIMES):
                yield _Way(f"{base} | local_datetime({zone}, '{known}')", sure=False, remark="in UTC, a guess")
            if dated(values, DATES) or leaf.max_length in (8, 10):
                text = dated(values, DATES) or ("YYYYMMDD" if leaf.max_length == 8 else "YYYY-MM-DD")
                yield _Way(f"{base} | date('{text}'){day}", sure=False, remark=f"written as {text}, and the day begins in UTC: guesses")
            text = "YYYYMMDDhhmmss" if leaf.max_length == 14 else "YYYY-MM-DD hh:mm:ss"
            if not known:
                yield _Way(f"{base} | local_datetime({zone}, '{text}')", sure=False, remark=f"written as {text}, in UTC: guesses")


# ---- writing: a noun becomes a system's request -------------------------------------------------------------------------


class _Writer(_Common):
    def __init__(self, noun: type[msgspec.Struct], name: str, request: Message, filled: frozenset[str] = frozenset()) -> None:
        self.noun, self.name = noun, name
        super().__init__(message(noun), request, {"target": name, "source": noun.__name__})
        self.filled = filled
        assert isinstance(self.source.root, StructRecord)  # noqa: S101 - a Struct's record
        self.record: StructRecord = self.source.root
        self.implied = _implied(noun.__name__)
        self.places = list(self._canonical(self.record, (), ""))
        self.lists = [f for f in self.record.fields if f.repeated and f.name not in (*GATEWAY_KEPT, *_NOT_DRAFTED)]
        self.told: set[tuple[str, ...]] = set()
        self._open: tuple[Record, ...] = ()

    def worth(self) -> float:
        """How much of what the noun says the request can take, 0 to 1."""
        told = [
            f.name
            for f in self.record.fields
            if f.required and f.name not in GATEWAY_KEPT and not f.name.endswith("_state") and f.name != "id"
        ]
        if not told:
            return 1.0
        best = dict.fromkeys(told, 0.0)
        for steps, _, record, _ in self._targets():
            for f in record.fields:
                if isinstance(f.shape, Leaf):
                    for place in self.places:
                        if place.steps[0] in best:
                            best[place.steps[0]] = max(best[place.steps[0]], self._score(f, place, steps))
        return sum(s for s in best.values() if s >= LIKELY) / len(best)

    def _targets(self) -> Iterator[tuple[tuple[str, ...], bool, Record, int]]:
        for steps, record, lists in _records(self.target.root):
            if lists < 2 and len(steps) < 6:
                yield steps, bool(lists), record, lists

    def _canonical(self, record: StructRecord, steps: tuple[str, ...], listed: str) -> Iterator[_Place]:
        for f in record.fields:
            path = (*steps, f.name)
            if f.name in GATEWAY_KEPT or f.name in _NOT_DRAFTED or len(path) > 3 or f.name.endswith("_state") or path == ("id",):
                continue
            text = ".".join(path[1:] if listed else path)
            if amount := _amount(f):
                for part in ("amount", *(("unit",) if amount == "quantity" else ("currency",))):
                    leaf = Leaf("decimal" if part == "amount" else "string")
                    yield _Place(
                        (*path, part),
                        Field(part, leaf, required=f.required, nillable=f.nillable),
                        text,
                        part=part,
                        owner=record.name,
                        listed=listed,
                    )
            elif isinstance(f.shape, Leaf):
                yield _Place(path, f, "this" if f.repeated else text, owner=record.name, listed=f.name if f.repeated else listed)
            elif isinstance(f.shape, StructRecord) and not (f.repeated and listed):
                yield from self._canonical(f.shape, path, f.name if f.repeated else listed)

    def _score(self, target: Field, place: _Place, above: tuple[str, ...]) -> float:
        """As `_said`, the other way round: the system's name is looked at, the canonical field is what it may mean."""
        path = [s for s in place.steps if s != place.part] if place.part else list(place.steps)
        noun = place.owner or self.noun.__name__
        phrases = phrases_of(noun, path[-1])
        if place.part == "currency":
            phrases = ((("currency",), 1.0), (("currency", "number"), 1.0))
        elif place.part == "unit":
            phrases = ((("unit",), 1.0), (("unit", "number"), 0.9))
        if place.field.repeated and place.text == "this":
            phrases = phrases_of(noun, "sku")
        name, above = _said_name((*above, target.name))
        around = [c for n in above[-2:] for c in concepts(n)]
        own = concepts(name)
        implied = _implied(noun)
        score = meant(phrases, own, around, implied)
        if place.part in ("currency", "amount") and score:
            base = phrases_of(noun, path[-1])
            score *= 0.6 + 0.4 * max(
                meant(base, (*own, *around), (), implied), 0.75 if place.part == "currency" and not place.listed else 0
            )
        if not score:
            return 0.0
        expected = (
            {c for phrase, _ in phrases for c in phrase}
            | implied
            | {c for s in path[:-1] for c in concepts(s)}
            | {"line", "product", "order"}
        )
        if place.part:
            expected |= {c for phrase, _ in phrases_of(noun, path[-1]) for c in phrase}
        strange = min(1.0, sum(weight(c) for c in (concepts(above[-1]) if above else ()) if c not in expected))
        if len(path) > 1 and not place.listed:  # customer.email, shipping_address.city
            owned = {c for p, _ in phrases_of("", path[-2]) for c in p} | set(concepts(path[-2]))
            score *= 1.0 if owned & {*own, *around} else 0.86 if path[-1] in ("customer_number", "email") else 0.72
        kind = self._takes(target, place)
        return score * (1 - 0.3 * strange) * kind

    def _takes(self, target: Field, place: _Place) -> float:
        if not isinstance(target.shape, Leaf):
            return 0.0
        kind, given = target.shape.kind, place.leaf.kind
        if kind in ("any", given):
            return 1.0
        if kind == "string":
            return 0.95
        pairs = {
            ("integer", "decimal"): 0.9,
            ("decimal", "integer"): 1.0,
            ("date", "datetime"): 0.95,
            ("integer", "datetime"): 0.85,
            ("integer", "string"): 0.8,
        }
        return pairs.get((kind, given), 0.2)

    def draft(self, intro: str) -> Draft:
        self._record(self.top, [], self.target.root, (), "")
        if self.top.empty() and not self.decisions and self.places:
            there = ", ".join(".".join(steps) for steps, _ in list(_leaves(self.target.root))[:8]) or "nothing that is no list"
            wanted = ", ".join(dict.fromkeys(".".join(p.steps) for p in self.places[:3]))
            self.decide(
                self.target.root.fields[0].name if self.target.root.fields else "body", f"which field takes {wanted}? there is {there}"
            )
        return self.finish(self.name, self.noun.__name__, intro)

    def _record(self, group: _Group, groups: list[tuple[str, _Group]], record: Record, above: tuple[str, ...], row: str) -> None:
        """`row`: the canonical list whose rows are written here."""
        used: set[tuple[str, ...]] = set()
        leaves = [f for f in record.fields if isinstance(f.shape, Leaf) and (".".join((*above, f.name)) not in self.filled)]
        scored = {f.name: self._found(f, above, row) for f in leaves}
        order = sorted(((s, f.name, p) for f in leaves for s, p in scored[f.name]), key=lambda x: -x[0])
        chosen: dict[str, tuple[float, _Place]] = {}
        needed = {f.name: f.required for f in leaves}
        for score, name, place in order:
            if name not in chosen and place.steps not in used | self.told and score >= (LIKELY if needed[name] else 0.6):
                chosen[name] = score, place
                used.add(place.steps)
                if place.field.repeated:
                    self.told.add(place.steps)
        for f in record.fields:
            if isinstance(f.shape, Leaf):
                if f in leaves:
                    self._line(group, groups, f, above, row, scored[f.name], chosen.get(f.name))
            elif len(groups) < 6 and f.shape not in self._open:
                self._below(group, groups, f, above, row)

    def _found(self, target: Field, above: tuple[str, ...], row: str) -> list[tuple[float, _Place]]:
        found = []
        for place in self.places:
            if place.listed and place.listed != row and not (target.repeated and place.field.repeated):
                keyed = len(self.lists) == 1 and len(self.record.fields) == 1
                factor = 1.0 if keyed else 0.7 if place.steps[-1] == "requested_location_id" else 0.0
            else:
                factor = 1.0 if place.listed == row else 0.62 if row else 1.0
            if factor and (score := self._score(target, place, above) * factor) >= CANDIDATE:
                found.append((score, place))
        return sorted(found, key=lambda x: -x[0])[:8]

    def _line(
        self, group: _Group, groups: list[tuple[str, _Group]], f: Field, above: tuple[str, ...], row: str,
        scored: Sequence[tuple[float, _Place]], chosen: tuple[float, _Place] | None,
    ) -> None:  # fmt: skip
        path = ".".join((*above, f.name))
        assert isinstance(f.shape, Leaf)  # noqa: S101 - as the caller saw
        if chosen is not None:
            score, place = chosen
            best = next((s for s, p in scored if p is not place), 0.0)
            way = self.first(groups, f.name, self._ways(f, place, row))
            if isinstance(way, _Way):
                certain = way.sure and score >= CERTAIN and score - best >= _CLEAR
                remark = (
                    ""
                    if certain
                    else f"likely ({min(score, 1.0):.2f}): {way.remark or ('.'.join(place.steps) + ' by name')}{_others(scored, place)}"
                )
                group.lines[f.name] = Line(path, way.text, score, certain, remark)
                return
            if way is not None and f.required:
                self.decide(path, way.question)
                return
        if not f.required:
            return
        if f.shape.enum and len(f.shape.enum) == 1:
            group.lines[f.name] = Line(path, repr(f.shape.enum[0]), 1.0, certain=True)
            return
        near = [f"{'.'.join(p.steps)} ({min(s, 1.0):.2f})" for s, p in scored][:3]
        listed = f"one of {', '.join(map(repr, f.shape.enum[:12]))}" if f.shape.enum else f"{f.shape.kind}"
        self.decide(
            path,
            f"{listed} is wanted; "
            + ("perhaps " + "; or ".join(near) if near else f"nothing in {self.noun.__name__} is this: a constant?"),
        )

    def _below(self, group: _Group, groups: list[tuple[str, _Group]], f: Field, above: tuple[str, ...], row: str) -> None:
        assert isinstance(f.shape, Record)  # noqa: S101 - as the caller saw
        inner = _Group()
        if f.repeated:
            chosen = self._rows_for(f, (*above, f.name)) if not row else ""
            if not chosen:
                if f.required:
                    self.decide(".".join((*above, f.name)), "a list is wanted; each = which list?")
                return
            inner.words["each"] = chosen
            row = chosen
        before, outer = len(self.decisions), self._open
        self._open = (*outer, f.shape)
        self._record(inner, [*groups, (f.name, inner)], f.shape, (*above, f.name), row)
        self._open = outer
        if inner.empty() or (not f.required and len(self.decisions) > before and not any(line.certain for line in _lines(inner))):
            del self.decisions[before:]
            if f.required and inner.empty():
                self.decide(".".join((*above, f.name)), "a record is wanted; nothing is clearly in it")
            return
        self._shared(inner, [*groups, (f.name, inner)], f)
        group.groups[f.name] = inner

    def _shared(self, inner: _Group, groups: list[tuple[str, _Group]], f: Field) -> None:
        """Where all lines start at one optional record, the paths start there: without it the target is left out."""
        starts = {line.expression.partition(".")[0] for line in inner.lines.values()}
        if len(starts) != 1 or len(inner.lines) < 2 or inner.words or inner.groups:
            return
        start = next(iter(starts))
        held = self.record.get(start)
        if held is None or held.repeated or not isinstance(held.shape, Record) or _amount(held):
            return
        turned = {n: Line(x.path, x.expression.removeprefix(f"{start}."), x.score, x.certain, x.remark) for n, x in inner.lines.items()}
        trial = _Group({"of": start}, turned)
        if all(not self.proven([*groups[:-1], (f.name, trial)], n, x.expression, whole=True) for n, x in turned.items()):
            inner.words, inner.lines = trial.words, turned

    def _rows_for(self, f: Field, above: tuple[str, ...]) -> str:
        """The canonical list that a list of the system is."""
        assert isinstance(f.shape, Record)  # noqa: S101 - as the caller saw
        best = (0.0, "")
        around = [c for name in above[-2:] for c in concepts(name)]
        for held in self.lists:
            places = [p for p in self.places if p.listed == held.name]
            scores = [max((self._score(x, p, above) for _, x in _leaves(f.shape)), default=0.0) for p in places]
            fit = sum(s for s in scores if s >= LIKELY) / max(1, min(len(places), 4))
            named = meant(phrases_of("", held.name), around, (), frozenset())
            if (total := 0.55 * min(fit, 1.0) + 0.45 * named) > best[0]:
                best = (total, held.name)
        return best[1] if best[0] >= 0.42 else ""

    def _ways(self, f: Field, place: _Place, row: str) -> Iterator[_Way | _Open]:
        assert isinstance(f.shape, Leaf)  # noqa: S101 - as the caller saw
        base = place.text
        if place.listed and place.listed != row:
            inner = "" if place.text == "this" else f".{place.text}"
            if f.repeated:
                for way in self._pipes(f, place, place.text):
                    yield _Way(place.listed if way.text == "this" else f"{place.listed} | each({way.text})", way.sure, way.remark)
                return
            base = f"({place.listed} | first){inner}" if inner else f"{place.listed} | first"
        elif row and not place.listed:
            base = f"parent.{base}"
        for way in self._pipes(f, place, base):
            for end in ("", " | required") if f.required or (place.listed and place.listed != row) else ("",):
                yield _Way(f"{way.text}{end}", way.sure, way.remark)

    def _pipes(self, f: Field, place: _Place, base: str) -> Iterator[_Way]:
        leaf = f.shape
        assert isinstance(leaf, Leaf)  # noqa: S101 - as the caller saw
        if place.part == "amount":
            name = "quantity" if any("quantity" in s for s in place.steps) else "money"
            if leaf.kind == "integer" and name == "money":
                yield _Way(f"{base} | minor_units", sure=False, remark="in the smallest unit of the currency?")
            if leaf.kind == "decimal" and leaf.digits and name == "money":
                yield _Way(f"{base} | amount")
                yield _Way(
                    f"{base} | minor_units | implied({leaf.digits[1]})",
                    sure=False,
                    remark=f"with {leaf.digits[1]} digits whatever the currency",
                )
            for end in ("", " | integer", " | string(2)" if name == "money" else " | string", " | decimal(3)", " | decimal(2)"):
                yield _Way(f"{base} | amount{end}")
            return
        if place.part in ("currency", "unit"):
            base = f"{base} | {place.part}"
        kind = place.leaf.kind
        if leaf.enum and kind == "string":
            name = place.part or place.steps[-1]
            values = place.leaf.enum or tuple(dict.fromkeys(cases().get(name, {}).values()))
            turned = self._turned(name, values, leaf.enum)
            rest = [v for v in values if v not in turned]
            if turned:
                yield _Way(f"{base} | {_enum(turned, otherwise='refuse' if rest or not place.leaf.enum else '')}", sure=False,
                           remark="cases by their usual meaning" + (f"; {', '.join(rest[:6])} are refused" if rest else ""))  # fmt: skip
                yield _Way(
                    f"{base} | {_enum(turned, otherwise='refuse')}", sure=False, remark="cases by their usual meaning; others are refused"
                )
        if kind == "datetime" and leaf.kind in ("string", "date", "integer", "any"):
            if leaf.kind == "integer":
                yield _Way(f"{base} | epoch_millis", sure=False, remark="milliseconds since 1970?")
            yield _Way(f"{base} | day('UTC')", sure=False, remark="the day in UTC")
            text = "YYYYMMDD" if leaf.max_length == 8 else "YYYY-MM-DD"
            yield _Way(f"{base} | day('UTC') | format('{text}')", sure=False, remark=f"the day in UTC, written as {text}")
        width = padded(f.name)
        if width is not None and leaf.kind == "string" and (width or leaf.max_length):
            yield _Way(f"{base} | pad_zeros({width or leaf.max_length})")
        yield _Way(base)
        if leaf.max_length and kind == "string":
            yield _Way(f"{base} | at_most({leaf.max_length})")
        for end in ("string", "integer", "decimal"):
            yield _Way(f"{base} | {end}")
            if leaf.max_length and end == "string":
                yield _Way(f"{base} | string | at_most({leaf.max_length})")

    @staticmethod
    def _turned(name: str, values: Sequence[str], codes: Sequence[str]) -> dict[str, str]:
        """Canonical value -> the code of the system that means it."""
        words = cases().get(name, {})
        found: dict[str, str] = {}
        for value, code in product(values, codes):
            if value not in found and (bare(code) == bare(value) or words.get(bare(code)) == value):
                found[value] = code
        return found


# ---- text -----------------------------------------------------------------------------------------------------------


def _key(name: str, *, group: bool = False) -> str:
    text = f"={name}" if group and name in GROUP_WORDS else name
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else json.dumps(text, ensure_ascii=False)


def _quoted(text: str) -> str:
    return json.dumps(re.sub(r"[\x00-\x1f\x7f]", " ", text), ensure_ascii=False)


def _value(expression: str) -> str:
    return {"True": "true", "False": "false"}.get(expression) or _quoted(expression)


def _body(group: _Group, path: str) -> Iterator[str]:
    names = {**{w: (_value(t), "") for w, t in group.words.items()}}
    keys = {**{w: w for w in group.words}, **{n: _key(n, group=bool(path.count("."))) for n in group.lines}}
    width = max((len(k) for k in keys.values()), default=0)
    for word, (text, _) in names.items():
        yield f"{word:{width}} = {text}"
    for name, line in group.lines.items():
        yield f"{keys[name]:{width}} = {_value(line.expression)}" + (f"  # {_plain(line.remark)}" if line.remark else "")
    for name, inner in group.groups.items():
        if inner.empty() and not inner.words:
            continue
        at = f"{path}.{_key(name, group=bool(path.count('.')))}"
        if inner.lines or inner.words:
            yield from ("", f"[{at}]")
        yield from _body(inner, at)


def _plain(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]", " ", text)


def _render(
    head: Mapping[str, str], group: _Group, decisions: Sequence[Decision] = (), unused: Sequence[str] = (), intro: str = ""
) -> list[str]:
    out = [f"# {line}".rstrip() for line in intro.splitlines()]
    out += [f"{k} = {_quoted(v)}" for k, v in head.items()]
    body = list(_body(group, "fields"))
    if group.lines or not body:
        out += ["", "[fields]"]
    out += body
    if decisions:
        out += ["", "# To decide: for each write a line under its [fields], then remove it here.", "[decide]"]
        out += [f"{_key(d.path)} = {_quoted(d.question)}" for d in decisions]
    if unused:
        out += ["", "# Not used. Map what is needed, and write for the rest why it is left out.", "[drops]"]
        width = max(len(_key(p)) for p in unused)
        out += [f"{_key(p):{width}} = {_quoted(UNDECIDED)}" for p in unused]
    return out


def _at_line(text: str, top: _Group, line: int) -> Iterator[tuple[_Group, str]]:
    """The proposed line that stands on a line of the text."""
    lines = text.splitlines()
    if not 0 < line <= len(lines):
        return
    table_name = next((x for x in reversed(lines[:line]) if x.startswith("[")), "[fields]")
    group = top
    for part in re.findall(r'"(?:[^"\\]|\\.)*"|[A-Za-z0-9_=-]+', table_name.strip("[]"))[1:]:
        name = (json.loads(part) if part.startswith('"') else part).removeprefix("=")
        if name not in group.groups:
            return
        group = group.groups[name]
    for name in group.lines:
        if lines[line - 1].startswith((f"{_key(name)} ", f"{_key(name, group=True)} ")):
            yield group, name


# ---- the two directions ------------------------------------------------------------------------------------------------


def draft_answer(capability: str, operation: str, answer: Message, *, intro: str = "", samples: Samples | None = None) -> Draft:
    """A mapping from what `system.Operation` answers to the capability's noun."""
    return _Reader(CAPABILITIES[capability].answer, operation, answer, samples).draft(intro)


def draft_request(capability: str, operation: str, request: Message, *, intro: str = "", filled: frozenset[str] = frozenset()) -> Draft:
    """A mapping from the capability's question to what `system.Operation` is asked. `filled`: paths that the driver fills itself."""
    return _Writer(CAPABILITIES[capability].request, operation, request, filled).draft(intro)


def draft_inputs(noun: Any) -> list[str]:
    """Canonical fields that a draft looks for, for tools that explain it."""
    return [f.name for f in message(noun).root.fields if f.name not in (*GATEWAY_FILLED, *_NOT_DRAFTED)]
