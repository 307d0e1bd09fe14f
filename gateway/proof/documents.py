"""What a stand-in says and what it is asked: from recordings, else from the examples of mappings, else made from the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from adapters.recording import Recorded
from adapters.speaker import Asked, Speaker
from contracts.canonical.order import Order
from contracts.errors import TillgateError
from contracts.policy import Policy
from contracts.ports import CAPABILITIES, Capability, SkuAt
from gateway.bootstrap import Checked, parse_xml
from gateway.services.catalogue import Zones
from mappings.language import CompiledMapping, ReadContext
from mappings.language.examples import given, question
from mappings.language.expression import Call, Cases, Choice, Const, ExpressionError, Node, Path, parse
from mappings.language.sample import document as sample

_TWO_EUROS: Final = {"centAmount": 200, "currencyCode": "EUR", "fractionDigits": 2}
_ORDER: Final = {
    "id": "ord_1", "orderNumber": "W-1", "channel": "web", "placedAt": "2026-01-15T12:00:00Z", "totalPrice": _TWO_EUROS,
    "orderState": "open", "shipmentState": "pending", "paymentState": "pending", "exportState": "not_exported", "pendingWrite": True,
    "version": 1,
    "lines": [{
        "lineNumber": 1, "sku": "1001", "quantity": {"value": "1", "unit": "EA"}, "unitPrice": _TWO_EUROS, "totalPrice": _TWO_EUROS,
        "requestedLocationId": "0001", "fulfilmentMethod": "delivery",
    }],
}  # fmt: skip
_PAIR: Final = {"sku": "1001", "locationId": "0001"}
_RECEIVED: Final = timedelta(minutes=5)
"""No recording, example or contract says a time so close to now."""

REQUESTS: Final[dict[str, Any]] = {
    "LocationQuery": {},
    "ProductPage": {"limit": 10},
    "ProductQuery": {"skus": ["1001"]},
    "PriceQuery": {"pairs": [_PAIR]},
    "LevelQuery": {"pairs": [_PAIR]},
    "Order": _ORDER,
    "OrderReference": {"orderNumber": "W-1"},
    "OrderCancellation": {"externalId": "1", "reason": "changed my mind"},
    "ExternalOrder": {"externalId": "1"},
    "CustomerQuery": {"customerNumber": "1001"},
}
"""What is asked where no example and no recording says something that the system's mapping takes."""
KEYS: Final = 3


class EveryZone(Zones):
    """Every location lies in one time zone."""

    def __init__(self, zone: str) -> None:
        super().__init__()
        self.zone = ZoneInfo(zone)

    def of(self, location: str) -> ZoneInfo | None:
        return self.zone

    @property
    def known(self) -> int:
        return 1


class Unprovable(Exception):
    """Nothing can be asked, or nothing that is answered can be read: the sentence says why."""


@dataclass(eq=False)
class Subject:
    """One operation of the estate, with what it is asked and answers. `rows`: what the mapping makes of the document, as plain data."""

    full: str
    call: str
    """Its name in the system's contract; of an operation in steps that of the last one."""
    capability: Capability[Any, Any]
    policy: Policy
    answer: CompiledMapping | None
    request: Any
    document: Any
    rows: list[Any]
    source: str
    problem: str = ""
    """Why it cannot be asked or answered; the case `answers` says it."""
    drifting: bool = False
    """Whether even this document shows the mapping something unknown."""

    @property
    def writes(self) -> bool:
        return self.capability.writes


def subjects(checked: Checked, system: str, speaker: Speaker, recordings: Iterable[Recorded] = ()) -> list[Subject]:
    zone = checked.estate.estate.time_zone
    kept = _whole_calls(recordings)
    return [
        _subject(checked, full, speaker, zone, [r for r in kept if r.provides == full or (not r.provides and r.operation == call)])
        for full, declared in checked.estate.operation.items()
        if full.partition(".")[0] == system and declared.mode not in ("file", "outbound")
        for call in declared.called(full)[-1:]
    ]


def _subject(checked: Checked, full: str, speaker: Speaker, zone: str, recordings: list[Recorded]) -> Subject:
    declared = checked.estate.operation[full]
    call, capability = declared.called(full)[-1], CAPABILITIES[declared.provides]
    mappings = [checked.mappings[path] for path in declared.requests]
    answer, asked = checked.mappings.get(declared.answer), next((m for m in mappings if m.file.source == capability.request.__name__), None)
    made = Subject(full, call, capability, declared.policy, answer, None, None, [], "nothing")
    try:
        candidates = list(_documents(checked, full, call, answer, speaker, recordings))
        made.document, rows, made.source, made.drifting = _best(answer, candidates, full, zone)
        made.request = _request(capability, declared.policy, asked, rows, [r.asked for r in recordings if r.asked is not None])
        made.rows = plain(_about(capability, made.request, rows))
    except Unprovable as exc:
        made.problem = str(exc)
    return made


def _whole_calls(recordings: Iterable[Recorded]) -> list[Recorded]:
    """Successful exchanges that were their call's only page."""
    return [
        group[0]
        for _, each in groupby(recordings, key=lambda r: r.call or id(r))
        if len(group := list(each)) == 1 and 200 <= group[0].status < 300 and not group[0].failed
    ]


# ---- documents ------------------------------------------------------------------------------------------------------


def _documents(
    checked: Checked, full: str, call: str, mapping: CompiledMapping | None, speaker: Speaker, recordings: list[Recorded]
) -> Iterator[tuple[str, str, Any]]:
    """(kind, description, prepared document)."""
    for recorded in recordings:
        what = f"recording of {recorded.at:%Y-%m-%d %H:%M:%S}"
        try:
            yield "recording", what, speaker.prepared(call, recorded.answer_bytes)
        except Exception as exc:  # noqa: BLE001  # a recording is foreign; one that cannot be read is passed over
            yield "recording", f"{what}: {exc}", None
    for example in mapping.file.examples if mapping is not None else ():
        if example.error is None:
            raw = example.given if isinstance(example.given, str) else msgspec.json.encode(example.given)
            try:
                yield "example", f"example {example.name!r}", speaker.prepared(call, raw)
            except ValueError as exc:
                yield "example", f"example {example.name!r}: {exc}", None
    contract = checked.contracts[full.partition(".")[0]]
    message = contract.exchange(call).answer
    if message is None:
        yield "contract", "an answer without content", None if mapping is not None else _nothing(speaker, call)
        return
    for optional in (True, False):
        document = sample(message, optional=optional, values=hints(mapping) if mapping is not None else {})
        yield "contract", "made from the contract", speaker.prepared(call, document)


def _nothing(speaker: Speaker, call: str) -> Any:
    """The document of an operation whose answer holds nothing."""
    return speaker.prepared(call, b"<nothing/>" if "xml" in speaker.error(call, 500).content_type else {})


def _best(
    mapping: CompiledMapping | None, candidates: list[tuple[str, str, Any]], full: str, zone: str
) -> tuple[Any, list[Any], str, bool]:
    """Of the first kind that has any, the document with the most in it that the mapping reads into rows."""
    if mapping is None:
        for _, description, document in candidates:
            if document is not None:
                return document, [], description, False
    why = ""
    for kind in ("recording", "example", "contract"):
        best: tuple[int, Any, list[Any], str, bool] | None = None
        for _, description, document in (c for c in candidates if c[0] == kind):
            if document is None:
                why = why or description
                continue
            drift: list[Any] = []
            try:
                rows = read(mapping, document, full, zone, drift)
            except TillgateError as exc:
                why = f"{description} is refused: {exc}"
                continue
            if rows and (best is None or (not drift, size(document)) > (not best[4], best[0])):
                best = size(document), document, rows, description, bool(drift)
            elif not rows:
                why = why or f"{description} gives no row"
        if best is not None:
            return best[1], best[2], best[3], best[4]
    raise Unprovable(f"no answer is known that the mapping reads into a row; give it an example ({why or 'there is none'})")


def read(mapping: CompiledMapping | None, document: Any, full: str, zone: str, drift: list[Any]) -> list[Any]:
    """Raises TillgateError."""
    if mapping is None:
        return []
    system, _, name = full.partition(".")
    one = ZoneInfo(zone)
    context = ReadContext(system, name, datetime.now(UTC), zone_of=lambda _: one, drift=lambda *what: drift.append(what))
    if (noun := mapping.builder.asked) is not None:
        known = next((question(mapping, e) for e in mapping.file.examples if e.asked is not None), None)
        context.asked = known or given(noun, REQUESTS.get(noun.name), parse_xml)
    return mapping.read(document, context)


def size(document: Any) -> int:
    """How many single values it holds."""
    if isinstance(document, dict):
        return sum(size(v) for v in document.values())
    if isinstance(document, list | tuple):
        return sum(size(v) for v in document)
    return sum(1 for _ in document.iter()) if hasattr(document, "iter") else 1


def plain(rows: Iterable[Any]) -> list[Any]:
    """Rows as plain data, without where and when they were read: a mapping may also take the time of receipt for one that is not told."""
    now = datetime.now(UTC)
    made = msgspec.to_builtins(list(rows), str_keys=True, builtin_types=(datetime,))
    for row in made:
        if isinstance(row, dict):
            row.pop("provenance", None)
            for name, value in row.items():
                if isinstance(value, datetime):
                    received = value.tzinfo is not None and abs(now - value) < _RECEIVED
                    row[name] = "when it was received" if received else value.isoformat()
    return list(made)


# ---- requests -------------------------------------------------------------------------------------------------------


def _request(
    capability: Capability[Any, Any], policy: Policy, mapping: CompiledMapping | None, rows: list[Any], recorded: list[Any]
) -> Any:
    """The first that the system's mapping takes. Raises Unprovable."""
    if capability.keys and capability.key_of is not None:
        keys = list(dict.fromkeys(map(capability.key_of, rows)))
        keys = [SkuAt(sku=k.sku, location_id=k.location_id or "0001") if isinstance(k, SkuAt) else k for k in keys]
        if same := policy.batch.same:
            keys = [k for k in keys if getattr(k, same) == getattr(keys[0], same)]
        candidates: list[Any] = [capability.request(**{capability.keys: tuple(keys[: min(KEYS, policy.batch.size)])})] if keys else []
    else:
        examples = [e.given for e in mapping.file.examples if e.error is None] if mapping is not None else []
        candidates = []
        for each in (*recorded, *examples, REQUESTS.get(capability.request.__name__)):
            try:
                value = msgspec.json.decode(each) if isinstance(each, str) else each
                candidates.append(msgspec.convert(value, capability.request))
            except (msgspec.ValidationError, msgspec.DecodeError):
                continue
    why = "none is known"
    for request in candidates:
        if mapping is None:
            return request
        try:
            mapping.write(request, _writing(mapping))
        except TillgateError as exc:
            why = str(exc)
        else:
            return request
    raise Unprovable(f"no request is known that the request mapping takes; give it an example ({why})")


def _about(capability: Capability[Any, Any], request: Any, rows: list[Any]) -> list[Any]:
    """Rows of the keys that are asked for; a row that is said without a location holds at each."""
    if not capability.keys or capability.key_of is None:
        return rows
    keys = set(getattr(request, capability.keys))
    skus = {k.sku for k in keys if isinstance(k, SkuAt)}
    found = [(capability.key_of(row), row) for row in rows]
    return [row for key, row in found if key in keys or (isinstance(key, SkuAt) and not key.location_id and key.sku in skus)]


def _writing(mapping: CompiledMapping) -> ReadContext:
    system, _, name = mapping.target.name.partition(".")
    return ReadContext(system, name)


def with_reference(request: Any, number: int) -> Any:
    """Another order of the same kind: its own number, so that two writes are two things."""
    if isinstance(request, Order):
        return msgspec.structs.replace(request, order_number=f"{request.order_number[:50]}-{number}")
    return request


# ---- hints ----------------------------------------------------------------------------------------------------------

_MOMENT: Final = (("YYYY", "2026"), ("YY", "26"), ("MM", "01"), ("DD", "15"), ("hh", "12"), ("mm", "00"), ("ss", "00"), ("fff", "000"))
_PLAIN: Final[dict[str, str]] = {
    "integer": "1", "decimal": "1", "implied": "100", "cents": "100", "money": "1", "unit_price": "1", "quantity": "1",
    "sign_trailing": "1", "overpunch": "10{", "instant": "2026-01-15T12:00:00Z", "epoch_millis": "1768478400000", "date": "2026-01-15",
}  # fmt: skip


def hints(mapping: CompiledMapping) -> dict[str, str]:
    """Texts that a mapping's functions can read, by source path: what the contract alone does not say."""
    found: dict[str, str] = {}
    for line in mapping.lineage.values():
        try:
            node = parse(line.expression)
        except ExpressionError:
            continue

        def place(path: Path, sources: list[str] = line.sources) -> str:
            wanted = ".".join(path.steps)
            return next((s for s in sources if s == wanted or s.endswith(f".{wanted}")), wanted)

        for call in calls(node):
            for path, text in _said_by(call, mapping.file.tables):
                found.setdefault(place(path), text)
    return found


def calls(node: Node, *, certain: bool = False) -> Iterator[Call]:
    """Innermost first: what a value meets first says how it must look. `certain`: only those that are made whatever the document holds."""
    for name in getattr(node, "__dataclass_fields__", ()):
        if certain and isinstance(node, Choice) and name != "test":
            continue
        value = getattr(node, name)
        for each in value if isinstance(value, tuple) else (value,):
            inner = each[1] if isinstance(each, tuple) and len(each) == 2 else each
            if hasattr(inner, "__dataclass_fields__"):
                yield from calls(inner, certain=certain)
    if isinstance(node, Call):
        yield node


def base(node: Node) -> Path | None:
    """The path that a pipe starts at."""
    while isinstance(node, Call) and node.arguments:
        node = node.arguments[0]
    return node if isinstance(node, Path) else None


def _said_by(call: Call, tables: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Path, str]]:
    path = base(call)
    if path is None:
        return
    rest = call.arguments[1:]
    constants = [a.value for a in rest if isinstance(a, Const)]
    match call.name:
        case "enum":
            cases = [k for a in rest if isinstance(a, Cases) for k, _ in a.items] + [n for n, _ in call.named if n != "otherwise"]
            if cases:
                yield path, str(cases[0])
        case "lookup" if constants and (table := tables.get(str(constants[0]))):
            yield path, str(next(iter(table)))
        case "boolean":
            true = next((v.value for n, v in call.named if n == "true" and isinstance(v, Const)), constants[0] if constants else None)
            if true is not None:
                yield path, str(true)
        case "date" | "time" | "local_datetime" | "time_quality" if formats := [
            c for c in constants if isinstance(c, str) and any(part in c for part in ("YY", "MM", "DD", "hh"))
        ]:
            yield path, _moment(formats[-1])
        case "quantity" | "money" | "cents" | "unit_price" as name:
            yield path, _PLAIN[name]
            for other in map(base, rest):
                if other is not None:
                    yield other, "EA" if name == "quantity" else "EUR"
        case name if name in _PLAIN:
            yield path, _PLAIN[name]


def _moment(text: str) -> str:
    for part, value in _MOMENT:
        text = text.replace(part, value)
    return text


@dataclass
class Answers:
    """What a stand-in says: for a request that was recorded what was said then, else the operation's document, else one made from the
    contract.
    """

    documents: dict[str, Any]
    exact: dict[tuple[str, str, str, bytes], Any]
    made: Callable[[str], Any]

    def __call__(self, operation: str, asked: Asked) -> Any:
        if self.exact and (found := self.exact.get((operation, asked.method, asked.target, asked.body))) is not None:
            return found
        if operation not in self.documents:
            self.documents[operation] = self.made(operation)
        return self.documents[operation]


def answers(checked: Checked, system: str, made: Iterable[Subject], speaker: Speaker, recordings: Iterable[Recorded] = ()) -> Answers:
    documents = {s.call: s.document for s in reversed(list(made)) if not s.problem}
    exact: dict[tuple[str, str, str, bytes], Any] = {}
    for r in _whole_calls(recordings):
        try:
            exact[r.operation, r.method, r.path, r.request_bytes] = speaker.prepared(r.operation, r.answer_bytes)
        except Exception:  # noqa: BLE001, S112  # a recording is foreign; one that cannot be read is passed over
            continue

    def from_contract(operation: str) -> Any:
        message = checked.contracts[system].exchange(operation).answer
        return _nothing(speaker, operation) if message is None else speaker.prepared(operation, sample(message))

    return Answers(documents, exact, from_contract)
