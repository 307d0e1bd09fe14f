"""A live connection to one SOAP system: writes the request, logs in when needed, and answers the payload or what went wrong."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from lxml import etree

from adapters.driver import Reply
from adapters.login import CredentialsRefused, Login, Token
from adapters.soap.client import TYPES, SoapClient
from adapters.soap.contract import Operation, SoapContract
from adapters.soap.envelope import EnvelopeWriter, Unwritable
from adapters.soap.errors import SOAP11, SOAP12, SoapFault, Unusable, read_fault, translated
from adapters.soap.mtom import Attaching
from adapters.soap.security import MessageSecurity, Sealed, Untrusted
from adapters.soap.spec import AsOf, OperationOptions, Results, SoapOptions
from adapters.wire import Wire, WireAnswer, client_tls
from contracts.call import Call
from contracts.errors import (
    ConnectFailed,
    ContractViolation,
    Finding,
    Findings,
    UpstreamBusy,
    UpstreamError,
    UpstreamFault,
    UpstreamRejected,
)
from mappings.language.shape import Field, Record
from observability import Step, current_hop, step

_FAULTS = frozenset({f"{{{SOAP11}}}Fault", f"{{{SOAP12}}}Fault"})


def load(system: str, wsdl: Path, options: SoapOptions) -> SoapContract:
    """The contract that the options choose. Blocks for up to a second: call it in a thread.

    Raises Findings for files that cannot be read, and for options that name what the contract does not have.
    """
    contract = SoapContract(system, wsdl, port=options.port, binding=options.binding)
    _verified(contract, options)
    return contract


@dataclass(frozen=True, slots=True)
class _Plan:
    """All that is known of an operation before it is called."""

    operation: Operation
    writer: EnvelopeWriter
    method: str
    options: OperationOptions
    results: Results | None
    session: bool


class _SessionExpired(Exception):
    """The system executed nothing because it does not know our session any more. `error` is what that is without a login."""

    def __init__(self, error: UpstreamError) -> None:
        self.error = error


class SoapConnection:
    """`endpoint` is the address that operations are posted to. Raises Findings as `load` does."""

    def __init__(self, system: str, contract: SoapContract, endpoint: str, options: SoapOptions, *, connections: int = 32) -> None:
        self.system, self.contract, self.options = system, contract, options
        self._header = _verified(contract, options)
        address = urlsplit(endpoint)
        self._wire = Wire(
            system,
            f"{address.scheme}://{address.netloc}",
            connections=connections,
            connect_seconds=options.connect_limit,
            body_limit=options.body_limit,
            tls=client_tls(options.tls) if options.tls else None,
        )
        self._path = (address.path or "/") + (f"?{address.query}" if address.query else "")
        self._worker: ThreadPoolExecutor | None = None
        self._client: SoapClient | None = None
        self._plans: dict[str, _Plan] = {}
        self._security = MessageSecurity(system, options.security) if options.security else None
        self._login: Login | None = None
        if session := options.session:
            self._login = Login(system, session.operation, self._log_in, time_limit=session.time_limit, pause=session.pause)

    async def start(self) -> None:
        if self._client is None:
            await self._wire.start()
            self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"soap-{self.system}")
            headers = dict(self.options.headers)
            if basic := self.options.basic:
                headers["Authorization"] = "Basic " + base64.b64encode(f"{basic.user}:{basic.password}".encode()).decode()
            self._client = SoapClient(self._wire, self._path, headers, self._worker)

    async def close(self) -> None:
        if self._login is not None:
            await self._login.close()
        await self._wire.close()
        self._client = None
        if self._worker is not None:
            self._worker.shutdown(wait=False, cancel_futures=True)

    async def call(self, operation: str, request: Mapping[str, Any], call: Call, seconds: float) -> Reply:
        """The payload element of the answer's Body (the Body itself where the contract puts several elements into it)."""
        end = asyncio.get_running_loop().time() + seconds
        plan = self._plan(operation)
        if self._login is None or not plan.session:
            return self._reply(plan, (await self._attempt(plan, request, "", end))[0])
        token = await self._login.token(seconds)
        try:
            payload, _ = await self._attempt(plan, request, token, end)
        except _SessionExpired:
            self._login.expire(token)
            token = await self._login.token(end - asyncio.get_running_loop().time())
            try:
                payload, _ = await self._attempt(plan, request, token, end)
            except _SessionExpired as again:
                self._login.expire(token)
                raise again.error from again
        return self._reply(plan, payload)

    def _plan(self, name: str) -> _Plan:
        if name not in self._plans:
            operation, session = self.contract.operation(name), self.options.session
            own = self.options.operations.get(name, OperationOptions())
            self._plans[name] = _Plan(
                operation=operation,
                writer=EnvelopeWriter(operation, self.contract.schemas, self._header),
                method=f"{self.contract.interface}/{name}",
                options=own,
                results=own.results or self.options.results,
                session=session is not None and own.session and name != session.operation,
            )
        return self._plans[name]

    # ---- one envelope there and back ----------------------------------------------------------------------------------

    async def _attempt(self, plan: _Plan, request: Mapping[str, Any], token: str, end: float) -> tuple[etree._Element | None, WireAnswer]:
        name, hop, session = plan.operation.name, current_hop(), self.options.session
        try:
            header = cookie = None
            if session is not None and token:
                if session.field:
                    request = _with(request, session.field, token)
                elif session.header:
                    header = _with({}, session.header.partition(".")[2], token)
                else:
                    cookie = f"{session.cookie}={token}"
            sealed, attachments = await self._sealed(plan, request, header)
        except Unwritable as exc:
            raise self._unwritable(exc, name) from exc
        if self._client is None:
            raise ConnectFailed(system=self.system, operation=name, reason="the connection is not started or already closed")
        if hop is not None:
            hop.set(rpc_method=plan.method, request_bytes=len(sealed.envelope))
        answer = await self._client.post(
            name,
            plan.operation.version,
            plan.operation.action,
            sealed.envelope,
            end - asyncio.get_running_loop().time(),
            traceparent=hop.traceparent if hop is not None else "",
            cookie=cookie or "",
            attachments=attachments,
        )
        if hop is not None:
            hop.set(status=answer.status, response_bytes=len(answer.body))
        return await self._payload(plan, answer, sealed), answer

    async def _sealed(self, plan: _Plan, request: Mapping[str, Any], header: Any) -> tuple[Sealed, dict[str, bytes] | None]:
        """The envelope as it travels, and the attachments of a package."""
        security, mtom = self._security, self.options.mtom
        out = Attaching(mtom.threshold) if mtom else None
        block = security.block(SOAP11 if plan.operation.version == "1.1" else SOAP12) if security else ""
        envelope = plan.writer.write(request, header, block, out)
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

    async def _payload(self, plan: _Plan, answer: WireAnswer, sealed: Sealed) -> etree._Element | None:
        assert self._client is not None  # noqa: S101  # this answer came through it
        name, status = plan.operation.name, answer.status
        at: dict[str, Any] = {"system": self.system, "operation": name}
        if status == 429 or (status == 503 and answer.retry_after is not None):
            raise UpstreamBusy(**at, reason=f"HTTP {status}", retry_after=answer.retry_after)
        http_error = UpstreamFault(**at, fault_code=str(status), reason=f"HTTP {status}", sent=status >= 500)
        if status == 401 and self._means_expired(plan, {"401"}, ""):
            raise _SessionExpired(http_error)
        if status >= 300 and answer.content_type not in TYPES:
            raise http_error
        if not answer.body and status < 300 and plan.operation.answer is None:
            return None
        opened = partial(self._security.opened, sealed=sealed) if self._security else None
        try:
            body = await self._client.body(answer, self.options.body_limit, opened)
        except Untrusted as exc:
            text = f"a fault without the signature that answers must have: {exc.fault.reason} ({exc.fault.code})"
            raise UpstreamFault(**at, fault_code="Server", reason=text) from exc
        except Unusable as exc:
            raise (exc.translated(self.system, name) if status < 300 else http_error) from exc
        first = next(body.iterchildren(etree.Element), None)
        if first is not None and first.tag in _FAULTS:
            raise self._fault(plan, read_fault(first))
        if status >= 300:
            raise http_error
        return self._expected(plan, body, first)

    def _fault(self, plan: _Plan, fault: SoapFault) -> Exception:
        if (hop := current_hop()) is not None:
            hop.set(fault_code=fault.side)
        error = translated(fault, self.system, plan.operation.name, self.options.rejections)
        return _SessionExpired(_failed(error)) if self._means_expired(plan, fault.codes, fault.reason) else error

    def _means_expired(self, plan: _Plan, codes: Iterable[str], text: str) -> bool:
        session = self.options.session
        if session is None or not plan.session:
            return False
        return not set(session.expired).isdisjoint(codes) or any(part.casefold() in text.casefold() for part in session.expired_text)

    def _expected(self, plan: _Plan, body: etree._Element, first: etree._Element | None) -> etree._Element | None:
        operation, described = plan.operation, plan.operation.answer
        if described is None:
            return first
        if described.element is None:
            payload = body
        elif first is None:
            raise Unusable("Body", described.element[1], "an empty Body").translated(self.system, operation.name)
        elif operation.style == "document" and etree.QName(first).localname != described.element[1]:
            raise Unusable("Body", described.element[1], str(first.tag)[:200]).translated(self.system, operation.name)
        else:
            payload = first
        if plan.results is not None:
            self._refuse(plan, plan.results, payload)
        return payload

    def _refuse(self, plan: _Plan, results: Results, payload: etree._Element) -> None:
        """Raise for the first row of messages that says the system refused."""
        tolerated = plan.options.tolerate
        for row in payload.iterfind(_xpath(results.path)):
            kind = row.findtext(_xpath(results.type))
            if kind is not None and kind not in results.errors:
                continue
            code = "/".join(filter(None, (row.findtext(_xpath(part)) for part in results.code)))
            if "*" in tolerated or code in tolerated:
                continue
            reason = (row.findtext(_xpath(results.text)) or "")[:300]
            at: dict[str, Any] = {"system": self.system, "operation": plan.operation.name}
            error = UpstreamRejected(**at, refusal=code, reason=reason)
            if self._means_expired(plan, {code}, reason):
                raise _SessionExpired(_failed(error))
            raise UpstreamBusy(**at, reason=f"{reason} ({code})") if code in results.busy else error

    def _reply(self, plan: _Plan, payload: etree._Element | None) -> Reply:
        if payload is None:
            return Reply(())
        as_of = plan.options.as_of
        return Reply((payload,), as_of=self._as_of(plan, as_of, payload) if as_of else None)

    def _as_of(self, plan: _Plan, rule: AsOf, payload: etree._Element) -> datetime:
        text = "".join(payload.findtext(_xpath(path)) or "" for path in rule.fields)
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
        request: Mapping[str, Any] = {}
        for path, value in {**session.request, session.user_field: session.user, session.password_field: session.password}.items():
            request = _with(request, path, value)
        with step(Step.ATTEMPT, system=self.system, operation=session.operation):
            end = asyncio.get_running_loop().time() + seconds
            try:
                payload, answer = await self._attempt(self._plan(session.operation), request, "", end)
            except UpstreamRejected as exc:
                reason = f"login refused: {exc.reason} ({exc.refusal})"
                raise CredentialsRefused(system=self.system, operation=session.operation, reason=reason) from exc
            if session.cookie:
                token = _cookie(answer, session.cookie)
            else:
                token = payload.findtext(_xpath(session.token or "")) if payload is not None else None
            if not token:
                where = session.cookie or session.token or ""
                raise Unusable(where, "a session token", "nothing").translated(self.system, session.operation)
            return Token(token.strip())


def _failed(error: UpstreamError) -> UpstreamError:
    """An expired session is never the asker's fault, even where a system reports it as the client's."""
    return UpstreamFault(system=error.system, operation=error.operation, fault_code="Client", reason=error.reason, sent=False)


def _xpath(path: str) -> str:
    return "/".join(f"{{*}}{name}" for name in path.split("."))


def _with(request: Mapping[str, Any], path: str, value: str) -> dict[str, Any]:
    """A copy of the request with one more field; existing tables are copied on the way, not changed."""
    head, _, rest = path.partition(".")
    inner = request.get(head)
    return {**request, head: _with(inner if isinstance(inner, Mapping) else {}, rest, value) if rest else value}


def _cookie(answer: WireAnswer, name: str) -> str | None:
    getall = getattr(answer.headers, "getall", None)
    for line in getall("Set-Cookie", ()) if getall else ():
        try:
            if (found := SimpleCookie(line).get(name)) is not None:
                return found.coded_value
        except CookieError:
            continue
    return None


def _session_header(contract: SoapContract, options: SoapOptions) -> Field | None:
    """The header block that carries the token: the element of that name, or of several the one that the binding declares."""
    if options.session is None or options.session.header is None:
        return None
    block = options.session.header.partition(".")[0]
    names = contract.schemas.globals(block)
    if len(names) == 1:
        return contract.schemas.element(names[0])
    declared = (field for name in contract.operations() for field in contract.operation(name).headers.values())
    return next((field for field in declared if field.name == block), None)


def _verified(contract: SoapContract, options: SoapOptions) -> Field | None:
    """The session's header block, after a look at everything else that the options name."""
    header = _session_header(contract, options)
    if found := tuple(_mistakes(contract, options, header)):
        raise Findings(findings=found)
    return header


def _mistakes(contract: SoapContract, options: SoapOptions, header: Field | None) -> Iterable[Finding]:
    """What the options name and the contract does not have."""
    at, session = (contract.wsdl.name, f"options of {contract.system}: "), options.session
    for name in (*options.operations, *([session.operation] if session else [])):
        try:
            operation = contract.operation(name)
        except KeyError as exc:
            yield Finding(at[0], 1, at[1] + str(exc.args[0]))
            continue
        results = (options.operations[name].results if name in options.operations else None) or None
        if results and operation.answer:
            yield from _missing(at, f"operation {name}: results.path", operation.answer.record, results.path)
        if as_of := (options.operations[name].as_of if name in options.operations else None):
            for path in as_of.fields:
                if operation.answer:
                    yield from _missing(at, f"operation {name}: as_of.fields", operation.answer.record, path)
    if session is None or session.operation not in contract.operations():
        return
    login = contract.operation(session.operation)
    for option, path in (("user_field", session.user_field), ("password_field", session.password_field)):
        yield from _missing(at, f"session.{option}", login.request.record, path)
    for path in session.request:
        yield from _missing(at, "session.request", login.request.record, path)
    if session.token and login.answer:
        yield from _missing(at, "session.token", login.answer.record, session.token)
    if session.header:
        if header is None:
            yield Finding(at[0], 1, f"{at[1]}session.header: there is no element {session.header.partition('.')[0]!r}")
        elif isinstance(header.shape, Record):
            yield from _missing(at, "session.header", header.shape, session.header.partition(".")[2])


def _missing(at: tuple[str, str], option: str, record: Record, path: str) -> Iterable[Finding]:
    here: Any = record
    for name in path.split("."):
        if not isinstance(here, Record):
            yield Finding(at[0], 1, f"{at[1]}{option}: {path!r} goes on below a single value")
            return
        field = here.get(name)
        if field is None:
            if not here.open:
                known = ", ".join(f.name for f in here.fields[:12]) or "nothing"
                yield Finding(at[0], 1, f"{at[1]}{option}: there is no {name!r} in {here.name}", f"it has {known}")
            return
        here = field.shape
