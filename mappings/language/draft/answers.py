"""Drafts from what a system answers: which of its records become one canonical noun each, and which value fills which field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

import msgspec

from contracts.ports import CAPABILITIES
from mappings.language.draft.conversions import AnswerWays, Open, Way, codes_of, enum_of
from mappings.language.draft.drafting import Drafting
from mappings.language.draft.meaning import CANDIDATE, CERTAIN, CLEAR, GUESSED, LIKELY, implied_by, likelihood, others_than
from mappings.language.draft.places import (
    LEAVES,
    LOOKED,
    NOT_DRAFTED,
    Place,
    Samples,
    expression_of,
    is_scalar,
    leaves_of,
    plainly_named,
    records_of,
)
from mappings.language.draft.text import Draft, Group, Line
from mappings.language.likeness import concepts, meant, phrases_of
from mappings.language.shape import Field, Leaf, Message, Record
from mappings.language.structs import GATEWAY_FILLED, StructRecord, message

HELD: Final = 30_000
"""Values that are looked at for nested records, from which on only the first of each record are."""
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


def draft_answer(capability: str, operation: str, answer: Message, *, intro: str = "", samples: Samples | None = None) -> Draft:
    """A mapping from what `system.Operation` answers to the capability's noun."""
    return Reader(CAPABILITIES[capability].answer, operation, answer, samples).draft(intro)


class Reader(Drafting):
    def __init__(self, noun: type[msgspec.Struct], name: str, answer: Message, samples: Samples | None = None) -> None:
        self.noun, self.name, self.samples = noun, name, samples or {}
        target = message(noun)
        super().__init__(answer, target, {})
        assert isinstance(target.root, StructRecord)  # noqa: S101 - a Struct's record
        self.record: StructRecord = target.root
        self.implied = implied_by(noun.__name__)
        self.spent: frozenset[tuple[str, ...]] = frozenset()
        """Values of the same record that the record around uses already."""
        self.looked = 0
        """Values that were looked at for nested records."""
        self.around: list[Place] = []
        """Values of the records around the one that is filled."""
        self.steps, self.item = self._rows()
        self.at = self.steps
        """Path of the record that is filled from."""
        self.head = {"target": noun.__name__, "source": "/".join((name, *self.steps))}

    def worth(self) -> float:
        """How much of the noun the answer seems to hold, 0 to 1; required fields count double."""
        wanted = [f for f in self.record.fields if f.name not in (*GATEWAY_FILLED, *NOT_DRAFTED)]
        places = list(self._places(self.item))
        needed = sum(2.0 for f in wanted if f.required and is_scalar(f))
        got = sum((2.0 if f.required else 0.5) * best for f in wanted if is_scalar(f) and (best := self._best(f, places)) >= LIKELY)
        return min(1.0, got / (needed + 0.5))

    def _best(self, target: Field, places: Sequence[Place]) -> float:
        return max((self._score(self.record.name, target, p) for p in places), default=0.0)

    def _score(self, noun: str, target: Field, place: Place) -> float:
        at = place.steps if place.anchor == "root" else (*self.at, *place.steps)
        score = likelihood(noun, target.name, target, place, self.samples.get(at, ()))
        if score < GUESSED and place.leaf.enum and isinstance(target.shape, Leaf) and (target.shape.enum or target.shape.kind == "boolean"):
            wanted = set(concepts(target.name)) - {"flag"}
            if any(wanted & set(concepts(code)) for code in place.leaf.enum):
                return GUESSED  # one of its codes is called as the target is
        return score

    def _places(self, record: Record, *, root: bool = True) -> Iterator[Place]:
        for n, (steps, f) in enumerate(leaves_of(record)):
            if n >= LEAVES:
                return
            yield Place(steps, f, expression_of(steps))
        if root and self.steps:
            for steps, f in leaves_of(self.source.root):
                if len(steps) < 3 and steps[0] != self.steps[0] and plainly_named(steps):
                    yield Place(steps, f, expression_of(steps, "root"), "root")

    def _rows(self) -> tuple[tuple[str, ...], Record]:
        """The records that become one target each: those that hold most of what is wanted."""
        best: tuple[float, tuple[str, ...], Record] = (0.0, (), self.source.root)
        worth: dict[int, float] = {}
        looked = 0
        for steps, record, lists in records_of(self.source.root):
            if {f.name.lower() for f in record.fields} >= _MESSAGES:
                continue
            if id(record) not in worth:
                own = [Place(s, f, "") for s, f in islice(leaves_of(record), max(50, LOOKED - looked))]
                looked += len(own)
                worth[id(record)] = self._rows_worth(own)
            own_name = [c for s in steps[-2:] for c in concepts(s)]
            about = meant(((tuple(self.implied), 1.0),), own_name, (), frozenset()) if self.implied else 0.0
            total = worth[id(record)] * (1 + 0.1 * about) * (0.96 ** max(0, lists - 1)) * (1.0 + 0.02 * min(len(steps), 2))
            if total > best[0] + 1e-9:
                best = (total, steps, record)
        return best[1], best[2]

    def _rows_worth(self, places: Sequence[Place]) -> float:
        """How much of the noun's own fields these values say; required fields count double."""
        total, noun = 0.0, self.noun.__name__
        for target in self.record.fields:
            if is_scalar(target) and target.name not in GATEWAY_FILLED:
                top = max((likelihood(noun, target.name, target, p) * (0.93 ** (len(p.steps) - 1)) for p in places), default=0.0)
                total += (2.0 if target.required else 1.0) * top if top >= 0.4 else 0.0
        return total

    def draft(self, intro: str) -> Draft:
        self._fill(self.top, [], self.record, self.item, "")
        return self.finish(self.noun.__name__, self.head["source"], intro)

    def _fill(self, group: Group, groups: list[tuple[str, Group]], target: StructRecord, source: Record, prefix: str) -> None:
        places = list(self._places(source, root=not prefix))
        fields = [f for f in target.fields if f.name not in (*GATEWAY_FILLED, *NOT_DRAFTED)]
        wanted = [f for f in fields if is_scalar(f) and not f.repeated]
        scored = {f.name: sorted(((self._score(target.name, f, p), p) for p in places), key=lambda x: -x[0])[:8] for f in wanted}
        order = sorted(
            ((s, f.required, f, p) for f in wanted for s, p in scored[f.name] if s >= CANDIDATE), key=lambda x: (-x[0], not x[1])
        )
        taken: dict[tuple[str, ...], str] = {}
        chosen: dict[str, tuple[float, Place]] = {}
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
        self, group: Group, groups: list[tuple[str, Group]], target: StructRecord, f: Field, prefix: str,
        scored: Sequence[tuple[float, Place]], chosen: tuple[float, Place] | None, places: Sequence[Place],
        taken: Mapping[tuple[str, ...], str],
    ) -> None:  # fmt: skip
        path = f"{prefix}{f.name}"
        best = next((s for s, p in scored if chosen is None or p is not chosen[1] if p.steps not in taken), 0.0)
        texts = self._translated(places) if f.name == "name" and isinstance(f.shape, Record) else None
        if texts is not None and (chosen is None or chosen[0] < CERTAIN):
            group.lines[f.name] = Line(path, texts, 0.8, certain=False, remark="texts of a list, by language")
            return
        if chosen is not None:
            score, place = chosen
            way = self.first(groups, f.name, self._ways(f, place, places))
            if isinstance(way, Way):
                certain = way.sure and score >= CERTAIN and score - best >= CLEAR
                remark = "" if certain else f"{way.remark or place.name + ' by name'}{others_than(scored, place)}"
                group.lines[f.name] = Line(path, way.text, score, certain, remark)
                return
            if way is not None:
                self.decide(path, way.question)
                return
            scored = [(s, p) for s, p in scored if p is not place]
        constant = _CONSTANTS.get((target.name, f.name), "")
        if constant and (f.required or target.name == "PackGtin") and not self.proven(groups, f.name, constant):
            group.lines[f.name] = Line(path, constant, 0.5, certain=False, remark="the contract has no field for it")
            return
        near = [f"{p.text} ({min(s, 1.0):.2f})" for s, p in scored if s >= CANDIDATE][:3]
        if near and isinstance(way := self.first(groups, f.name, self._ways(f, scored[0][1], places)), Way):
            near[0] += f', then write {f.name} = "{way.text}"'
        if f.required or (near and scored[0][0] >= 0.42 and scored[0][1].steps not in taken):
            listed = f"one of {', '.join(map(repr, f.shape.enum))}" if isinstance(f.shape, Leaf) and f.shape.enum else ""
            hint = ("perhaps " + "; or ".join(near)) if near else f"no field of {self.name} is clearly this: a field, or a constant"
            self.decide(path, "; ".join(filter(None, (listed, hint))))

    def _nested(
        self, group: Group, groups: list[tuple[str, Group]], f: Field, source: Record, prefix: str, taken: frozenset[tuple[str, ...]]
    ) -> None:
        """One nested record: from the fields beside it, or from a record of the source."""
        assert isinstance(f.shape, StructRecord)  # noqa: S101 - as the caller saw
        best: tuple[float, tuple[str, ...], Record] = (0.0, (), source)
        for steps, record, lists in records_of(source):
            if not lists and len(steps) < 3 and (worth := self._holds(f.shape, record)) * (1 if not steps else 1.05) > best[0]:
                best = (worth, steps, record)
        if best[0] < LIKELY:
            return
        inner = Group({"of": expression_of(best[1])} if best[1] else {})
        self.spent = frozenset() if best[1] else taken
        self._inner(group, groups, f, inner, best[1], best[2], source, prefix)

    def _list(
        self, group: Group, groups: list[tuple[str, Group]], f: Field, source: Record, prefix: str, taken: frozenset[tuple[str, ...]]
    ) -> None:
        """A list of records: from a list of the source, from one record, or from one value."""
        assert isinstance(f.shape, StructRecord)  # noqa: S101 - as the caller saw
        best: tuple[float, str, tuple[str, ...], Record] = (0.0, "", (), source)
        for steps, lists, record in self._below(source):
            score = self._holds(f.shape, record, taken if not steps else frozenset())
            named = meant(phrases_of("", f.name), [c for s in steps[-2:] for c in concepts(s)], (), frozenset()) if steps else 0.0
            score *= 0.75 + 0.25 * named if lists else 0.7 + 0.2 * named if steps else 0.72
            if score > best[0]:
                best = (score, (expression_of(steps) if steps else "this") + ("" if lists else " | as_list"), steps, record)
        needed = [x for x in f.shape.fields if x.required and (f.shape.name, x.name) not in _CONSTANTS]
        if best[0] < LIKELY and len(needed) == 1 and is_scalar(needed[0]):
            found = sorted(((self._score(f.shape.name, needed[0], p), p) for p in self._places(source, root=False)), key=lambda x: -x[0])
            if found and found[0][0] >= LIKELY and found[0][1].leaf.kind in ("string", "any"):
                inner = Group({"each": f"{found[0][1].text} | text | as_list"})
                inner.lines[needed[0].name] = Line(
                    f"{prefix}{f.name}.{needed[0].name}", "this", found[0][0], found[0][0] >= CERTAIN, f"{found[0][1].name} by name"
                )
                if not self.proven([*groups, (f.name, inner)], needed[0].name, "this"):
                    group.groups[f.name] = inner
            return
        if best[0] >= LIKELY:
            self.spent = frozenset() if best[2] else taken
            self._inner(group, groups, f, Group({"each": best[1]}), best[2], best[3], source, prefix)

    def _inner(
        self, group: Group, groups: list[tuple[str, Group]], f: Field, inner: Group, steps: tuple[str, ...], source: Record,
        outer: Record, prefix: str,
    ) -> None:  # fmt: skip
        """Keeps the nested record only when all that it must have is found."""
        assert isinstance(f.shape, StructRecord)  # noqa: S101 - as the caller saw
        before, around, at = len(self.decisions), self.around, self.at
        if inner.words:
            above = [
                Place(x.steps, x.field, f"parent.{x.text}", "parent")
                for x in (*self._places(outer, root=False), *around)
                if plainly_named(x.steps)
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
        places = [Place(s, f, "") for s, f in islice(leaves_of(record), max(50, min(LEAVES, HELD - self.looked)))]
        self.looked += len(places)
        wanted = [f for f in target.fields if is_scalar(f) and not f.repeated and f.name not in GATEWAY_FILLED]
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
        for steps, record, lists in records_of(source):
            if len(steps) <= 4 and lists <= 1:
                yield steps, lists, record

    def _texts(
        self, group: Group, groups: list[tuple[str, Group]], target: StructRecord, f: Field, places: Sequence[Place], prefix: str
    ) -> None:
        """A list of texts (category path): from one value that holds several."""
        found = sorted(((self._score(target.name, f, p), p) for p in places), key=lambda x: -x[0])
        if found and found[0][0] >= LIKELY and f.required is False:
            score, place = found[0]
            text = f"{place.text} | text | as_list"
            if not self.proven(groups, f.name, text):
                remark = "one text; | split('/') when it holds several"
                group.lines[f.name] = Line(f"{prefix}{f.name}", text, score, certain=False, remark=remark)

    def _translated(self, places: Sequence[Place]) -> str | None:
        """Names in a list of their own, one row per language."""
        for steps, record, lists in records_of(self.item):
            if not steps or lists != 1:
                continue
            rows = [(s, f) for s, f in leaves_of(record)]
            language = next((Place(s, f, expression_of(s)) for s, f in rows if "language" in concepts(s[-1])), None)
            text = next(
                (Place(s, f, expression_of(s)) for s, f in rows if "name" in concepts(s[-1]) or "description" in concepts(s[-1])), None
            )
            if language and text:
                known, unknown, _ = codes_of("locale", Leaf("string"), language.leaf.enum or ())
                tag = f"{language.text} | {enum_of(known)}" if known and not unknown else f"{language.text} | lower"
                line = f"{expression_of(steps)} | texts({tag}, {text.text} | text) | required"
                if not self.proven([], "name", line):
                    return line
        return None

    def _ways(self, f: Field, place: Place, places: Sequence[Place]) -> Iterator[Way | Open]:
        at = place.steps if place.anchor == "root" else (*self.at, *place.steps)
        values = [v for v in self.samples.get(at, ()) if v]
        return AnswerWays(self.source.form, self.implied, self.around, values).of(f, place, places)
