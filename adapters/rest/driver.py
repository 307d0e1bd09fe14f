"""The REST driver: performs described operations over one wire, page by page, conditionally where an ETag or a date is known."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, assert_never
from urllib.parse import urlsplit

import msgspec

from adapters.driver import Reply
from adapters.login import Login
from adapters.rest.client import Asked, Unusable, below, credentials, decoded, lines, next_link, secrets, text, with_parameter, written
from adapters.rest.contract import Operation, RestContract, is_json
from adapters.rest.errors import Means, declared, means, member, said, translated, without
from adapters.rest.spec import (
    AddressPaging,
    CursorPaging,
    LinkPaging,
    Meaning,
    NumberedPaging,
    OAuth2,
    OffsetPaging,
    OperationOptions,
    Paging,
    RestOptions,
    SessionLogin,
)
from adapters.rest.token import OPERATION, TokenEndpoint, session_token
from adapters.wire import Wire, WireAnswer, client_tls
from contracts.call import Call
from contracts.errors import ContractViolation, UpstreamError, UpstreamRejected, UpstreamTimeout
from mappings.language import Shortcut
from mappings.language.typed import Decoded, Typed
from observability import Hop, current_hop

_SAFE = ("GET", "HEAD")
_ONE_VALUE = msgspec.json.Decoder(msgspec.Raw)
_ETAG_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is the same for every call of one operation."""

    operation: Operation
    reads: bool
    paging: Paging | None
    meanings: tuple[Meaning, ...]
    success: tuple[Meaning, ...]
    """Those that an answer of success may have."""
    authenticated: bool
    typed: Typed | None
    """How its answers are decoded where only the mapping, and paging, look into them."""


class RestConnection:
    """Implements adapters.driver.Connection. Pages of one answer are read within the one attempt and are all there, or it fails."""

    def __init__(self, system: str, endpoint: str, contract: RestContract, options: RestOptions, *, connections: int = 32) -> None:
        """Reads the TLS files, if any. Raises ValueError for an endpoint that is no plain http(s) URL.

        An endpoint without a path gets that of the contract's first server; one with a path (also `/`) counts as it is.
        """
        self.system, self.contract, self.options = system, contract, options
        tls = client_tls(options.tls) if options.tls else None
        address = urlsplit(endpoint)
        self.wire = Wire(
            system,
            endpoint if address.path else f"{endpoint}{contract.base}",
            connections=connections,
            connect_seconds=options.connect_limit,
            body_limit=options.body_limit,
            tls=tls,
            deadline_header=options.deadline_header,
        )
        self.login: Login | None = None
        self._token_wire: Wire | None = None
        auth = options.auth
        if isinstance(auth, OAuth2):
            origin = urlsplit(auth.token_url)
            self._token_wire = Wire(system, f"{origin.scheme}://{origin.netloc}", connections=1, tls=tls)
            self.login = Login(
                system, OPERATION, TokenEndpoint(system, auth, self._token_wire), time_limit=auth.time_limit, pause=auth.pause
            )
        elif isinstance(auth, SessionLogin):
            log_in = partial(session_token, system, auth, contract, self.wire, options.headers, options.errors)
            self.login = Login(system, auth.operation, log_in, time_limit=auth.time_limit, pause=auth.pause)
        self.expired = frozenset(auth.expired if isinstance(auth, SessionLogin) else ("401",))
        headers, self.key = credentials(auth)
        self.headers, self.credentials = options.headers, headers
        self._secrets = secrets(auth)
        self.known = _Known(options.etags)
        self._plans: dict[tuple[str, Typed | None], _Plan] = {}

    async def start(self) -> None:
        await self.wire.start()
        if self._token_wire:
            await self._token_wire.start()

    async def close(self) -> None:
        if self.login:
            await self.login.close()
        await self.wire.close()
        if self._token_wire:
            await self._token_wire.close()

    async def call(self, operation: str, request: Mapping[str, Any], call: Call, seconds: float, shortcut: Shortcut | None = None) -> Reply:
        typed = shortcut if isinstance(shortcut, Typed) else None
        plan = self._plans.get((operation, typed)) or self._plans.setdefault((operation, typed), self._planned(operation, typed))
        visit = _Visit(self, plan, asyncio.get_running_loop().time() + seconds)
        try:
            return await visit.reply(self.contract.on_wire(operation, request))
        except Unusable as exc:
            raise ContractViolation(
                system=self.system, operation=operation, where=exc.where, expected=exc.expected, got=exc.got, sent=visit.sent
            ) from exc

    def bearing(self, token: str) -> dict[str, str]:
        """The header that carries a token."""
        auth = self.options.auth
        if isinstance(auth, SessionLogin):
            return {"Cookie": f"{auth.cookie}={token}"} if auth.cookie else {auth.header: f"{auth.prefix}{token}"}
        return {"Authorization": f"Bearer {token}"}

    def said(self, document: Any) -> tuple[str, str]:
        """Code and message of an error body, which go to logs and traces: without our own credentials, which it may repeat."""
        held = self.login.held if self.login else None
        code, message = said(document, self.options.errors)
        return without(code, self._secrets, held), without(message, self._secrets, held)

    def _planned(self, name: str, typed: Typed | None) -> _Plan:
        operation, own = self.contract.operation(name), self.options.operations.get(name, OperationOptions())
        reads = operation.method in _SAFE if own.reads is None else own.reads
        paging = (own.paging or self.options.paging) if reads else None
        asked = operation.exchange.request
        if isinstance(paging, CursorPaging | NumberedPaging | OffsetPaging) and not paging.parameter.startswith("body."):
            known = any(p.name == paging.parameter and p.place == "query" for p in operation.parameters)
            paging = paging if known or own.paging else None
        elif isinstance(paging, CursorPaging | NumberedPaging | OffsetPaging) and (asked is None or asked.root.get("body") is None):
            paging = None
        meanings = (*own.meanings, *self.options.meanings)
        success = tuple(m for m in meanings if m.member or (m.status or 400) < 300)
        if success or operation.answers in ("text", "lines") or (typed and not all(map(typed.shows, _members(paging)))):
            typed = None
        return _Plan(operation, reads, paging, meanings, success, own.authenticated, typed)


class _Visit:
    """One attempt: all its exchanges share the time and the bytes that one answer may take."""

    def __init__(self, connection: RestConnection, plan: _Plan, until: float) -> None:
        self._c, self._plan, self._operation, self._until = connection, plan, plan.operation, until
        self._bytes_left = connection.options.body_limit
        self._as_of: datetime | None = None
        self._absent: UpstreamError | None = None
        self._items = 0
        self.sent = False

    async def reply(self, request: Mapping[str, Any]) -> Reply:
        paging, documents, etag = self._plan.paging, list[Any](), None
        if paging and paging.limit:
            if _told(self._operation, request, paging.limit):
                paging = None
            elif paging.size and paging.limit.startswith("body."):
                request = _with_member(request, paging.limit, paging.size)
        asked = written(self._operation, request, self._c.options.lists)
        if paging and paging.limit and paging.size and not paging.limit.startswith("body."):
            asked = replace(asked, path=with_parameter(asked.path, paging.limit, str(paging.size)))
        seen = {(asked.path, asked.body)}
        while True:
            found = await self._page(asked)
            if found is None:
                if documents:
                    raise Unusable("paging", "the next page", "nothing there")
                absent = self._absent if isinstance(self._absent, UpstreamRejected) else None
                return Reply((), self._as_of, absent=absent)
            document, etag, answer = found
            if document is None:
                return Reply(tuple(documents), self._as_of, etag)
            documents.append(document)
            following = self._following(paging, document, answer, asked, len(documents)) if paging else None
            if following is None:
                return Reply(tuple(documents), self._as_of, etag if len(documents) == 1 else None)
            if isinstance(following, _Changed):
                request = _with_member(request, following.parameter, following.value)
                asked = written(self._operation, request, self._c.options.lists)
            else:
                asked = Asked(following, asked.headers, asked.body)
            if (asked.path, asked.body) in seen:
                raise Unusable("paging", "another page", "a page that was read already")
            if len(documents) >= self._c.options.max_pages:
                raise Unusable("paging", f"at most {len(documents)} pages", "more")
            seen.add((asked.path, asked.body))

    async def _page(self, asked: Asked) -> tuple[Any, str | None, WireAnswer] | None:
        """The document (None: an answer without body), its ETag and the answer. None: there is no such thing."""
        c, op = self._c, self._operation
        path = with_parameter(asked.path, *c.key) if c.key and self._plan.authenticated else asked.path
        question = (op.name, self._plan.typed, asked.path, *sorted(asked.headers.items()))  # a document is kept as its mapping reads it
        known = c.known.get(question) if op.method in _SAFE else None
        headers = _joined(asked.headers, c.headers, c.credentials if self._plan.authenticated else {}, known.condition() if known else {})
        hop = current_hop()
        if hop:
            hop.set(protocol="rest", method=op.method, url_template=op.path, host=c.wire.host, port=c.wire.port)
            hop.set(request_bytes=len(asked.body or b""))
        self.sent = True
        answer = await self._exchange(path, headers, asked.body, hop)
        self._bytes_left -= len(answer.body)
        if hop:
            hop.set(status=answer.status, response_bytes=len(answer.body))
        self._date(answer)
        if answer.status == 304 and known:
            return known.document, known.etag, answer
        if not 200 <= answer.status < 300:
            self._failed(answer)
            return None
        etag = answer.headers.get("ETag")
        if answer.status in (204, 205) or not op.answers or (not answer.body and not self._plan.reads):
            return None, etag, answer
        document = self._short(answer) or self._read(answer)
        if self._plan.success and self._declined(answer, document):
            return None
        if op.wraps and not isinstance(document, Decoded):
            document = {op.wraps: document}
        if not isinstance(document, Decoded):
            try:
                document = c.contract.unfolded(op.name, document)
            except ValueError as exc:
                raise Unusable(exc.args[0], "a text that is a JSON document", exc.args[1]) from exc
        if not isinstance(document, dict | Decoded):
            raise Unusable("body", "a JSON object", f"a JSON {type(document).__name__}")
        modified = answer.headers.get("Last-Modified")
        if (etag or modified) and op.method in _SAFE:
            c.known.put(question, _Kept(etag, modified, document, len(answer.body)))
        return document, etag, answer

    def _short(self, answer: WireAnswer) -> Decoded | None:
        """The document as the mapping's types, where it fits them and nobody else has to look into it."""
        typed, wraps, body = self._plan.typed, self._operation.wraps, answer.body
        if typed is None or not (is_json(answer.content_type) or answer.content_type in self._c.options.json_types):
            return None
        if not wraps:
            return typed.decode(body)
        try:
            _ONE_VALUE.decode(body)  # else `[1],"items":[2]` would become a whole object by what is put around it
        except (msgspec.DecodeError, RecursionError):
            return None
        return typed.decode(b"{%b:%b}" % (msgspec.json.encode(wraps), body))

    def _read(self, answer: WireAnswer) -> Any:
        also = self._c.options.json_types
        match self._operation.answers:
            case "text":
                return text(answer.body, answer.headers.get("Content-Type", ""))
            case "lines":
                return lines(answer.body, answer.content_type, also)
            case _:
                return decoded(answer.body, answer.content_type, also)

    async def _exchange(self, path: str, headers: dict[str, str], body: bytes | None, hop: Hop | None) -> WireAnswer:
        """With a token, where the system wants one; a refused token is renewed once (nothing was done)."""
        login, traceparent = self._c.login, hop.traceparent if hop else ""

        async def once(headers: dict[str, str]) -> WireAnswer:
            return await self._c.wire.exchange(
                self._operation.name,
                self._operation.method,
                path,
                headers,
                body,
                self._left(),
                traceparent=traceparent,
                body_limit=self._bytes_left,
            )

        if login is None or not self._plan.authenticated:
            return await once(headers)
        token = await login.token(self._left())
        answer = await once(_joined(headers, self._c.bearing(token)))
        if self._ended(answer):
            login.expire(token)
            token = await login.token(self._left())
            answer = await once(_joined(headers, self._c.bearing(token)))
        return answer

    def _ended(self, answer: WireAnswer) -> bool:
        """Whether the answer says that the token has ended: by its status, or by a declared code in its body."""
        if answer.status == 401 or str(answer.status) in self._c.expired:
            return True
        if answer.status < 400 or self._c.expired == {"401"}:
            return False
        try:
            return said(decoded(answer.body, answer.content_type), self._c.options.errors)[0] in self._c.expired
        except Unusable:
            return False

    def _left(self) -> float:
        left = self._until - asyncio.get_running_loop().time()
        if left <= 0:
            raise UpstreamTimeout(
                system=self._c.system, operation=self._operation.name, reason="no time left for a further exchange", sent=False
            )
        return left

    def _failed(self, answer: WireAnswer) -> None:
        """Returns only if the answer says that there is no such thing."""
        c, op = self._c, self._operation
        document: Any = None
        try:
            document, is_json = decoded(answer.body, answer.content_type, c.options.json_types), True
        except Unusable:
            is_json = False
        if 300 <= answer.status < 400:
            raise Unusable("status", "an answer", f"HTTP {answer.status} (redirects are not followed)")
        code, message = c.said(document)
        meaning = declared(answer, document, code, self._plan.meanings)
        if meaning is None:
            meaning = means(answer, is_json, op.declares(answer.status), read=self._plan.reads)
        self._raised(meaning, answer, code, message)

    def _declined(self, answer: WireAnswer, document: Any) -> bool:
        """Whether an answer of success says that there is no such thing. Raises what else it says."""
        code, message = self._c.said(document)
        meaning = declared(answer, document, code, self._plan.success)
        if meaning is not None:
            self._raised(meaning, answer, code, message)
        return meaning is not None

    def _raised(self, meaning: Means, answer: WireAnswer, code: str, message: str) -> None:
        error = translated(meaning, answer, code, message, self._c.system, self._operation.name)
        if meaning != "absent":
            raise error
        self._absent = error

    def _following(self, paging: Paging, document: Any, answer: WireAnswer, asked: Asked, pages: int) -> str | _Changed | None:
        """The next page: its path, or the parameter that leads there."""
        match paging:
            case CursorPaging():
                cursor = _member(document, paging.next)
                if cursor in (None, "") or (paging.more and _member(document, paging.more) is not True):
                    return None
                if not isinstance(cursor, str | int) or isinstance(cursor, bool):
                    raise Unusable(paging.next, "a text or number that leads to the next page", type(cursor).__name__)
                return self._changed(paging.parameter, cursor, asked)
            case NumberedPaging() | OffsetPaging():
                items = _member(document, paging.items)
                if not isinstance(items, list):
                    raise Unusable(paging.items, "the list of this page", type(items).__name__)
                self._items += len(items)
                if not items or len(items) < paging.size or _reached(document, paging.total, self._items):
                    return None
                if isinstance(paging, OffsetPaging):
                    return self._changed(paging.parameter, self._items, asked)
                if _reached(document, paging.pages, pages):
                    return None
                return self._changed(paging.parameter, paging.first + pages * paging.step, asked)
            case LinkPaging():
                return next_link(answer.headers.get("Link", ""), self._c.wire.base_url, asked.path)
            case AddressPaging():
                address = _member(document, paging.next)
                if address in (None, ""):
                    return None
                if not isinstance(address, str):
                    raise Unusable(paging.next, "the address of the next page", type(address).__name__)
                return below(address, self._c.wire.base_url, asked.path, paging.next)
        assert_never(paging)

    def _changed(self, parameter: str, value: str | int, asked: Asked) -> str | _Changed:
        if parameter.startswith("body."):
            return _Changed(parameter, value)
        return with_parameter(asked.path, parameter, str(value))

    def _date(self, answer: WireAnswer) -> None:
        """A cache in between says how old its copy is (RFC 9111 §5.1)."""
        age = answer.headers.get("Age", "")
        if age.isascii() and age.isdigit() and len(age) < 10 and (seconds := int(age)):
            as_of = datetime.now(UTC) - timedelta(seconds=seconds)
            self._as_of = min(self._as_of or as_of, as_of)


@dataclass(frozen=True, slots=True)
class _Changed:
    """The same request with another value of this member."""

    parameter: str
    value: str | int


def _told(operation: Operation, request: Mapping[str, Any], parameter: str) -> bool:
    """Whether the request itself says this query parameter or member of the body."""
    if parameter.startswith("body."):
        return member(request, parameter) is not None
    return any(p.name == parameter and p.place == "query" and request.get(p.field) is not None for p in operation.parameters)


def _with_member(request: Mapping[str, Any], path: str, value: str | int) -> dict[str, Any]:
    head, _, rest = path.partition(".")
    inner = request.get(head)
    return {**request, head: _with_member(inner if isinstance(inner, Mapping) else {}, rest, value) if rest else value}


def _members(paging: Paging | None) -> Iterator[str]:
    """Where paging looks into an answer."""
    for option in ("next", "more", "items", "total", "pages"):
        if path := getattr(paging, option, ""):
            yield path


def _member(document: Any, path: str) -> Any:
    return document.member(path) if isinstance(document, Decoded) else member(document, path)


def _reached(document: Any, path: str, count: int) -> bool:
    """Whether the total that the answer names is there; systems write it as a number or a text."""
    if not path:
        return False
    total = _member(document, path)
    if isinstance(total, bool) or not isinstance(total, int | str) or not re.fullmatch(r"[0-9]{1,15}", str(total), re.ASCII):
        raise Unusable(path, "how many there are in all", type(total).__name__)
    return count >= int(total)


def _joined(*tables: Mapping[str, str]) -> dict[str, str]:
    """Later tables win, whatever the case of a name; cookies are added up."""
    made: dict[str, tuple[str, str]] = {}
    for table in tables:
        for name, value in table.items():
            key = name.lower()
            made[key] = (name, f"{made[key][1]}; {value}" if key == "cookie" and key in made else value)
    return dict(made.values())


@dataclass(frozen=True, slots=True)
class _Kept:
    etag: str | None
    modified: str | None
    document: Any
    size: int

    def condition(self) -> dict[str, str]:
        """RFC 9110 §13.1: an entity tag is the better question."""
        return {"If-None-Match": self.etag} if self.etag else {"If-Modified-Since": self.modified or ""}


class _Known:
    """The last answer with an ETag or a date per question (operation, types, address, headers); bounded in number and bytes, least used
    first out.
    """

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def get(self, question: Hashable) -> _Kept | None:
        kept = self._kept.get(question)
        if kept:
            self._kept.move_to_end(question)
        return kept

    def put(self, question: Hashable, kept: _Kept) -> None:
        if (before := self._kept.pop(question, None)) is not None:
            self._bytes -= before.size
        self._kept[question] = kept
        self._bytes += kept.size
        while len(self._kept) > self._most or self._bytes > _ETAG_BYTES:
            self._bytes -= self._kept.popitem(last=False)[1].size
