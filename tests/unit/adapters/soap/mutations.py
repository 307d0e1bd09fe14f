"""Answers that went wrong: one seed gives one answer, broken in one to three of the ways that systems, proxies and attackers break them."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

from lxml import etree

XSI = "{http://www.w3.org/2001/XMLSchema-instance}"
VALUES = (
    "", " ", "0", "-1", "12,0", "1.299,00", "NaN", "INF", "1e999999", "9" * 400, "-", "\u0661\u0662", "12.000 ", "null", "N/A", "true",
    "2026-13-45", "20261332", "99991231", "000000", "\u00e4\u20ac\U0001f600", "x" * 20_000, "<b>", "]]>", "&", "' or 1=1 --", "../../etc",
    "\ufffd", "\u202e12", "0x1F",
)  # fmt: skip
BOMB = (
    '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">'
    '<!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;"><!ENTITY e SYSTEM "file:///etc/passwd">]>'
)
STATUSES = (200, 200, 200, 200, 202, 302, 400, 401, 404, 429, 500, 503)
TYPES = (
    "text/xml",
    "text/xml; charset=utf-16",
    "application/soap+xml",
    "application/xml",
    "text/html",
    "application/json",
    "text/plain",
    "multipart/related",
)


@dataclass(frozen=True, slots=True)
class Mutated:
    """`how` names what was done, in order."""

    status: int
    content_type: str
    body: bytes
    how: tuple[str, ...]


def mutated(seed: int, answers: list[bytes]) -> Mutated:
    """The answer of this seed, made from one of `answers`."""
    chance = random.Random(seed)  # a repeatable choice, not a secret
    body, status, kind = chance.choice(answers), 200, "text/xml; charset=utf-8"
    how: list[str] = []
    trees = [chance.choice(IN_TREE) for _ in range(chance.choice((0, 1, 1, 1, 2, 3)))]
    if trees:
        root = etree.fromstring(body)
        for step in trees:
            step(chance, root)
            how.append(step.__name__)
        body = etree.tostring(root, encoding="UTF-8", xml_declaration=chance.random() < 0.5)
    if not trees or chance.random() < 0.3:
        change = chance.choice(IN_BYTES)
        body = change(chance, body)
        how.append(change.__name__)
    if chance.random() < 0.15:
        status = chance.choice(STATUSES)
        how.append(f"status {status}")
    if chance.random() < 0.1:
        kind = chance.choice(TYPES)
        how.append(kind)
    return Mutated(status, kind, body, tuple(how))


def _any(chance: random.Random, root: etree._Element) -> etree._Element:
    return chance.choice([e for e in root.iter(etree.Element) if e is not root] or [root])


def _leaf(chance: random.Random, root: etree._Element) -> etree._Element:
    return chance.choice([e for e in root.iter(etree.Element) if len(e) == 0] or [root])


def _drop(element: etree._Element) -> None:
    above = element.getparent()
    if above is not None:
        above.remove(element)


# ---- in the tree --------------------------------------------------------------------------------------------------------


def missing(chance: random.Random, root: etree._Element) -> None:
    _drop(_any(chance, root))


def twice(chance: random.Random, root: etree._Element) -> None:
    element = _any(chance, root)
    for _ in range(chance.choice((1, 1, 2, 40)) if element is not root else 0):
        element.addnext(deepcopy(element))


def swapped(chance: random.Random, root: etree._Element) -> None:
    parents = [e for e in root.iter(etree.Element) if len(e) > 1]
    if parents:
        parent = chance.choice(parents)
        parent[:] = chance.sample(list(parent), len(parent))


def moved(chance: random.Random, root: etree._Element) -> None:
    element, place = _any(chance, root), _any(chance, root)
    if element is not root and element is not place and element not in place.iterancestors():
        place.append(element)


def renamed(chance: random.Random, root: etree._Element) -> None:
    element = _any(chance, root)
    name = etree.QName(element)
    local = chance.choice((name.localname.lower(), name.localname + "X", name.localname[:-1] or "y", "Fault", "item"))
    element.tag = etree.QName(chance.choice((name.namespace, "urn:other", None)), local).text


def other_value(chance: random.Random, root: etree._Element) -> None:
    _leaf(chance, root).text = chance.choice(VALUES)


def nested(chance: random.Random, root: etree._Element) -> None:
    element = _leaf(chance, root)
    for _ in range(chance.choice((1, 3, 200))):
        element = etree.SubElement(element, chance.choice(("b", "item", "{urn:x}y")))
    element.text = "1"


def nil(chance: random.Random, root: etree._Element) -> None:
    element = _any(chance, root)
    element.set(f"{XSI}nil", chance.choice(("true", "1", "false", "maybe")))
    if chance.random() < 0.5:
        element[:] = []
        element.text = None


def typed(chance: random.Random, root: etree._Element) -> None:
    _any(chance, root).set(f"{XSI}type", chance.choice(("xsd:string", "Strange", ":", "a:b:c", "", "x" * 5000, "t:LotItem")))


def extra(chance: random.Random, root: etree._Element) -> None:
    element = etree.Element(chance.choice(("NEW", "{urn:new}FIELD", "T_STOCK", "LABST")))
    element.text = chance.choice(VALUES[:20])
    _any(chance, root).insert(chance.choice((0, 0, 99)), element)


def attribute(chance: random.Random, root: etree._Element) -> None:
    _any(chance, root).set(chance.choice(("x", "id", "href", "{urn:a}b")), chance.choice(("1", "#1", "#loop", "")))


def loop(chance: random.Random, root: etree._Element) -> None:
    one, other = _any(chance, root), _any(chance, root)
    one.set("id", "loop")
    other.set("href", "#loop")
    root.set("{http://schemas.xmlsoap.org/soap/envelope/}encodingStyle", "http://schemas.xmlsoap.org/soap/encoding/")


def comment(chance: random.Random, root: etree._Element) -> None:
    element = _leaf(chance, root)
    text, cut = element.text or "", chance.randrange(4)
    inner: etree._Element = etree.Comment(" c ") if chance.random() < 0.5 else etree.ProcessingInstruction("p", "i")
    element.text, inner.tail = text[:cut], text[cut:]
    element.append(inner)


def text_between(chance: random.Random, root: etree._Element) -> None:
    element = _any(chance, root)
    if element is not root:
        element.tail = chance.choice((" lost ", "\n\t", "0", "&amp;"))


def many(chance: random.Random, root: etree._Element) -> None:
    rows = [e for e in root.iter(etree.Element) if etree.QName(e).localname == "item"]
    if rows:
        row = chance.choice(rows)
        for _ in range(chance.choice((5, 50, 300))):
            row.addnext(deepcopy(row))


IN_TREE: tuple[Callable[[random.Random, etree._Element], None], ...] = (
    missing, missing, twice, swapped, moved, renamed, renamed, other_value, other_value, other_value, nested, nil, typed, extra, extra,
    attribute, loop, comment, text_between, many,
)  # fmt: skip


# ---- in the bytes -------------------------------------------------------------------------------------------------------


def cut_off(chance: random.Random, body: bytes) -> bytes:
    return body[: chance.randrange(len(body))]


def flipped(chance: random.Random, body: bytes) -> bytes:
    changed = bytearray(body)
    for _ in range(chance.choice((1, 1, 4))):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def inserted(chance: random.Random, body: bytes) -> bytes:
    at = chance.randrange(len(body))
    return (
        body[:at]
        + chance.choice((b"\0", b"<", b">", b"&", b"&nbsp;", b"&#0;", b"&#x1F600;", b"<!--", b"<![CDATA[", b"]]>", b"\xff\xfe"))
        + body[at:]
    )


def encoded(chance: random.Random, body: bytes) -> bytes:
    text = body.decode("utf-8", "replace")
    text = text[text.find("?>") + 2 :] if text.startswith("<?xml") else text
    name, codec = chance.choice(
        (("UTF-16", "utf-16"), ("ISO-8859-1", "latin-1"), ("ISO-8859-1", "utf-8"), ("bogus-8", "utf-8"), ("utf-7", "utf-7"))
    )
    return f'<?xml version="1.0" encoding="{name}"?>{text}'.encode(codec, "replace")


def doctype(chance: random.Random, body: bytes) -> bytes:
    start = body.find(b"?>") + 2 if body.startswith(b"<?xml") else 0
    return body[:start] + BOMB.encode() + body[start:].replace(b"000", chance.choice((b"&d;", b"&e;", b"000")), 1)


def nothing(chance: random.Random, body: bytes) -> bytes:
    return chance.choice(
        (b"", b" ", b"null", b"{}", b"<html><body>Bad gateway</body></html>", b"\xef\xbb\xbf" + body, body * 2, b"\n" + body)
    )


def deep(chance: random.Random, body: bytes) -> bytes:
    depth = chance.choice((100, 300, 20_000))
    return body.replace(b"</", b"<d>" * depth + b"</d>" * depth + b"</", 1)


def spaces(chance: random.Random, body: bytes) -> bytes:
    return body.replace(b"><", b">" + chance.choice((b"\n  ", b"\r\n", b" " * 2000)) + b"<")


IN_BYTES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    cut_off,
    cut_off,
    flipped,
    flipped,
    inserted,
    encoded,
    doctype,
    nothing,
    deep,
    spaces,
)
