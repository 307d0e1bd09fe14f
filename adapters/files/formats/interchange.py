"""Segments of X12 and EDIFACT files, cut in blocks: separators from each interchange's own header, release characters, character sets.

X12.5 and X12.6 (interchange and application control structures), UCS DEX; ISO 9735 syntax versions 1 to 4. Knows no layout.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from adapters.files.parsing import Refuse
from adapters.files.values import shown

BLOCK: Final = 65_536
LONGEST_HEADER: Final = 1000
BLANK: Final = " \t\r\n\x00\x1a\ufeff"
"""What may stand between interchanges and behind the last one."""
_MARKS: Final = 0xE000
"""A released character is held as itself plus this, so that no separator is seen in it: texts are read as ISO 8859-1 until then."""
_CONTROLS: Final = (*range(32), 127)
_MARKED: Final = re.compile("[\ue000-\ue0ff]")
_CHARACTER_SETS: Final = {
    "UNOA": "", "UNOB": "", "UNOC": "iso8859-1", "UNOD": "iso8859-2", "UNOE": "iso8859-5", "UNOF": "iso8859-7",
    "UNOG": "iso8859-3", "UNOH": "iso8859-4", "UNOI": "iso8859-6", "UNOJ": "iso8859-8", "UNOK": "iso8859-9", "UNOW": "utf-8",
    "UNOY": "utf-8",
}  # fmt: skip
"""ISO 9735-1, data element 0001. The first two hold no more than ASCII: what senders write beyond that, the layout says."""


@dataclass(frozen=True, slots=True)
class Syntax:
    """The separators of one interchange. Empty: it has none. `ends`: the segment that closes it; `advice`: its UNA."""

    terminator: str
    element: str
    component: str
    repetition: str
    release: str
    encoding: str
    ends: str
    advice: str = ""

    def plain(self, text: str) -> str:
        """The text of a cell that is not plain ASCII. Raises UnicodeDecodeError."""
        return _MARKED.sub(_unmarked, text).encode("latin-1").decode(self.encoding)

    def raw(self, segments: list[str]) -> bytes:
        """Segments as they stood in the file."""
        text = self.terminator.join(segments) + self.terminator
        if self.release and not text.isascii():
            text = _MARKED.sub(lambda m: self.release + _unmarked(m), text)
        return text.encode("latin-1", "replace")


class Interchanges:
    """Reads a file once. `findings`: what is odd in headers and stops nothing."""

    def __init__(self, source: BinaryIO, format: str, encoding: str, limit: int) -> None:
        self._source, self._format, self._encoding, self._limit = source, format, encoding, limit
        self.findings: list[str] = []
        self.line = 1
        """Of the first segment of the block that was given last."""
        self.unterminated = False
        """The last segment of the file has no terminator."""
        self._held = ""

    def blocks(self) -> Iterator[tuple[Syntax, list[str], bool]]:
        """Whole segments without their terminators, with blanks and line ends around them, and whether they hold nothing but printable
        ASCII on one line each; an interchange begins a block. Raises Refuse.
        """
        buffer, syntax, next_line, began = "", None, 1, False
        while True:
            raw = self._source.read(BLOCK)
            if not began:
                began = True
                if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    raise Refuse("the file is UTF-16, expected one byte a character, or UTF-8", 1)
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            text = raw.decode("latin-1")
            buffer += text if syntax is None else self._marked(text, syntax, last=not raw)
            while buffer:
                if syntax is None:
                    start = len(buffer) - len(buffer.lstrip(BLANK))
                    next_line += buffer.count("\n", 0, start)
                    buffer = buffer[start:]
                    found = self._begin(buffer, next_line, last=not raw) if buffer else None
                    if found is None:
                        break
                    syntax, start = found
                    next_line += buffer.count("\n", 0, start)
                    buffer = self._marked(buffer[start:], syntax, last=not raw)
                stop, ended = self._cut(buffer, syntax, last=not raw)
                if stop:
                    part, buffer = buffer[:stop], buffer[stop:]
                    self.line, next_line = next_line, next_line + part.count("\n")
                    segments = part.split(syntax.terminator)
                    if not segments[-1].strip(BLANK):
                        segments.pop()
                    elif ended is not True:
                        self.unterminated = True
                    yield syntax, segments, _clean(part, syntax)
                if ended:
                    if syntax.release:
                        buffer, self._held = _MARKED.sub(lambda m, s=syntax: s.release + _unmarked(m), buffer) + self._held, ""  # type: ignore[misc]  # bound now
                    syntax = None
                    continue
                if len(buffer) > self._limit:
                    raise Refuse(f"more than {self._limit} bytes without the segment terminator {syntax.terminator!r}", next_line)
                break
            if not raw:
                return

    def _cut(self, text: str, syntax: Syntax, *, last: bool) -> tuple[int, bool]:
        """Up to where segments are whole, and whether the interchange ends there."""
        at = -1
        while (at := text.find(syntax.ends + syntax.element, at + 1)) >= 0:
            before = text[max(at - 200, 0) : at].rstrip("".join(c for c in "\r\n\t " if c != syntax.terminator))
            if before and before[-1] != syntax.terminator:
                continue
            stop = text.find(syntax.terminator, at)
            if stop >= 0:
                return stop + 1, True
            return (len(text), True) if last else (max(text.rfind(syntax.terminator, 0, at) + 1, 0), False)
        return (len(text), False) if last else (text.rfind(syntax.terminator) + 1, False)

    def _marked(self, text: str, syntax: Syntax, *, last: bool) -> str:
        release = syntax.release
        if not release:
            return text
        text, self._held = self._held + text, ""
        if release not in text:
            return text
        if (len(text) - len(text.rstrip(release))) % 2 and not last:
            text, self._held = text[:-1], release
        return re.sub(re.escape(release) + "([\x00-\xff])", lambda m: chr(_MARKS + ord(m[1])), text)

    # ---- headers --------------------------------------------------------------------------------------------------

    def _begin(self, text: str, line: int, *, last: bool) -> tuple[Syntax, int] | None:
        """The syntax, and where the first segment begins; None when more text is needed."""
        if len(text) < 3 and not last:
            return None
        tag = text[:3]
        edifact = self._format == "edifact"
        if edifact and tag in ("UNA", "UNB"):
            found = self._una(text, line) if tag == "UNA" else self._unb(text, 0, line)
        elif not edifact and tag in ("ISA", "DXS"):
            found = self._isa(text, line) if tag == "ISA" else self._dxs(text, line)
        else:
            header, of = ("UNB or UNA", "EDIFACT") if edifact else ("ISA", "X12")
            raise Refuse(f"expected {header}, the header of an {of} interchange, got {shown(_first(text))}", line)
        if found is None:
            if last or len(text) > LONGEST_HEADER:
                raise Refuse(f"the header {tag} is cut off", line)
            return None
        signs = [s for s in (found[0].terminator, found[0].element, found[0].component, found[0].repetition, found[0].release) if s]
        odd = next((s for s in signs if s.isalnum() or s == " " or signs.count(s) > 1 or ord(s) > 127), None)
        if odd is not None:
            raise Refuse(f"the header {tag} makes {odd!r} a separator, expected signs that are no letter, digit or blank, each once", line)
        return found

    def _isa(self, text: str, line: int) -> tuple[Syntax, int] | None:
        """The sixteen elements are counted, not measured: senders trim or overfill what the standard pads to a fixed width."""
        element, at = text[3:4], 3
        elements: list[str] = []
        for _ in range(15):
            if (to := text.find(element, at + 1, LONGEST_HEADER)) < 0 or not element:
                if len(text) > LONGEST_HEADER:
                    raise Refuse(f"ISA has {len(elements)} elements, expected 16", line)
                return None
            elements.append(text[at + 1 : to])
            at = to
        version = elements[11].strip()
        if not re.fullmatch(r"[0-9]{5}", version):
            raise Refuse(f"ISA has not its 16 elements: expected a version such as 00401 in ISA12, got {shown(version)}", line)
        if len(text) < at + 4:
            return None
        component, terminator = text[at + 1], text[at + 2]
        if at != 103:
            self.findings.append(f"line {line}: ISA is {at + 2} characters wide, the standard says 105; its elements were counted")
        if component in "\r\n~" or terminator.isalnum():
            raise Refuse(f"ISA has no component separator in ISA16, got {component!r}", line)
        if terminator == "\r" and text[at + 3] == "\n":
            terminator = "\n"
        repetition = elements[10].strip() if version >= "00402" else ""
        repetition = repetition if len(repetition) == 1 and not repetition.isalnum() else ""
        return Syntax(terminator, element, component, repetition, "", self._encoding, "IEA"), 0

    def _dxs(self, text: str, line: int) -> tuple[Syntax, int] | None:
        """UCS DEX declares no separators: the first sign that can end a segment ends all."""
        ended = re.search("[~\n\r\x1c-\x1e]", text)
        if ended is None or (ended[0] == "\r" and ended.end() == len(text)):
            return None
        terminator = "\n" if ended[0] == "\r" and text[ended.end()] == "\n" else ended[0]
        return Syntax(terminator, text[3], "", "", "", self._encoding, "DXE"), 0

    def _una(self, text: str, line: int) -> tuple[Syntax, int] | None:
        if len(text) < 10:
            return None
        component, element, release, repetition, terminator = text[3], text[4], text[6], text[7], text[8]
        start = 9
        if terminator == "\r" and text[9] == "\n":
            terminator, start = "\n", 10
        while start < len(text) and text[start] in BLANK:
            start += 1
        if len(text) < start + 12:
            return None
        if not text.startswith(f"UNB{element}", start):
            raise Refuse(f"expected UNB{element}, the header of an EDIFACT interchange, got {shown(_first(text[start:]))}", line)
        if (found := self._unb(text, start, line, terminator)) is None:
            return None
        version = text[start + 9 : start + 10]
        repetition = repetition if repetition != " " and version >= "4" else ""
        release = release.strip(" ")
        return Syntax(terminator, element, component, repetition, release, found[0].encoding, "UNZ", text[:9]), start

    def _unb(self, text: str, start: int, line: int, terminator: str = "") -> tuple[Syntax, int] | None:
        """Without UNA the separators are those of the standard; the header shows which of its levels, and whether lines end segments."""
        if len(text) < start + 12:
            return None
        element, level, component = text[start + 3], text[start + 4 : start + 8].upper(), text[start + 8]
        if not re.fullmatch("UNO[A-Z]", level):
            raise Refuse(f"expected a syntax identifier such as UNOC in UNB, got {shown(text[start + 4 : start + 8])}", line)
        if (encoding := _CHARACTER_SETS.get(level)) is None:
            raise Refuse(f"the character set {level} of UNB is not read", line)
        encoding = encoding or self._encoding
        if element == "\x1d":  # syntax level B (ISO 9735:1988, 5.2): separators that nobody types
            return Syntax("\x1c", element, "\x1f", "", "", encoding, "UNZ"), start
        if terminator:
            return Syntax(terminator, element, component, "", "?", encoding, "UNZ"), start
        ended = re.search("['\n]", text[start:])
        if ended is None:
            return None
        head = text[start : start + ended.start()]
        return Syntax(ended[0] if ended[0] == "'" or head.count(element) > 3 else "'", element, component, "", "?", encoding, "UNZ"), start


def _clean(text: str, syntax: Syntax) -> bool:
    if not text.isascii():
        return False
    signs = f"{syntax.terminator}{syntax.element}{syntax.component}{syntax.repetition}\t\r\n".encode()
    raw = text.encode()
    return len(raw.translate(None, bytes(c for c in _CONTROLS if c not in signs))) == len(raw)


def _first(text: str) -> str:
    return re.split("[\r\n~']", text[:60], maxsplit=1)[0]


def _unmarked(found: re.Match[str]) -> str:
    return chr(ord(found[0]) - _MARKS)
