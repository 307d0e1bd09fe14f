"""What a contract alone says about connecting a system: the files it consists of, options to begin with, and questions for a person."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from contracts.errors import Finding, Findings
from mappings.language.draft.offers import Offer
from mappings.language.draft.places import Samples

MAX_FILES: Final = 1000
MAX_BYTES: Final = 96 * 1024 * 1024


@dataclass(slots=True)
class Proposal:
    """`files`: relative name -> content, `main` names the one to begin with. `filled`: request paths that the driver fills itself."""

    protocol: str
    files: dict[str, bytes]
    main: str
    offers: list[Offer]
    title: str = ""
    endpoint: str = ""
    """As the contract has it, for information."""
    options: dict[str, Any] = field(default_factory=dict)
    questions: list[str] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    filled: frozenset[str] = frozenset()
    samples: Mapping[str, Samples] = field(default_factory=dict)
    """Values that were seen, by operation and path."""
    ready: Mapping[str, str] = field(default_factory=dict)
    """Mappings that need no draft, by capability: of a standard."""
    feeds: str = "sale.feed"
    """What files of it bring; empty for what nothing is booked from."""


def setting(system: str, what: str) -> str:
    """The reference under which a value is expected in the environment."""
    return f"env:{re.sub(r'[^A-Z0-9]', '_', system.upper())}_{what}"


def chosen(given: Path, suffixes: tuple[str, ...], what: str) -> Path:
    """The file itself, or the one of its kind in a folder. Raises Findings."""
    if not given.is_dir():
        if not given.is_file():
            raise Findings(findings=(Finding(str(given), 1, "there is no such file", f"name {what}, or the folder that holds it"),))
        return given
    found = sorted(p for p in given.iterdir() if p.suffix.lower() in suffixes and p.is_file())
    if len(found) != 1:
        names = ", ".join(p.name for p in found[:8]) or "none"
        raise Findings(findings=(Finding(str(given), 1, f"expected one {what} in this folder, there is: {names}", "name the file itself"),))
    return found[0]


def gathered(paths: Mapping[str, Path]) -> dict[str, bytes]:
    """The content of the files. Raises Findings for more than a contract may hold, and for names that mean something else in a copy."""
    first = str(next(iter(paths.values())))
    for name in paths:
        if posixpath.normpath(name).startswith(("../", "/")):
            said = f"the reference to {name!r} leads out of the contract's folder"
            raise Findings(findings=(Finding(first, 1, said, "write the path from the document to the file; both are copied"),))
    total = sum(p.stat().st_size for p in paths.values())
    if len(paths) > MAX_FILES or total > MAX_BYTES:
        said = f"the contract has {len(paths)} files and {total} bytes"
        raise Findings(findings=(Finding(first, 1, said, f"at most {MAX_FILES} files and {MAX_BYTES} bytes"),))
    return {name: path.read_bytes() for name, path in paths.items()}
