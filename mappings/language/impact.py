"""What a new contract does to a mapping: what breaks, what changes silently, what becomes possible, and the text that fits it again.

Repairs are edits of the mapping's own text. Each is tried against the check before it is proposed; what no edit heals is left to a person.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from contracts.errors import Finding
from mappings.language.difference import Difference, Differences, Steps, compare
from mappings.language.expression import Call, Const, Member, Node, Path, nodes
from mappings.language.mapping import CompiledMapping, attempt
from mappings.language.own import NO_OWN, Own
from mappings.language.read import Group, MappingFile, Place, Rule, read
from mappings.language.sample import leaf_text
from mappings.language.shape import Exchange, Field, Leaf, Record

Shapes = Callable[[str], Exchange]
Types = Mapping[str, type[msgspec.Struct]]

MAX_ATTEMPTS: Final = 400
"""Checks of one mapping."""
NEW = "new in the contract, not used yet"
_CAUTIOUS: Final = ("required", "at_most", "decimal", "string", "integer", "date", "instant", "text", "boolean")
"""What may be added without asking: it refuses what was impossible before, and loses nothing."""


@dataclass(frozen=True, slots=True)
class Impact:
    """One mapping against the new contract. `text` is the mapping after the repairs; `left` is what the check still says about it."""

    mapping: str
    direction: str
    """answer or request"""
    breaks: tuple[Finding, ...]
    broken: tuple[Difference, ...]
    """What the findings are about."""
    silent: tuple[Difference, ...]
    possible: tuple[Difference, ...]
    targets: dict[str, tuple[str, ...]]
    """Changed path of the contract -> canonical fields that depend on it."""
    repairs: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    text: str = ""
    left: tuple[Finding, ...] = ()

    @property
    def touched(self) -> bool:
        return bool(self.breaks or self.silent or self.possible)


def impact(
    mapping: CompiledMapping, old: Exchange, new: Exchange | None, shapes: Shapes, types: Types, operation: str = "", own: Own = NO_OWN
) -> tuple[Impact, Differences]:
    """`shapes` gives the new contract; `operation`: the new `system.Operation` under another name; `own`: functions of the estate."""
    direction = "answer" if mapping.reads else "request"
    before, after = (getattr(e, direction).root if e and getattr(e, direction) else None for e in (old, new))
    changed = compare(before, after)
    relevant = [d for d in changed.found if _concerns(mapping, d)]
    _, breaks = attempt(mapping.file.text, mapping.file.file, shapes, types, own)
    repair = _Repair(mapping, changed, lambda text: attempt(text, mapping.file.file, shapes, types, own)[1], shapes, operation)
    if breaks:
        repair.run()
    broken = [d for d in relevant if breaks and (d.kind != "added" or _must_be_sent(mapping, d)) and any(_speaks_of(f, d) for f in breaks)]
    return (
        Impact(
            mapping.file.file,
            direction,
            tuple(breaks),
            tuple(broken),
            tuple(d for d in relevant if d not in broken and d.kind != "added"),
            tuple(d for d in relevant if d not in broken and d.kind == "added"),
            {".".join(d.path): _targets(mapping, d.path) for d in relevant},
            tuple(repair.done),
            tuple(repair.decisions),
            repair.text,
            tuple(repair.left),
        ),
        changed,
    )


def _must_be_sent(mapping: CompiledMapping, difference: Difference) -> bool:
    return not mapping.reads and difference.field is not None and difference.field.required


def _speaks_of(finding: Finding, difference: Difference) -> bool:
    names = {difference.path[-1], *difference.now[-1:]}
    return any(re.search(rf"(?<![\w-]){re.escape(n)}(?![\w-])", finding.message) for n in names)


def _concerns(mapping: CompiledMapping, difference: Difference) -> bool:
    """Whether the mapping looks at the place: fields that it uses, that it drops by name, and new ones beside those."""
    path, builder = difference.path, mapping.builder
    if mapping.reads:
        used = builder.used
        if any(path[: len(d)] == d for d in builder.drops):
            return path in builder.drops and difference.kind in ("removed", "renamed", "moved")
    else:
        used = {tuple(t.split(".")) for t in builder.filled}
    if difference.kind == "added":
        beside = difference.path[:-1]
        return not beside or any(u[: len(beside)] == beside for u in used)
    return any(u[: len(path)] == path for u in used)


def _targets(mapping: CompiledMapping, path: Steps) -> tuple[str, ...]:
    dotted = ".".join(path)
    if not mapping.reads:
        return tuple(sorted({s for t, x in mapping.lineage.items() if t == dotted or t.startswith(f"{dotted}.") for s in x.sources}))
    return tuple(t for t, x in mapping.lineage.items() if any(s == dotted or s.startswith(f"{dotted}.") for s in x.sources))


# ---- where expressions speak of fields --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Use:
    """An expression, and the records around it: paths from the document down to the one that its own paths start at."""

    rule: Rule
    chain: tuple[Steps, ...]


def _uses(file: MappingFile, steps: Steps, root: Record) -> Iterator[_Use]:
    chain = tuple(steps[:n] for n in range(len(steps) + 1))
    for refusal in file.refusals:
        yield from (_Use(r, ((),)) for r in (refusal.when, refusal.code, refusal.reason) if r is not None)
    if file.where is not None:
        yield _Use(file.where, chain)
    yield from _group_uses(file.fields, chain, root)


def _group_uses(group: Group, chain: tuple[Steps, ...], root: Record) -> Iterator[_Use]:
    inner = chain
    for rule in (group.each, group.of):
        if rule is not None:
            yield _Use(rule, chain)
            path = _first_path(rule.node)
            found = _resolved(path, chain, root) if path is not None else None
            if found is not None:
                inner = (*chain, found)
    if group.when is not None:
        yield _Use(group.when, chain)
    if group.where is not None:
        yield _Use(group.where, inner)
    for rule in group.rules.values():
        yield _Use(rule, inner)
    for below in group.groups.values():
        yield from _group_uses(below, inner, root)


def _first_path(node: Node) -> Path | None:
    return next((n for n in nodes(node) if isinstance(n, Path)), None)


def _resolved(path: Path, chain: tuple[Steps, ...], root: Record) -> Steps | None:
    """The whole path from the document, if there is such a field."""
    if path.anchor in ("parameters", "context"):
        return None
    base = () if path.anchor == "root" else chain[-1 - path.up] if path.up < len(chain) else None
    if base is None:
        return None
    full = (*base, *path.steps)
    return full if _field(root, full) is not None else None


def _field(root: Record, path: Steps) -> Field | None:
    record: Record | Leaf = root
    found: Field | None = None
    for name in path:
        found = record.get(name) if isinstance(record, Record) else None
        if found is None:
            return None
        record = found.shape
    return found


def _spoken(node: Node, chain: tuple[Steps, ...], root: Record) -> Iterator[tuple[Path | Member, Steps, tuple[Steps, ...]]]:
    """(path, what it stands for, chain it was resolved in) of all paths in an expression; functions over a list speak of its rows."""
    match node:
        case Path():
            if (full := _resolved(node, chain, root)) is not None:
                yield node, full, chain
        case Call(arguments=arguments, named=named):
            first = next((p for a in arguments[:1] for p, _, _ in _spoken(a, chain, root) if isinstance(p, Path)), None)
            rows = _resolved(first, chain, root) if first is not None else None
            for n, part in enumerate((*arguments, *(value for _, value in named))):
                found = list(_spoken(part, chain, root))
                if n and not found and rows is not None:
                    found = list(_spoken(part, (*chain, rows), root))
                yield from found
        case Member(base=base, steps=steps):
            yield from _spoken(base, chain, root)
            path = _first_path(base)
            rows = _resolved(path, chain, root) if path is not None else None
            if rows is not None and _field(root, (*rows, *steps)) is not None:
                yield node, (*rows, *steps), (*chain, rows)
        case _:
            for part in _parts(node):
                yield from _spoken(part, chain, root)


def _parts(node: Node) -> Iterable[Node]:
    below = [getattr(node, name, None) for name in ("left", "right", "test", "then", "otherwise")]
    several = [n for name in ("parts", "items") for n in getattr(node, name, ())]
    return [n for n in (*below, *several) if n is not None and not isinstance(n, tuple | str) and not isinstance(n, Const)]


# ---- repairing ----------------------------------------------------------------------------------------------------------


class _Repair:
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
            if any(_concerns(self.mapping, d) for d in self.changed.found if d.path == path):
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
        for use in _uses(self.mapping.file, steps, root):
            text = use.rule.text
            spoken = sorted(_spoken(use.rule.node, use.chain, root), key=lambda s: -s[0].column)
            for path, full, chain in spoken:
                now = self.changed.now(full)
                here = tuple(self.changed.now(c) for c in chain)
                if now == full and here[-1] == chain[-1]:
                    continue
                if (written := _written(path, now, here)) is not None:
                    text = _replaced(text, path, written)
            if text != use.rule.text:
                edits.append((use.rule.place, use.rule.text, text))
        for place, old, new in sorted(edits, key=lambda e: (-e[0].line, -e[0].column)):
            self.text = _with_expression(self.text, place, new)
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
                    lines[drop.place.line - 1] = _key(key) + re.sub(r"^\s*(\"[^\"]*\"|'[^']*'|[\w-]+)", "", old, count=1)
                    self.done.append(f"line {drop.place.line}: drop of {drop.path}  ->  {key}")
                self.text = "".join(lines)
        self.text = "".join(line for line in self.text.splitlines(keepends=True) if line != "\0\n")

    def renamed_targets(self) -> None:
        """Keys of the request's fields and tables."""
        for old, now in sorted(self.changed.moves.items(), key=lambda m: -len(m[0])):
            there = (*self.changed.now(old[:-1]), now[-1])
            if there == now:
                self.text, changed = _with_key(self.text, old, now[-1])
                if changed:
                    self.done.append(f"{'.'.join(old)} is called {now[-1]}")
            elif (moved := _with_moved(self.text, old, now)) is not None:
                self.text = moved
                self.done.append(f"{'.'.join(old)} is {'.'.join(now)}")
        for difference in self.changed.found:
            if difference.kind == "removed" and (text := _without(self.text, difference.path)) is not None:
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
                self.text = _in_examples(_with_field(self.text, path, constant), path, constant)
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
            yield _with_drop(self.text, unused[1]), f"[drops] {unused[1]}", ""
            return
        file, _ = read(self.text, finding.file)
        root, steps = self.after_root(), self.changed.now(self.mapping.builder.steps)
        listed = {d.now for d in self.changed.found if d.kind == "list"}
        for use in _uses(file, steps, root or Record("")):
            if use.rule.place.line == finding.line:
                if any(full[: len(p)] == p for _, full, _ in _spoken(use.rule.node, use.chain, root or Record("")) for p in listed):
                    continue  # which of many is meant, or where one becomes a list, nobody can say but a person
                for new in _variants(use.rule, finding, use.chain, root or Record("")):
                    said = f"line {finding.line}: {use.rule.text}  ->  {new}"
                    yield _with_expression(self.text, use.rule.place, new), said, _question(use.rule, new)

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
            end = _closing(rule.text, call.end())
            if end and "otherwise" not in rule.text[call.end() : end]:
                yield f"{rule.text[:end]}, otherwise=refuse{rule.text[end:]}"
    if never := re.search(r"the code '([^']*)' never comes", finding.message):
        case = rf"(?:\b{re.escape(never[1])}\s*=|'{re.escape(never[1])}'\s*:)\s*(?:'[^']*'|[\w.]+)"
        yield re.sub(rf"{case}\s*,\s*|,\s*{case}", "", rule.text, count=1)
    for conversion in asked:
        if last := re.search(rf"\|\s*{conversion.partition('(')[0]}\([^()]*\)\s*$", rule.text):
            yield f"{rule.text[: last.start()]}| {conversion}"
        yield f"{rule.text} | {conversion}"
    for path, _, _ in sorted(_spoken(rule.node, chain, root), key=lambda s: -s[0].column):
        span = _span(rule.text, path)
        if span is None:
            continue
        begin, end = span
        rest = rule.text[end:]
        if stage := re.match(r"\s*\|\s*\w+", rest):
            after = end + stage.end()
            if rule.text[after : after + 1] == "(":
                after = _closing(rule.text, after + 1) + 1
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


# ---- edits of the text -------------------------------------------------------------------------------------------------


def _span(text: str, path: Path | Member) -> tuple[int, int] | None:
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


def _replaced(text: str, path: Path | Member, written: str) -> str:
    span = _span(text, path)
    if span is None:
        return text
    begin, end = span
    if isinstance(path, Member):
        return f"{text[: text.rindex(')', begin, end) + 1]}.{written}{text[end:]}"
    return text[:begin] + written + text[end:]


def _written(path: Path | Member, now: Steps, chain: tuple[Steps, ...]) -> str | None:
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


def _closing(text: str, at: int) -> int:
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


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _value(expression: str) -> str:
    return json.dumps(expression, ensure_ascii=False) if '"' in expression or "\\" in expression else f'"{expression}"'


def _with_expression(text: str, place: Place, new: str) -> str:
    """The text with another expression at the place of a rule's value."""
    lines = text.splitlines(keepends=True)
    line = lines[place.line - 1]
    at = place.column - 1
    literal = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|true|false|-?\d+').match(line, at) if place.column else None
    if literal is None or line.startswith(('"""', "'''"), at):
        return text
    lines[place.line - 1] = line[:at] + _value(new) + line[literal.end() :]
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


def _with_key(text: str, path: Steps, name: str) -> tuple[str, bool]:
    """Another name for a field of [fields]: its line, and the headers of its tables."""
    lines, changed = text.splitlines(keepends=True), False
    for n, line, table in list(_rows(text)):
        if table[:1] != ("fields",):
            continue
        at = len(path)
        if _header(line) == table and table[1 : at + 1] == path:
            lines[n] = f"[{'.'.join(map(_key, ('fields', *path[:-1], name, *table[at + 1 :])))}]\n"
            changed = True
        elif table[1:] == path[:-1] and (found := _leads(line, path[-1])):
            lines[n] = f"{found[1]}{_key(name)}{found[3]}{line[found.end() :]}"
            changed = True
    return "".join(lines), changed


def _without(text: str, path: Steps) -> str | None:
    """Without the line of a field; None when it has none of its own."""
    for n, line, table in _rows(text):
        if table == ("fields", *path[:-1]) and _leads(line, path[-1]) and '"""' not in line:
            lines = text.splitlines(keepends=True)
            del lines[n]
            return "".join(lines)
    return None


def _with_moved(text: str, old: Steps, new: Steps) -> str | None:
    for _, line, table in _rows(text):
        if table == ("fields", *old[:-1]) and (found := _leads(line, old[-1])):
            literal = line[found.end() :].strip()
            without = _without(text, old)
            return _with_line(without, ("fields", *new[:-1]), f"{_key(new[-1])} = {literal}\n") if without is not None else None
    return None


def _with_field(text: str, path: Steps, expression: str) -> str:
    return _with_line(
        text, ("fields", *path[:-1]), f"{_key(path[-1])} = {_value(expression)}  # to be decided: the contract requires it now\n"
    )


def _with_drop(text: str, path: str) -> str:
    return _with_line(text, ("drops",), f'{_key(path)} = "{NEW}"\n')


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
    made = [f"[{'.'.join(map(_key, table))}]\n", new, "\n"]
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
