"""TOML values as typed ones, with every mistake and its place."""

from __future__ import annotations

import re
import types
import typing
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from adapters.options import as_written
from contracts.errors import Finding
from contracts.suggestion import nearest
from gateway.estate.source import Source


def decode(kind: Any, value: Any, path: tuple[str, ...], source: Source, found: list[Finding]) -> Any:
    """Like msgspec.convert, but goes on after a mistake, so that all findings show at once. Returns None where one was found."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated and isinstance(args[0], type) is False and get_origin(args[0]) in (tuple, dict):
        _bounds(kind, value, path, source, found)
        return decode(args[0], value, path, source, found)
    if origin in (Union, types.UnionType):
        chosen = None if value is None else _choice(args, value, path, source, found)
        if chosen is None or get_origin(chosen) is not Union:
            return None if chosen is None else decode(chosen, value, path, source, found)
        kind = chosen
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct(kind, value, path, source, found)
    secret = origin is Annotated and _is_secret(args)
    if isinstance(value, str) and _reveals(value, path, secret=secret):
        found.append(source.finding(path, f"{_dotted(path)}: a secret must not stand here", "write env:NAME or file:PATH"))
        return None
    if origin is dict and args[1] is not Any:
        if not isinstance(value, dict):
            found.append(source.finding(path, f"{_dotted(path)}: expected a table, got {value!r}"))
            return None
        return {k: decode(args[1], v, (*path, k), source, found) for k, v in value.items()}
    if origin is tuple and isinstance(value, list):
        return tuple(decode(args[0], v, (*path, str(i)), source, found) for i, v in enumerate(value))
    try:
        return msgspec.convert(value, kind, dec_hook=as_written)
    except (msgspec.ValidationError, ValueError) as exc:
        hint = ""
        choices = get_args(kind) if origin is Literal else ()
        if choices:
            hint = nearest(str(value), [str(c) for c in choices])
        got = "" if secret or "got" in str(exc) else f", got {value!r:.80}"
        found.append(source.finding(path, f"{_dotted(path)}: {str(exc)[:300]}{got}", hint))
        return None


_PASSWORD_IN_URL = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})


def _reveals(value: str, path: tuple[str, ...], *, secret: bool) -> bool:
    """Whether a secret itself stands where only a reference to it may: also in a URL, and in a header."""
    if not value or (value.startswith(("env:", "file:")) and "|" not in value):
        return False
    named = len(path) > 1 and path[-2] == "headers" and path[-1].lower() in _SECRET_HEADERS
    return secret or named or _PASSWORD_IN_URL.search(value) is not None


def _is_secret(args: tuple[Any, ...]) -> bool:
    return any(isinstance(a, Meta) and a.extra is not None and bool(a.extra.get("secret")) for a in args)


def _choice(args: tuple[Any, ...], value: Any, path: tuple[str, ...], source: Source, found: list[Finding]) -> Any:
    """The member of a union that a value means: tables are told apart by their tag."""
    real = [a for a in args if a is not type(None)]
    if len(real) == 1:
        return real[0]
    tagged = {a.__struct_config__.tag: a for a in real if isinstance(a, type) and issubclass(a, msgspec.Struct)}
    if not tagged or not isinstance(value, dict):
        return Union[tuple(real)]  # noqa: UP007  # built at run time
    tag_field = next(iter(tagged.values())).__struct_config__.tag_field
    tag = value.get(tag_field)
    if not isinstance(tag, str) or (chosen := tagged.get(tag)) is None:
        known = [str(t) for t in tagged]
        found.append(source.finding((*path, str(tag_field)), f"{_dotted(path)}: unknown {tag_field} {tag!r:.80}", nearest(str(tag), known)))
        return dict[str, Any]
    return chosen


def _bounds(kind: Any, value: Any, path: tuple[str, ...], source: Source, found: list[Finding]) -> None:
    for meta in get_args(kind)[1:]:
        if isinstance(meta, Meta) and meta.min_length and isinstance(value, list) and len(value) < meta.min_length:
            found += [source.finding(path, f"{_dotted(path)}: expected at least {meta.min_length} entry, got none")]


def _struct(kind: type[msgspec.Struct], value: Any, path: tuple[str, ...], source: Source, found: list[Finding]) -> Any:
    if not isinstance(value, dict):
        found.append(source.finding(path, f"{_dotted(path)}: expected a table, got {value!r:.80}"))
        return None
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {f.encode_name: f for f in msgspec.structs.fields(kind)}
    if tag_field := kind.__struct_config__.tag_field:
        value = {k: v for k, v in value.items() if k != tag_field}
    before = len(found)
    found.extend(
        source.finding((*path, key), f"{_dotted(path)}: unknown key {key!r}", nearest(key, fields)) for key in value.keys() - fields.keys()
    )
    decoded = {}
    for name, f in fields.items():
        if name in value:
            decoded[f.name] = decode(hints[f.name], value[name], (*path, name), source, found)
        elif f.required:
            found.append(source.finding(path, f"{_dotted(path) or 'the estate'}: {name!r} is missing", f"add {name} = …"))
    if len(found) != before:
        return None
    try:
        return kind(**decoded)
    except ValueError as exc:
        found.append(source.finding(path, f"{_dotted(path)}: {exc}"))
        return None


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(f'"{p}"' if re.search(r"[^A-Za-z0-9_-]", p) else p for p in path)
