"""Layouts of standards that ship with the gateway, with their mappings: which one a sample is written in."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from lxml import etree

from adapters.files.inference import edi_format, first_message
from adapters.files.parsing import Refuse
from mappings.language.toml_text import toml_string

_SHIPPED: Final = Path(__file__).resolve().parents[2]
_ROOTS: Final = {"POSLog": ("pos", "poslog"), "NAXML-POSJournal": ("journals", "naxml")}
"""Document element -> folder and name."""
_SUMS: Final = {"edifact_slsrpt": "edifact_slsrpt", "x12_852": "x12_852_sold"}
"""Messages of what was sold without receipts -> mapping to movements of stock."""
HEAD: Final = 65_536
"""Bytes of a file that tell what it is."""


def shipped(raw: bytes) -> Path | None:
    """The layout of the message that an interchange begins with, where one ships with the gateway."""
    form = edi_format(raw)
    if not form:
        return None
    with suppress(Refuse):
        kind = first_message(raw[:HEAD], form).lower()
        path = _SHIPPED / "contracts/systems/edi" / f"{form}_{kind}.toml"
        return path if kind.isalnum() and path.is_file() else None
    return None


def recognised(raw: bytes, pattern: str) -> tuple[str, str, str] | None:
    """Name, layout and mapping of the standard that a document is written in; its files are those that `pattern` matches."""
    parser = etree.XMLPullParser(events=("start",), resolve_entities=False, no_network=True, load_dtd=False)
    with suppress(etree.XMLSyntaxError):  # what begins as the standard is said to be it; what is wrong with it, its layout says
        parser.feed(raw[:HEAD])
    root = next((element for _, element in parser.read_events()), None)
    found = _ROOTS.get(etree.QName(root).localname) if isinstance(root, etree._Element) else None  # noqa: SLF001 - lxml's only name for its elements
    if found is None:
        return None
    folder, name = found
    return name, *_texts(folder, name, name, pattern)


def moved(raw: bytes, pattern: str) -> tuple[str, str, str] | None:
    """The same of an interchange that begins with sums of sales."""
    path = shipped(raw)
    if path is None or path.stem not in _SUMS:
        return None
    return path.stem, *_texts("edi", path.stem, _SUMS[path.stem], pattern)


def _texts(folder: str, layout: str, mapping: str, pattern: str) -> tuple[str, str]:
    text = (_SHIPPED / "contracts/systems" / folder / f"{layout}.toml").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^name  .*$", lambda _: f"name        = {toml_string(pattern)}", text, count=1)
    text = re.sub(r"(?m)^agree .*\n", "", text)
    return text, (_SHIPPED / "mappings" / folder / f"{mapping}.toml").read_text(encoding="utf-8")
