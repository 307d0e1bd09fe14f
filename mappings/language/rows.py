"""Rows of an XML answer, read from its text where it is written exactly as its contract says: no element is made that nobody looks at.

The long list of an answer is regular: the same few elements in the contract's order, each with a text in it. Such rows match one pattern
and are cut out of the document; an XML parser reads what is left, with an empty mark where they were. What the pattern accepts is
well-formed, holds every required element once and nothing unknown. Whatever is written otherwise (another order, attributes but
`xsi:nil="true"`, comments, CDATA, unknown elements, mistakes) does not match: that document is read element by element.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from mappings.language.shape import TEXT, Field, Leaf, Record

Row = tuple[str | None, ...]

MAX_FIELDS: Final = 400
"""A record with more is read element by element: its pattern would take long to compile."""
MAX_WAYS: Final = 4
"""Ways of writing one list that are known at a time; a system writes it one way."""
MAX_BYTES: Final = 10_000_000
"""Of one document: a parser with limits refuses longer texts, and any text of a longer document could be one."""
MARK: Final = "cut"

_ILLEGAL: Final = (*map(chr, (*range(9), 11, 12, *range(14, 32))), "\ufffe", "\uffff")
_DECLARATION = re.compile(
    r"""<\?xml[ \t\n]+version=["']1\.0["']([ \t\n]+encoding=["']utf-?8["'])?([ \t\n]+standalone=["'](yes|no)["'])?[ \t\n]*\?>""",
    re.IGNORECASE,
).match
_INSTANCE = re.compile(r"""xmlns:([A-Za-z_][A-Za-z0-9_-]{0,20})=["']http://www\.w3\.org/2001/XMLSchema-instance["']""").search
_BLANKS = re.compile(r">[ \t\n]+<").search
_ENTITY = re.compile(r"&([a-z]{0,5};?)")
_ENTITIES: Final = {"amp;": "&", "gt;": ">", "quot;": '"', "apos;": "'"}


class NotRegular(Exception):
    """No pattern can describe it."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a system writes a list: its namespace prefix (with the colon), whether there are blanks between elements, and the prefix (with
    the colon) of `xsi:nil`, if there is one.
    """

    prefix: str = ""
    spaced: bool = False
    nil: str = ""


@dataclass(frozen=True, slots=True)
class Cut:
    """A document in two parts. In `rest` an empty element with the prefix of `way` and the name `Rows.mark` stands for all rows."""

    rest: bytes
    rows: list[Row]
    way: Way


@dataclass(frozen=True, slots=True)
class Shortened:
    """An XML payload whose rows were cut out: what a mapping is given in place of the payload alone."""

    payload: Any
    """lxml element."""
    rows: list[Row]
    way: Way


class Rows:
    """The rows at `path` (the fields from the payload down to the repeated record). `wanted`: per record, the fields that are read. `nil`:
    what says `xsi:nil="true"` is as good as missing.

    Raises NotRegular.
    """

    least = 2_000
    """Bytes of a document from which on it is tried."""

    def __init__(self, path: tuple[Field, ...], wanted: dict[int, set[str]], *, nil: bool = False) -> None:
        self.path, self.field, self.mark = path, path[-1], f"{path[-1].element}.{MARK}"
        self._wanted, self._nil, self._fields = wanted, nil, 0
        self._ways: dict[Way, re.Pattern[str]] = {}
        self.failures = self._pause = 0
        if not isinstance(self.field.shape, Record):
            raise NotRegular
        self.row(self.field.shape, Way())
        name, firsts = re.escape(self.field.element), "|".join(re.escape(f.element) for f in _first(self.field.shape))
        self._start = re.compile(rf"<((?:[A-Za-z_][A-Za-z0-9_.-]{{0,40}}:)?){name}>[ \t\n]*<\1(?:{firsts})[ />]").search

    # ---- reading --------------------------------------------------------------------------------------------------------

    def cut(self, document: bytes) -> Cut | None:
        """None: it is not written the regular way, or those before it were not and the next one is not looked at."""
        if not self.least <= len(document) <= MAX_BYTES or not document.startswith(b"<"):
            return None
        if self._pause:
            self._pause -= 1
            return None
        found = self._cut(document)
        if found is None:
            self.failed()
        else:
            self.failures = 0
        return found

    def failed(self) -> None:
        """The last document was not as it seemed; each further one makes the next try later."""
        self.failures += 1
        self._pause = (1 << min(self.failures, 8)) - 2

    def _cut(self, document: bytes) -> Cut | None:
        try:
            text = document.decode()
        except UnicodeDecodeError:
            return None
        if "\r" in text:  # as every parser does
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        declared = _DECLARATION(text)
        begin = declared.end() if declared else 0
        # without these, each `<` begins a tag and each text is what it says (one character is sought first: that is far quicker)
        if (text.find("?", begin) > 0 and text.find("<?", begin) >= 0) or ("!" in text and "<!" in text) or ("]" in text and "]]>" in text):
            return None
        if any(character in text for character in _ILLEGAL) or not (found := self._start(text, begin)):
            return None
        start = found.start()
        declared = _INSTANCE(text, 0, start) if self._nil else None
        way = Way(found[1], _BLANKS(text, start, start + 2_000) is not None, f"{declared[1]}:" if declared else "")
        if (pattern := self._ways.get(way)) is None:
            if len(self._ways) >= MAX_WAYS or not isinstance(self.field.shape, Record):
                return None
            pattern = self._ways[way] = self.row(self.field.shape, way)
        absent = self.absent(self.field)
        rows, end = _matched(pattern, text, start, absent)
        if text.find("&", start, end) >= 0:
            try:
                plain = _ENTITY.sub(_character, text[start:end])
            except NotRegular:
                return None
            rows, last = _matched(pattern, plain, 0, absent)
            if last != len(plain):
                return None
        if text.startswith(f"<{way.prefix}{self.field.element}", end):  # another row, written otherwise
            return None
        return Cut(f"{text[:start]}<{way.prefix}{self.mark}/>{text[end:]}".encode(), rows, way) if rows else None

    # ---- patterns -------------------------------------------------------------------------------------------------------

    def row(self, record: Record, way: Way, name: str = "") -> re.Pattern[str]:
        """Of one element of a list; a group per wanted field, see `groups`."""
        tag, gap, self._fields = re.escape(f"{way.prefix}{name or self.field.element}"), _gap(way), 0
        return re.compile(f"<{tag}>{gap}{self._content(record, way, (), groups=True)}</{tag}>{gap}")

    def content(self, record: Record, way: Way) -> re.Pattern[str]:
        """Of what stands in one element; groups as above."""
        self._fields = 0
        return re.compile(_gap(way) + self._content(record, way, (), groups=True))

    def leaf(self, field: Field, way: Way) -> re.Pattern[str]:
        """Of one element of a list of texts, with the text as group."""
        return re.compile(self._element(field, way, (), group=True))

    def at(self, path: tuple[str, ...]) -> bool:
        return path == tuple(field.name for field in self.path)

    def holds(self, path: tuple[str, ...]) -> bool:
        """Whether the record at that path is a row, or a part of one."""
        return self.at(path[: len(self.path)])

    def groups(self, record: Record) -> Iterator[tuple[Field, bool]]:
        """What the groups hold, in their order: a field's text, or (True) whether it is there and empty."""
        for field in _regular(record, self.field.namespace):
            if field.name in self._wanted.get(id(record), ()):
                yield field, False
                if self._told(field):
                    yield field, True

    def absent(self, field: Field) -> str | None:
        """What a group without a match holds: where all are required, it is an element written as `<X/>`."""
        record = field.shape
        return "" if isinstance(record, Record) and all(self.sure(f) for f, _ in self.groups(record)) else None

    def sure(self, field: Field) -> bool:
        """Whether a group without a match never means that there is nothing."""
        return field.repeated or (field.required and not self._nils(field))

    def _nils(self, field: Field) -> bool:
        return self._nil and isinstance(field.shape, Leaf) and not field.repeated and (field.nillable or not field.required)

    def _told(self, field: Field) -> bool:
        """Whether a group must tell an empty element from none."""
        return not self.sure(field) and may_be_empty(field)

    def _content(self, record: Record, way: Way, above: tuple[int, ...], *, groups: bool) -> str:
        if id(record) in above:
            raise NotRegular
        wanted = self._wanted.get(id(record), set()) if groups else set()
        parts = []
        for field in _regular(record, self.field.namespace):
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise NotRegular
            group = field.name in wanted
            try:
                one = self._element(field, way, (*above, id(record)), group=group and not field.repeated)
            except NotRegular:
                if field.required:
                    raise
                self._wanted.get(id(record), set()).discard(field.name)
                continue
            if field.repeated:
                parts.append(f"((?:{one})*+)" if group else f"(?:{one})*+")
            else:
                parts.append(one if field.required else f"(?:{one})?+")
        return "".join(parts)

    def _element(self, field: Field, way: Way, above: tuple[int, ...], *, group: bool) -> str:
        if field.namespace != self.field.namespace:
            raise NotRegular
        tag, gap = re.escape(f"{way.prefix}{field.element}"), _gap(way)
        if isinstance(field.shape, Leaf):
            if field.shape.kind == "any" and group:
                raise NotRegular
            content = "[^<]*+"
        else:
            content = gap + self._content(field.shape, way, above, groups=False)
        held = f"({content})" if group else content
        told = "()" if group and self._told(field) else ""
        ways = [f">{held}</{tag}>"]
        if may_be_empty(field):
            ways.append(f" ?/>{told}")
        if way.nil and self._nils(field):
            ways.append(f' {re.escape(way.nil)}nil="true"(?: ?/>|></{tag}>)')
        return f"<{tag}(?:{'|'.join(ways)}){gap}"


def _matched(pattern: re.Pattern[str], text: str, at: int, absent: str | None) -> tuple[list[Row], int]:
    rows, match = list[Row](), pattern.match
    while (found := match(text, at)) is not None:
        rows.append(found.groups(absent))
        at = found.end()
    return rows, at


def _character(entity: re.Match[str]) -> str:
    if (character := _ENTITIES.get(entity[1])) is None:
        raise NotRegular
    return character


def _gap(way: Way) -> str:
    return r"[ \t\n]*+" if way.spaced else ""


def _regular(record: Record, namespace: str | None) -> Iterator[Field]:
    """The elements that a regular row may hold. Raises NotRegular for a record that cannot be without others."""
    if record.abstract or record.derived or record.get(TEXT) is not None:
        raise NotRegular
    for field in record.fields:
        if not field.attribute and field.namespace == namespace:
            yield field
        elif field.required:
            raise NotRegular


def _first(record: Record) -> Iterator[Field]:
    """The fields that a row may begin with."""
    for field in record.fields:
        if not field.attribute:
            yield field
            if field.required:
                return


def may_be_empty(field: Field) -> bool:
    if isinstance(field.shape, Leaf):
        return field.shape.kind in ("string", "binary", "any")
    return not any(f.required for f in field.shape.fields)
