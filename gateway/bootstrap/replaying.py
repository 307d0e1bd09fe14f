"""Recorded exchanges read again by the drivers and mappings of an estate, without a network and without any credentials."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from lxml import etree
from msgspec.structs import replace

from adapters.operation import Operation
from adapters.recording import Recorded, Replayed, calls
from adapters.speaker import Asked, Speaker
from adapters.wire import WireAnswer, WireRequest
from contracts.call import Call
from contracts.canonical.location import Location
from contracts.ports import CAPABILITIES, LOCATIONS
from gateway.bootstrap.checking import Checked, parse_xml
from gateway.bootstrap.proving import options_of, speaker
from gateway.bootstrap.systems import wire
from gateway.services.catalogue import Zones

NOWHERE = "http://recording.invalid"
_KEPT_HEADERS = ("content-type", "accept", "soapaction")


class _EveryZone(Zones):
    """Of a location that nobody recorded, local times are read as UTC: the same at every replay."""

    def of(self, location: str) -> ZoneInfo | None:
        return super().of(location) or ZoneInfo("UTC")


class _Anything(dict[str, str]):
    """An environment in which everything is set, to what is no secret and does for an address too (that of a token)."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return NOWHERE


@dataclass(frozen=True)
class Replayer:
    """Operations of an estate that are asked what was asked when it was recorded."""

    operations: Mapping[str, Operation]
    speakers: Mapping[str, Speaker]
    zones: Zones

    async def replay(self, exchanges: Sequence[Recorded]) -> Replayed:
        """One call. Raises LookupError for an operation that the estate does not declare any more, or that provides something else."""
        last = exchanges[-1]
        operation = self.operations.get(last.provides)
        if operation is None:
            raise LookupError(f"the estate has no operation {last.provides}")
        if operation.capability.name != last.capability:
            raise LookupError(f"{last.provides} provides {operation.capability.name}, when it was recorded {last.capability}")
        try:
            request = msgspec.convert(last.asked, operation.capability.request)
        except msgspec.ValidationError as exc:
            raise LookupError(f"what was asked is no {operation.capability.request.__name__} any more: {exc}") from exc
        call = Call(channel="store", client="replay", deadline=asyncio.get_running_loop().time() + 60)
        found = await operation.replay(request, exchanges, _login(self.speakers[operation.system]), call)
        if operation.capability is CAPABILITIES[LOCATIONS.name] and found.rows:
            self.zones.learn(msgspec.convert([{**row, "provenance": []} for row in found.rows], list[Location]))
        return found

    async def sealed(self, exchanges: Iterable[Recorded]) -> AsyncIterator[list[Recorded]]:
        """Call by call, with the request and the rows as the estate makes them of what is masked: replayed with the same estate, nothing
        differs.
        """
        for one in self.in_order(exchanges):
            try:
                found = await self.replay(one)
            except LookupError as exc:
                found = Replayed((), None, str(exc.args[0]))
            asked = [*(plain(request) for request in found.requests), *([("", {}, "")] * len(one))]
            one = [replace(r, path=p, request_headers=h, request=b) for r, (p, h, b) in zip(one, asked, strict=False)]
            yield [*one[:-1], replace(one[-1], rows=found.rows, failed=found.failed)]

    @staticmethod
    def in_order(exchanges: Iterable[Recorded]) -> list[list[Recorded]]:
        """Locations first: other mappings may want their time zones."""
        return sorted(calls(exchanges), key=lambda one: one[-1].capability != LOCATIONS.name)


@asynccontextmanager
async def replayer(checked: Checked) -> AsyncIterator[Replayer]:
    """Raises ValueError, OSError for options that no connection can be made of."""
    names = [name for name, system in checked.estate.system.items() if system.protocol != "files"]
    options = {name: options_of(checked, name, _Anything())[0] for name in names}
    estate = replace(
        checked.estate,
        system={name: replace(checked.estate.system[name], endpoint=NOWHERE) for name in names},
        operation={
            full: replace(o, secrets=dict.fromkeys(o.secrets, "recorded"))
            for full, o in checked.estate.operation.items()
            if full.partition(".")[0] in names
        },
        capability={},
    )
    zones = _EveryZone()
    wiring = await wire(Checked(checked.root, estate, checked.contracts, checked.mappings, options, kept=checked.kept), {}, {}, zones)
    try:
        operations = {full: kept.part for full, kept in wiring.operations.items()}
        yield Replayer(operations, {name: speaker(checked, name, options[name]) for name in names}, zones)
    finally:
        await wiring.close()


def _login(talks: Speaker) -> Callable[[WireRequest], WireAnswer]:
    def login(asked: WireRequest) -> WireAnswer:
        headers = {name.lower(): value for name, value in asked.headers.items()}
        said = talks.session(asked.operation, Asked(asked.method, asked.path, headers, asked.body or b""), "recorded")
        return WireAnswer(said.status, said.headers, said.body, said.content_type.partition(";")[0].lower())

    return login


def plain(request: WireRequest) -> tuple[str, dict[str, str], str]:
    """Path, headers and body as they are kept and compared: of an envelope without its header, whose nonces and sessions are never the
    same; attachments are left out.
    """
    headers = {name.lower(): value for name, value in request.headers.items() if name.lower() in _KEPT_HEADERS}
    body, kind = request.body or b"", headers.get("content-type", "")
    if kind.startswith("multipart/"):
        return request.path, {**headers, "content-type": "multipart/related"}, ""
    if "xml" in kind.partition(";")[0]:
        try:
            root = parse_xml(body)
        except ValueError:
            return request.path, headers, body.decode("utf-8", "replace")
        for header in root.findall("{*}Header"):
            root.remove(header)
        return request.path, headers, etree.tostring(root, encoding="unicode")
    return request.path, headers, body.decode("utf-8", "replace")


# ---- differences


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One place where calls differ: how many, and one of them as an example. `part` is answer, request, outcome or operation; `pointer`
    leads into the canonical rows or the request, `*` stands for any index.
    """

    operation: str
    part: str
    pointer: str = ""
    count: int
    before: Any = None
    after: Any = None


@dataclass
class Comparison:
    """What replaying shows, gathered over all calls."""

    calls: int = 0
    changed: int = 0
    found: dict[tuple[str, str, str], Difference] = field(default_factory=dict)

    async def add(self, replayer: Replayer, exchanges: Sequence[Recorded]) -> None:
        last, before = exchanges[-1], sum(d.count for d in self.found.values())
        self.calls += 1
        try:
            now = await replayer.replay(exchanges)
        except LookupError as exc:
            self._note(last.provides, "operation", "", last.capability, str(exc.args[0]))
        else:
            then, said = _outcome(last.rows, last.failed), _outcome(now.rows, now.failed)
            if last.failed or now.failed:
                if then != said:
                    self._note(last.provides, "outcome", "", then, said)
            else:
                for pointer, old, new in _differences(last.rows, now.rows, ""):
                    self._note(last.provides, "answer", pointer, old, new)
            if len(now.requests) != len(exchanges):
                self._note(last.provides, "request", "", f"{len(exchanges)} exchanges", f"{len(now.requests)} exchanges")
            for recorded, request in zip(exchanges, now.requests, strict=False):
                path, headers, body = plain(request)
                told = _request(recorded.method, recorded.path, recorded.request_headers, recorded.request)
                for pointer, old, new in _differences(told, _request(request.method, path, headers, body), ""):
                    self._note(last.provides, "request", pointer, old, new)
        self.changed += sum(d.count for d in self.found.values()) > before

    def _note(self, operation: str, part: str, pointer: str, before: Any, after: Any) -> None:
        general = "/".join("*" if step.isdigit() else step for step in pointer.split("/"))
        known = self.found.get((operation, part, general))
        self.found[operation, part, general] = (
            replace(known, count=known.count + 1)
            if known
            else Difference(operation=operation, part=part, pointer=general, count=1, before=before, after=after)
        )


def _outcome(rows: list[Any] | None, failed: str) -> str:
    return failed or f"{len(rows or ())} rows"


def _request(method: str, path: str, headers: Mapping[str, str], body: str) -> dict[str, Any]:
    content: Any = body
    with suppress(ValueError, RecursionError):  # what cannot be taken apart is compared as it is
        if body.startswith("<"):
            content = _element(parse_xml(body.encode()))
        elif body.startswith(("{", "[")):
            content = json.loads(body)
    return {"method": method, "path": path, "headers": dict(headers), "body": content}


def _element(element: Any) -> Any:
    below: dict[str, Any] = {f"@{etree.QName(name).localname}": text for name, text in element.attrib.items()}
    for child in element:
        below.setdefault(etree.QName(child).localname, []).append(_element(child))
    return below or element.text or ""


def _differences(before: Any, after: Any, at: str) -> list[tuple[str, Any, Any]]:
    """(JSON pointer, before, after); None stands for nothing there."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = dict.fromkeys([*before, *after])
        return [d for n in names for d in _differences(before.get(n), after.get(n), f"{at}/{n.replace('~', '~0').replace('/', '~1')}")]
    if isinstance(before, list) and isinstance(after, list):
        pairs = [(b, a) for b, a in zip(before, after, strict=False)]
        pairs += [(b, None) for b in before[len(after) :]] + [(None, a) for a in after[len(before) :]]
        return [d for i, (b, a) in enumerate(pairs) for d in _differences(b, a, f"{at}/{i}")]
    return [] if before == after else [(at, before, after)]
