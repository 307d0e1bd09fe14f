"""What both directions of a draft share: a line is only kept when the check has nothing against it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from contracts.errors import Finding
from mappings.language.build import Builder
from mappings.language.check import translate
from mappings.language.draft.conversions import Open, Way
from mappings.language.draft.text import Decision, Draft, Group, Line, at_line, key_of, lines_below, render
from mappings.language.read import read
from mappings.language.shape import Message

_ELSEWHERE: Final = ("source field ", "required target field ")
"""How findings begin that are not about one line."""


class Drafting:
    def __init__(self, source: Message, target: Message, head: dict[str, str], steps: tuple[str, ...] = ()) -> None:
        self.source, self.target, self.head, self.steps = source, target, head, steps
        self.top = Group()
        self.decisions: list[Decision] = []
        self.filled: frozenset[str] = frozenset()
        """Target paths that the driver fills itself."""

    def proven(self, groups: Sequence[tuple[str, Group]], name: str, text: str, *, whole: bool = False) -> list[Finding]:
        """What the check says about one line, in its place and alone; with `whole` about the record that it stands in, too."""
        group = Group(dict(groups[-1][1].words) if groups else {}, {name: Line(name, text, 1, certain=True)})
        for at in range(len(groups) - 1, -1, -1):
            group = Group(dict(groups[at - 1][1].words) if at else {}, {}, {groups[at][0]: group})
        rendered = render(self.head, group)
        starts = (f"{key_of(name)} ", f"{key_of(name, group=True)} ")
        at = max((n for n, line in enumerate(rendered, 1) if line.startswith(starts)), default=0)
        parsed, findings = read("\n".join(rendered), "draft")
        if findings:
            return findings
        first = max((n for n, line in enumerate(rendered[:at], 1) if line.startswith("[")), default=at) if whole else at
        builder = Builder(parsed, self.source, self.target, self.steps)
        if self.target.form == "struct":
            builder.build_read()
        else:
            builder.build_write()
        return [f for f in builder.findings if first <= f.line <= at and (f.line == at or not f.message.startswith(_ELSEWHERE))]

    def first(self, groups: Sequence[tuple[str, Group]], name: str, ways: Iterator[Way | Open]) -> Way | Open | None:
        """The first way that the check has nothing against."""
        asked: Open | None = None
        failed: Open | None = None
        for way in ways:
            if isinstance(way, Open):
                asked = asked or way
            elif not (wrong := self.proven(groups, name, way.text)):
                return way
            elif failed is None:
                failed = Open(f"{way.text} does not fit: {wrong[0].message}; {wrong[0].suggestion}")
        return asked or failed

    def finish(self, target: str, source: str, intro: str) -> Draft:
        """Lines that do not hold together become decisions; what is not used is left to decide."""
        unused: list[str] = []
        while True:
            text = "\n".join(render(self.head, self.top, self.decisions, unused, intro)) + "\n"
            parsed, _ = read(text, "draft")
            found = translate(parsed, self.source, self.target, self.steps)[2]
            left = [m[1] for f in found if (m := re.match(r"source field (.+) is neither used nor dropped", f.message))]
            wrong = [f for f in found if not f.message.startswith(_ELSEWHERE)]
            broken = [(g, n, f) for f in wrong for g, n in at_line(text, self.top, f.line)]
            for group, name, finding in broken:
                if (line := group.lines.pop(name, None)) is not None:
                    self.decide(line.path, f"{line.expression} does not fit: {finding.message}")
            missing = [m[1] for f in found if (m := re.match(r"required target field (\S+) ", f.message))]
            known = {d.path for d in self.decisions} | self.filled
            for path in missing:
                if path not in known and not path.count("."):
                    self.decide(path, f"nothing in {self.source.name} is clearly this")
            fresh = [p for p in left if p not in unused]
            if not broken and not fresh and not [p for p in missing if p not in known and not p.count(".")]:
                break
            unused.extend(fresh)
            if len(unused) > 2000:
                break
        lines = list(lines_below(self.top))
        return Draft(target, source, lines, self.decisions, unused, text)

    def decide(self, path: str, question: str) -> None:
        if path not in {d.path for d in self.decisions}:
            self.decisions.append(Decision(path, question))
