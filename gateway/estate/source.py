"""Where things stand in a TOML text, which its parser does not say."""

from __future__ import annotations

import re
import tomllib
import typing

from contracts.errors import Finding


class Source:
    """Where each key and each item of a TOML text stands; tomllib does not say. The text has been read by tomllib: it is TOML."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self._lines = places(text)

    def line(self, path: tuple[str, ...]) -> int:
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def finding(self, path: tuple[str, ...], message: str, suggestion: str = "") -> Finding:
        return Finding(self.file, self.line(path), message, suggestion)


_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[ \t]*([A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')[ \t]*""")
_TEXT = re.compile(r"""\"{3}(?:[^\\]|\\.)*?\"{3,5}|'{3}.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^,\]}#\n]+""", re.DOTALL)


def places(text: str) -> dict[tuple[str, ...], int]:
    """Path of each table, key and item (by its index) -> line, counted from 1."""
    found: dict[tuple[str, ...], int] = {}
    counts: dict[tuple[str, ...], int] = {}
    number, seen = 1, 0

    def note(path: tuple[str, ...], at: int) -> None:
        nonlocal number, seen
        number, seen = number + text.count("\n", seen, at), at
        for n in range(1, len(path) + 1):
            found.setdefault(path[:n], number)

    def blank(at: int) -> int:
        return typing.cast("re.Match[str]", _BLANK.match(text, at)).end()

    def key(at: int) -> tuple[tuple[str, ...], int]:
        parts: list[str] = []
        while part := _KEY.match(text, at):
            parts.append(_unquoted(part[1]))
            at = part.end()
            if text[at : at + 1] != ".":
                break
            at += 1
        return tuple(parts), at

    def pair(table: tuple[str, ...], at: int) -> int:
        parts, end = key(at)
        note((*table, *parts), at)
        return value((*table, *parts), blank(end + 1))

    def value(path: tuple[str, ...], at: int) -> int:
        closing = {"[": "]", "{": "}"}.get(text[at])
        if closing is None:
            return typing.cast("re.Match[str]", _TEXT.match(text, at)).end()
        items, at = 0, blank(at + 1)
        while text[at] != closing:
            if closing == "}":
                at = pair(path, at)
            else:
                note((*path, str(items)), at)
                at = value((*path, str(items)), at)
            items, at = items + 1, blank(at)
            if text[at] == ",":
                at = blank(at + 1)
        return at + 1

    table: tuple[str, ...] = ()
    at = blank(0)
    while at < len(text):
        if text[at] == "[":
            many = text.startswith("[[", at)
            parts, end = key(at + 1 + many)
            table = ()
            for n, part in enumerate(parts, 1):
                table = (*table, part)
                if n < len(parts) and table in counts:
                    table = (*table, str(counts[table]))
            if many:
                counts[table] = counts.get(table, -1) + 1
                table = (*table, str(counts[table]))
            note(table, at)
            at = blank(end + 1 + many)
        else:
            at = blank(pair(table, at))
    return found


def _unquoted(part: str) -> str:
    return str(tomllib.loads(f"key = {part}")["key"]) if part[0] in "\"'" else part
