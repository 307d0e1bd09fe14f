"""Repairs of a mapping for a new contract: edits of its own text, each tried against the check before it is proposed."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from typing import Final

from contracts.errors import Finding
from mappings.language.change.difference import Differences, Steps
from mappings.language.change.edits import (
    closing,
    path_text,
    replaced,
    span_of,
    with_drop,
    with_expression,
    with_field,
    with_key,
    with_moved,
    without_line,
)
from mappings.language.change.uses import Shapes, concerns, spoken_paths, uses
from mappings.language.mapping import CompiledMapping
from mappings.language.read import Place, Rule, read
from mappings.language.sample import leaf_text
from mappings.language.shape import Field, Leaf, Record
from mappings.language.toml_text import toml_key

MAX_ATTEMPTS: Final = 400
"""Checks of one mapping."""
_CAUTIOUS: Final = ("required", "at_most", "decimal", "string", "integer", "date", "instant", "text", "boolean")
"""What may be added without asking: it refuses what was impossible before, and loses nothing."""


class Repair:
    """Edits the text step by step; every step is judged by the check against the new contract."""

    def __init__(
        self, mapping: CompiledMapping, changed: Differences, check: Callable[[str], list[Finding]], shapes: Shapes, operation: str
    ) -> None:
        self.mapping, self.changed, self.check, self.shapes, self.operation = mapping, changed, check, shapes, operation
        self.text = mapping.file.text
        self.done: list[str] = []
        self.decisions: list[str] = []
        self.left: list[Finding] = []
        self.tries = 0

    def findings(self, text: str) -> list[Finding]:
        self.tries += 1
        return self.check(text)

    def run(self) -> None:
        if self.operation:
            self.reference()
        if self.mapping.reads:
            self.renamed_sources()
        else:
            self.renamed_targets()
            self.required_targets()
        self.renamed_examples()
        for path in sorted(self.changed.doubtful):
            if any(concerns(self.mapping, d) for d in self.changed.found if d.path == path):
                self.decisions.append(f"{'.'.join(path)} is taken for {'.'.join(self.changed.now(path))}: do both mean the same?")
        self.left = self.findings(self.text)
        hopeless: set[str] = set()
        while self.left and self.tries < MAX_ATTEMPTS:
            finding = next((f for f in self.left if f.message not in hopeless), None)
            if finding is None:
                return
            healed = self.healed(finding)
            if healed is None:
                hopeless.add(finding.message)
            else:
                self.text, self.left = healed

    # ---- edits that follow from the difference ---------------------------------------------------------------------------

    def reference(self) -> None:
        key = "source" if self.mapping.reads else "target"
        old = getattr(self.mapping.file, key).partition("/")[0]
        new = re.sub(
            rf'^(\s*{key}\s*=\s*["\']){re.escape(old)}(?=[/"\'])', rf"\g<1>{self.operation}", self.text, count=1, flags=re.MULTILINE
        )
        if new != self.text and old != self.operation:
            self.text = new
            self.done.append(f"{key}: {old} is called {self.operation}")

    def renamed_sources(self) -> None:
        """Paths in expressions, in the source line and in drops, wherever they lead through a field that has another name or place."""
        root, steps = self.mapping.source.root, self.mapping.builder.steps
        moved = self.changed.now(steps)
        if moved != steps:
            old, new = "/".join(steps), "/".join(moved)
            self.text = re.sub(
                rf'^(\s*source\s*=\s*["\'][^/"\']+/){re.escape(old)}(?=["\'])', rf"\g<1>{new}", self.text, count=1, flags=re.MULTILINE
            )
        edits: list[tuple[Place, str, str]] = []
        for use in uses(self.mapping.file, steps, root):
            text = use.rule.text
            spoken = sorted(spoken_paths(use.rule.node, use.chain, root), key=lambda s: -s[0].column)
            for path, full, chain in spoken:
                now = self.changed.now(full)
                here = tuple(self.changed.now(c) for c in chain)
                if now == full and here[-1] == chain[-1]:
                    continue
                if (written := path_text(path, now, here)) is not None:
                    text = replaced(text, path, written)
            if text != use.rule.text:
                edits.append((use.rule.place, use.rule.text, text))
        for place, old, new in sorted(edits, key=lambda e: (-e[0].line, -e[0].column)):
            self.text = with_expression(self.text, place, new)
            self.done.append(f"line {place.line}: {old}  ->  {new}")
        self.renamed_drops(steps, moved)

    def renamed_examples(self) -> None:
        """The system's documents in the examples: names of fields, and single values that moved. Found by their text."""
        head, found, examples = self.text.partition("[[example]]")
        key, message = ("given", self.mapping.source) if self.mapping.reads else ("expect", self.mapping.target)
        literal = re.compile(rf"^({key}\s*=\s*)(\"\"\"|\'\'\')(.*?)\2", re.DOTALL | re.MULTILINE)

        def renamed(found: re.Match[str]) -> str:
            text = found[3]
            for old, now in self.changed.moves.items():
                text = _in_document(text, message.form, old, now)
            return f"{found[1]}{found[2]}{text}{found[2]}"

        examples = literal.sub(renamed, examples)
        for old, now in self.changed.moves.items():
            examples = re.sub(rf"^(error\s*=.*?)(?<![\w-]){re.escape(old[-1])}(?![\w-])", rf"\g<1>{now[-1]}", examples, flags=re.MULTILINE)
        self.text = head + found + examples

    def renamed_drops(self, steps: Steps, moved: Steps) -> None:
        for drop in self.mapping.file.drops:
            words = tuple(drop.path.split("."))
            full = words[1:] if words[0] == "root" else (*steps, *words)
            now = self.changed.now(full)
            gone = any(d.kind == "removed" and full[: len(d.path)] == d.path for d in self.changed.found)
            if now != full or (moved != steps and words[0] != "root") or gone:
                key = ".".join(now[len(moved) :] if now[: len(moved)] == moved and len(now) > len(moved) else ("root", *now))
                lines = self.text.splitlines(keepends=True)
                old = lines[drop.place.line - 1]
                if gone:
                    lines[drop.place.line - 1] = "\0\n"
                    self.done.append(f"line {drop.place.line}: the drop of {drop.path} goes with the field")
                elif key != drop.path:
                    lines[drop.place.line - 1] = toml_key(key) + re.sub(r"^\s*(\"[^\"]*\"|'[^']*'|[\w-]+)", "", old, count=1)
                    self.done.append(f"line {drop.place.line}: drop of {drop.path}  ->  {key}")
                self.text = "".join(lines)
        self.text = "".join(line for line in self.text.splitlines(keepends=True) if line != "\0\n")

    def renamed_targets(self) -> None:
        """Keys of the request's fields and tables."""
        for old, now in sorted(self.changed.moves.items(), key=lambda m: -len(m[0])):
            there = (*self.changed.now(old[:-1]), now[-1])
            if there == now:
                self.text, changed = with_key(self.text, old, now[-1])
                if changed:
                    self.done.append(f"{'.'.join(old)} is called {now[-1]}")
            elif (moved := with_moved(self.text, old, now)) is not None:
                self.text = moved
                self.done.append(f"{'.'.join(old)} is {'.'.join(now)}")
        for difference in self.changed.found:
            if difference.kind == "removed" and (text := without_line(self.text, difference.path)) is not None:
                self.text = text
                self.done.append(f"{'.'.join(difference.path)} is gone: it is not sent any more")
                self.decisions.append(
                    f"{'.'.join(difference.path)} is not in the contract any more; does the system still need what it said?"
                )

    def required_targets(self) -> None:
        filled = {tuple(t.split(".")) for t in self.mapping.builder.filled}
        for difference in self.changed.found:
            field_ = difference.field
            if difference.kind not in ("added", "required") or field_ is None or not field_.required:
                continue
            beside = difference.path[:-1]
            if difference.path in filled or (beside and not any(f[: len(beside)] == beside for f in filled)):
                continue
            for path, leaf in _required_leaves(difference.now, field_):
                constant = _constant(leaf, path[-1])
                self.text = _in_examples(with_field(self.text, path, constant), path, constant)
                name = ".".join(path)
                self.done.append(f"{name} = {constant}")
                self.decisions.append(f"{name} is required now: the patch sends {constant} until somebody says what belongs there")

    # ---- edits that the check asks for -----------------------------------------------------------------------------------

    def healed(self, finding: Finding) -> tuple[str, list[Finding]] | None:
        for text, said, decision in self.candidates(finding):
            if self.tries >= MAX_ATTEMPTS:
                return None
            after = self.findings(text)
            if len(after) < len(self.left) and finding.message not in {f.message for f in after}:
                self.done.append(said)
                if decision:
                    self.decisions.append(decision)
                return text, after
        return None

    def candidates(self, finding: Finding) -> Iterator[tuple[str, str, str]]:
        """(text, what was done, what a person has to decide about it)."""
        if unused := re.match(r"source field (\S+) is neither used nor dropped", finding.message):
            yield with_drop(self.text, unused[1]), f"[drops] {unused[1]}", ""
            return
        file, _ = read(self.text, finding.file)
        root, steps = self.after_root(), self.changed.now(self.mapping.builder.steps)
        listed = {d.now for d in self.changed.found if d.kind == "list"}
        for use in uses(file, steps, root or Record("")):
            if use.rule.place.line == finding.line:
                if any(full[: len(p)] == p for _, full, _ in spoken_paths(use.rule.node, use.chain, root or Record("")) for p in listed):
                    continue  # which of many is meant, or where one becomes a list, nobody can say but a person
                for new in _variants(use.rule, finding, use.chain, root or Record("")):
                    said = f"line {finding.line}: {use.rule.text}  ->  {new}"
                    yield with_expression(self.text, use.rule.place, new), said, _question(use.rule, new)

    def after_root(self) -> Record | None:
        if not self.mapping.reads:
            return self.mapping.source.root
        try:
            answer = self.shapes(self.operation or self.mapping.source.name).answer
        except LookupError:
            return None
        return answer.root if answer else None


def _variants(rule: Rule, finding: Finding, chain: tuple[Steps, ...], root: Record) -> Iterator[str]:
    """The expression with a conversion that the check names, at the end or behind one of its paths, or without one that is not needed."""
    asked = [c for c in re.findall(r"\| (\w+(?:\([^()…]*\))?)", finding.suggestion) if c.partition("(")[0] in _CAUTIOUS]
    asked += [f"{word}" for word in ("string", "decimal", "integer", "date", "instant", "text") if word not in asked]
    if "case" in finding.message or "enum" in finding.suggestion or "otherwise" in finding.suggestion:
        for call in re.finditer(r"\b(?:enum|lookup)\(", rule.text):
            end = closing(rule.text, call.end())
            if end and "otherwise" not in rule.text[call.end() : end]:
                yield f"{rule.text[:end]}, otherwise=refuse{rule.text[end:]}"
    if never := re.search(r"the code '([^']*)' never comes", finding.message):
        case = rf"(?:\b{re.escape(never[1])}\s*=|'{re.escape(never[1])}'\s*:)\s*(?:'[^']*'|[\w.]+)"
        yield re.sub(rf"{case}\s*,\s*|,\s*{case}", "", rule.text, count=1)
    for conversion in asked:
        if last := re.search(rf"\|\s*{conversion.partition('(')[0]}\([^()]*\)\s*$", rule.text):
            yield f"{rule.text[: last.start()]}| {conversion}"
        yield f"{rule.text} | {conversion}"
    for path, _, _ in sorted(spoken_paths(rule.node, chain, root), key=lambda s: -s[0].column):
        span = span_of(rule.text, path)
        if span is None:
            continue
        begin, end = span
        rest = rule.text[end:]
        if stage := re.match(r"\s*\|\s*\w+", rest):
            after = end + stage.end()
            if rule.text[after : after + 1] == "(":
                after = closing(rule.text, after + 1) + 1
            yield rule.text[:end] + rule.text[after:]
            for conversion in asked:
                yield f"{rule.text[:end]} | {conversion}{rule.text[after:]}"
        alone = begin == 0 and (not rest.strip() or rest.lstrip().startswith("|"))
        for conversion in asked:
            yield (
                f"{rule.text[:end]} | {conversion}{rest}" if alone else f"{rule.text[:begin]}({rule.text[begin:end]} | {conversion}){rest}"
            )


def _in_examples(text: str, path: Steps, expression: str) -> str:
    """The new constant in what the examples expect, where its record stands there by name."""
    try:
        value = ast.literal_eval(expression)
    except (ValueError, SyntaxError):
        return text  # a conversion: the example is listed
    head, found, examples = text.partition("[[example]]")
    literal = re.compile(r"^(expect\s*=\s*)(\"\"\"|\'\'\')(.*?)\2", re.DOTALL | re.MULTILINE)
    around = re.compile(rf'"{re.escape(path[-2])}"\s*:\s*\{{' if len(path) > 1 else r"\A\s*\{")
    member = f"{json.dumps(path[-1])}: {json.dumps(value)}, "

    def filled(one: re.Match[str]) -> str:
        return f"{one[1]}{one[2]}{around.sub(lambda m: m[0] + member, one[3])}{one[2]}"

    return head + found + literal.sub(filled, examples)


def _in_document(text: str, form: str, old: Steps, now: Steps) -> str:
    """A document in which one field has another name, and stands inside further records where it moved below its old place."""
    wraps = now[len(old) - 1 : -1] if now[: len(old) - 1] == old[:-1] else ()
    name = re.escape(old[-1])
    if form == "xml":
        text = re.sub(rf"(</?){name}(?=[\s/>])", rf"\g<1>{now[-1]}", text)
        for outer in wraps[::-1]:
            text = re.sub(rf"<{re.escape(now[-1])}>[^<]*</{re.escape(now[-1])}>", rf"<{outer}>\g<0></{outer}>", text)
    elif form == "json":
        before = "".join(f"{json.dumps(outer)}: {{" for outer in wraps)
        value = r"(\"(?:[^\"\\]|\\.)*\"|[\w.+-]+)" if wraps else "()"
        text = re.sub(rf'"{name}"(\s*:\s*){value}', lambda m: f'{before}"{now[-1]}"{m[1]}{m[2]}{"}" * len(wraps)}', text)
    return text


def _question(rule: Rule, new: str) -> str:
    if "otherwise=refuse" in new and "otherwise=refuse" not in rule.text:
        return f"{rule.name}: the new codes are refused until somebody says what they mean"
    if "| required" in new and "| required" not in rule.text:
        return f"{rule.name}: a record without it is refused; write default(…) if it may be missing"
    if set(re.findall(r"at_most\(\d+\)", new)) - set(re.findall(r"at_most\(\d+\)", rule.text)):
        return f"{rule.name}: longer texts are refused; write cut(…) if the rest may be lost"
    return ""


def _required_leaves(path: Steps, field_: Field, depth: int = 0) -> Iterator[tuple[Steps, Leaf]]:
    if isinstance(field_.shape, Leaf):
        yield path, field_.shape
    elif depth < 6 and not field_.repeated:
        for inner in field_.shape.fields:
            if inner.required:
                yield from _required_leaves((*path, inner.name), inner, depth + 1)


def _constant(leaf: Leaf, name: str) -> str:
    """An expression that the contract takes, and nothing else speaks for."""
    match leaf.kind:
        case "integer":
            return str(leaf.minimum or 0)
        case "boolean":
            return "False"
        case "decimal":
            return f"'{leaf.minimum or 0}' | decimal"
        case "date" | "datetime" | "time":
            return f"'{leaf_text(leaf, name)}' | {'instant' if leaf.kind == 'datetime' else leaf.kind}"
        case _:
            text = leaf.enum[0] if leaf.enum else leaf_text(leaf, name) if leaf.pattern or leaf.min_length else ""
            return repr(text)
