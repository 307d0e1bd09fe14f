"""Spoils the content of a till's file the ways real ones arrive spoilt, and says which transactions that costs."""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

from lxml import etree

How = Literal["bad_line", "unknown_enum", "wrong_total", "truncated", "wrong_encoding", "renamed", "resent", "conflict"]
"""bad_line: a quantity that is no number · unknown_enum: a transaction type nobody declared · wrong_total: a control
total (TLOG: of the file, POSLog: of a transaction) that does not hold · truncated: cut off in the middle of a
transaction · wrong_encoding: Latin-1 under the name of UTF-8 · renamed: the same bytes once more under another name ·
resent: the same transactions once more in a new file · conflict: a key that was used, with other content, in a new file."""
IN_PLACE = ("bad_line", "unknown_enum", "wrong_total", "truncated", "wrong_encoding")
WAYS: tuple[How, ...] = get_args(How)


class Spoilt(NamedTuple):
    """`hit` are the places of the transactions that can't be booked from `content`; `line` counts from 1 (TLOG)."""

    content: bytes
    hit: list[int]
    line: int | None
    field: str | None
    reason: str


def spoil_tlog(content: bytes, how: How, target: int) -> Spoilt:
    """`target` is the place of the transaction to spoil."""
    rows = content.decode().split("\n")
    heads = [n for n, row in enumerate(rows) if row.startswith("TH;")]
    head = heads[target]
    everything = list(range(len(heads)))
    item = next((n for n in range(head, len(rows)) if rows[n].startswith("TL;")), head)

    def with_field(row: int, place: int, change: Callable[[str], str]) -> bytes:
        fields = rows[row].split(";")
        fields[place] = change(fields[place])
        return "\n".join([*rows[:row], ";".join(fields), *rows[row + 1 :]]).encode()

    match how:
        case "bad_line":
            spoilt = with_field(item, 5, lambda old: f"{old[:1]}x{old[2:]}")
            return Spoilt(spoilt, [target], item + 1, "quantity", "not a number")
        case "unknown_enum":
            return Spoilt(with_field(head, 3, lambda _: "Z"), [target], head + 1, "type", "Z is not declared")
        case "wrong_total":
            trailer = max(n for n, row in enumerate(rows) if row.startswith("FT;"))
            spoilt = with_field(trailer, 3, lambda old: "1" if old == "0" else f"1{old}")
            return Spoilt(spoilt, everything, trailer + 1, "hash_total", "control total does not hold")
        case "truncated":
            cut = len("\n".join(rows[:item]).encode()) + 1 + len(rows[item]) // 2
            return Spoilt(content[:cut], everything, item + 1, None, "ends in the middle of a row, without trailer")
        case "wrong_encoding":
            rows[head] = with_field(head, 6, lambda _: "Kürschner").decode().split("\n")[head]
            ends = [*heads[1:], len(rows) - 2]
            hit = [n for n in everything if not all(row.isascii() for row in rows[heads[n] : ends[n]])]
            return Spoilt("\n".join(rows).encode("latin-1"), hit, head + 1, None, "not UTF-8")
        case _:
            raise ValueError(f"{how} needs a second file")


def spoil_poslog(content: bytes, how: How, target: int) -> Spoilt:
    """`target` is the place of the transaction to spoil."""
    root = etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True))
    element = root[target]
    everything = list(range(len(root)))

    def found(path: str) -> etree._Element:
        return next(e for e in element.iter("{*}" + path))

    def written(encoding: str = "utf-8") -> bytes:
        return b"<?xml version='1.0' encoding='utf-8'?>\n" + etree.tostring(root, encoding="unicode").encode(encoding, "xmlcharrefreplace")

    match how:
        case "bad_line":
            found("Quantity").text = "1x"
            return Spoilt(written(), [target], None, "quantity", "not a number")
        case "unknown_enum":
            found("RetailTransaction").set("TypeCode", "Layaway")
            return Spoilt(written(), [target], None, "type", "Layaway is not declared")
        case "wrong_total":
            total = next(e for e in element.iter("{*}Total") if e.get("TotalType") == "TransactionGrandAmount")
            total.text = f"1{(total.text or '').lstrip('-')}"
            return Spoilt(written(), [target], None, "grand", "control total does not hold")
        case "truncated":
            cut = sum(len(part) for part in content.split(b"\n<Transaction")[: target + 1]) + 13 * target
            return Spoilt(content[: cut + 200], everything, None, None, "ends in the middle of a transaction")
        case "wrong_encoding":
            found("OperatorID").text = "Kürschner"
            return Spoilt(written("latin-1"), everything, None, None, "not UTF-8")
        case _:
            raise ValueError(f"{how} needs a second file")
