"""docs/estate.md: every table of estate.toml with its keys, types, defaults and meaning, taken from the types that read it."""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
import typing
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from contracts.policy import Duration
from contracts.ports import CAPABILITIES
from gateway import bootstrap, estate

_INTRODUCTION = """# The estate file

Generated from the types that read it: `./run publish` writes it anew.

`estate.toml` says who calls, which systems stand behind, what each of their operations provides, and what channels are promised.
`./run check` reads it with every contract and mapping it names, and shows all mistakes at once, with file, line and what to write
instead. Unknown keys are refused. `docs/reference/estate.schema.json` lets editors complete it.

Written in TOML: a *duration* is `800ms`, `30s`, `15m`, `24h` or `7d`. A *setting* is a value, `env:NAME` or `env:NAME|default`. A *secret*
is `env:NAME` or `file:PATH`, never the value itself. A key without default must be there.
"""
_NAMES = {
    "channel": "NAME",
    "system": "NAME",
    "operation": '"SYSTEM.OPERATION"',
    "capability": '"NAME"',
    "route": '"METHOD /path"',
    "quota": "NAME",
}
_OPTIONS: dict[str, type[msgspec.Struct]] = bootstrap.SPECS
_FEED_OPTIONS: type[msgspec.Struct] = bootstrap.FeedOptions
_OUTLET_OPTIONS: type[msgspec.Struct] = bootstrap.OutletOptions
"""Only the composition root may know the drivers; what their options are is asked there."""
_WORDS = {
    str: "text",
    int: "number",
    float: "number",
    bool: "true or false",
    Duration: "duration",
    datetime: "date and time",
    Any: "anything",
}


def text() -> str:
    """The page. The same types give the same text."""
    shown: set[type] = set()
    parts = [_INTRODUCTION]
    hints = typing.get_type_hints(estate.Estate, include_extras=True)
    for field in msgspec.structs.fields(estate.Estate):
        kind = hints[field.name]
        if get_origin(kind) is dict:
            parts.extend(_table(f"[{field.encode_name}.{_NAMES[field.encode_name]}]", get_args(kind)[1], shown))
        else:
            parts.extend(_table(f"[{field.encode_name}]", kind, shown))
    for protocol, kind in _OPTIONS.items():
        if msgspec.structs.fields(kind):
            parts.extend(_table(f'[system.NAME.options] of protocol "{protocol}"', kind, shown))
    parts.extend(_table('`feed` of an operation with mode "file"', _FEED_OPTIONS, shown, without=("inbox",)))
    parts.extend(_table('`outbound` of an operation with mode "outbound"', _OUTLET_OPTIONS, shown))
    parts.append(
        "## Capabilities\n\nWhat an operation may provide, and between which nouns its mappings stand; "
        "[reference/nouns.md](reference/nouns.md) has the fields of each.\n"
    )
    rows = ["| capability | request mapping from | answer mapping to | kind |", "|---|---|---|---|"]
    for name, capability in CAPABILITIES.items():
        kind_of = (
            "write"
            if capability.writes
            else "feed"
            if name.endswith(".feed")
            else "published"
            if name.endswith(".publish")
            else f"read by {capability.keys}"
            if capability.keys
            else "read"
        )
        rows.append(f"| `{name}` | `{capability.request.__name__}` | `{capability.answer.__name__}` | {kind_of} |")
    return "\n".join([*parts, "\n".join(rows), ""])


def _table(title: str, kind: type[msgspec.Struct], shown: set[type], without: tuple[str, ...] = ()) -> Iterator[str]:
    """A section for one type, followed by those it holds, each once."""
    if kind in shown:
        return
    shown.add(kind)
    told, hints = _said(kind), typing.get_type_hints(kind, include_extras=True)
    rows, within = ["| key | type | default | meaning |", "|---|---|---|---|"], []
    for field in msgspec.structs.fields(kind):
        if field.name in without:
            continue
        hint = hints[field.name]
        meaning = " ".join([*_meanings(hint), *filter(None, [_full(told.get(field.name, ""))])])
        rows.append("| " + " | ".join(_cell(c) for c in (f"`{field.encode_name}`", _type(hint), _default(field), meaning)) + " |")
        within += [(field.encode_name, each) for each in _structs(hint)]
    yield f"## {title}\n"
    if sentence := _sentence(kind):
        yield f"{sentence}\n"
    if len(rows) > 2:
        yield "\n".join(rows) + "\n"
    for name, each in within:
        tag = each.__struct_config__.tag
        yield from (part.replace("## ", "### ", 1) for part in _table(f"`{name}`" + (f' of kind "{tag}"' if tag else ""), each, shown))


def _said(kind: type) -> dict[str, str]:
    """The text below each field, in the class and the classes it is made from."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if not issubclass(each, msgspec.Struct) or each is msgspec.Struct:
            continue
        body = typing.cast("ast.ClassDef", ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]).body
        for field, below in pairwise(body):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                    found[name] = " ".join(words.split())
    return found


def _sentence(kind: type) -> str:
    return " ".join((kind.__dict__.get("__doc__") or "").split())


def _type(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        if any(isinstance(m, Meta) and m.extra and m.extra.get("secret") for m in args[1:]):
            return "secret"
        return "setting" if hint == estate.Setting else _type(args[0])
    if origin is Literal:
        return ", ".join(f'`"{a}"`' for a in args)
    if origin in (Union, types.UnionType):
        named = dict.fromkeys(_type(a) for a in args if a is not type(None))
        return " or ".join(named)
    if origin is tuple:
        return f"list of {_type(args[0])}"
    if origin is dict:
        return "table" if args[1] is Any else f"table: name = {_type(args[1])}"
    return "table" if isinstance(hint, type) and issubclass(hint, msgspec.Struct) else _WORDS[hint]


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        return "none"
    value = field.default
    if value is msgspec.NODEFAULT:
        return ""
    if value is None or value in ((), {}, ""):
        return "none"
    if isinstance(value, msgspec.Struct):
        return "its defaults"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Duration):
        return f"`{_duration(value)}`"
    if isinstance(value, tuple):
        return ", ".join(f"`{v}`" for v in value)
    return f"`{value}`"


def _duration(value: Duration) -> str:
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if value >= seconds and value % seconds == 0:
            return f"{value / seconds:g}{unit}"
    return f"{value:g}s" if value >= 1 or not value else f"{value * 1000:g}ms"


def _meanings(hint: Any) -> Iterator[str]:
    if get_origin(hint) in (Union, types.UnionType):
        for member in get_args(hint):
            yield from _meanings(member)
    if get_origin(hint) is Annotated and hint not in (estate.Setting, estate.Reference):
        for meta in (m for m in get_args(hint)[1:] if isinstance(m, Meta) and not (m.extra and m.extra.get("secret"))):
            if meta.description:
                yield _full(meta.description)
            if meta.ge is not None:
                yield f"{meta.ge} to {meta.le}." if meta.le is not None else f"At least {meta.ge}."


def _full(sentence: str) -> str:
    return sentence if not sentence or sentence.endswith((".", "?", "`02:00-04:00`")) else f"{sentence}."


def _structs(hint: Any) -> list[type[msgspec.Struct]]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [hint]
    return [s for a in get_args(hint) if not isinstance(a, str | Meta) for s in _structs(a)]


def _cell(value: str) -> str:
    return value.replace("|", "\\|")
