"""The text of a draft: its lines, decisions and unused fields, as a mapping's TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mappings.language.read import GROUP_WORDS, UNDECIDED
from mappings.language.toml_text import comment, toml_key, toml_string


@dataclass(frozen=True, slots=True)
class Line:
    """One proposed field. `path`: the target's dotted path. `score` 0 to 1; a certain line carries no remark."""

    path: str
    expression: str
    score: float
    certain: bool
    remark: str = ""
    """Why it is likely, and what else it could be."""

    @property
    def guess(self) -> str:
        """The remark as it stands behind the line: the check asks for it to be confirmed (`mappings.language.read.GUESS`)."""
        return "" if self.certain else f"likely ({min(self.score, 1.0):.2f}): {self.remark}"


@dataclass(frozen=True, slots=True)
class Decision:
    path: str
    question: str


@dataclass(slots=True)
class Group:
    """The lines of one target record, as they will be written."""

    words: dict[str, str] = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)

    def empty(self) -> bool:
        return not self.lines and all(g.empty() for g in self.groups.values())


@dataclass(slots=True)
class Draft:
    """A mapping as text, and what is open in it. `unused`: source fields that a person has to decide about."""

    target: str
    source: str
    lines: list[Line]
    decisions: list[Decision]
    unused: list[str]
    text: str
    score: float = 0.0

    @property
    def confirm(self) -> list[Line]:
        return [line for line in self.lines if not line.certain]


def lines_below(group: Group) -> Iterator[Line]:
    yield from group.lines.values()
    for inner in group.groups.values():
        yield from lines_below(inner)


def key_of(name: str, *, group: bool = False) -> str:
    text = f"={name}" if group and name in GROUP_WORDS else name
    return toml_key(text)


def _value(expression: str) -> str:
    return {"True": "true", "False": "false"}.get(expression) or toml_string(expression)


def _body(group: Group, path: str) -> Iterator[str]:
    names = {**{w: (_value(t), "") for w, t in group.words.items()}}
    keys = {**{w: w for w in group.words}, **{n: key_of(n, group=bool(path.count("."))) for n in group.lines}}
    width = max((len(k) for k in keys.values()), default=0)
    for word, (text, _) in names.items():
        yield f"{word:{width}} = {text}"
    for name, line in group.lines.items():
        yield f"{keys[name]:{width}} = {_value(line.expression)}" + (f"  # {comment(line.guess)}" if line.guess else "")
    for name, inner in group.groups.items():
        if inner.empty() and not inner.words:
            continue
        at = f"{path}.{key_of(name, group=bool(path.count('.')))}"
        if inner.lines or inner.words:
            yield from ("", f"[{at}]")
        yield from _body(inner, at)


def render(
    head: Mapping[str, str], group: Group, decisions: Sequence[Decision] = (), unused: Sequence[str] = (), intro: str = ""
) -> list[str]:
    out = [f"# {line}".rstrip() for line in intro.splitlines()]
    out += [f"{k} = {toml_string(v)}" for k, v in head.items()]
    body = list(_body(group, "fields"))
    if group.lines or not body:
        out += ["", "[fields]"]
    out += body
    if decisions:
        out += ["", "# To decide: for each write a line under its [fields], then remove it here.", "[decide]"]
        out += [f"{key_of(d.path)} = {toml_string(d.question)}" for d in decisions]
    if unused:
        out += ["", "# Not used. Map what is needed, and write for the rest why it is left out.", "[drops]"]
        width = max(len(key_of(p)) for p in unused)
        out += [f"{key_of(p):{width}} = {toml_string(UNDECIDED)}" for p in unused]
    return out


def at_line(text: str, top: Group, line: int) -> Iterator[tuple[Group, str]]:
    """The proposed line that stands on a line of the text."""
    lines = text.split("\n")
    if not 0 < line <= len(lines):
        return
    table_name = next((x for x in reversed(lines[:line]) if x.startswith("[")), "[fields]")
    group = top
    for part in re.findall(r'"(?:[^"\\]|\\.)*"|[A-Za-z0-9_=-]+', table_name.strip("[]"))[1:]:
        name = (json.loads(part) if part.startswith('"') else part).removeprefix("=")
        if name not in group.groups:
            return
        group = group.groups[name]
    for name in group.lines:
        if lines[line - 1].startswith((f"{key_of(name)} ", f"{key_of(name, group=True)} ")):
            yield group, name
