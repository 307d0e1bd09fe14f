"""The manual's list of canonical nouns, made from their types: what a mapping may fill, and what a request may be made of."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Final

from contracts.ports import CAPABILITIES
from mappings.language.shape import Field, Leaf, Record
from mappings.language.structs import GATEWAY_FILLED, StructRecord, record

_AMOUNTS: Final = {"Money": "money", "Quantity": "quantity", "UnitPrice": "unit price"}
"""Records that functions of the language make in one piece."""
_NO_LINE: Final = r"(?!\n)"
_HEAD: Final = """# Canonical nouns

Generated from their types: `./run publish` writes it anew. [Mappings](../mapping-language.md) write fields by these names, in `[fields]`
and as the paths of a request; in JSON (examples, the API) the same names are written `likeThis`. A field of a nested record has a dot
before it, `[]` stands for a list. Money, quantities and unit prices are made in one piece, by the functions of these names. Which
capability has which nouns is said by [the estate file](../estate.md#capabilities).
"""


def text() -> str:
    used: dict[str, tuple[type, set[str]]] = {}
    for name, capability in CAPABILITIES.items():
        for noun, role in ((capability.request, "asks"), (capability.answer, "answers")):
            used.setdefault(noun.__name__, (noun, set()))[1].add(f"{role} `{name}`")
    parts = [_HEAD]
    for title in sorted(used):
        noun, roles = used[title]
        found = record(noun)
        said = inspect.cleandoc(noun.__dict__.get("__doc__") or "")  # not the one of what it inherits from
        parts += [f"## {title}\n", *([f"{said}\n"] if said else []), f"It {', '.join(sorted(roles))}.\n"]
        if rows := list(_rows(found, "", (found,))):
            parts += ["| field | type | required |", "|---|---|---|", *rows, ""]
    return "\n".join(parts)


def _rows(node: Record, before: str, above: tuple[Record, ...]) -> Iterator[str]:
    defaults = (node.defaults if isinstance(node, StructRecord) else None) or {}
    for field in node.fields:
        if field.name in GATEWAY_FILLED:
            continue
        known = defaults.get(field.name)
        needed = "yes" if field.required else "" if known is None or known in ((), {}) else f"else `{known}`"
        name = f"{before}{field.name}{'[]' if field.repeated else ''}"
        yield f"| `{name}` | {_type(field)} | {needed} |"
        if isinstance(field.shape, Record) and field.shape.name not in _AMOUNTS and field.shape not in above:
            yield from _rows(field.shape, f"{name}.", (*above, field.shape))


def _type(field: Field) -> str:
    shape = field.shape
    if not isinstance(shape, Leaf):
        return _AMOUNTS.get(shape.name, "record")
    if shape.enum:
        return ", ".join(f"`{code}`" for code in shape.enum)
    limits = [
        f"at most {shape.max_length} characters" if shape.max_length else "",
        f"from {shape.minimum}" if shape.minimum is not None else "",
        f"to {shape.maximum}" if shape.maximum is not None else "",
        f"as `{shape.pattern.removesuffix(_NO_LINE)}`".replace("|", "\\|") if shape.pattern else "",
    ]
    return ", ".join([shape.kind, *filter(None, limits)])
