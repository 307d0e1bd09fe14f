"""Where a mapping speaks of a field of the contract: in which expression, from which record, and for which canonical fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from mappings.language.change.difference import Difference, Steps
from mappings.language.expression import Call, Const, Member, Node, Path, nodes
from mappings.language.mapping import CompiledMapping
from mappings.language.read import Group, MappingFile, Rule
from mappings.language.shape import Exchange, Field, Leaf, Record

Shapes = Callable[[str], Exchange]


def concerns(mapping: CompiledMapping, difference: Difference) -> bool:
    """Whether the mapping looks at the place: fields that it uses, that it drops by name, and new ones beside those."""
    path, builder = difference.path, mapping.builder
    if mapping.reads:
        used = builder.used
        if any(path[: len(d)] == d for d in builder.drops):
            return path in builder.drops and difference.kind in ("removed", "renamed", "moved")
    else:
        used = {tuple(t.split(".")) for t in builder.filled}
    if difference.kind == "added":
        beside = difference.path[:-1]
        return not beside or any(u[: len(beside)] == beside for u in used)
    return any(u[: len(path)] == path for u in used)


def targets_of(mapping: CompiledMapping, path: Steps) -> tuple[str, ...]:
    dotted = ".".join(path)
    if not mapping.reads:
        return tuple(sorted({s for t, x in mapping.lineage.items() if t == dotted or t.startswith(f"{dotted}.") for s in x.sources}))
    return tuple(t for t, x in mapping.lineage.items() if any(s == dotted or s.startswith(f"{dotted}.") for s in x.sources))


@dataclass(frozen=True, slots=True)
class Use:
    """An expression, and the records around it: paths from the document down to the one that its own paths start at."""

    rule: Rule
    chain: tuple[Steps, ...]


def uses(file: MappingFile, steps: Steps, root: Record) -> Iterator[Use]:
    chain = tuple(steps[:n] for n in range(len(steps) + 1))
    for refusal in file.refusals:
        yield from (Use(r, ((),)) for r in (refusal.when, refusal.code, refusal.reason) if r is not None)
    if file.where is not None:
        yield Use(file.where, chain)
    yield from _group_uses(file.fields, chain, root)


def _group_uses(group: Group, chain: tuple[Steps, ...], root: Record) -> Iterator[Use]:
    inner = chain
    for rule in (group.each, group.of):
        if rule is not None:
            yield Use(rule, chain)
            path = _first_path(rule.node)
            found = _resolved(path, chain, root) if path is not None else None
            if found is not None:
                inner = (*chain, found)
    if group.when is not None:
        yield Use(group.when, chain)
    if group.where is not None:
        yield Use(group.where, inner)
    for rule in group.rules.values():
        yield Use(rule, inner)
    for below in group.groups.values():
        yield from _group_uses(below, inner, root)


def _first_path(node: Node) -> Path | None:
    return next((n for n in nodes(node) if isinstance(n, Path)), None)


def _resolved(path: Path, chain: tuple[Steps, ...], root: Record) -> Steps | None:
    """The whole path from the document, if there is such a field."""
    if path.anchor in ("parameters", "context"):
        return None
    base = () if path.anchor == "root" else chain[-1 - path.up] if path.up < len(chain) else None
    if base is None:
        return None
    full = (*base, *path.steps)
    return full if _field(root, full) is not None else None


def _field(root: Record, path: Steps) -> Field | None:
    record: Record | Leaf = root
    found: Field | None = None
    for name in path:
        found = record.get(name) if isinstance(record, Record) else None
        if found is None:
            return None
        record = found.shape
    return found


def spoken_paths(node: Node, chain: tuple[Steps, ...], root: Record) -> Iterator[tuple[Path | Member, Steps, tuple[Steps, ...]]]:
    """(path, what it stands for, chain it was resolved in) of all paths in an expression; functions over a list speak of its rows."""
    match node:
        case Path():
            if (full := _resolved(node, chain, root)) is not None:
                yield node, full, chain
        case Call(arguments=arguments, named=named):
            first = next((p for a in arguments[:1] for p, _, _ in spoken_paths(a, chain, root) if isinstance(p, Path)), None)
            rows = _resolved(first, chain, root) if first is not None else None
            for n, part in enumerate((*arguments, *(value for _, value in named))):
                found = list(spoken_paths(part, chain, root))
                if n and not found and rows is not None:
                    found = list(spoken_paths(part, (*chain, rows), root))
                yield from found
        case Member(base=base, steps=steps):
            yield from spoken_paths(base, chain, root)
            path = _first_path(base)
            rows = _resolved(path, chain, root) if path is not None else None
            if rows is not None and _field(root, (*rows, *steps)) is not None:
                yield node, (*rows, *steps), (*chain, rows)
        case _:
            for part in _parts(node):
                yield from spoken_paths(part, chain, root)


def _parts(node: Node) -> Iterable[Node]:
    below = [getattr(node, name, None) for name in ("left", "right", "test", "then", "otherwise")]
    several = [n for name in ("parts", "items") for n in getattr(node, name, ())]
    return [n for n in (*below, *several) if n is not None and not isinstance(n, tuple | str) and not isinstance(n, Const)]
