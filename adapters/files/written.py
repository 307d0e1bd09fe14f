"""Transactions written as earlier ones were: from their text straight to what is booked.

A till writes the same few rows over and over; from one transaction to the next only numbers, names and amounts differ. A transaction that
was read exactly becomes a shape: a pattern of its whole text, with a group for each cell that may change, and the document of its sale
with a place for each of them. Which cells may change follows from the layout (what any text of the pattern is read as) and from the mapping
(where the value goes, and that nothing else hangs on it); all other text is part of the pattern as it stands. The layout's own equations
over the changing cells are asked of every transaction. What does not match, or does not add up, is read exactly.

A cell is a column of a row, or the text or an attribute of an element: markup belongs to the pattern as it was read, see regular.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from adapters.files.checks import Checks
from adapters.files.formats.regular import Marked, NotRegular
from adapters.files.generated import function
from adapters.files.layout import FieldRule, Layout
from adapters.files.learning.cells import ANY, CANONICAL, ISO_MOMENT, MARK, MOMENT, PLAIN_PATTERN, Cell, Row, Unfit, lengths
from adapters.files.learning.documents import (
    Tills,
    allowed_text,
    at_place,
    counted_text,
    encoded,
    parted,
    plain,
    put,
    surely,
    type_at,
)
from adapters.files.learning.elements import any_text, marked_pattern, nested, together
from adapters.files.learning.equations import Linear, Numbers, Unknown
from adapters.files.values import Memo, Wrong, reader
from contracts.books import PreparedSale
from contracts.canonical.sale import PosSale
from mappings.language import CompiledMapping, runtime
from mappings.language.expression import Arithmetic, Call, Choice, Compare, Const, Logic, Node, Path, nodes
from mappings.language.expression import Sequence as Several
from mappings.language.read import Group, Rule, groups
from observability import get_logger

log = get_logger(__name__)

SEEN: Final = 32
"""Transactions alike, digits aside, before one of them becomes a shape (a power of two): making it costs as much as reading some dozens."""
MOST_SEEN: Final = 1000
MOST_LOOKS: Final = 4000
"""Transactions that are looked at for being alike since one of them became a shape: where none does, each is only read."""
MOST_SHAPES: Final = 12
"""Of one number of rows; all of them may have to be tried."""
MOST_ROWS: Final = 40

_PURE: Final = frozenset(
    {
        "coalesce", "count", "default", "enum", "local_datetime", "magnitude", "money", "negative", "quantity", "required", "string",
        "strip_zeros", "text", "time_quality", "unit_price", "zone_of",
    }
)  # fmt: skip
"""What a mapping may call: the value hangs on nothing but the arguments, as long as one file is read."""
_FREE: Final[Mapping[str, frozenset[str]]] = {
    "": frozenset({"begin_at", "end_at", "time_quality", "operator_id", "receipt_number", "till_id"}),
    "key": frozenset({"workstation_id", "sequence_number"}),
    "totals": frozenset({"grand", "gross", "net", "tax", "rounding"}),
    "lines": frozenset(
        {"line_number", "extended_amount", "item_id", "pos_item_id", "gtin", "units", "measure", "regular_unit_price", "actual_unit_price"}
    ),
    "lines.discounts": frozenset({"amount", "promotion_id"}),
    "tenders": frozenset({"amount_planned", "last4", "psp_reference"}),
    "tax": frozenset({"amount", "taxable_amount"}),
}
"""Fields of a sale that decide nothing about the rest of it: whatever their types allow may stand there."""
_DIGITS: Final = re.compile(r"[0-9]+ *")
_OFFSET: Final = re.compile(r"Z|[+-][0-9]{2}:[0-9]{2}|")
_FOREIGN: Final = (Wrong, runtime.Bad, ValueError, TypeError, LookupError, ArithmeticError, AttributeError)


class Shape:
    """`match` takes a text from a place on; `make` takes its groups, and answers None for what has to be read exactly."""

    __slots__ = ("hits", "make", "match", "rows", "slots")

    def __init__(self, pattern: str, make: Callable[..., PreparedSale | None], slots: Mapping[str, int]) -> None:
        self.match = re.compile(pattern, re.MULTILINE).match
        self.make, self.slots, self.rows = make, slots, sum(slots.values())
        self.hits = 0


class Written:
    """What has been learned of one file, below one header."""

    def __init__(self, layout: Layout, mapping: CompiledMapping, zone_of: Callable[[str], Any]) -> None:
        """Raises Unfit."""
        file, rule = mapping.file, layout.file
        closing = any(r.rule.closes and r.needed for r in layout.transaction.children)
        self._fixed, self._elements = rule.format == "fixed", rule.format == "xml"
        if self._elements:
            if layout.headers or layout.trailers:
                raise Unfit
        elif (
            rule.format not in ("delimited", "fixed")
            or rule.columns
            or rule.record_length
            or not closing
            or (rule.agree and not layout.headers)
        ):
            raise Unfit
        if self._fixed and (rule.record_type.start != 1 or any(len(name) != rule.record_type.width for name in layout.records)):
            raise Unfit
        if mapping.target.root.name != "PosSale" or any((file.where, file.group, file.also, file.asked, file.refusals)):
            raise Unfit
        for group in groups(file.fields):
            if any((group.of, group.group, group.broken)):
                raise Unfit
            if any(isinstance(n, Call) and n.name not in _PURE for r in group.rules.values() for n in nodes(r.node)):
                raise Unfit
        self.layout, self._mapping, self._zone_of = layout, mapping, zone_of
        self._checks = Checks(layout)
        self._asked = {name for c in layout.checks for t in c.equals for name in (*t.where, *t.unless, *c.skip)}
        """Fields that decide whether something counts, or have to agree with the file's name."""
        self._asked |= {f"{layout.transaction.name}.{name}" for name in rule.agree}
        self.marked: Callable[[str], Marked] | None = None
        """Of a transaction's elements, as the file's parser sees them."""
        self.defects = 0
        self.mark = f"\n{layout.transaction.name}{'' if self._fixed else rule.delimiter}"
        self.begin()

    def begin(self) -> None:
        """A file begins; nothing of it has been read."""
        self.counts: dict[str, int] = {}
        self._sums = [0] * len(self._checks.summed)
        self._shapes: dict[int, list[Shape]] = {}
        self.forget()

    def forget(self) -> None:
        """Other headers stand around the transactions from here on."""
        self._tally()
        self._shapes, self._seen, self._looks = {}, dict[str, int](), 0
        self._steady: Shape | None = None
        """How the last two were written."""
        self._last: Shape | None = None

    # ---- reading --------------------------------------------------------------------------------------------------

    def take(self, text: str, at: int, most: int, room: int) -> tuple[list[PreparedSale], int, int]:
        """Those that stand there one behind the other, at most `room`, each of at most `most` characters with its last line end; where
        they end, and how many rows they are."""
        sales: list[PreparedSale] = []
        rows = 0
        while True:
            if (shape := self._steady) is not None:
                match, make, before = shape.match, shape.make, len(sales)
                try:
                    while len(sales) < room and (found := match(text, at)) is not None and (end := found.end()) - at <= most:
                        if (made := make(*found.groups())) is None:
                            break
                        sales.append(made)
                        at = end
                except _FOREIGN:
                    pass
                shape.hits += len(sales) - before
                rows += (len(sales) - before) * shape.rows
            if len(sales) >= room or (other := self._other(text, at, most)) is None:
                return sales, at, rows
            made, shape, at = other
            sales.append(made)
            rows += shape.rows

    def _other(self, text: str, at: int, most: int) -> tuple[PreparedSale, Shape, int] | None:
        """One that is written otherwise than the one before it."""
        following = text.find(self.mark, at)
        if following < 0:
            return None
        self._steady = None
        if following - at < most and (shapes := self._shapes.get(text.count("\n", at, following + 1))) is not None:
            for shape in shapes:
                if (found := shape.match(text, at)) is not None:
                    if (made := self._made(shapes, shape, found)) is None:
                        return None
                    self._steady, self._last = shape if shape is self._last else None, shape
                    return made, shape, following + 1
        return None

    def take_element(self, text: str, at: int, most: int) -> tuple[PreparedSale, int, int] | None:
        """The transaction whose first tag begins there, at most so many characters; where it ends, and how many rows it is."""
        shapes = self._shapes.get(0)
        if shapes is not None:
            for shape in shapes:
                found = shape.match(text, at)
                if found is not None:
                    made = self._made(shapes, shape, found) if found.end() - at <= most else None
                    return None if made is None else (made, found.end(), shape.rows)
        return None

    @staticmethod
    def _made(shapes: list[Shape], shape: Shape, found: re.Match[str]) -> PreparedSale | None:
        try:
            made = shape.make(*found.groups())
        except _FOREIGN:
            return None
        if made is not None:
            shape.hits += 1
            if shape is not shapes[0]:
                shapes.remove(shape)
                shapes.insert(0, shape)
        return made

    def wants(self, text: str, rows: int) -> bool:
        """Whether a transaction that was not taken should be learned from."""
        self._looks += 1
        if rows > MOST_ROWS or self._looks > MOST_LOOKS or len(self._shapes.get(rows, ())) >= MOST_SHAPES:
            return False
        alike = _DIGITS.sub("0", text)
        count = self._seen[alike] = self._seen.get(alike, 0) + 1
        if len(self._seen) > MOST_SEEN:
            self._seen.clear()
        return count >= SEEN and count & (count - 1) == 0

    def ended(self) -> tuple[dict[str, int], list[Decimal]]:
        """Of all that was taken: rows by record, and the sums that the file states."""
        self._tally()
        scales = [(f and f.decimals) or 0 for f in self._checks.summed]
        return self.counts, [Decimal(n).scaleb(-digits) for n, digits in zip(self._sums, scales, strict=True)]

    def _tally(self) -> None:
        for shape in (s for shapes in self._shapes.values() for s in shapes):
            for name, count in shape.slots.items():
                self.counts[name] = self.counts.get(name, 0) + count * shape.hits
            shape.hits = 0

    # ---- learning -------------------------------------------------------------------------------------------------

    def learn(self, text: str, row: tuple[Any, ...], sale: PosSale) -> None:
        """From a transaction and the sale that it is, which was in its normal form and held no code that the mapping does not know."""
        try:
            self._learn(text, row, sale)
        except (Unfit, NotRegular, Wrong, runtime.Bad):
            return
        except Exception:
            self.defects += 1
            if self.defects == 1:
                log.exception("transactions of this kind are read one by one", layout=self.layout.file.name)

    def _learn(self, text: str, row: tuple[Any, ...], sale: PosSale) -> None:
        if not plain(sale) or MARK in text:
            raise Unfit
        lines, marked = text.split("\n"), None
        if self._elements:
            if self.marked is None or "&" in text:
                raise Unfit
            marked = self.marked(text)
            rows = nested(marked, self.layout.transaction)
        else:
            rows = self._rows(lines)
        cells = [cell for each in rows for cell in each.cells.values()]
        for cell in cells:
            if f"{cell.record}.{cell.rule.name}" not in self._asked:
                cell.core = self._core(cell)
            if marked is not None and marked.values.get(cell.mark) != cell.text:
                cell.core = ""
        head, tail = parted(sale)
        document = msgspec.json.decode(head + b"}")
        places = [*marked.values] if marked is not None else []
        while True:
            together(cells)
            while not self._placed(rows, document, sale):
                together(cells)
            for cell in cells:
                if cell.core and not cell.uses and cell.mark and sum(other.mark == cell.mark for other in cells) == 1:
                    cell.core = any_text(cell) or cell.core
            free = [cell for cell in cells if cell.core]
            for n, cell in enumerate(free):
                cell.name = f"h{places.index(cell.mark) if marked is not None else n}"
            equations, sums, told = self._equations(rows, row)
            if not told:
                break
            for cell in told:
                cell.core = ""
        source, scope = self._source(free, sale, document, head, tail, equations, sums)
        make = function("make", source, scope)
        if marked is not None:
            pattern = marked_pattern(marked, cells)
        else:
            pattern = "".join(self._pattern(each, line) for each, line in zip(rows, lines, strict=True))
        slots: dict[str, int] = {}
        for each in rows:
            slots[each.record.name] = slots.get(each.record.name, 0) + 1
        shape = Shape(pattern, make, slots)
        before, whole = list(self._sums), text if self._elements else f"{text}\n"
        found = shape.match(whole)
        made = shape.make(*found.groups()) if found is not None else None
        self._sums[:] = before
        if made is not None and (made.head, made.tail, made.key, made.cents) == (head, tail, str(sale.key), sale.totals.grand.cent_amount):  # type: ignore[union-attr]  # plain sales have totals
            self._shapes.setdefault(0 if self._elements else len(rows), []).insert(0, shape)
            self._looks = 0

    def _rows(self, lines: Sequence[str]) -> list[Row]:
        """The rows of a transaction that could be read, below each other."""
        made: list[Row] = []
        last: dict[str, Row] = {}
        for number, line in enumerate(lines):
            cells = [line] if self._fixed else line.split(self.layout.file.delimiter)
            name = line[: self.layout.file.record_type.width or 0] if self._fixed else cells[0]
            record = self.layout.records.get(name)
            if record is None or (record is self.layout.transaction) != (number == 0) or record.rule.role not in ("transaction", "detail"):
                raise Unfit
            above = last[record.parent.name] if record.parent is not None and number else None
            ordinal = sum(r.record is record for r in above.below) if above is not None else 0
            row = Row(record, {}, above, ordinal)
            for at, f in enumerate(record.fields):
                row.cells[f.name] = Cell(
                    f, name, self._text(f, line) if self._fixed else cells[at + 1] if at + 1 < len(cells) else "", number
                )
            if above is not None:
                above.below.append(row)
            last[name] = row
            made.append(row)
        if not made[-1].record.rule.closes or any(r.record.rule.closes for r in made[:-1]):
            raise Unfit
        return made

    @staticmethod
    def _text(f: FieldRule, line: str) -> str:
        start = (f.start or 1) - 1
        text = line[start : start + (f.width or 0)]
        return text.strip() if f.type in ("integer", "decimal") else text.rstrip()

    def _core(self, cell: Cell) -> str:
        """Pattern of the texts that may stand in place of this one: each is read without fault. Empty where only this one may."""
        f, core = cell.rule, ""
        width = f.width or 1000 if self._fixed else 1000
        most = min(f.digits or 0, 9 if f.type == "integer" else 12, width)
        if f.stored != "text" or f.read != "text":
            return ""
        zeros = "0*" if self._fixed and not (f.type == "integer" and f.pad) else ""
        match f.type:
            case "string":
                low, high = lengths(f)
                if f.pattern and PLAIN_PATTERN(f.pattern) and re.fullmatch(f.pattern, cell.text):
                    core = f"(?:{f.pattern})".replace(r"\d", "[0-9]")
                elif f.pattern:
                    core = ""  # what it takes is not known here
                elif low == high and cell.text.isdigit():
                    core = f"[0-9]{{{low}}}"
                elif low <= high:
                    core = rf"[0-9A-Za-z][0-9A-Za-z_-]{{{low - 1},{high - 1}}}+"
            case "integer" if f.digits and f.sign == "none":
                if f.pad is None:
                    core = rf"(?:0|[1-9][0-9]{{0,{most - 1}}})" if not zeros or width <= most else ""
                elif f.pad == "0" and f.digits <= min(9, width):
                    core = rf"[0-9]{{{f.digits}}}"
            case "decimal" if f.digits and f.decimals is not None and f.pad in (None, "0") and f.sign in ("none", "leading", "trailing"):
                if not zeros or width <= f.digits + (f.sign != "none"):
                    core = rf"(?:0|[1-9][0-9]{{0,{most - 1}}})"
            case "decimal" if self._elements and f.digits and f.decimals is None and f.pad is None and f.sign in ("none", "leading"):
                if (before := most - cell.decimals) > 0:
                    core = rf"(?:0|[1-9][0-9]{{0,{before - 1}}})" + (rf"\.[0-9]{{{cell.decimals}}}" if cell.decimals else "")
            case "datetime" if f.format == "%Y%m%d%H%M%S":
                core = MOMENT.replace("(", "").replace(")", "")
            case "datetime" if f.format == "iso" and self._elements and _OFFSET.fullmatch(cell.text[19:]):
                core = ISO_MOMENT.replace("(", "").replace(")", "") + re.escape(cell.text[19:])
        fits = core and re.fullmatch(f"{zeros if core.startswith(CANONICAL) else ''}{core}", cell.text)
        return core if fits else any_text(cell) if cell.mark else ""

    # ---- where values go ------------------------------------------------------------------------------------------

    def _placed(self, rows: list[Row], document: Any, sale: PosSale) -> bool:
        """Notes where the changing cells go. False: one of them may not change after all, and everything is to be asked again."""
        for row in rows:
            for cell in row.cells.values():
                cell.uses.clear()
        try:
            self._follow(self._mapping.file.fields, rows[0], ())
        except _Stays as stays:
            for cell in stays.cells:
                cell.core = ""
            return False
        wrong = [c for r in rows for c in r.cells.values() if c.core and not self._fits(c, document, sale)]
        for cell in wrong:
            cell.core = ""
        return not wrong

    def _follow(self, group: Group, row: Row, target: tuple[str | int, ...]) -> None:
        for name, rule in group.rules.items():
            place = (*target, name)
            form, cell, called = self._form(rule.node, row)
            if cell is not None:
                if name not in _FREE.get(".".join(p for p in target if isinstance(p, str)), ()):
                    raise _Stays([cell])
                cell.uses.append((place, form, called))
        for name, several in group.groups.items():
            filled = 0
            for inner in several.rows or [several]:
                if inner.each is None:
                    if self._applies(inner.when, row):
                        self._follow(inner, row, (*target, name))
                    continue
                node = inner.each.node
                if not isinstance(node, Path) or len(node.steps) != 1 or node.anchor or node.up:
                    raise Unfit
                below = [r for r in row.below if r.record.name == node.steps[0]]
                if below and self._applies(inner.when, row):
                    for each in below:
                        if self._applies(inner.where, each):
                            self._follow(inner, each, (*target, name, filled))
                            filled += 1

    def _applies(self, rule: Rule | None, row: Row) -> bool:
        """Whether a part of the sale is said, for every text that the cells may have. Raises Unfit where that is not known."""
        if rule is None:
            return True
        holds = self._holds(rule.node, row)
        if holds is None:
            raise Unfit
        return holds

    def _form(self, node: Node, row: Row) -> tuple[str, Cell | None, str]:
        """How a value is made of one changing cell; no cell where it is made of none. Raises _Stays."""
        match node:
            case Path():
                cell = self._cell(node, row)
                return ("copy", cell, "") if cell is not None and cell.core else ("", None, "")
            case Choice(test=test, then=then, otherwise=otherwise):
                holds = self._holds(test, row)
                if holds is not None:
                    return self._form(then if holds else otherwise, row)
            case Arithmetic(operator="-", left=left, right=Call(name="default", arguments=(Path() as path, Const(value=0)), named=())):
                if (less := self._cell(path, row)) is not None and not less.core and less.rule.default is None and not less.text:
                    return self._form(left, row)
            case Call(name=name, arguments=(first, *others), named=named) if not (named and name != "money") and not any(
                self._changing(n, row) for n in others
            ):
                form, cell, _ = self._form(first, row)
                if cell is None:
                    return "", None, ""
                kind, one = cell.rule.type, len(others) == 1
                match name, form, kind:
                    case "strip_zeros", "copy", "string" if not others:
                        return "stripped", cell, ""
                    case (("magnitude" | "required"), "copy", "decimal") if not others:
                        return "copy", cell, ""  # it is there, and no minus stands before it
                    case (("money" | "unit_price"), "copy", "decimal") if one:
                        return name, cell, ""
                    case (("local_datetime" | "time_quality"), "copy", "datetime") if one:
                        return name, cell, ""
                    case "quantity", "copy", "decimal" if one and isinstance(others[0], Const) and isinstance(others[0].value, str):
                        return name, cell, others[0].value
        if held := self._changing(node, row):
            raise _Stays(held)
        return "", None, ""

    def _changing(self, node: Node, row: Row) -> list[Cell]:
        found = [self._cell(n, row) for n in nodes(node) if isinstance(n, Path)]
        return [cell for cell in found if cell is not None and cell.core]

    def _cell(self, path: Path, row: Row) -> Cell | None:
        """None for what is the same for all transactions of a file, or not there. Raises Unfit."""
        here: Row = row
        if path.anchor not in ("", "this", "parent", "parameters"):
            raise Unfit
        if path.anchor == "parameters":
            return None
        for _ in range(path.up):
            if here.above is None:
                raise Unfit
            here = here.above
        for step in path.steps:
            if step in here.cells:
                return here.cells[step]
            if here.above is None and any(h.name == step for h in self.layout.headers):
                return None
            child = next((c for c in here.record.children if c.name == step), None)
            if child is None or child.repeated:
                raise Unfit
            below = next((r for r in here.below if r.record is child), None)
            if below is None:
                return None
            here = below
        raise Unfit

    def _holds(self, node: Node, row: Row) -> bool | None:
        """Whether a condition holds for every text that the cells may have; None where that is not known."""
        match node:
            case Logic(operator="not", parts=(one,)):
                found = self._holds(one, row)
                return None if found is None else not found
            case Logic(operator=operator, parts=parts):
                each = [self._holds(part, row) for part in parts]
                if None in each:
                    return None
                return all(each) if operator == "and" else any(each)
            case Compare(operator=operator, left=Path() as path, right=Const(value=0)) if operator in ("<", ">="):
                cell = self._cell(path, row)
                return operator == ">=" if cell is not None and cell.core and cell.rule.type in ("integer", "decimal") else None
            case Compare(operator="==" | "!=" as operator, left=Path() as path, right=Const(value=str() as value)):
                held = self._said(path, row)
                return None if held is None else (held == value) == (operator == "==")
            case Compare(operator="in" | "not in" as operator, left=Path() as path, right=Several(items=items)):
                held = self._said(path, row)
                return None if held is None else (held in [i.value for i in items if isinstance(i, Const)]) == (operator == "in")
            case Compare(operator="is" | "is not" as operator, left=Path() as path, right=Const(value=None)):
                cell = self._cell(path, row)
                return (cell is None or (not cell.core and cell.said is None)) == (operator == "is")
            case Path():
                cell = self._cell(node, row)
                if cell is not None and cell.rule.type == "boolean" and not cell.core:
                    return bool(cell.said)
                if cell is not None and cell.rule.type == "flags" and node.steps[-1] in cell.rule.values:
                    return node.steps[-1] in cell.text
        return None

    def _said(self, path: Path, row: Row) -> str | None:
        """The code in a cell that stays as it is."""
        cell = self._cell(path, row)
        return cell.said if cell is not None and not cell.core and cell.rule.type == "enum" else None

    # ---- what is written there ------------------------------------------------------------------------------------

    def _fits(self, cell: Cell, document: Any, sale: PosSale) -> bool:
        """Whether the document holds what the cell says wherever its value goes, and its types allow whatever else may stand there."""
        f = cell.rule
        for place, form, _ in cell.uses:
            try:
                found = at_place(document, place)
            except (KeyError, IndexError):  # left out as the value that it has anyway
                found = None
                if form != "time_quality":
                    return False
            match form:
                case "copy" if f.type == "integer":
                    kind = type_at(place)
                    limits = (
                        isinstance(kind, msgspec.inspect.IntType)
                        and (kind.ge or 0) <= 0
                        and (kind.le is None or kind.le >= 10 ** min(f.digits or 0, 9) - 1)
                    )
                    if not limits or found != int(cell.text):
                        return False
                case "copy" | "stripped" if f.type == "string":
                    if cell.core.startswith(ANY):
                        return False  # it may not stand in a document as it is
                    kind = type_at(place)
                    if not isinstance(kind, msgspec.inspect.StrType) or found != (
                        runtime.strip_zeros(cell.text) if form == "stripped" else cell.text
                    ):
                        return False
                case "money":
                    if found.keys() != {"centAmount", "currencyCode", "fractionDigits"} or (
                        found["centAmount"],
                        found["fractionDigits"],
                    ) != (cell.number, cell.decimals):
                        return False
                case "unit_price":
                    if (found["preciseAmount"], found["fractionDigits"]) != (cell.number, cell.decimals):
                        return False
                case "quantity":
                    if found["value"] != runtime.quantity(reader(f)[0](cell.text), "EA").value:
                        return False
                case "local_datetime" | "time_quality":
                    if sale.time_quality != ("as_sent" if f.format == "iso" and cell.text[19:] else "from_store_zone"):
                        return False
                case _:
                    return False
        return True

    def _source(
        self, cells: list[Cell], sale: PosSale, document: Any, head: bytes, tail: bytes, equations: list[str], sums: list[str]
    ) -> tuple[str, dict[str, Any]]:
        """Source of the function that makes a sale of the groups, and the names in it."""
        names: dict[str, Any] = {"P": PreparedSale, "S": self._sums, "T": tail, "NONE": {}, "int": int, "till": Tills(sale)}
        lines: list[str] = []
        codes: dict[str, str] = {}
        moved: dict[tuple[str | int, ...], str] = {}
        skus: dict[tuple[str | int, ...], str] = {}

        def held(place: tuple[str | int, ...], code: str, *, quoted: bool) -> None:
            mark = f"{MARK}{len(codes)}{MARK}"
            put(document, place, mark)
            codes[f"{mark}" if quoted else f'"{mark}"'] = f"{{{code}}}"

        for cell in cells:
            name, f = cell.name, cell.rule
            for n, (place, form, called) in enumerate(cell.uses):
                match form:
                    case "money" | "unit_price":
                        pointed = "." in cell.text
                        cell.whole = cell.whole or pointed
                        end = "cent_amount" if form == "money" else "precise_amount"
                        held((*place, end), f"n{name}" if pointed else name, quoted=False)
                    case "copy" if f.type == "integer":
                        cell.whole = cell.whole or bool(f.pad)
                        held(place, f"n{name}" if f.pad else name, quoted=False)
                    case "copy" | "stripped":
                        code, kind = name, type_at(place)
                        if not surely(f, kind) or (form == "stripped" and not cell.core.startswith("[0-9]{")):
                            code = f"t{name}_{n}"
                            names[f"m{name}_{n}"] = Memo(allowed_text(f, kind, stripped=form == "stripped"))
                            lines.append(f"    {code} = m{name}_{n}[{name}]")
                        elif form == "stripped":
                            code, names["ZERO"] = f"t{name}", "0"
                            lines.append(f"    {code} = {name}.lstrip(ZERO) or ZERO")
                        held(place, code, quoted=True)
                        if place[0] == "lines" and place[-1] == "item_id":
                            skus[place[:2]] = code
                    case "quantity":
                        names[f"m{name}"] = Memo(counted_text(f, called))
                        if f"    q{name}, u{name} = m{name}[{name}]" not in lines:
                            lines.append(f"    q{name}, u{name} = m{name}[{name}]")
                        held((*place, "value"), f"q{name}", quoted=True)
                        moved[place] = f"u{name}"
                    case "local_datetime":
                        names[f"o{name}"] = self._hours_of(sale, cell)
                        if f"    a{name}, z{name} = o{name}[{name}]" not in lines:
                            lines.append(f"    a{name}, z{name} = o{name}[{name}]")
                        held(place, f"a{name}}}{{{name}m}}:{{{name}s}}{{z{name}", quoted=True)
                    case "time_quality" if all(other != "local_datetime" for _, other, _ in cell.uses):
                        names[f"o{name}"] = self._hours_of(sale, cell)
                        lines.append(f"    o{name}[{name}]")
        body = encoded(document).decode()[:-1]
        template = body.replace("{", "{{").replace("}", "}}")
        for mark, code in codes.items():
            if template.count(mark) != 1:
                raise Unfit
            template = template.replace(mark, code)
        if MARK in template or MARK in head.decode():
            raise Unfit
        by = {place: cell for cell in cells for place, _, _ in cell.uses}
        grand, sequence, till = by.get(("totals", "grand")), by.get(("key", "sequence_number")), by.get(("key", "workstation_id"))
        for one in (grand, sequence):
            if one is not None:
                one.whole = True
        moves = self._moves(sale, skus, moved, lines)
        wholes = {
            cell.name: f"{cell.name}.replace(DOT, NOTHING)" if cell.rule.type == "decimal" and "." in cell.text else cell.name
            for cell in cells
            if cell.whole
        }
        names |= {"DOT": ".", "NOTHING": ""}
        lines = [f"    n{name} = int({code})" for name, code in wholes.items()] + [
            f"    if {equation}: return None" for equation in equations
        ] + lines  # fmt: skip
        cents = f"n{grand.name}" if grand is not None else str(sale.totals.grand.cent_amount)  # type: ignore[union-attr]  # plain sales have totals
        source = (
            f"def make({', '.join(groups for _, groups in sorted({int(c.name[1:]): c.groups for c in cells}.items()))}):\n"
            + "\n".join(lines)
            + f"\n    found = P(till=till[{till.name if till is not None else repr(sale.key.workstation_id)}],"
            f" sequence={f'n{sequence.name}' if sequence is not None else sale.key.sequence_number}, head=f{template!r}.encode(), tail=T,"
            f" counted=True, cents={cents}, moves={moves}, measures=measures)\n"
            + "".join(f"    {line}\n" for line in sums)
            + "    return found\n"
        )
        measures = {line.item_id: line.measure.unit for line in sale.lines if line.measure is not None and line.measure.unit != "EA"}
        return source.replace("measures=measures", "measures=NONE" if not measures else "measures=measures"), names

    @staticmethod
    def _moves(
        sale: PosSale, skus: Mapping[tuple[str | int, ...], str], moved: Mapping[tuple[str | int, ...], str], lines: list[str]
    ) -> str:
        """Code of what leaves the shelf."""
        codes: list[tuple[str, str, str]] = []
        for at, line in enumerate(sale.lines):
            place, quantity = ("lines", at), line.measure or line.units
            if line.item_id is None or quantity is None:
                continue
            code = moved.get((*place, "measure" if line.measure is not None else "units")) or str(int(Decimal(quantity.value).scaleb(6)))
            codes.append((skus.get(place) or repr(line.item_id), code, quantity.unit))
        if len(codes) == 1:
            sku, count, unit = codes[0]
            lines.append(f"    measures = {{{sku}: {unit!r}}}" if unit != "EA" else "    measures = NONE")
            return f"{{{sku}: {count}}}"
        lines += ["    moves, measures = {}, NONE"]
        for sku, count, unit in codes:
            lines.append(f"    moves[{sku}] = moves[{sku}] + {count} if {sku} in moves else {count}")
            if unit != "EA":
                lines.append(f"    measures = {{**measures, {sku}: {unit!r}}}")
        return "moves"

    def _hours_of(self, sale: PosSale, cell: Cell) -> Memo:
        zone, read = self._zone_of(sale.key.store_number), reader(cell.rule)[0]
        ends = [f":00:00{cell.text[19:]}", f":59:59{cell.text[19:]}"] if cell.rule.format == "iso" else ["0000", "5959"]

        def hour(text: str | None) -> tuple[str, str]:
            """What stands before and behind minutes and seconds of this hour. Raises ValueError where the clock is changed in it."""
            first, last = [read(f"{text}{end}") for end in ends]
            if first.tzinfo is None and not runtime.even_hour(zone, first.toordinal(), first.hour):
                raise ValueError
            said, then = [encoded(runtime.local_datetime(at, zone)).decode()[1:-1] for at in (first, last)]
            before, behind = said[:14], said[19:]
            if (said, then) != (f"{before}00:00{behind}", f"{before}59:59{behind}"):
                raise ValueError
            return before, behind

        return Memo(hour)

    # ---- equations ------------------------------------------------------------------------------------------------

    def _equations(self, rows: list[Row], row: tuple[Any, ...]) -> tuple[list[str], list[str], list[Cell]]:
        """The layout's equations over the changing cells, by asking them of numbers that are not known yet: what does not hold, what is
        added to the file's sums, and cells whose value an equation tells. Cells that must have one text are tied."""
        differs: list[Linear] = []
        tuples = {id(rows[0]): list(row)}
        for each in rows[1:]:
            held = tuples[id(each.above)][each.record.index]
            found = held[each.ordinal] if each.record.repeated else held
            tuples[id(each)] = list(found)
        for each in reversed(rows):
            made = tuples[id(each)]
            for at, f in enumerate(each.record.fields):
                cell = each.cells[f.name]
                if cell.core:
                    made[at] = (
                        Linear(differs, {cell.name: Decimal(1).scaleb(-cell.decimals)}) if f.type in ("integer", "decimal") else Unknown()
                    )
            for child in each.record.children:
                below = [tuples[id(r)] for r in each.below if r.record is child]
                if child.repeated:
                    made[child.index] = below
                else:
                    made[child.index] = below[0] if below else None
        whole = tuples[id(rows[0])]
        asked, parts = self._checks.compiled(Numbers(differs))
        if asked(tuple(whole)) is not None:
            raise Unfit
        free = [cell for each in rows for cell in each.cells.values() if cell.core]
        cells = {cell.name: cell for cell in free}
        single = {name: cell for name, cell in cells.items() if sum(other.name == name for other in free) == 1}
        told = [cells[name] for each in differs if len(each.terms) == 1 for name in each.terms]
        tied: dict[str, str] = {}
        while not told and (tie := next((t for t in (each.named(tied).tie(single) for each in differs) if t is not None), None)):
            tied = {name: tie[0] if leader == tie[1] else leader for name, leader in tied.items()} | {tie[1]: tie[0]}
        for cell in free:
            cell.tied = cell.name in tied
            cell.name = tied.get(cell.name, cell.name)
        equations = [code for code in (each.named(tied).code(cells) for each in differs) if code]
        sums: list[str] = []
        for at, (total, rule) in enumerate(zip(parts(tuple(whole)), self._checks.summed, strict=True)):
            if code := (Linear(differs, {}) + total).named(tied).sum(cells, (rule.decimals if rule is not None else 0) or 0):
                sums.append(f"S[{at}] += {code}")
        return equations, sums, told

    # ---- patterns -------------------------------------------------------------------------------------------------

    def _pattern(self, row: Row, line: str) -> str:
        if not self._fixed:
            delimiter = self.layout.file.delimiter
            own = line.split(delimiter)
            made = [re.escape(own[0])]
            for text, cell in zip(own[1:], row.cells.values(), strict=False):
                made.append(cell.grouped if cell.core else re.escape(text))
            if len(own) - 1 > len(row.cells):
                raise Unfit
            return re.escape(delimiter).join(made) + "\\n"
        line = line.rstrip()
        at = self.layout.file.record_type.width or 0
        made = [re.escape(line[:at])]
        free, end = False, at
        for cell in row.cells.values():
            start, width = (cell.rule.start or 1) - 1, cell.rule.width or 0
            if start < at:
                raise Unfit
            if start >= len(line):
                if cell.core:
                    raise Unfit
                continue
            gap, own_text = line[at:start], line[start : start + width]
            if free and (own_text.strip() or gap.strip()):
                made.append(f"(?<=^[^\\n]{{{at}}})")
                free = False
            if free:
                at = start + width
                continue
            made.append(re.escape(gap))
            if cell.core:
                number = cell.rule.type in ("integer", "decimal")
                made.append(f"{' *' if number else ''}{'0*' if cell.canonical else ''}{cell.grouped} *")
                free, end = True, start + width
                if len(cell.text) == width and (cell.core.startswith("[0-9]{") or cell.rule.type == "datetime"):  # as long as its column
                    made[-1], free = cell.grouped, False
            else:
                made.append(re.escape(own_text))
                end = max(end, start + len(own_text))
            at = start + width
        return (f"(?=[^\\n]{{0,{end}}} *\\n)" if free else "") + "".join(made) + (" *" if not free else "") + "\\n"


class _Stays(Exception):
    """These cells may not change."""

    def __init__(self, cells: list[Cell]) -> None:
        super().__init__()
        self.cells = cells


def written(layout: Layout, mapping: CompiledMapping, zone_of: Callable[[str], Any]) -> Written | None:
    """None where every transaction has to be read exactly."""
    try:
        return Written(layout, mapping, zone_of)
    except (Unfit, StopIteration):
        return None
