"""A new contract of one system against the estate that stands: who is hit by what, and a patch that is proven on a copy of the estate."""

from __future__ import annotations

import difflib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from adapters.driver import Contract
from contracts.errors import Finding, Findings
from gateway import estate as estates
from gateway.bootstrap.checking import Checked, at_home, check, load_contract, parse_xml, shapes, types
from gateway.bootstrap.own import OwnFunctions
from mappings.language import CompiledMapping
from mappings.language.change.difference import Differences
from mappings.language.change.impact import Impact, impact
from mappings.language.examples import run
from mappings.language.likeness import alike
from mappings.language.shape import Exchange, Field, Leaf

_SUFFIXES = {"soap": (".wsdl", ".xml"), "rest": (".json", ".yaml", ".yml"), "files": (".toml",)}
_MAX_LINES = 20_000
"""Of a file whose lines are compared one by one; a longer one is replaced as a whole."""
_MAX_BYTES = 64_000_000


@dataclass(frozen=True)
class OperationChange:
    """One operation of the estate under the new contract. `now` is its name there; None: there is none like it."""

    name: str
    capability: str
    call: str
    now: str | None
    impacts: tuple[Impact, ...] = ()

    @property
    def touched(self) -> bool:
        return self.now != self.call or any(i.touched for i in self.impacts)


@dataclass
class Study:
    """`patch` is a unified diff for `patch -p1`. `left`: what the check still finds when it is applied."""

    system: str
    contract: str
    operations: list[OperationChange] = field(default_factory=list)
    options: list[Finding] = field(default_factory=list)
    """What the system's own entry in the estate names and the new contract lacks."""
    gained: list[str] = field(default_factory=list)
    """Operations that the new contract has and the old one had not."""
    done: list[str] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)
    patch: bytes = b""
    left: list[str] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)
    """Examples of mappings that do not hold any more after the patch."""

    @property
    def touched(self) -> bool:
        return bool(self.options or any(o.touched for o in self.operations))


def system_of(checked: Checked, given: Path, wanted: str) -> str:
    """The key of the contract that a new file is for. Raises LookupError with the possible ones."""
    keys = list(checked.contracts)
    if wanted:
        found = [k for k in keys if k == wanted] or [k for k in keys if k.partition(".")[0] == wanted]
    else:
        file = _main(given, ()) if given.is_dir() else given
        fits = {k for k in keys if file.suffix.lower() in _SUFFIXES[_protocol(checked, k)]}
        named = [k for k in keys if Path(_contract_path(checked, k)).name == file.name]
        found = named or [k for k in keys if k in fits]
    if len(found) != 1:
        raise LookupError(f"{given}: which system is it for? Write --system with one of {', '.join(found or keys)}")
    return found[0]


def study(checked: Checked, given: Path, key: str) -> Study:
    """Blocks for a second or more. Raises Findings for a contract that cannot be read at all."""
    with tempfile.TemporaryDirectory(prefix="tillgate-impact-") as folder:
        return _Studied(checked, given, key, Path(folder)).result()


def _protocol(checked: Checked, key: str) -> str:
    return checked.estate.system[key.partition(".")[0]].protocol


def _contract_path(checked: Checked, key: str) -> str:
    own = checked.estate.operation[key].contract if key in checked.estate.operation else ""
    return own or checked.estate.system[key.partition(".")[0]].contract


def _main(folder: Path, names: Iterable[str]) -> Path:
    """The document of a folder that the others belong to."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".wsdl", ".json", ".yaml", ".yml", ".toml"))
    if len(found) != 1:
        raise LookupError(f"{folder}: expected one contract in this folder, found {', '.join(p.name for p in found) or 'none'}")
    return found[0]


class _Studied:
    def __init__(self, checked: Checked, given: Path, key: str, scratch: Path) -> None:
        self.checked, self.key, self.scratch = checked, key, scratch
        self.name = key.partition(".")[0]
        self.system = checked.estate.system[self.name]
        self.path = _contract_path(checked, key)
        self.outbound = key in checked.estate.operation and checked.estate.operation[key].mode == "outbound"
        self.study = Study(key, self.path)
        self.removed = ""
        self._copy()
        self.texts = {"estate.toml": (scratch / "estate.toml").read_text(encoding="utf-8")}
        self._place(given)

    def _copy(self) -> None:
        """The estate with all that its check reads."""
        root = self.checked.root
        shutil.copy(root / "estate.toml", self.scratch / "estate.toml")
        for path in self.checked.digests:
            top = Path(path).parts[0] if len(Path(path).parts) > 2 else ""
            folder = Path(path).parent
            for each in [folder] if folder != Path() else [Path(path)]:
                target = self.scratch / each
                if not target.exists() and (root / each).is_dir():
                    shutil.copytree(root / each, target, ignore=shutil.ignore_patterns("__pycache__"))
                elif (root / each).is_file():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(root / each, target)
            if top == "mappings":
                for own in (root / "mappings").glob("*.py"):
                    shutil.copy(own, self.scratch / "mappings" / own.name)

    def _place(self, given: Path) -> None:
        """The new documents where the old ones lie."""
        home = (self.scratch / self.path).parent
        main = _main(given, (Path(self.path).name,)) if given.is_dir() else given
        others = [p for p in given.rglob("*") if p.is_file() and not p.is_symlink() and p != main] if given.is_dir() else []
        if sum(p.stat().st_size for p in (main, *others)) > _MAX_BYTES:
            raise LookupError(f"{given}: more than {_MAX_BYTES} bytes")
        for other in others:
            target = home / other.relative_to(given)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(other, target)
        if self.system.protocol == "rest" and main.suffix != Path(self.path).suffix:  # what a document is written in is known by its name
            (self.scratch / self.path).unlink()
            before, self.path = self.path, str(Path(self.path).with_suffix(main.suffix))
            self.texts["estate.toml"] = self.texts["estate.toml"].replace(f'"{before}"', f'"{self.path}"')
            self.study.done.append(f"estate.toml contract = {self.path!r}")
            self.removed = before
        shutil.copy(main, self.scratch / self.path)

    def result(self) -> Study:
        new = self._contract()
        if new is None:
            return self.study
        old = self.checked.contracts[self.key]
        self.study.gained = sorted(set(new.operations()) - set(old.operations()))
        contracts = {**self.checked.contracts, self.key: new}
        texts: dict[str, str] = {}
        for full, declared in self.checked.estate.operation.items():
            if (full if self.key in self.checked.estate.operation else full.partition(".")[0]) != self.key:
                continue
            calls, last = declared.called(full), len(declared.called(full)) - 1
            for number, call in enumerate(calls):
                now = _renamed(call, old, new)
                changes: list[Differences] = []
                impacts = []
                for path in (*declared.requests[number : number + 1], *([declared.answer] if number == last else [])):
                    if path:
                        one, difference = self._impact(self.checked.mappings[path], call, now, old, new, contracts)
                        impacts.append(one)
                        changes.append(difference)
                        texts[path] = one.text
                self.study.operations.append(OperationChange(full, declared.provides, call, now, tuple(impacts)))
                if now is None:
                    self.study.decisions.append(
                        f"{self.name}.{call} is gone, and nothing is like it: who provides {declared.provides} now?"
                    )
                elif now != call:
                    (self._rename_step if declared.steps else self._rename)(full, call, now)
                self._rename_options(changes)
        for each in {i.mapping: i for o in self.study.operations for i in o.impacts}.values():
            self.study.done += [f"{each.mapping} {d}" for d in each.repairs]
            self.study.decisions += [f"{each.mapping}: {d}" for d in each.decisions]
        self._prove({**texts, **self.texts})
        return self.study

    def _impact(
        self, mapping: CompiledMapping, call: str, now: str | None, old: Contract, new: Contract, contracts: Mapping[str, Contract]
    ) -> tuple[Impact, Differences]:
        after: Exchange | None = new.exchange(now) if now else None
        name = f"{self.name}.{now}" if now and now != call else ""
        own = OwnFunctions(self.checked.root).of(mapping.file.file)
        return impact(mapping, old.exchange(call), after, shapes(self.checked.estate, contracts), types(), name, own)

    def _contract(self) -> Contract | None:
        """With the system's options; without them when it is the options that name what is not there any more."""
        file, options = self.scratch / self.path, self.checked.options[self.name]
        try:
            return load_contract(self.name, self.system, file, options, outbound=self.outbound)
        except Findings as exc:
            _, source, _ = estates.examine(self.scratch)
            about = [at_home(f, self.name, options, source) for f in exc.findings]
            chosen = {f: v for f in options.__struct_fields__ if isinstance(v := getattr(options, f), str)}  # which service, port, binding
            plain: Any = type(options)(**chosen) if self.system.protocol == "soap" else options
            try:
                found = load_contract(self.name, self.system, file, plain, outbound=self.outbound)
            except Findings:
                here = f"{self.scratch}/"
                raise Findings(findings=tuple(replace(f, file=f.file.removeprefix(here)) for f in exc.findings)) from None
            self.study.options = about
            return found

    # ---- the estate's own text ---------------------------------------------------------------------------------------

    def _rename(self, full: str, call: str, now: str) -> None:
        """`calls` names the operation of the contract; the estate's own name, and all that refers to it, stays."""
        text = self.texts["estate.toml"]
        header = re.search(rf'^\[operation\."{re.escape(full)}"\][^\n]*\n', text, re.MULTILINE)
        if header is None:
            self.study.decisions.append(f"estate.toml: operation {full} calls {now} now")
            return
        end = re.compile(r"^\[", re.MULTILINE).search(text, header.end())
        body = text[header.end() : end.start() if end else len(text)]
        told, count = re.subn(r'^(calls\s*=\s*)"[^"]*"', rf'\g<1>"{now}"', body, count=1, flags=re.MULTILINE)
        body = told if count else f'calls    = "{now}"\n{body}'
        text = text[: header.end()] + body + text[end.start() if end else len(text) :]
        self._renamed_in_options(text, call, now)
        self.study.done.append(f'estate.toml [operation."{full}"] calls = "{now}"')

    def _rename_step(self, full: str, call: str, now: str) -> None:
        mine = re.compile(rf'\[{{1,2}}operation\."{re.escape(full)}"[].]')
        named = re.compile(rf'^(calls|commits)(\s*=\s*)"{re.escape(call)}"', re.MULTILINE)
        parts = re.split(r"^(?=\[)", self.texts["estate.toml"], flags=re.MULTILINE)
        self._renamed_in_options("".join(named.sub(rf'\g<1>\g<2>"{now}"', p) if mine.match(p) else p for p in parts), call, now)
        self.study.done.append(f'estate.toml [[operation."{full}".steps]] calls = "{now}"')

    def _renamed_in_options(self, text: str, call: str, now: str) -> None:
        keyed = re.compile(rf"(?<![\w.]){re.escape(call)}(?=\s*=)")
        self.texts["estate.toml"] = self._within_options(text, partial(keyed.sub, now))

    def _rename_options(self, changes: Iterable[Differences]) -> None:
        for old, now in ((o, n) for c in changes for o, n in c.moves.items()):
            before, after = ".".join(old), ".".join(now)
            quoted = re.compile(rf'"{re.escape(before)}(?=["./])')
            text = self._within_options(self.texts["estate.toml"], partial(quoted.sub, f'"{after}'))
            if text != self.texts["estate.toml"]:
                self.texts["estate.toml"] = text
                self.study.done.append(f"estate.toml options: {before}  ->  {after}")

    def _within_options(self, text: str, edit: Callable[[str], str]) -> str:
        """Edited where the tables of this system's options stand."""
        parts = re.split(r"^(?=\[)", text, flags=re.MULTILINE)
        mine = re.compile(rf"\[system\.{re.escape(self.name)}\.options[\].]")
        return "".join(edit(p) if mine.match(p) else p for p in parts)

    # ---- the patch ---------------------------------------------------------------------------------------------------

    def _prove(self, texts: Mapping[str, str]) -> None:
        for path, text in texts.items():
            ends = "\r\n" if b"\r\n" in (self.checked.root / path).read_bytes() else "\n"
            (self.scratch / path).write_text(text, encoding="utf-8", newline=ends)
        self.study.patch = b"".join(self._diff(p) for p in sorted({*texts, *self._documents(), self.removed} - {""}))
        try:
            after = check(self.scratch)
        except Findings as exc:
            self.study.left = [str(f) for f in exc.findings]
            return
        for path in texts:
            if (mapping := after.mappings.get(path)) is not None:
                self.study.examples += [str(o.finding) for o in run(mapping, parse_xml) if o.finding is not None]

    def _documents(self) -> set[str]:
        home = Path(self.path).parent
        folder = self.scratch / home
        return {self.path} if home == Path() else {str(p.relative_to(self.scratch)) for p in folder.rglob("*") if p.is_file()}

    def _diff(self, path: str) -> bytes:
        before, after = ((root / path) for root in (self.checked.root, self.scratch))
        old, new = (p.read_bytes().splitlines(keepends=True) if p.is_file() else [] for p in (before, after))
        return unified(path, old, new, fresh=not before.is_file(), gone=not after.is_file())


def unified(path: str, old: list[bytes], new: list[bytes], *, fresh: bool = False, gone: bool = False) -> bytes:
    """A unified diff that `patch -p1` and `git apply` take; b"" when nothing differs."""
    if old == new:
        return b""
    source, target = b"/dev/null" if fresh else f"a/{path}".encode(), b"/dev/null" if gone else f"b/{path}".encode()
    if len(old) + len(new) > _MAX_LINES:
        head = f"@@ -{1 if old else 0},{len(old)} +{1 if new else 0},{len(new)} @@\n".encode()
        lines: Iterable[bytes] = [
            b"--- " + source + b"\n",
            b"+++ " + target + b"\n",
            head,
            *(b"-" + x for x in old),
            *(b"+" + x for x in new),
        ]
    else:
        lines = difflib.diff_bytes(difflib.unified_diff, old, new, source, target)
    return b"".join(x if x.endswith(b"\n") else x + b"\n\\ No newline at end of file\n" for x in lines)


def _renamed(call: str, old: Contract, new: Contract) -> str | None:
    """The operation of the new contract that is most likely the same: by its name, and by what it is asked and answers."""
    if call in new.operations():
        return call
    before = old.exchange(call)
    fresh = [n for n in new.operations() if n not in set(old.operations())][:200]
    scored = sorted(((_same(call, before, n, new), n) for n in fresh), reverse=True)
    return scored[0][1] if scored and scored[0][0] >= 0.5 else None


def _same(call: str, before: Exchange, name: str, new: Contract) -> float:
    after = new.exchange(name)
    spelled = alike(Field(call, Leaf("any")), Field(name, Leaf("any")))
    shared = []
    for one, other in ((before.request, after.request), (before.answer, after.answer)):
        mine, theirs = ({f.name for f in m.root.fields} if m else set[str]() for m in (one, other))
        shared.append(len(mine & theirs) / len(mine | theirs) if mine | theirs else 1.0)
    return 0.5 * spelled + 0.25 * sum(shared)
