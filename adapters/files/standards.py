"""Layouts of standards that ship with the gateway, with their mappings: which one a sample is written in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from lxml import etree

from adapters.files.inference import edi_format, first_message
from adapters.files.parsing import Refuse
from mappings.language.toml_text import toml_string

_SHIPPED: Final = Path(__file__).resolve().parents[2]
_ROOTS: Final = {"POSLog": ("pos", "poslog"), "NAXML-POSJournal": ("journals", "naxml")}
"""Document element -> folder and name."""
_BOOKED: Final[Mapping[str, Mapping[str, str]]] = {
    "edifact_slsrpt": {"movement.feed": "edifact_slsrpt"},
    "edifact_invrpt": {"level.feed": "edifact_invrpt"},
    "x12_846": {"level.feed": "x12_846"},
    "x12_852": {"level.feed": "x12_852", "movement.feed": "x12_852_sold"},
}
"""Messages that tell of stock -> mapping by capability. What 852 says of stock holds its sales; one that says nothing of it tells sums."""
_STOCK: Final = re.compile(rb"ZA[^A-Za-z0-9](OH|QA)[^A-Za-z0-9]")
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


class Standard(NamedTuple):
    name: str
    layout: str
    mappings: Mapping[str, str]
    """By capability; the first is the one to begin with."""


def recognised(raw: bytes, pattern: str) -> Standard | None:
    """The standard that a document, or the first message of an interchange, is written in; its files are those that `pattern` matches."""
    if (path := shipped(raw)) is not None:
        booked = _BOOKED.get(path.stem, {})
        order = sorted(booked, key=lambda capability: len(booked) > 1 and (capability == "level.feed") != bool(_STOCK.search(raw)))
        return _standard("edi", path.stem, {capability: booked[capability] for capability in order}, pattern) if booked else None
    parser = etree.XMLPullParser(events=("start",), resolve_entities=False, no_network=True, load_dtd=False)
    with suppress(etree.XMLSyntaxError):  # what begins as the standard is said to be it; what is wrong with it, its layout says
        parser.feed(raw[:HEAD])
    root = next((element for _, element in parser.read_events()), None)
    found = _ROOTS.get(etree.QName(root).localname) if isinstance(root, etree._Element) else None  # noqa: SLF001 - lxml's only name for its elements
    return _standard(*found, {"sale.feed": found[1]}, pattern) if found is not None else None


def _standard(folder: str, name: str, mappings: Mapping[str, str], pattern: str) -> Standard:
    text = (_SHIPPED / "contracts/systems" / folder / f"{name}.toml").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^name  .*$", lambda _: f"name        = {toml_string(pattern)}", text, count=1)
    text = re.sub(r"(?m)^agree .*\n", "", text)
    read = {
        capability: (_SHIPPED / "mappings" / folder / f"{each}.toml").read_text(encoding="utf-8") for capability, each in mappings.items()
    }
    return Standard(name, text, read)
