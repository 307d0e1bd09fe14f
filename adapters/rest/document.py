"""Contract documents as plain values: JSON, YAML and TOML files of one folder, each decoded once and within bounds; nothing is fetched."""

from __future__ import annotations

import os
import posixpath
import re
import tomllib
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from contracts.errors import Finding, Findings

MAX_BYTES: Final = 32 * 1024 * 1024
"""Of all files of one contract together."""
MAX_FILES: Final = 500
MAX_VALUES: Final = 4_000_000
MAX_DEPTH: Final = 500
_LINED: Final = 6
"""How deep lines of members are told apart: paths / PATH / METHOD / parameters / 0 / schema."""

_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_WORDS: Final[dict[str, Any]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INTEGER = re.compile(r"[-+]?[0-9]{1,100}").fullmatch
_NUMBER = re.compile(r"[-+]?(?:\.[0-9]{1,100}|[0-9]{1,100}(?:\.[0-9]{0,100})?)(?:[eE][-+]?[0-9]{1,4})?").fullmatch
_STRING: Final = ("tag:yaml.org,2002:str", "!")


class Documents:
    """The files below the folder of one root document. `load` and `find` raise Findings for what is no document."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root.parent.resolve()
        self._loaded: dict[str, Any] = {}
        self._texts: dict[str, bytes] = {}
        self._lines: dict[str, dict[tuple[str, ...], int]] = {}

    def load(self, name: str = "") -> Any:
        """`name`: path relative to the folder, empty for the root document. References of a file that is not the root say from where they
        count, so that a part of it can be read like one of the root. Raises LookupError for a file that may not or cannot be read.
        """
        if name not in self._loaded:
            path = self._place(name) if name else self.root
            if len(self._loaded) >= MAX_FILES:
                raise LookupError(f"leads to one file more than the {MAX_FILES} that are read")
            size = path.stat().st_size + sum(map(len, self._texts.values()))
            if size > MAX_BYTES:
                text = f"the contract has {size} bytes with this file"
                raise Findings(findings=(Finding(self.shown(name), 1, text, f"at most {MAX_BYTES} are read"),))
            self._texts[name] = path.read_bytes()
            found = self._loaded[name] = decode(self._texts[name], self.shown(name))
            if name:
                _root_references(found, name)
        return self._loaded[name]

    def _place(self, name: str) -> Path:
        try:
            path = (self.folder / name).resolve()
            if not path.is_relative_to(self.folder):
                raise LookupError("leads outside the contract's folder")
            if path.is_file() and os.access(path, os.R_OK):
                return path
        except (OSError, ValueError, RuntimeError) as exc:  # too long, a NUL in it, links in a circle
            raise LookupError("is no name of a file") from exc
        raise LookupError("leads to a file that is not in the contract's folder")

    def shown(self, name: str) -> str:
        """The file as findings call it."""
        return str(self.root.parent / name) if name else str(self.root)

    def line(self, name: str, *at: str) -> int:
        """Where this member is written (JSON is read as YAML for it, once); 1 if nobody knows."""
        if name not in self._lines:
            raw = self._texts.get(name, b"")
            self._lines[name] = _table_lines(raw) if self.shown(name).endswith(".toml") else _lines(raw)
        while at and at not in self._lines[name]:
            at = at[:-1]
        return self._lines[name].get(at, 1)

    def line_of(self, name: str, text: str) -> int:
        """The first line that holds this text."""
        raw = self._texts.get(name, b"")
        found = raw.find(text.encode())
        return raw.count(b"\n", 0, found) + 1 if found >= 0 else 1


def decode(raw: bytes, file: str) -> Any:
    """JSON or YAML 1.2, numbers as int or Decimal, keys as text; TOML by its name. Raises Findings."""
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    if file.endswith(".toml"):
        try:
            return tomllib.loads(raw.decode(), parse_float=Decimal)
        except (ValueError, RecursionError) as exc:  # TOMLDecodeError, UnicodeDecodeError
            at = re.search(r"at line (\d+), column (\d+)", str(exc))
            line, column = (int(at[1]), int(at[2])) if at else (1, 0)
            text = f"not TOML: {re.sub(r' *[(]at .*', '', str(exc))[:200]}"
            raise _unreadable(file, line, text, "see https://toml.io", column) from exc
    if raw.lstrip()[:1] in (b"{", b"[") or file.endswith(".json"):
        try:
            return _DECODER.decode(raw)
        except RecursionError:
            raise _unreadable(file, 1, "not readable as JSON: nested too deeply", "") from None
        except (msgspec.DecodeError, ValueError, ArithmeticError) as exc:
            if file.endswith(".json"):
                at = re.search(r"\(byte (\d+)\)", str(exc))
                line = raw.count(b"\n", 0, int(at[1])) + 1 if at else 1
                raise _unreadable(file, line, f"not readable as JSON: {str(exc)[:200]}", "an OpenAPI document is expected") from exc
    try:
        return _Yaml(file).value(raw)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 0)
        raise _unreadable(file, line, f"not readable as YAML: {exc.problem or exc.context}", "see https://yaml.org", column) from exc
    except (yaml.YAMLError, ValueError) as exc:
        text = f"not readable as YAML: {str(exc).splitlines()[0][:200]}"
        raise _unreadable(file, 1, text, "UTF-8 text without control characters is expected") from exc


def _unreadable(file: str, line: int, message: str, suggestion: str, column: int = 0) -> Findings:
    return Findings(findings=(Finding(file, line, message, suggestion, column),))


class _Yaml:
    """Builds values from the parser's events. An alias is the same value again, counted in full, so that few lines cannot mean millions."""

    def __init__(self, file: str) -> None:
        self.file, self.count = file, 0
        self.anchors: dict[str, tuple[Any, int]] = {}

    def value(self, raw: bytes) -> Any:
        stack: list[tuple[Any, str | None, int]] = []  # containers that are open, their anchors, and the count before them
        keys: list[str | None] = []
        root: Any = None
        for event in _events(raw):
            kind, anchor, size = event.__class__, None, 1
            if kind is yaml.ScalarEvent:
                is_key = bool(stack) and stack[-1][0].__class__ is dict and keys[-1] is None
                value, anchor = event.value if is_key else _scalar(event), event.anchor
            elif kind is yaml.AliasEvent:
                if event.anchor not in self.anchors:
                    raise self.wrong(event, f"the alias {event.anchor} names nothing that is complete", "write what it stands for")
                value, size = self.anchors[event.anchor]
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                if len(stack) >= MAX_DEPTH:
                    raise self.wrong(event, f"nested more than {MAX_DEPTH} levels deep", "")
                value = {} if kind is yaml.MappingStartEvent else []
                if stack and stack[-1][0].__class__ is dict and keys[-1] is None:
                    raise self.wrong(event, "a key that is no text", "write a plain word")
                stack.append((value, event.anchor, self.count))
                keys.append(None)
                continue
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                value, anchor, before = stack.pop()
                keys.pop()
                size = self.count - before
                self.count = before
                if value.__class__ is dict and "<<" in value:
                    value = _with_merged(value)
            elif kind is yaml.DocumentEndEvent:
                return root
            else:
                continue
            self.count += size
            if self.count > MAX_VALUES:
                raise self.wrong(event, f"unfolds to more than {MAX_VALUES} values", "write fewer aliases")
            if anchor:
                self.anchors[anchor] = value, size
            if not stack:
                root = value
            elif stack[-1][0].__class__ is list:
                stack[-1][0].append(value)
            elif keys[-1] is None:
                if not isinstance(value, str):
                    raise self.wrong(event, "a key that is no text", "write a plain word")
                keys[-1] = value
            else:
                stack[-1][0][keys[-1]] = value
                keys[-1] = None
        return root

    def wrong(self, event: Any, message: str, suggestion: str) -> Findings:
        return _unreadable(
            self.file, event.start_mark.line + 1, f"not readable as YAML: {message}", suggestion, event.start_mark.column + 1
        )


def _events(raw: bytes) -> Iterator[Any]:
    return yaml.parse(raw, Loader=yaml.CSafeLoader)


def _scalar(event: Any) -> Any:
    """YAML 1.2: `no`, `on` and days are texts."""
    text: str = event.value
    if not event.implicit[0] or event.tag in _STRING:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "0123456789+-.":
        if _INTEGER(text):
            return int(text)
        if _NUMBER(text):
            try:
                return Decimal(text)
            except InvalidOperation:
                return text
    return text


def _with_merged(value: dict[str, Any]) -> dict[str, Any]:
    more = value.pop("<<")
    for one in more if isinstance(more, list) else (more,):
        if isinstance(one, dict):
            for key, member in one.items():
                value.setdefault(key, member)
    return value


def _root_references(found: Any, name: str) -> None:
    folder, left, seen = posixpath.dirname(name), [found], set[int]()

    def rooted(ref: str) -> str:
        file, _, pointer = ref.partition("#")
        return f"{posixpath.normpath(posixpath.join(folder, file)) if file else name}#{pointer}"

    while left:
        node = left.pop()
        if id(node) in seen or not isinstance(node, dict | list):
            continue
        seen.add(id(node))
        if isinstance(node, list):
            left += node
            continue
        if isinstance(ref := node.get("$ref"), str) and "://" not in ref:
            node["$ref"] = rooted(ref)
        discriminator = node.get("discriminator")
        if isinstance(discriminator, dict) and isinstance(mapping := discriminator.get("mapping"), dict):
            for value, ref in mapping.items():
                if isinstance(ref, str):
                    mapping[value] = rooted(schema_reference(ref))
        left += node.values()


def schema_reference(target: str) -> str:
    """A discriminator's mapping may say a schema's name instead of a reference."""
    return target if re.search(r"[#/]|\.(json|ya?ml)$", target) else f"#/components/schemas/{target}"


_TABLE = re.compile(rb"""^[ \t]*\[[ \t]*(\w+)[ \t]*(?:\.[ \t]*["']?([^\]"'\n]+?)["']?)?[ \t]*\]""", re.MULTILINE)


def _lines(raw: bytes) -> dict[tuple[str, ...], int]:
    """Lines of the members of the upper levels; as far as it can be read."""
    found: dict[tuple[str, ...], int] = {}
    path: list[str] = []
    state: list[str | int | None] = []  # per open container: the key it waits for a value of (None: a key comes), or the next index
    try:
        for event in _events(raw.removeprefix(b"\xef\xbb\xbf")):
            kind = event.__class__
            if kind is yaml.ScalarEvent and state and state[-1] is None:
                state[-1] = event.value
                if len(state) <= _LINED:
                    found[(*path, event.value)] = event.start_mark.line + 1
                continue
            if kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                state.pop()
                if path:
                    path.pop()
            elif kind in (yaml.ScalarEvent, yaml.AliasEvent, yaml.MappingStartEvent, yaml.SequenceStartEvent):
                if state and isinstance(state[-1], int) and len(state) <= _LINED:
                    found[(*path, str(state[-1]))] = event.start_mark.line + 1
                if kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                    if state:
                        path.append(str(state[-1]))
                    state.append(None if kind is yaml.MappingStartEvent else 0)
                    continue
            else:
                continue
            if state:
                state[-1] = state[-1] + 1 if isinstance(state[-1], int) else None
    except yaml.YAMLError:
        pass  # what was found until there
    return found


def _table_lines(raw: bytes) -> dict[tuple[str, ...], int]:
    found: dict[tuple[str, ...], int] = {}
    for table in _TABLE.finditer(raw):
        key = tuple(part.decode("utf-8", "replace") for part in table.groups() if part is not None)
        found.setdefault(key, raw.count(b"\n", 0, table.start(1)) + 1)
    return found
