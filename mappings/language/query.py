"""JSONata, the escape hatch for what paths and functions cannot say: wrapped here alone, bounded in time, depth and size."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final

import msgspec
from jsonata.jexception import JException  # type: ignore[import-untyped]  # the library has no types
from jsonata.jsonata import Jsonata  # type: ignore[import-untyped]  # the library has no types
from jsonata.parser import Parser  # type: ignore[import-untyped]  # the library has no types
from jsonata.regex_engine import default_regex_engine  # type: ignore[import-untyped]  # the library has no types

from mappings.language.runtime import Bad, boolean, decimal, instant, integer, iso_date
from mappings.language.shape import TEXT, Form, Record

sys.setrecursionlimit(1000)  # Python's own again: the library raises it tenfold for the whole process, and nested documents would go deep

MILLISECONDS: Final = 200
DEPTH: Final = 60
NODES: Final = 50_000
"""Values that are handed to an expression."""
CHARACTERS: Final = 100_000
"""Of a text that it gives; so many values a list may have."""
RANGE: Final = 10_000
FORBIDDEN: Final = {
    "eval": "an expression stands in the mapping, not in a document",
    "now": "the same document gives the same value; context.received_at is the time",
    "millis": "the same document gives the same value; context.received_at is the time",
    "random": "the same document gives the same value",
    "shuffle": "the same document gives the same value",
    "pad": "use the function pad of the language",
}


class NotAQuery(Exception):
    """`column` counts from 1 within the JSONata text."""

    def __init__(self, message: str, suggestion: str, column: int = 1) -> None:
        super().__init__(message)
        self.message, self.suggestion, self.column = message, suggestion, column


class Query:
    """One parsed expression. Call it with a value of the source; it gives `kind`, or None where JSONata gives nothing."""

    def __init__(self, text: str, kind: str, form: Form, record: Record | None) -> None:
        """`record`: the shape of what it is called with, or of each row. Raises NotAQuery."""
        self.kind, self._form, self._record = kind, form, record
        try:
            self._made = Jsonata(text, _regex)
        except JException as error:
            raise NotAQuery(f"not JSONata: {error}", "see https://docs.jsonata.org", max(int(error.location), 1)) from None
        except (RecursionError, ValueError, TypeError, AttributeError, re.error) as error:
            raise NotAQuery(f"not JSONata: {error}"[:200], "see https://docs.jsonata.org") from None
        self.names: dict[str, int] = {}
        """Names of fields that it reads -> their column."""
        self.all = False
        """It reads fields by wildcard."""
        made: set[str] = set()
        for symbol in _symbols(self._made.ast):
            match symbol.type, symbol.value:
                case "name", str() as name:
                    self.names.setdefault(name, symbol.position - len(name) + 1)
                case (("wildcard" | "descendant" | "parent"), _):
                    self.all = True
                case "variable", str() as name if name in FORBIDDEN:
                    raise NotAQuery(f"${name} is not for mappings", FORBIDDEN[name], symbol.position)
                case "string", str() as name:
                    made.add(name)
                case "binary", "..":
                    ends = [getattr(symbol, side, None) for side in ("lhs", "rhs")]
                    if any(e is None or e.type != "number" or abs(e.value) > RANGE for e in ends):
                        raise NotAQuery(f"a range is of two numbers up to {RANGE}", "write [1..9]", symbol.position)
        for name in made:  # a key that the expression makes itself may be read again
            self.names.pop(name, None)

    def __call__(self, value: Any) -> Any:
        """Raises Bad."""
        self._left = NODES
        document = self._plain(value, self._record, 0)
        self._made.environment.set_runtime_bounds(MILLISECONDS, DEPTH)  # its clock starts here
        Jsonata.CURRENT.jsonata = self._made  # functions look for it in the thread that runs
        try:
            found = self._made.evaluate(document)
        except JException as error:
            raise Bad("what the JSONata expression can work on", str(error)) from None
        except Exception as error:  # noqa: BLE001  # whatever the library raises on a foreign document refuses it
            raise Bad("what the JSONata expression can work on", f"{type(error).__name__}: {error}") from None
        return None if found is None else _RESULTS[self.kind](found)

    def _plain(self, value: Any, record: Record | None, depth: int) -> Any:
        """As JSON: objects by the names of the contract, decimal numbers as text."""
        self._left -= 1
        if self._left < 0 or depth > DEPTH:
            raise Bad(f"at most {NODES} values, {DEPTH} levels deep, for a JSONata expression", "more")
        if value is None or isinstance(value, str | bool | int):
            return value
        if isinstance(value, Decimal):
            return f"{value:f}"
        if isinstance(value, float):
            return value
        if isinstance(value, datetime | date | time):
            return value.isoformat()
        if isinstance(value, list) or (isinstance(value, tuple) and (self._form != "rows" or record is None)):
            return [self._plain(v, record, depth + 1) for v in value]
        if isinstance(value, Mapping):
            return {str(k): self._plain(v, None, depth + 1) for k, v in value.items()}
        if isinstance(value, msgspec.Struct):
            return {f: self._plain(getattr(value, f), None, depth + 1) for f in value.__struct_fields__}
        if isinstance(value, tuple) and record is not None:
            rows = zip(record.fields, value, strict=True)
            return {f.name: self._plain(v, f.shape if isinstance(f.shape, Record) else None, depth + 1) for f, v in rows if v is not None}
        return self._element(value, record, depth)

    def _element(self, element: Any, record: Record | None, depth: int) -> Any:
        if record is None:
            return "".join(element.itertext())
        found: dict[str, Any] = {}
        for field in record.fields:
            if field.attribute:
                name = f"{{{field.namespace}}}{field.name}" if field.namespace else field.name
                if (text := element.get(name)) is not None:
                    found[field.name] = text
            elif field.name == TEXT:
                found[TEXT] = element.text
        known = {f.name: f for f in record.fields if not f.attribute}
        for child in element:
            name = child.tag.rpartition("}")[2] if isinstance(child.tag, str) else ""
            if (part := known.get(name)) is not None:
                value = self._plain_child(child, part.shape if isinstance(part.shape, Record) else None, depth + 1)
                if part.repeated:
                    found.setdefault(name, []).append(value)
                else:
                    found[name] = value
        return found

    def _plain_child(self, child: Any, record: Record | None, depth: int) -> Any:
        self._left -= 1
        if self._left < 0 or depth > DEPTH:
            raise Bad(f"at most {NODES} values, {DEPTH} levels deep, for a JSONata expression", "more")
        return self._element(child, record, depth)


def _regex(pattern: str, flags: Any) -> Any:
    if _repeats_choices(pattern):
        raise ValueError(f"a repeated group that repeats or chooses something itself may take for ever: {pattern}")
    return default_regex_engine(pattern, flags)


def _repeats_choices(pattern: str) -> bool:
    """Whether a group that may repeat holds, at any depth, another repetition or alternatives."""
    plain = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", pattern, flags=re.DOTALL)
    open_: list[bool] = []
    for at, char in enumerate(plain):
        if char == "(":
            open_.append(False)
        elif char == ")" and open_:
            inside = open_.pop()
            if inside and re.match(r"[*+]|\{\d*,|\{(?!0*1\})\d", plain[at + 1 :]):
                return True
            if open_:
                open_[-1] |= inside
        if open_ and (char in "*+|" or (char == "?" and plain[at - 1] != "(") or re.match(r"\{\d*,?\d*\}", plain[at:])):
            open_[-1] = True
    return False


def _symbols(part: Any) -> Iterator[Any]:
    """Every symbol of a parsed expression."""
    seen: set[int] = set()
    waiting = [part]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list | tuple):
            waiting += one
        elif isinstance(one, Parser.Symbol) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [v for k, v in vars(one).items() if k != "_outer_instance"]


def _text(found: Any) -> str:
    if not isinstance(found, str) or len(found) > CHARACTERS:
        raise Bad(
            f"text of at most {CHARACTERS} characters from the JSONata expression", found if isinstance(found, str) else repr(found)[:80]
        )
    return found


def _texts(found: Any) -> tuple[str, ...]:
    rows = found if isinstance(found, list) else [found]
    if len(rows) > CHARACTERS:
        raise Bad(f"at most {CHARACTERS} values from the JSONata expression", "more")
    return tuple(_text(r) for r in rows)


_RESULTS: Final[dict[str, Callable[[Any], Any]]] = {
    "string": _text,
    "integer": integer,
    "decimal": decimal,
    "boolean": boolean,
    "date": iso_date,
    "instant": instant,
    "texts": _texts,
}
KINDS: Final = tuple(_RESULTS)
"""What an expression may be declared to give."""
