"""What a mapping leaves out: source fields neither used nor dropped, drops that drop nothing, parameters that nobody names."""

from __future__ import annotations

import difflib
import re
from typing import Final

from mappings.language.build import Builder
from mappings.language.expression import split
from mappings.language.kinds import AMOUNTS
from mappings.language.read import Drop, did_you_mean, groups
from mappings.language.shape import Leaf, Record
from mappings.language.structs import GATEWAY_KEPT

REST: Final = "*"
"""As the last step of a drop: every field of that record of which nothing is used."""


def leftovers(b: Builder) -> None:
    """Source fields neither used nor dropped, and drops that drop nothing or too much."""
    dropped: set[tuple[str, ...]] = set()
    astray: set[str] = set()
    anchor = b.steps if b.target.form == "struct" else ()
    for drop in b.file.drops:
        if (path := _dropped(b, drop, anchor)) is not None:
            if path in b.used or any(u[: len(path)] == path for u in b.used):
                b.find(f"{drop.path} is dropped, and used", "remove the drop or the field", place=drop.place)
            dropped.add(path)
        else:
            astray.add(drop.path.rpartition(".")[2])
    for path in [p for p in dropped if p[-1] == REST]:  # the rest of one record, whatever it is
        dropped.remove(path)
        dropped.update(rest := _rest(b, path[:-1], dropped))
        if not rest:
            place = next(d.place for d in b.file.drops if d.path.endswith(REST))
            b.find(f"{'.'.join(path)} drops nothing: every field is used or dropped", "remove it", place=place)
    b.drops = dropped
    if b.source_is_unknown:
        return
    texts = [r.text for r in b.failed] + [text for g in groups(b.file.fields) for text in g.broken.values()]
    words = {word for text in texts for word in re.findall(r"[\w-]+", text)} | astray
    _unused(b, b.source.root, (), dropped, 0, frozenset(words))
    for name in b.file.parameters.keys() - b.parameters_used:
        b.find(f"parameter {name} is not used", "remove it", place=b.file.places.get(("parameters", name)))


def _rest(b: Builder, at: tuple[str, ...], dropped: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """The fields of the record at this path that are not used, and of which nothing is used or dropped."""
    record: Record | Leaf = b.source.root
    for step in at:
        field = record.get(step) if isinstance(record, Record) else None
        record = field.shape if field is not None else record
    paths = {(*at, f.name) for f in record.fields} if isinstance(record, Record) else set()
    touched = {known[: len(at) + 1] for known in (*b.used, *dropped, b.steps) if len(known) > len(at)}
    return paths - touched


def _dropped(b: Builder, drop: Drop, anchor: tuple[str, ...]) -> tuple[str, ...] | None:
    steps = split(drop.path)
    full = steps[1:] if steps[0] == "root" and len(steps) > 1 else (*anchor, *steps)
    record: Record | Leaf = b.source.root
    at: tuple[str, ...] = ()
    while full:
        if full == (REST,) and isinstance(record, Record):
            return (*at, REST)
        names = {".".join(full[:n]): n for n in range(1, len(full) + 1)}  # a name may hold dots
        found = next(((f, n) for name, n in names.items() if isinstance(record, Record) and (f := record.get(name))), None)
        if found is None:
            known = [f.name for f in record.fields] if isinstance(record, Record) else []
            where = ".".join(at) or b.source.name
            b.find(f"drop of an unknown field: {full[0]} is not in {where}", did_you_mean(full[0], known), place=drop.place)
            return None
        at, record, full = (*at, found[0].name), found[0].shape, full[found[1] :]
    return at


def _unused(b: Builder, record: Record, at: tuple[str, ...], dropped: set[tuple[str, ...]], depth: int, words: frozenset[str]) -> None:
    """`words`: what lines with a mistake speak of. A field that one of them names, or nearly, is not missed besides."""
    kept = GATEWAY_KEPT if b.form == "struct" else frozenset()
    plain = {f.name for f in record.fields}
    typed = {u[len(at)] for u in b.used if len(u) > len(at) and u[: len(at)] == at and u[len(at)] not in plain}
    stood_in = {name.partition(":")[0] for name in typed}
    for part in (*record.fields, *(f for name in sorted(typed) if (f := record.get(name)))):
        if part.name in stood_in and (*at, part.name) not in b.used:
            continue  # asked for by its types: what else arrives is counted as drift
        path = (*at, part.name)
        if path in dropped or part.name in kept:
            continue
        below = any(len(u) > len(path) and u[: len(path)] == path for u in b.used)
        if path not in b.used and not below and not any(d[: len(path)] == path for d in dropped):
            if words and (part.name in words or difflib.get_close_matches(part.name, words, 1, 0.75)):
                continue
            anchor = len(b.steps)
            inside = path[:anchor] == b.steps and b.target.form == "struct"
            shown = ".".join(path[anchor:] if inside else path if not anchor or b.target.form != "struct" else ("root", *path))
            b.find(
                f"source field {shown} is neither used nor dropped",
                f'map it, or write {_toml_key(shown)} = "why" under [drops]',
                place=b.file.places.get(("drops",)) or b.file.fields.place,
            )
        elif isinstance(part.shape, Record) and (below or path in b.used or any(d[: len(path)] == path for d in dropped)) and depth < 40:
            if b.form == "struct" and part.shape.name in (*AMOUNTS, "Localized") and path in b.used:
                continue
            if below or any(len(d) > len(path) and d[: len(path)] == path for d in dropped) or path == b.steps[: len(path)]:
                _unused(b, part.shape, path, dropped, depth + 1, words)


def _toml_key(path: str) -> str:
    return path if re.fullmatch(r"[A-Za-z0-9_-]+", path) else f'"{path}"'
