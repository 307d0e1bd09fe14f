"""An estate as it is read from its file."""

from __future__ import annotations

import re
import tomllib
import typing
from pathlib import Path
from typing import Any

import msgspec

from contracts.errors import Finding, Findings
from contracts.suggestion import nearest
from gateway.estate.decoding import decode
from gateway.estate.lint import lint
from gateway.estate.source import Source
from gateway.estate.tables import Estate, Header

MAX_ESTATE_BYTES = 1_000_000


def read(path: Path) -> tuple[Estate, Source]:
    """The estate in `path` (a folder, or its estate.toml), typed and checked within itself. Raises Findings with every mistake."""
    estate, source, found = examine(path)
    if found:
        raise Findings(findings=tuple(sorted(found, key=lambda f: (f.file, f.line))))
    return estate, source


def examine(path: Path) -> tuple[Estate, Source, list[Finding]]:
    """As much of it as can be understood, and what is wrong with the rest. Raises Findings for what is no TOML document at all."""
    file = path / "estate.toml" if path.is_dir() else path
    name = file.name
    try:
        raw = file.read_bytes()
    except OSError as exc:
        raise Findings(findings=(Finding(str(file), 1, f"cannot be read: {exc.strerror}", "tillgate new estate DIR writes one"),)) from exc
    if len(raw) > MAX_ESTATE_BYTES:
        raise Findings(findings=(Finding(name, 1, f"larger than {MAX_ESTATE_BYTES} bytes"),))
    try:
        text = raw.decode("utf-8")
        document = tomllib.loads(text)
    except UnicodeDecodeError as exc:
        raise Findings(findings=(Finding(name, raw[: exc.start].count(b"\n") + 1, "not UTF-8"),)) from exc
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        place = re.search(r"line (\d+), column (\d+)", str(exc))
        line, column = (int(place[1]), int(place[2])) if place else (1, 0)
        raise Findings(findings=(Finding(name, line, f"not TOML: {exc}", column=column),)) from exc
    source = Source(name, text)
    found: list[Finding] = []
    estate = _estate(document, source, found)
    found.extend(lint(estate, source, {table: set(entries) for table, entries in document.items() if isinstance(entries, dict)}))
    return estate, source, found


def _estate(document: dict[str, Any], source: Source, found: list[Finding]) -> Estate:
    """The estate as far as it can be understood: entries with findings are left out, so that the rest is still checked."""
    hints = typing.get_type_hints(Estate, include_extras=True)
    fields = {f.encode_name: f for f in msgspec.structs.fields(Estate)}
    found.extend(source.finding((name,), f"unknown table {name!r}", nearest(name, fields)) for name in document.keys() - fields.keys())
    decoded: dict[str, Any] = {"estate": Header(name="", owner=""), "channel": {}, "system": {}, "operation": {}}
    for name, f in fields.items():
        if name in document:
            value = decode(hints[f.name], document[name], (name,), source, found)
            if value is not None:
                decoded[name] = {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value
        elif f.required:
            found.append(source.finding((), f"table [{name}] is missing", f"add [{name}]"))
    return Estate(**decoded)
