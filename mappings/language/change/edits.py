"""Edits of a mapping's text that leave all the rest of it as it was written."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Final

from mappings.language.change.difference import Steps
from mappings.language.expression import Member, Path
from mappings.language.read import Place
from mappings.language.toml_text import toml_key, toml_string

NEW: Final = "new in the contract, not used yet"


def span_of(text: str, path: Path | Member) -> tuple[int, int] | None:
    """Where a path stands in an expression, as Python's own parser sees it."""
    lead = len(text) - len(text.lstrip())
    stripped = text.strip()
    try:
        tree = ast.parse(stripped, mode="eval")
    except SyntaxError:
        return None
    found = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.Name | ast.Attribute | ast.Call)
        and n.col_offset == path.column - 1
        and (not isinstance(n, ast.Call) or (isinstance(n.func, ast.Name) and n.func.id in ("path", "attr")))
        and not (isinstance(n, ast.Attribute) and isinstance(path, Path) and not _is_chain(n))
        and not (isinstance(n, ast.Name) and n.id in ("path", "attr") and isinstance(path, Path) and path.steps != (n.id,))
    ]
    if not found:
        return None
    widest = max(found, key=lambda n: n.end_col_offset or 0)
    raw = stripped.encode()
    return lead + len(raw[: widest.col_offset].decode()), lead + len(raw[: widest.end_col_offset].decode())


def _is_chain(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) or (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("path", "attr")
    )


def replaced(text: str, path: Path | Member, written: str) -> str:
    span = span_of(text, path)
    if span is None:
        return text
    begin, end = span
    if isinstance(path, Member):
        return f"{text[: text.rindex(')', begin, end) + 1]}.{written}{text[end:]}"
    return text[:begin] + written + text[end:]


def path_text(path: Path | Member, now: Steps, chain: tuple[Steps, ...]) -> str | None:
    """The path as it is written in that place; None for a place that cannot be reached from there."""
    if isinstance(path, Member):
        return ".".join(now[len(chain[-1]) :]) if now[: len(chain[-1])] == chain[-1] else None
    if path.anchor == "root":
        return _dotted(("root",), now)
    for up in range(path.up, len(chain)):
        base = chain[-1 - up]
        if now[: len(base)] == base and (base or not up):
            anchor = ("this",) if path.anchor == "this" and not up else ("parent",) * up
            rest = now[len(base) :]
            return _dotted(anchor, rest) if rest or anchor else None
    return _dotted(("root",), now)


def _dotted(anchor: Steps, steps: Steps) -> str:
    if all(s.isidentifier() for s in steps):
        return ".".join((*anchor, *steps))
    names = json.dumps(".".join(steps)) if not any("." in s for s in steps) else f"({', '.join(map(json.dumps, steps))},)"
    names = names.replace('"', "'")
    return f"path({'.'.join(anchor)}, {names})" if anchor else f"path({names})"


def closing(text: str, at: int) -> int:
    """The place of the bracket that ends a call whose arguments begin at `at`; 0: there is none."""
    depth, quote = 1, ""
    for n in range(at, len(text)):
        c = text[n]
        if quote:
            quote = "" if c == quote else quote
        elif c in "\"'":
            quote = c
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
            if not depth:
                return n
    return 0


def with_expression(text: str, place: Place, new: str) -> str:
    """The text with another expression at the place of a rule's value."""
    lines = text.splitlines(keepends=True)
    line = lines[place.line - 1]
    at = place.column - 1
    literal = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|true|false|-?\d+').match(line, at) if place.column else None
    if literal is None or line.startswith(('"""', "'''"), at):
        return text
    lines[place.line - 1] = line[:at] + toml_string(new) + line[literal.end() :]
    return "".join(lines)


def _header(line: str) -> Steps | None:
    """The path of a table's header line."""
    found = re.match(r"\s*\[([^\[].*)\]\s*(#.*)?$", line)
    if not found:
        return None
    names = re.findall(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'|([A-Za-z0-9_-]+)', found[1])
    return tuple(next(n for n in each if n) if any(each) else "" for each in names)


def _rows(text: str) -> Iterator[tuple[int, str, Steps]]:
    """(number, line, table it stands in) of every line that is not inside a multi-line value."""
    table: Steps = ()
    quote = ""
    for n, line in enumerate(text.splitlines(keepends=True)):
        if quote:
            quote = "" if quote in line else quote
            yield n, line, ("\0",)
            continue
        if line.lstrip().startswith("[["):
            table = ("\0",)
        elif (found := _header(line)) is not None:
            table = found
        yield n, line, table
        for mark in ('"""', "'''"):
            if line.count(mark) % 2:
                quote = mark


def _leads(line: str, name: str) -> re.Match[str] | None:
    return re.match(rf"(\s*)(\"=?{re.escape(name)}\"|'=?{re.escape(name)}'|{re.escape(name)})(\s*=)", line)


def with_key(text: str, path: Steps, name: str) -> tuple[str, bool]:
    """Another name for a field of [fields]: its line, and the headers of its tables."""
    lines, changed = text.splitlines(keepends=True), False
    for n, line, table in list(_rows(text)):
        if table[:1] != ("fields",):
            continue
        at = len(path)
        if _header(line) == table and table[1 : at + 1] == path:
            lines[n] = f"[{'.'.join(map(toml_key, ('fields', *path[:-1], name, *table[at + 1 :])))}]\n"
            changed = True
        elif table[1:] == path[:-1] and (found := _leads(line, path[-1])):
            lines[n] = f"{found[1]}{toml_key(name)}{found[3]}{line[found.end() :]}"
            changed = True
    return "".join(lines), changed


def without_line(text: str, path: Steps) -> str | None:
    """Without the line of a field; None when it has none of its own."""
    for n, line, table in _rows(text):
        if table == ("fields", *path[:-1]) and _leads(line, path[-1]) and '"""' not in line:
            lines = text.splitlines(keepends=True)
            del lines[n]
            return "".join(lines)
    return None


def with_moved(text: str, old: Steps, new: Steps) -> str | None:
    for _, line, table in _rows(text):
        if table == ("fields", *old[:-1]) and (found := _leads(line, old[-1])):
            literal = line[found.end() :].strip()
            without = without_line(text, old)
            return _with_line(without, ("fields", *new[:-1]), f"{toml_key(new[-1])} = {literal}\n") if without is not None else None
    return None


def with_field(text: str, path: Steps, expression: str) -> str:
    return _with_line(
        text, ("fields", *path[:-1]), f"{toml_key(path[-1])} = {toml_string(expression)}  # to be decided: the contract requires it now\n"
    )


def with_drop(text: str, path: str) -> str:
    return _with_line(text, ("drops",), f'{toml_key(path)} = "{NEW}"\n')


def _with_line(text: str, table: Steps, new: str) -> str:
    """One more line at the end of a table; the table is made if it is not there, before the examples."""
    lines, last, examples = text.splitlines(keepends=True), None, None
    for n, line, at in _rows(text):
        if at == table and line.strip() and not line.lstrip().startswith("#"):
            last = n
        if examples is None and line.lstrip().startswith("[["):
            examples = n
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    if last is not None:
        if not lines[last].lstrip().startswith("[") or _header(lines[last]) == table:
            last = _value_end(lines, last)
        return "".join([*lines[: last + 1], new, *lines[last + 1 :]])
    made = [f"[{'.'.join(map(toml_key, table))}]\n", new, "\n"]
    at_end = len(lines) if examples is None else examples
    if at_end == len(lines):
        made = ["\n", *made[:2]]
    return "".join([*lines[:at_end], *made, *lines[at_end:]])


def _value_end(lines: list[str], at: int) -> int:
    """The last line of a value that goes on over several."""
    text = lines[at]
    for mark in ('"""', "'''"):
        if text.count(mark) % 2:
            return next((n for n in range(at + 1, len(lines)) if mark in lines[n]), at)
    return at
