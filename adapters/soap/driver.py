"""A live connection to one SOAP system: writes the request, logs in when needed, and answers the payload or what went wrong."""

from __future__ import annotations

import asyncio
import base64
import hmac
import re
import secrets
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import msgspec
from lxml import etree

from adapters.driver import Reply
from adapters.login import CredentialsRefused, Login, Token
from adapters.soap.client import LARGE, TYPES, SoapClient, parse_xml
from adapters.soap.contract import Operation, SoapContract
from adapters.soap.declared import constant_fields, has, load_declared, merged, placed, provided
from adapters.soap.envelope import EnvelopeWriter, Unwritable
from adapters.soap.errors import SOAP11, SOAP12, SoapFault, Unusable, meant, read_fault, translated, value, xpath
from adapters.soap.mtom import Attaching
from adapters.soap.rows import shortened
from adapters.soap.security import MessageSecurity, Sealed, Untrusted
from adapters.soap.spec import AsOf, Carried, Meaning, Means, OperationOptions, Results, SoapOptions
from adapters.wire import Wire, WireAnswer, client_tls
from contracts.call import Call
from contracts.errors import ConnectFailed, ContractViolation, UpstreamError, UpstreamFault, UpstreamRejected
from mappings.language import Shortcut
from mappings.language.rows import Rows, Shortened
from mappings.language.shape import TEXT, Leaf, Record
from observability import Step, current_hop, step

Payload = etree._Element | Shortened  # noqa: SLF001  # the class of every element has no other name

_LOG_OUT_SECONDS = 2.0
_LONGEST_CODE = 100
_BETWEEN = "\0"
"""Between the values of a token pair: XML and cookies cannot hold it."""
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_FAULTS = frozenset({f"{{{SOAP11}}}Fault", f"{{{SOAP12}}}Fault"})


def load(system: str, wsdl: Path, options: SoapOptions) -> SoapContract:
    """The contract that the options choose. Blocks for up to a second: call it in a thread.

    Raises Findings for files that cannot be read, and for options that name what the contract does not have.
    """
    content = {name: own.content for name, own in options.operations.items() if own.content}
    contract = SoapContract(system, wsdl, port=options.port, binding=options.binding, provided=provided(options), content=content)
    load_declared(contract, options)
    return contract


@dataclass(frozen=True, slots=True)
class _Plan:
    """All that is known of an operation before it is called."""

    operation: Operation
    writer: EnvelopeWriter
    method: str
    options: OperationOptions
    results: Results | None
    meanings: tuple[Meaning, ...]
    carried: tuple[tuple[int, Carried], ...]
    """What of the session travels with it, and which of the session's values that is."""
    blocks: dict[str, dict[str, Any]]
    constants: dict[str, Any]
    path: str
    documents: tuple[str, ...]
    """Paths of the answer whose texts are documents."""
    rows: Rows | None
    """The list of its answer that nobody but the mapping looks into."""


class _Absent(Exception):
    """The system says that there is no such thing."""

    def __init__(self, refusal: UpstreamRejected) -> None:
        self.refusal = refusal


class _SessionExpired(Exception):
    """The system executed nothing because it does not know our session any more. `error` is what that is without a login."""

    def __init__(self, error: UpstreamError) -> None:
        self.error = error


class SoapConnection:
    """`endpoint` is the address that operations are posted to. Raises Findings as `load` does."""

    def __init__(self, system: str, contract: SoapContract, endpoint: str, options: SoapOptions, *, connections: int = 32) -> None:
        self.system, self.contract, self.options = system, contract, options
        self._blocks = load_declared(contract, options)
        tls = client_tls(options.tls) if options.tls else None
        login_at = options.session.endpoint if options.session else ""
        self._wires, self._paths = [], []
        for address in map(urlsplit, filter(None, (endpoint, login_at))):
            self._wires.append(
                Wire(
                    system,
                    f"{address.scheme}://{address.netloc}",
                    connections=connections,
                    connect_seconds=options.connect_limit,
                    body_limit=options.body_limit,
                    tls=tls,
                    deadline_header=options.deadline_header,
                )
            )
            self._paths.append((address.path or "/") + (f"?{address.query}" if address.query else ""))
        self._worker: ThreadPoolExecutor | None = None
        self._clients: dict[str, SoapClient] = {}
        """By path; "" is that of the login elsewhere."""
        self._plans: dict[tuple[str, Rows | None], _Plan] = {}
        self._security = MessageSecurity(system, options.security) if options.security else None
        self._login: Login | None = None
        if session := options.session:
            self._login = Login(system, session.operation, self._log_in, time_limit=session.time_limit, pause=session.pause)

    async def start(self) -> None:
        if not self._clients:
            for wire in self._wires:
                await wire.start()
            self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"soap-{self.system}")
            headers = dict(self.options.headers)
            if basic := self.options.basic:
                headers["Authorization"] = "Basic " + base64.b64encode(f"{basic.user}:{basic.password}".encode()).decode()
            for path in {self._paths[0], *(o.path for o in self.options.operations.values() if o.path)}:
                self._clients[path] = SoapClient(self._wires[0], path, headers, self._worker)
            if self._paths[1:]:
                self._clients[""] = SoapClient(self._wires[1], self._paths[1], headers, self._worker)

    def notices(self) -> list[str]:
        """What an operator should know of this connection, in sentences."""
        return self._security.notices(self.system) if self._security else []

    async def close(self) -> None:
        if self._login is not None:
            await self._log_out()
            await self._login.close()
        for wire in self._wires:
            await wire.close()
        self._clients.clear()
        if self._worker is not None:
            self._worker.shutdown(wait=False, cancel_futures=True)

    async def call(self, operation: str, request: Mapping[str, Any], call: Call, seconds: float, shortcut: Shortcut | None = None) -> Reply:
        """The payload element of the answer's Body (the Body itself where the contract puts several elements into it)."""
        end = asyncio.get_running_loop().time() + seconds
        plan = self._plan(operation, shortcut if isinstance(shortcut, Rows) else None)
        try:
            return self._reply(plan, await self._answered(plan, request, end))
        except _Absent as absent:
            return Reply((), absent=absent.refusal)

    async def _answered(self, plan: _Plan, request: Mapping[str, Any], end: float) -> Payload | None:
        """The payload, after a login where one is needed, and after another one where the system forgot the first."""
        if self._login is None or not plan.carried:
            return (await self._attempt(plan, request, "", end))[0]
        token = await self._login.token(end - asyncio.get_running_loop().time())
        try:
            return (await self._attempt(plan, request, token, end))[0]
        except _SessionExpired:
            self._login.expire(token)
        token = await self._login.token(end - asyncio.get_running_loop().time())
        try:
            return (await self._attempt(plan, request, token, end))[0]
        except _SessionExpired as again:
            self._login.expire(token)
            raise again.error from again

    def _plan(self, name: str, rows: Rows | None = None) -> _Plan:
        if (name, rows) not in self._plans:
            operation, session, options = self.contract.operation(name), self.options.session, self.options
            own = options.operations.get(name, OperationOptions())
            carried = session.carried if session is not None and own.session and name != session.operation else ()
            request = operation.request.record
            meanings = (*own.meanings, *options.meanings)
            results = own.results or options.results
            self._plans[name, rows] = _Plan(
                operation=operation,
                writer=EnvelopeWriter(operation, self.contract.schemas, self._blocks.values()),
                method=f"{operation.interface}/{name}",
                options=own,
                results=results,
                meanings=meanings if carried else tuple(m for m in meanings if m.means != "expired"),
                carried=tuple((n, c) for n, c in enumerate(carried) if not c.field or request.open or has(request, c.field)),
                blocks=self._constant_blocks(operation),
                constants=constant_fields(request, options.constants, options.secrets),
                path="" if session is not None and session.endpoint and name == session.operation else own.path or self._paths[0],
                documents=tuple(path for path in own.content if operation.answer and self._is_document(operation.answer.record, path)),
                rows=None if rows is None or self._security or own.content or _named(rows, (own, results)) else rows,
            )
        return self._plans[name, rows]

    def _is_document(self, record: Record, path: str) -> bool:
        shape: Leaf | Record = record
        for name in path.split("."):
            field = shape.get(name) if isinstance(shape, Record) else None
            if field is None:
                return False
            shape = field.shape
        return id(shape) in self.contract.schemas.embedded

    def _constant_blocks(self, operation: Operation) -> dict[str, dict[str, Any]]:
        """The header blocks with constant fields that go with an operation."""
        made: dict[str, dict[str, Any]] = {}
        for name in dict.fromkeys((*self.options.blocks, *self.options.secret_blocks, *self.options.signed_blocks)):
            declared = {n for each in self.contract.operations() for _, n in self.contract.operation(each).headers}
            if name in {n for _, n in operation.headers} or name not in declared:
                shape = self._blocks[name].shape
                record = shape if isinstance(shape, Record) else None
                made[name] = {}
                for path, value in (*self.options.blocks.get(name, {}).items(), *self.options.secret_blocks.get(name, {}).items()):
                    made[name] = placed(made[name], path, value, record)
        return made

    # ---- one envelope there and back ----------------------------------------------------------------------------------

    async def _attempt(self, plan: _Plan, request: Mapping[str, Any], token: str, end: float) -> tuple[Payload | None, WireAnswer]:
        name, hop = plan.operation.name, current_hop()
        try:
            request = merged(plan.constants, request) if plan.constants else request
            headers: dict[str, Any] = {block: self._computed(block, fields) for block, fields in plan.blocks.items()} if plan.blocks else {}
            cookies = []
            values = token.split(_BETWEEN) if token else []
            for place, carried in plan.carried if token else ():
                if carried.field:
                    request = placed(request, carried.field, values[place], plan.operation.request.record)
                elif carried.header:
                    block, _, path = carried.header.partition(".")
                    headers[block] = placed(headers.get(block, {}), path, values[place])
                else:
                    cookies.append(f"{carried.cookie}={values[place]}")
            sealed, attachments = await self._sealed(plan, request, headers)
        except Unwritable as exc:
            raise self._unwritable(exc, name) from exc
        client = self._clients.get(plan.path)
        if client is None:
            raise ConnectFailed(system=self.system, operation=name, reason="the connection is not started or already closed")
        if hop is not None:
            hop.set(protocol="soap", rpc_method=plan.method, method="POST", host=client.host, port=client.port)
            hop.set(request_bytes=len(sealed.envelope))
        answer = await client.post(
            name,
            plan.operation.version,
            plan.operation.action,
            sealed.envelope,
            end - asyncio.get_running_loop().time(),
            traceparent=hop.traceparent if hop is not None else "",
            cookie="; ".join(cookies),
            attachments=attachments,
        )
        if hop is not None:
            hop.set(status=answer.status, response_bytes=len(answer.body))
        return await self._payload(plan, client, answer, sealed), answer

    def _computed(self, block: str, fields: dict[str, Any]) -> dict[str, Any]:
        """A header block with what is different in each request."""
        rule = self.options.signed_blocks.get(block)
        if rule is None:
            return fields
        fresh = {"{nonce}": secrets.token_hex(12), "{timestamp}": str(int(time.time()))}
        made = {name: fresh.get(value, value) if isinstance(value, str) else value for name, value in fields.items()}
        shape = self._blocks[block].shape
        said = "&".join(_text_at(made, path) for path in rule.of)
        proof = base64.b64encode(hmac.digest("&".join(rule.key).encode(), said.encode(), rule.hash)).decode()
        return placed(made, rule.field, proof, shape if isinstance(shape, Record) else None)

    async def _sealed(self, plan: _Plan, request: Mapping[str, Any], headers: Mapping[str, Any]) -> tuple[Sealed, dict[str, bytes] | None]:
        """The envelope as it travels, and the attachments of a package."""
        security, mtom = self._security, self.options.mtom
        out = Attaching(mtom.threshold) if mtom else None
        block = security.block(SOAP11 if plan.operation.version == "1.1" else SOAP12) if security else ""
        envelope = plan.writer.write(request, headers, block, out)
        attachments = out.parts if mtom and out is not None and (out.parts or mtom.always) else None
        if security is None or not security.signs:
            return Sealed(envelope), attachments
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, security.sealed, envelope, attachments), attachments

    def _unwritable(self, exc: Unwritable, operation: str) -> UpstreamError:
        if exc.fits:  # the request's form is right and one of its values is not: that is the asker's
            reason = f"{exc.where}: expected {exc.expected}, got {exc.got}"
            return UpstreamRejected(system=self.system, operation=operation, refusal="request", reason=reason, sent=False)
        return ContractViolation(
            system=self.system, operation=operation, where=exc.where, expected=exc.expected, got=exc.got, sent=False, reason="request"
        )

    async def _payload(self, plan: _Plan, client: SoapClient, answer: WireAnswer, sealed: Sealed) -> Payload | None:
        name, status = plan.operation.name, answer.status
        http = SoapFault(str(status), str(status), f"HTTP {status}", frozenset((str(status),)))
        busy = status == 429 or (status == 503 and answer.retry_after is not None)
        if busy or (status >= 300 and answer.content_type not in TYPES):
            raise self._error(plan, http, answer, "busy" if busy else "failed")
        if not answer.body and status < 300 and plan.operation.answer is None:
            return None
        if plan.rows is not None and status < 300 and (short := await shortened(answer, plan.rows, self._worker)) is not None:
            body, payload = short
            if self._expected(plan, body, next(body.iterchildren(etree.Element), None), answer) is payload.payload:
                return payload
        opened = partial(self._security.opened, sealed=sealed) if self._security and self._security.checks else None
        try:
            body = await client.body(answer, self.options.body_limit, opened)
        except Untrusted as exc:
            text = f"a fault without the signature that answers must have: {exc.fault.reason} ({exc.fault.code})"
            raise UpstreamFault(system=self.system, operation=name, fault_code="Server", reason=text) from exc
        except Unusable as exc:
            raise (exc.translated(self.system, name) if status < 300 else self._error(plan, http, answer, "failed")) from exc
        first = next(body.iterchildren(etree.Element), None)
        if first is not None and first.tag in _FAULTS:
            fault = read_fault(first)
            if (hop := current_hop()) is not None:
                hop.set(fault_code=fault.side)
            raise self._error(plan, fault, answer, fault.means)
        if status >= 300:
            raise self._error(plan, http, answer, "failed")
        for path in plan.documents if first is not None else ():
            await self._unfold(plan, body if plan.operation.answer and plan.operation.answer.element is None else first, path)
        return self._expected(plan, body, first, answer)

    def _error(self, plan: _Plan, said: SoapFault, answer: WireAnswer, otherwise: Means) -> Exception:
        """What a fault, an HTTP error or a failed result row is, by declaration or by itself."""
        means = meant((m for m in plan.meanings if m.means != "tolerated"), said, answer.status) or otherwise
        at = {"system": self.system, "operation": plan.operation.name}
        sent = answer.status >= 500 or answer.status < 300
        error = translated(means, said, at, sent=sent, retry_after=answer.retry_after)
        if means == "absent" and isinstance(error, UpstreamRejected):
            return _Absent(error)
        return _SessionExpired(error) if means == "expired" else error

    def _expected(self, plan: _Plan, body: etree._Element, first: etree._Element | None, answer: WireAnswer) -> etree._Element | None:
        operation, described = plan.operation, plan.operation.answer
        if described is None:
            return first
        more = next(body.itersiblings(body.tag), None)
        if more is None and first is not None and described.element is not None:
            more = next(first.itersiblings(etree.Element), None)
        if more is not None:
            raise Unusable("Body", "one answer", f"also {more.tag}"[:200]).translated(self.system, operation.name)
        if described.element is None:
            payload = body
        elif first is None:
            raise Unusable("Body", described.element[1], "an empty Body").translated(self.system, operation.name)
        elif etree.QName(first).localname != described.element[1] and (operation.style == "document" or _strange(first, described.record)):
            raise Unusable("Body", described.element[1], str(first.tag)[:200]).translated(self.system, operation.name)
        else:
            payload = first
        if plan.results is not None:
            self._refuse(plan, plan.results, payload, answer)
        return payload

    async def _unfold(self, plan: _Plan, payload: etree._Element | None, path: str) -> None:
        """Documents that travel as a text take their place in the answer."""
        for holder in list(payload.iterfind(xpath(path))) if payload is not None else ():
            text = "".join(str(part) for part in holder.itertext()) if len(holder) == 0 else ""
            if not text.strip():
                continue
            document = _DECLARATION.sub("", text, 1).encode()
            try:
                if len(document) < LARGE:
                    holder.append(parse_xml(document))
                else:
                    holder.append(await asyncio.get_running_loop().run_in_executor(self._worker, parse_xml, document))
            except Unusable as exc:
                raise Unusable(f"{path}, {exc.where}", exc.expected, exc.got).translated(self.system, plan.operation.name) from exc
            holder.text = None

    def _refuse(self, plan: _Plan, results: Results, payload: etree._Element, answer: WireAnswer) -> None:
        """Raise for the first row of messages that says it failed, and is not tolerated."""
        for row in payload.iterfind(xpath(results.path)) if results.path else (payload,):
            if not results.failed(value(row, results.type) if results.type else None):
                continue
            parts = [part[:_LONGEST_CODE] for path in results.code if (part := value(row, path))]
            code = "/".join(parts)
            reason = (value(row, results.text) if results.text else None) or ""
            said = SoapFault("Client", code, reason[:300], frozenset((code, *parts)), row)
            if meant(plan.meanings, said, answer.status) != "tolerated":
                raise self._error(plan, said, answer, said.means)

    def _reply(self, plan: _Plan, payload: Payload | None) -> Reply:
        if payload is None:
            return Reply(())
        as_of = plan.options.as_of
        return Reply((payload,), as_of=self._as_of(plan, as_of, _element(payload)) if as_of else None)

    def _as_of(self, plan: _Plan, rule: AsOf, payload: etree._Element) -> datetime:
        text = "".join(value(payload, path) or "" for path in rule.fields)
        try:
            return datetime.strptime(text, rule.format).replace(tzinfo=ZoneInfo(rule.zone)).astimezone(UTC)
        except ValueError as exc:
            where = " and ".join(rule.fields)
            raise Unusable(where, f"a moment written as {rule.format}", repr(text[:40])).translated(
                self.system, plan.operation.name
            ) from exc

    # ---- logging in -----------------------------------------------------------------------------------------------------

    async def _log_in(self, seconds: float) -> Token:
        session = self.options.session
        assert session is not None  # noqa: S101  # else nobody asks
        fields = {**session.request, **session.secrets}
        fields |= {path: text for path, text in ((session.user_field, session.user), (session.password_field, session.password)) if text}
        plan, request = self._plan(session.operation), dict[str, Any]()
        for path, text in fields.items():
            request = placed(request, path, text, plan.operation.request.record)
        with step(Step.ATTEMPT, system=self.system, operation=session.operation):
            end = asyncio.get_running_loop().time() + seconds
            try:
                payload, answer = await self._attempt(plan, request, "", end)
            except (UpstreamRejected, _Absent) as exc:
                refusal = exc.refusal if isinstance(exc, _Absent) else exc
                reason = f"login refused: {refusal.reason} ({refusal.refusal})"
                raise CredentialsRefused(system=self.system, operation=session.operation, reason=reason) from exc
            return Token(_BETWEEN.join(self._found(carried, payload, answer) for carried in session.carried))

    def _found(self, carried: Carried, payload: Payload | None, answer: WireAnswer) -> str:
        """One value of the login's answer."""
        if carried.cookie and not carried.token:
            found = _cookie(answer, carried.cookie)
        else:
            holder = _element(payload) if payload is not None else None
            if carried.found_in == "header" and holder is not None:
                holder = holder.getroottree().getroot().find("{*}Header")
            found = value(holder, carried.token or "") if holder is not None else None
        if not found or _BETWEEN in found:
            where = carried.token or carried.cookie or ""
            operation = self.options.session.operation if self.options.session else ""
            raise Unusable(where, "a session token", "nothing").translated(self.system, operation)
        return found

    async def _log_out(self) -> None:
        """End the session on the other side too, as far as that goes quickly."""
        session = self.options.session
        if session is None or not session.logout or self._login is None or (token := self._login.held) is None:
            return
        end = asyncio.get_running_loop().time() + min(session.time_limit, _LOG_OUT_SECONDS)
        with suppress(UpstreamError, _Absent, _SessionExpired):
            await self._attempt(self._plan(session.logout), {}, token, end)


def _strange(first: etree._Element, described: Record) -> bool:
    """Whether an rpc answer, whose own name says nothing (SOAP 1.1, 7.1), holds elements and none of the parts that were promised."""
    held = {etree.QName(e).localname for e in first.iterchildren(etree.Element)}
    return bool(held) and not described.open and held.isdisjoint(f.name for f in described.fields)


def _element(payload: Payload) -> etree._Element:
    return payload.payload if isinstance(payload, Shortened) else payload


def _named(rows: Rows, options: Any) -> bool:
    """Whether an option speaks of something in these rows: then the driver has to see them."""
    match options:
        case str():
            path = "".join(f"{field.name}." for field in rows.path)
            return bool(options) and (f"{options}.".startswith(path) or path.startswith(f"{options}."))
        case msgspec.Struct():
            return _named(rows, msgspec.structs.astuple(options))
        case Mapping():
            return _named(rows, (*options, *options.values()))
        case tuple() | list() | set() | frozenset():
            return any(_named(rows, option) for option in options)
    return False


def _text_at(table: Mapping[str, Any], path: str) -> str:
    here: Any = table
    for name in path.split("."):
        here = here.get(name, "") if isinstance(here, Mapping) else ""
    return str(here.get(TEXT, "") if isinstance(here, Mapping) else here)


def _cookie(answer: WireAnswer, name: str) -> str | None:
    getall = getattr(answer.headers, "getall", None)
    for line in getall("Set-Cookie", ()) if getall else ():
        try:
            if (found := SimpleCookie(line).get(name)) is not None:
                return found.coded_value
        except CookieError:
            continue
    return None
