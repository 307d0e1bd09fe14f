"""Drafts of what a system is asked with: which canonical value fills which field of a request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from contracts.ports import CAPABILITIES
from mappings.language.draft.conversions import Way, request_ways
from mappings.language.draft.drafting import Drafting
from mappings.language.draft.meaning import CANDIDATE, CERTAIN, CLEAR, LIKELY, implied_by, others_than
from mappings.language.draft.places import LOOKED, NOT_DRAFTED, Place, amount_of, leaves_of, records_of, said_name
from mappings.language.draft.text import Draft, Group, Line, lines_below
from mappings.language.likeness import concepts, meant, phrases_of, weight
from mappings.language.shape import Field, Leaf, Message, Record
from mappings.language.structs import GATEWAY_KEPT, StructRecord, message


def draft_request(capability: str, operation: str, request: Message, *, intro: str = "", filled: frozenset[str] = frozenset()) -> Draft:
    """A mapping from the capability's question to what `system.Operation` is asked. `filled`: paths that the driver fills itself."""
    return Writer(CAPABILITIES[capability].request, operation, request, filled).draft(intro)


class Writer(Drafting):
    def __init__(self, noun: type[msgspec.Struct], name: str, request: Message, filled: frozenset[str] = frozenset()) -> None:
        self.noun, self.name = noun, name
        super().__init__(message(noun), request, {"target": name, "source": noun.__name__})
        self.filled = filled
        assert isinstance(self.source.root, StructRecord)  # noqa: S101 - a Struct's record
        self.record: StructRecord = self.source.root
        self.implied = implied_by(noun.__name__)
        self.places = list(self._canonical(self.record, (), ""))
        self.lists = [f for f in self.record.fields if f.repeated and f.name not in (*GATEWAY_KEPT, *NOT_DRAFTED)]
        self.looked = 0
        """Fields that were asked what they take; what a request has beyond is left to a person."""
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
        targets = ((steps, f) for steps, _, record, _ in self._targets() for f in record.fields if isinstance(f.shape, Leaf))
        for steps, f in islice(targets, LOOKED):
            for place in self.places:
                if place.steps[0] in best:
                    best[place.steps[0]] = max(best[place.steps[0]], self._score(f, place, steps))
        return sum(s for s in best.values() if s >= LIKELY) / len(best)

    def _targets(self) -> Iterator[tuple[tuple[str, ...], bool, Record, int]]:
        for steps, record, lists in records_of(self.target.root):
            if lists < 2 and len(steps) < 6:
                yield steps, bool(lists), record, lists

    def _canonical(self, record: StructRecord, steps: tuple[str, ...], listed: str) -> Iterator[Place]:
        for f in record.fields:
            path = (*steps, f.name)
            if f.name in GATEWAY_KEPT or f.name in NOT_DRAFTED or len(path) > 3 or f.name.endswith("_state") or path == ("id",):
                continue
            text = ".".join(path[1:] if listed else path)
            if amount := amount_of(f):
                for part in ("amount", *(("unit",) if amount == "quantity" else ("currency",))):
                    leaf = Leaf("decimal" if part == "amount" else "string")
                    yield Place(
                        (*path, part),
                        Field(part, leaf, required=f.required, nillable=f.nillable),
                        text,
                        part=part,
                        owner=record.name,
                        listed=listed,
                    )
            elif isinstance(f.shape, Leaf):
                yield Place(path, f, "this" if f.repeated else text, owner=record.name, listed=f.name if f.repeated else listed)
            elif isinstance(f.shape, StructRecord) and not (f.repeated and listed):
                yield from self._canonical(f.shape, path, f.name if f.repeated else listed)

    def _score(self, target: Field, place: Place, above: tuple[str, ...]) -> float:
        """As `likelihood`, the other way round: the system's name is looked at, the canonical field is what it may mean."""
        path = [s for s in place.steps if s != place.part] if place.part else list(place.steps)
        noun = place.owner or self.noun.__name__
        phrases = phrases_of(noun, path[-1])
        if place.part == "currency":
            phrases = ((("currency",), 1.0), (("currency", "number"), 1.0))
        elif place.part == "unit":
            phrases = ((("unit",), 1.0), (("unit", "number"), 0.9))
        if place.field.repeated and place.text == "this":
            phrases = phrases_of(noun, "sku")
        name, above = said_name((*above, target.name))
        around = [c for n in above[-2:] for c in concepts(n)]
        own = concepts(name)
        implied = implied_by(noun)
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

    def _takes(self, target: Field, place: Place) -> float:
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
            there = ", ".join(".".join(steps) for steps, _ in list(leaves_of(self.target.root))[:8]) or "nothing that is no list"
            wanted = ", ".join(dict.fromkeys(".".join(p.steps) for p in self.places[:3]))
            self.decide(
                self.target.root.fields[0].name if self.target.root.fields else "body", f"which field takes {wanted}? there is {there}"
            )
        return self.finish(self.name, self.noun.__name__, intro)

    def _record(self, group: Group, groups: list[tuple[str, Group]], record: Record, above: tuple[str, ...], row: str) -> None:
        """`row`: the canonical list whose rows are written here."""
        used: set[tuple[str, ...]] = set()
        leaves = [f for f in record.fields if isinstance(f.shape, Leaf) and (".".join((*above, f.name)) not in self.filled)]
        leaves = leaves[: max(0, LOOKED - self.looked)]
        self.looked += len(leaves)
        scored = {f.name: self._found(f, above, row) for f in leaves}
        order = sorted(((s, f.name, p) for f in leaves for s, p in scored[f.name]), key=lambda x: -x[0])
        chosen: dict[str, tuple[float, Place]] = {}
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

    def _found(self, target: Field, above: tuple[str, ...], row: str) -> list[tuple[float, Place]]:
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
        self, group: Group, groups: list[tuple[str, Group]], f: Field, above: tuple[str, ...], row: str,
        scored: Sequence[tuple[float, Place]], chosen: tuple[float, Place] | None,
    ) -> None:  # fmt: skip
        path = ".".join((*above, f.name))
        assert isinstance(f.shape, Leaf)  # noqa: S101 - as the caller saw
        if chosen is not None:
            score, place = chosen
            best = next((s for s, p in scored if p is not place), 0.0)
            way = self.first(groups, f.name, request_ways(f, place, row))
            if isinstance(way, Way):
                certain = way.sure and score >= CERTAIN and score - best >= CLEAR
                remark = "" if certain else f"{way.remark or ('.'.join(place.steps) + ' by name')}{others_than(scored, place)}"
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

    def _below(self, group: Group, groups: list[tuple[str, Group]], f: Field, above: tuple[str, ...], row: str) -> None:
        assert isinstance(f.shape, Record)  # noqa: S101 - as the caller saw
        inner = Group()
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
        if inner.empty() or (not f.required and len(self.decisions) > before and not any(line.certain for line in lines_below(inner))):
            del self.decisions[before:]
            if f.required and inner.empty():
                self.decide(".".join((*above, f.name)), "a record is wanted; nothing is clearly in it")
            return
        self._shared(inner, [*groups, (f.name, inner)], f)
        group.groups[f.name] = inner

    def _shared(self, inner: Group, groups: list[tuple[str, Group]], f: Field) -> None:
        """Where all lines start at one optional record, the paths start there: without it the target is left out."""
        starts = {line.expression.partition(".")[0] for line in inner.lines.values()}
        if len(starts) != 1 or len(inner.lines) < 2 or inner.words or inner.groups:
            return
        start = next(iter(starts))
        held = self.record.get(start)
        if held is None or held.repeated or not isinstance(held.shape, Record) or amount_of(held):
            return
        turned = {n: Line(x.path, x.expression.removeprefix(f"{start}."), x.score, x.certain, x.remark) for n, x in inner.lines.items()}
        trial = Group({"of": start}, turned)
        if all(not self.proven([*groups[:-1], (f.name, trial)], n, x.expression, whole=True) for n, x in turned.items()):
            inner.words, inner.lines = trial.words, turned

    def _rows_for(self, f: Field, above: tuple[str, ...]) -> str:
        """The canonical list that a list of the system is."""
        assert isinstance(f.shape, Record)  # noqa: S101 - as the caller saw
        best = (0.0, "")
        around = [c for name in above[-2:] for c in concepts(name)]
        for held in self.lists:
            places = [p for p in self.places if p.listed == held.name]
            scores = [max((self._score(x, p, above) for _, x in leaves_of(f.shape)), default=0.0) for p in places]
            fit = sum(s for s in scores if s >= LIKELY) / max(1, min(len(places), 4))
            named = meant(phrases_of("", held.name), around, (), frozenset())
            if (total := 0.55 * min(fit, 1.0) + 0.45 * named) > best[0]:
                best = (total, held.name)
        return best[1] if best[0] >= 0.42 else ""
