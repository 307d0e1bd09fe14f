"""Own functions of an estate: which files hold them, and which mapping may call which."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from contracts.errors import Finding
from mappings.language.own import MAX_TEXT, NO_OWN, Own, read

NAME = "functions.py"


class OwnFunctions:
    """`mappings/functions.py` is for every mapping of the estate, `mappings/erp/functions.py` for those beside it. Each file runs once."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._known: dict[str, Own] = {}
        self.findings: list[Finding] = []

    def of(self, mapping: str) -> Own:
        """Those that the mapping at this path of the estate may call."""
        folder, found = PurePosixPath(mapping).parent, NO_OWN
        for place in dict.fromkeys((PurePosixPath("mappings"), folder)):
            one = self._read(str(place / NAME))
            for name in sorted(found.functions.keys() & one.functions.keys()):
                self.findings.append(Finding(str(place / NAME), 1, f"{name} is in mappings/{NAME} too", "keep one of them"))
            found = found | one
        return found

    def _read(self, name: str) -> Own:
        if name not in self._known:
            self._known[name] = NO_OWN
            file = (self._root / name).resolve()
            if file.is_file() and not file.is_relative_to(self._root):
                self.findings.append(Finding(name, 1, "leads out of the estate's folder", "own functions are loaded from there only"))
            elif file.is_file():
                try:
                    with file.open("rb") as lines:
                        self._known[name], found = read(lines.read(4 * MAX_TEXT).decode("utf-8"), name)
                except (OSError, UnicodeDecodeError) as error:
                    found = [Finding(name, 1, f"cannot be read: {error}")]
                self.findings += found
        return self._known[name]
