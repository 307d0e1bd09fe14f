"""Reads till files by nothing but their declared layouts: the plainest reader of that grammar, to prove both agree."""

import csv
import re
import tomllib
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from lxml import etree

LAYOUTS = Path(__file__).parents[4] / "contracts" / "systems" / "pos"
FIELD_KEYS = {
    "name", "type", "values", "closed", "required", "default", "digits", "decimals", "sign", "pad", "min", "max",
    "pattern", "format", "zone", "personal", "start", "width", "path", "otherwise", "read",
}  # fmt: skip


@cache
def layout(name: str) -> dict[str, Any]:
    return tomllib.loads((LAYOUTS / f"{name}.toml").read_text(encoding="utf-8"))


@dataclass
class Record:
    type: str
    values: dict[str, Any]
    parent: "Record | None"
    children: list["Record"] = field(default_factory=list)

    def all(self, type_: str) -> list["Record"]:
        found = [r for child in self.children for r in child.all(type_)]
        return [self, *found] if self.type == type_ else found

    def above(self, type_: str) -> "Record | None":
        return self if self.type == type_ else self.parent.above(type_) if self.parent else None


def read(path: Path) -> Record:
    """The file as one record of type "" over its records. ValueError, with the place, for what the layout forbids."""
    declared = layout("tlog" if path.suffix == ".tlog" else "poslog")
    name = re.fullmatch(declared["file"]["name"], path.name)
    if name is None:
        raise ValueError(f"{path.name} is no name for such a file")
    root = _rows(path, declared) if declared["file"]["format"] == "delimited" else _elements(path, declared)
    for group in declared["file"]["agree"]:
        for record in root.children:
            if group in record.values and str(record.values[group]).replace("-", "") != name[group]:
                raise ValueError(f"{group} is {record.values[group]} inside")
    for check in _spoken(declared["check"], declared):
        check = {**check, "equals": _spoken(check["equals"], declared)}
        for scope in [root] if check["scope"] == "file" else root.all(check["scope"]):
            _prove(check, scope)
    return root


def _spoken(rules: list[dict[str, Any]], declared: dict[str, Any]) -> list[dict[str, Any]]:
    return [r for r in rules if all(declared["dialect"][key] in codes for key, codes in r.get("dialect", {}).items())]


def _rows(path: Path, declared: dict[str, Any]) -> Record:
    root = Record("", {}, None)
    open_records = {"": root}
    text = path.read_bytes().decode(declared["file"]["encoding"])
    for at, row in enumerate(csv.reader(text.splitlines(), delimiter=declared["file"]["delimiter"]), 1):
        spec = declared["record"].get(row[0])
        if spec is None or len(row) - 1 > len(spec["fields"]):
            raise ValueError(f"line {at}: {row[0]} is not declared so")
        raw = [*row[1:], *[""] * (len(spec["fields"]) - len(row) + 1)]
        values = {f["name"]: _value(f, v, f"line {at}") for f, v in zip(spec["fields"], raw, strict=True)}
        parent = open_records[spec.get("parent", "")]
        record = open_records[row[0]] = Record(row[0], values, parent)
        parent.children.append(record)
    for type_, spec in declared["record"].items():
        if type_ != "*" and spec["role"] in {"file_header", "file_trailer"} and len(root.all(type_)) != 1:
            raise ValueError(f"expected one {type_}")
    return root


def _elements(path: Path, declared: dict[str, Any]) -> Record:
    document = etree.fromstring(path.read_bytes())
    if _local(document) != declared["file"]["root"]:
        raise ValueError("another document")
    root = Record("", {}, None)

    def descend(element: Any, record: Record) -> None:
        for type_, spec in declared["record"].items():
            if spec.get("parent", "") != record.type:
                continue
            for found in _find(element, spec["path"]):
                if "where" in spec and not _find(found, spec["where"]):
                    continue
                values = {}
                for f in spec["fields"]:
                    hits = next((h for p in (f["path"], *f.get("otherwise", ())) if (h := _find(found, p))), [])
                    raw = "" if not hits else _local(hits[0]) if f.get("read") == "name" else getattr(hits[0], "text", hits[0])
                    if f.get("read") == "sign" and raw:
                        raw = "-" if raw.startswith("-") else "+"
                    values[f["name"]] = _value(f, raw or "", f"line {found.sourceline}")
                child = Record(type_, values, record)
                record.children.append(child)
                descend(found, child)

    descend(document, root)
    return root


def _find(element: Any, path: str) -> list[Any]:
    found = [element]
    for step in path.split("/"):
        if step == "..":
            found = [e.getparent() for e in found]
        elif step.startswith("@"):
            names = step[1:].split("|")
            found = [v for e in found for k, v in e.attrib.items() if etree.QName(k).localname in names]
        else:
            choice, _, wanted = step.partition("[@")
            attribute, _, value = wanted.removesuffix("']").partition("='")
            found = [
                child for e in found for child in e if _local(child) in choice.split("|") and (not wanted or child.get(attribute) == value)
            ]
    return found


def _local(element: Any) -> str:
    return etree.QName(element).localname


def _value(f: dict[str, Any], raw: str, where: str) -> Any:
    if extra := f.keys() - FIELD_KEYS:
        raise ValueError(f"layout: {extra}")
    where = f"{where}, {f['name']}"
    raw = raw or f.get("default", "")
    if raw == "":
        if f.get("required"):
            raise ValueError(f"{where}: empty")
        return frozenset() if f["type"] == "flags" else None
    match f["type"]:
        case "enum":
            if raw not in f["values"] and f.get("closed", True):
                raise ValueError(f"{where}: {raw} is not declared")
            return raw
        case "flags":
            if not set(raw) <= f["values"].keys():
                raise ValueError(f"{where}: {raw} is not declared")
            return frozenset(raw)
        case "boolean":
            return frozenset({{"1": "true", "0": "false"}.get(raw, raw)})
        case "date" | "datetime":
            moment = datetime.fromisoformat(raw) if f["format"] == "iso" else datetime.strptime(raw, f["format"])  # noqa: DTZ007  # local by declaration
            return moment.date().isoformat() if f["type"] == "date" else moment
        case "integer" | "decimal":
            minus = raw.endswith("-") if f.get("sign") == "trailing" else raw.startswith("-") and f.get("sign") == "leading"
            digits = raw.strip("-") if minus else raw
            point = "" if f["type"] == "integer" or "decimals" in f else r"(\.\d+)?"
            if not re.fullmatch(rf"\d+{point}", digits) or len(digits.replace(".", "")) > f["digits"]:
                raise ValueError(f"{where}: {raw} is not a number")
            if "pad" in f and len(digits) != f["digits"]:
                raise ValueError(f"{where}: {raw} is not padded")
            number = Decimal(digits).scaleb(-f.get("decimals", 0))
            return -number if minus else number
    if not f.get("min", 0) <= len(raw) <= f.get("max", 500) or not re.fullmatch(f.get("pattern", "(?s:.*)"), raw):
        raise ValueError(f"{where}: {raw!r} does not fit")
    return raw


def _prove(check: dict[str, Any], scope: Record) -> None:
    def one(name: str) -> Any:
        type_, _, field_ = name.partition(".")
        return next((r.values[field_] for r in scope.all(type_)), None)

    def has(record: Record, condition: dict[str, list[str]]) -> bool:
        return any(
            bool(frozenset(codes) & (value if isinstance(value, frozenset) else {value}))
            for name, codes in condition.items()
            if (owner := record.above(name.partition(".")[0])) is not None and (value := owner.values[name.partition(".")[2]]) is not None
        )

    if (expected := one(check["expect"])) is None or has(scope, check.get("skip", {})):
        return
    total = Decimal(0)
    for term in check["equals"]:
        if "count" in term:
            amount = Decimal(len(scope.all(term["count"])))
        elif "field" in term:
            amount = one(term["field"])
        else:
            type_, _, field_ = term["sum"].partition(".")
            rows = [r for r in scope.all(type_) if "where" not in term or has(r, term["where"])]
            rows = [r for r in rows if "unless" not in term or not has(r, term["unless"])]
            amount = sum((r.values[field_] or Decimal(0) for r in rows), Decimal(0))
        total += term.get("sign", 1) * amount
    if abs(total - expected) > Decimal(check.get("tolerance", 0)).scaleb(-2):
        raise ValueError(f"{check['name']}: {check['says']} ({expected}, {total})")
