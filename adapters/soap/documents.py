"""The files a contract consists of: WSDL and schema documents inside one folder, bounded; nothing is fetched and no entity is read."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from lxml import etree

from contracts.errors import Finding, Findings

MAX_FILE = 32 * 1024 * 1024
MAX_TOTAL = 96 * 1024 * 1024
MAX_FILES = 1000
_SUFFIXES = frozenset({".xsd", ".wsdl", ".xml"})
XSD = "http://www.w3.org/2001/XMLSchema"


class Documents:
    """Reads each file once. Raises Findings for the first document that cannot be used; what is only missing becomes a note."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.notes: list[Finding] = []
        self._read: dict[Path, etree._Element] = {}
        self._bytes = 0
        self._names: list[Path] | None = None
        self._targets: dict[tuple[str, str], list[Path]] | None = None

    def note(self, path: Path, line: int, message: str, suggestion: str = "") -> None:
        finding = Finding(self.name(path), line, message, suggestion)
        if len(self.notes) < 1000 and finding not in self.notes:
            self.notes.append(finding)

    def name(self, path: Path) -> str:
        return str(path.relative_to(self.folder)) if path.is_relative_to(self.folder) else path.name

    def read(self, path: Path) -> etree._Element:
        path = path.resolve()
        if path not in self._read:
            self._read[path] = self._parse(path)
        return self._read[path]

    def _parse(self, path: Path) -> etree._Element:
        if not path.is_relative_to(self.folder):
            raise self._refused(path, f"lies outside the contract folder {self.folder.name}", "copy it into the folder")
        try:
            size = path.stat().st_size
            body = path.read_bytes() if size <= MAX_FILE else b""
        except OSError as exc:
            raise self._refused(path, f"cannot be read: {exc.strerror}") from exc
        self._bytes += size
        if size > MAX_FILE or self._bytes > MAX_TOTAL or len(self._read) >= MAX_FILES:
            raise self._refused(path, f"a contract has at most {MAX_FILES} files, {MAX_FILE} bytes each and {MAX_TOTAL} in all")
        try:
            root = etree.fromstring(body, _parser())
        except (etree.XMLSyntaxError, ValueError) as exc:
            if not isinstance(exc, etree.XMLSyntaxError) or "prefix" not in str(exc):
                line = (exc.lineno or 1) if isinstance(exc, etree.XMLSyntaxError) else 1
                raise self._refused(path, f"not well-formed XML: {exc}", line=line) from exc
            # Undeclared prefixes occur in policies that vendors paste in; the parts that matter here survive without them.
            self.note(path, exc.lineno or 1, f"read in spite of it: {exc}", "declare the prefix")
            root = etree.fromstring(body, _parser(recover=True))
            if root is None:
                raise self._refused(path, f"not well-formed XML: {exc}") from exc
        info: Any = root.getroottree().docinfo
        if info.doctype:
            raise self._refused(path, "has a DOCTYPE", "remove it: contracts need no entities")
        return root

    def _refused(self, path: Path, message: str, suggestion: str = "", line: int = 1) -> Findings:
        return Findings(findings=(Finding(self.name(path), line, message, suggestion),))

    def beside(self, path: Path, location: str) -> Path | None:
        """The file that an import in `path` means: relative to it, or, for a network address, the copy of that name: beside it, or the only
        one, or that with the most folders in common, below the contract folder.
        """
        try:
            parts = urlsplit(location)
        except ValueError:
            return None
        names = [unquote(parts.path).rpartition("/")[2], location.rpartition("=")[2]]
        if not parts.scheme:
            names = [unquote(location), *names]
        names = list(dict.fromkeys(filter(None, names)))
        for name in (n for each in names for n in (each, f"{each}.xsd", f"{each}.wsdl")):
            try:
                found = (path.parent / name).resolve()
                if found.is_relative_to(self.folder) and found.is_file():
                    return found
            except (OSError, ValueError):
                continue
        wanted = unquote(parts.path).split("/")
        alike = [p for p in self._files() if p.name in names or p.stem in names]
        return max(alike, key=lambda p: _in_common(p.parts, wanted)) if alike else None

    def of_namespace(self, namespace: str, root: str = f"{{{XSD}}}schema") -> list[Path]:
        """The documents below the contract folder with that target namespace and root element."""
        if self._targets is None:
            self._targets = {}
            for path in self._files():
                self._targets.setdefault(_target(path), []).append(path)
        return self._targets.get((root, namespace), [])

    def _files(self) -> list[Path]:
        if self._names is None:
            found = (Path(at) / name for at, _, names in os.walk(self.folder) for name in names)
            self._names = sorted(islice((p for p in found if p.suffix.lower() in _SUFFIXES), MAX_FILES))
        return self._names


def _in_common(parts: tuple[str, ...], wanted: list[str]) -> int:
    """How many names at the end are the same."""
    return next((n for n, (a, b) in enumerate(zip(reversed(parts), reversed(wanted), strict=False)) if a != b), len(wanted))


def _target(path: Path) -> tuple[str, str]:
    """Root element and target namespace of a document, empty for what is no XML. Only its beginning is read."""
    try:
        with path.open("rb") as file:
            parser = etree.XMLPullParser(events=("start",), resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
            for _ in range(16):
                parser.feed(file.read(4096))
                for _, node in parser.read_events():
                    root: Any = node  # the stubs know events of other kinds too
                    return root.tag, root.get("targetNamespace", "")
    except (OSError, etree.XMLSyntaxError):
        pass
    return "", ""


def _parser(*, recover: bool = False) -> etree.XMLParser:
    return etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
        recover=recover,
    )
