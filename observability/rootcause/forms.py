"""Files of spans as other tools write them, brought to one record after the other: lines, documents, columns, gzip, directories."""

from __future__ import annotations

import csv
import gzip
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

MAX_DOCUMENT: Final = 1024 * 1024 * 1024
"""Bytes of a JSON document, on one line or on several."""
_MOST_BLANK: Final = 1_000_000
_MOST_FILES: Final = 10_000
_LARGE: Final = 4 * 1024 * 1024
"""Bytes from which on a document is taken apart before it is read."""
_DEEP: Final = 8
_SUFFIXES: Final = frozenset((".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".gz"))
_OTHERS: Final = (
    (b"PAR1", "a Parquet file; write its rows as CSV or as JSON lines"), (b"PK\x03\x04", "a zip archive; unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd file; decompress it"), (b"BZh", "a bzip2 file; decompress it"),
    (b"\xfd7zXZ", "an xz file; decompress it"),
    (b"ORC", "an ORC file; write its rows as CSV"), (b"Obj\x01", "an Avro file; write its rows as JSON lines"),
    (b"SQLite format 3", "a database; write its spans as CSV"), (b"\xff\xfe", "UTF-16 text; write it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text; write it as UTF-8"),
)  # fmt: skip
_OTLP: Final = frozenset(("resourceSpans", "resource_spans", "batches"))
_WRAPPERS: Final = ("data", "traces", "spans", "hits", "_source", "trace", "result", "results")
"""What lists of spans are kept in: by Jaeger, Datadog, Elasticsearch, Tempo."""
_SNAKE: Final = {
    b'"resource_spans"': b'"resourceSpans"', b'"scope_spans"': b'"scopeSpans"', b'"batches"': b'"resourceSpans"',
    b'"instrumentation_library_spans"': b'"scopeSpans"', b'"instrumentationLibrarySpans"': b'"scopeSpans"', b'"trace_id"': b'"traceId"',
    b'"span_id"': b'"spanId"', b'"parent_span_id"': b'"parentSpanId"', b'"start_time_unix_nano"': b'"startTimeUnixNano"',
    b'"end_time_unix_nano"': b'"endTimeUnixNano"', b'"string_value"': b'"stringValue"', b'"int_value"': b'"intValue"',
    b'"double_value"': b'"doubleValue"', b'"bool_value"': b'"boolValue"',
}  # fmt: skip
_RENAMED: Final = re.compile(b"|".join(map(re.escape, _SNAKE)))
_OLDER: Final = (b'_spans"', b'_span_id"', b'"batches"', b'"instrumentationLibrarySpans"')
_BINARY: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""What no text has."""
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{\]}]')
_decode: Final = msgspec.json.Decoder().decode
_decode_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_elements: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_flat: Final = msgspec.json.Decoder(dict[str, Any]).decode


class Value(msgspec.Struct, rename="camel"):
    string_value: str | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    bool_value: bool | None = None

    def text(self) -> str:
        for value in (self.string_value, self.int_value, self.double_value):
            if value is not None:
                return str(value)
        return "" if self.bool_value is None else str(self.bool_value).lower()


class Attribute(msgspec.Struct):
    key: str = ""
    value: Value = msgspec.field(default_factory=Value)


class Status(msgspec.Struct):
    code: int | str = 0


class Event(msgspec.Struct):
    name: str = ""


class Span(msgspec.Struct, rename="camel"):
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str | None = None
    name: str = ""
    kind: int | str = 0
    start_time_unix_nano: int | str = 0
    end_time_unix_nano: int | str = 0
    status: Status | None = None
    attributes: list[Attribute] = []
    events: list[Event] = []


class Scope(msgspec.Struct):
    spans: list[Span] = []


class Resource(msgspec.Struct):
    attributes: list[Attribute] = []


class ResourceSpans(msgspec.Struct, rename="camel"):
    resource: Resource | None = None
    scope_spans: list[Scope] = []


class Request(msgspec.Struct, rename="camel"):
    resource_spans: list[ResourceSpans]


Record = Request | dict[str, Any]
"""An OTLP export request, or one span with its members."""
_decode_request: Final = msgspec.json.Decoder(Request).decode


class Unreadable(Exception):
    """`file`, `line` and what was expected there."""

    def __init__(self, file: str, line: int, expected: str, got: str) -> None:
        super().__init__(f"{file}:{line}: expected {expected}, got {got[:200]}")


def files(given: Sequence[str]) -> list[str]:
    """The files, and those in directories that may hold spans, in the order of their names. Raises Unreadable, OSError."""
    found: list[str] = []
    for name in given:
        if name == "-" or not Path(name).is_dir():
            found.append(name)
            continue
        inside = sorted(str(p) for p in Path(name).rglob("*") if p.suffix in _SUFFIXES and p.is_file() and not p.name.startswith("."))
        if not inside or len(inside) > _MOST_FILES:
            raise Unreadable(
                name, 0, f"a directory with up to {_MOST_FILES} files ({', '.join(sorted(_SUFFIXES))})", f"{len(inside)} files"
            )
        found += inside
    return found


def records(file: str, columns: Iterable[str]) -> Iterator[tuple[int, Record]]:
    """Line number and record (`-` is standard input; gzip is recognised by its first bytes). `columns`: some of what a table must have,
    without case and punctuation. Raises Unreadable, OSError.
    """
    at = [0]

    def counted() -> Iterator[bytes]:
        for at[0], line in _lines(file):
            yield line

    try:
        lines = counted()
        for line in lines:
            head = line.removeprefix(b"\xef\xbb\xbf").lstrip()
            found = _documents(chain([head], lines)) if head[:1] in (b"{", b"[") else _table(file, at, head, lines, frozenset(columns))
            for record in found:
                yield at[0], record
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as exc:
        raise Unreadable(file, max(at[0], 1), "one span per line as a JSON object, OTLP, Jaeger or Zipkin JSON", str(exc)) from exc
    except csv.Error as exc:
        raise Unreadable(file, at[0], "rows of a table", str(exc)) from exc
    except (EOFError, zlib.error) as exc:
        raise Unreadable(file, at[0], "a whole gzip file", str(exc)) from exc


def _lines(file: str) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers."""
    stream: BinaryIO = sys.stdin.buffer if file == "-" else Path(file).open("rb")  # noqa: SIM115 - closed below
    number = blank = 0
    try:
        head = stream.peek(16)[:16] if hasattr(stream, "peek") else b""
        source: BinaryIO = gzip.GzipFile(fileobj=stream) if head[:2] == b"\x1f\x8b" else stream  # type: ignore[assignment]  # reads the same way
        inner = source.peek(16)[:16] if hasattr(source, "peek") else b""
        other = next((what for begins, what in _OTHERS if inner.startswith(begins)), None)
        if inner[:1] == b"\n" and _BINARY.search(inner):
            other = "OTLP in binary form; export it as JSON"
        if other:
            raise Unreadable(file, 1, "spans as JSON or CSV, gzipped or not", other)
        while line := source.readline(MAX_DOCUMENT + 1):
            number += 1
            if len(line) > MAX_DOCUMENT:
                raise ValueError(f"a line of more than {MAX_DOCUMENT} bytes")
            if not line.isspace():
                yield number, line
                continue
            blank += 1
            if blank > _MOST_BLANK:
                raise Unreadable(file, number, "spans", f"{_MOST_BLANK} empty lines")
    finally:
        if file != "-":
            stream.close()


# ---- documents ---------------------------------------------------------------------------------------------------------


def _documents(lines: Iterable[bytes]) -> Iterator[Record]:
    """One document on each line, over several lines, or several on one."""
    parts: list[bytes] = []
    depth = size = 0
    single = flat = False
    for line in lines:
        if flat and not parts:  # as the line before it
            try:
                span = _decode_flat(line)
            except msgspec.DecodeError:
                flat = False
            else:
                if _WRAPPED.isdisjoint(span):
                    yield span
                    continue
        if parts:
            cuts, depth = _ends(line, depth)
        else:
            try:
                for record in _spans(line):
                    yield record
                    flat = isinstance(record, dict)
                single = True
                continue
            except msgspec.ValidationError:
                raise
            except msgspec.DecodeError:
                cuts, depth = _ends(line, 0)
                if not cuts and (single or depth <= 0):
                    raise
        begin = 0
        for cut in cuts:
            yield from _spans(b"".join((*parts, line[begin:cut])))
            parts, size, begin = [], 0, cut
        rest = line[begin:] if parts else line[begin:].lstrip(b", \t\r\n")
        if rest:
            parts.append(rest)
            size += len(rest)
            if size > MAX_DOCUMENT:
                raise ValueError(f"a document of more than {MAX_DOCUMENT} bytes")
    if parts:
        yield from _spans(b"".join(parts))


def _ends(line: bytes, depth: int) -> tuple[list[int], int]:
    """Where documents end on this line, and how deep it leaves off. `depth`: of what came before."""
    cuts = []
    for token in _TOKEN.finditer(line):
        sign = token[0]
        if sign in (b"{", b"["):
            depth += 1
        elif sign in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                cuts.append(token.end())
    return cuts, depth


def _spans(document: bytes) -> Iterator[Record]:
    head = document[:4096]
    if b'"resourceSpans"' in head or b'"resource_spans"' in head or b'"batches"' in head:
        if any(older in document for older in _OLDER):
            document = _RENAMED.sub(lambda found: _SNAKE[found[0]], document)
        if document.lstrip()[:16].replace(b" ", b"").replace(b"\n", b"").startswith(b'{"resourceSpans'):
            yield _decode_request(document)
            return
    if len(document) > _LARGE:
        yield from _unwrapped(msgspec.Raw(document), _DEEP)
        return
    if document.lstrip()[:1] == b"{":
        span = _decode_flat(document)
        if _WRAPPED.isdisjoint(span):
            yield span
            return
        yield from _unwrapped(span, _DEEP)
    else:
        yield from _unwrapped(_decode(document), _DEEP)


_WRAPPED: Final = frozenset((*_WRAPPERS, *_OTLP))


def _unwrapped(value: Any, deep: int) -> Iterator[Record]:
    """Spans in what a tool answers with; in what is large, one element after the other."""
    value = _opened(value)
    if deep <= 0 or not isinstance(value, list | dict):
        raise ValueError(f"spans as JSON objects, got {type(value).__name__} {str(value)[:80]!r}")
    if isinstance(value, list):
        for each in value:
            yield from _unwrapped(each, deep - 1)
        return
    if not _OTLP.isdisjoint(value):
        request = msgspec.json.encode({key: inner for key, inner in value.items() if key in _OTLP})
        yield _decode_request(_RENAMED.sub(lambda found: _SNAKE[found[0]], request))
        return
    inner = next((v for k in _WRAPPERS if isinstance(v := _opened(value.get(k)), list | dict) and _holds(k, v)), None)
    if inner is None:
        yield {k: _opened(v) for k, v in value.items()}
        return
    processes = _opened(value.get("processes"))
    for each in inner if isinstance(inner, list) else [inner]:
        for span in _unwrapped(each, deep - 1):
            if isinstance(span, dict) and isinstance(processes, dict) and "processID" in span:
                span["process"] = processes.get(span["processID"])
            yield span


def _holds(key: str, value: list[Any] | dict[str, Any]) -> bool:
    """Whether it is a list of spans, or what keeps one, and no part of a span itself (`trace: {id: …}`)."""
    return key == "_source" or isinstance(value, list) or not _WRAPPED.isdisjoint(value)


def _opened(value: Any) -> Any:
    if not isinstance(value, msgspec.Raw):
        return value
    if len(value) <= _LARGE:
        return _decode(value)
    return _decode_elements(value) if bytes(memoryview(value)[:64]).lstrip()[:1] == b"[" else _decode_members(value)


# ---- columns -----------------------------------------------------------------------------------------------------------


def _table(file: str, at: list[int], head: bytes, lines: Iterator[bytes], needed: frozenset[str]) -> Iterator[Record]:
    text = head.decode(errors="replace")
    delimiter = max(",\t;|", key=text.count)
    header = [name.strip() for name in next(csv.reader([text], delimiter=delimiter))]
    if needed.isdisjoint(re.sub(r"[^a-z0-9]", "", name.casefold()) for name in header):
        expected = "JSON, or a table whose first line names its columns (span_id, parent_id, service, start, duration)"
        raise Unreadable(file, at[0], expected, repr(text[:160].rstrip()))
    for row in csv.reader((line.decode(errors="replace") for line in lines), delimiter=delimiter):
        yield {name: value for name, value in zip(header, row, strict=False) if name and value != ""}
