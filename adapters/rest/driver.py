"""The REST driver: performs described operations over one wire, page by page, conditionally where an ETag is known."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, assert_never
from urllib.parse import urlsplit

from adapters.driver import Reply
from adapters.login import Login
from adapters.rest.client import Asked, Unusable, credentials, decoded, next_link, with_parameter, written
from adapters.rest.contract import Operation, RestContract
from adapters.rest.errors import means, member, said, translated
from adapters.rest.spec import CursorPaging, LinkPaging, NumberedPaging, OAuth2, OperationOptions, RestOptions
from adapters.rest.token import OPERATION, new_token
from adapters.wire import Wire, WireAnswer, client_tls
from contracts.call import Call
from contracts.errors import ContractViolation, UpstreamTimeout
from observability import Hop, current_hop

_SAFE = ("GET", "HEAD")
_ETAG_BYTES = 16 * 1024 * 1024


class RestConnection:
    """Implements adapters.driver.Connection. Pages of one answer are read within the one attempt and are all there, or it fails."""

    def __init__(self, system: str, endpoint: str, contract: RestContract, options: RestOptions, *, connections: int = 32) -> None:
        """Reads the TLS files, if any. Raises ValueError for an endpoint that is no plain http(s) URL."""
        self.system, self.contract, self.options = system, contract, options
        tls = client_tls(options.tls) if options.tls else None
        self.wire = Wire(
            system,
            endpoint,
            connections=connections,
            connect_seconds=options.connect_limit,
            body_limit=options.body_limit,
            tls=tls,
        )
        self.login: Login | None = None
        self._token_wire: Wire | None = None
        if isinstance(auth := options.auth, OAuth2):
            origin = urlsplit(auth.token_url)
            self._token_wire = Wire(system, f"{origin.scheme}://{origin.netloc}", connections=1, tls=tls)
            log_in = partial(new_token, system, auth, self._token_wire)
            self.login = Login(system, OPERATION, log_in, time_limit=auth.time_limit, pause=auth.pause)
        headers, self.key = credentials(auth)
        self.headers = {**options.headers, **headers}
        self.known = _Known(options.etags)
        address = urlsplit(endpoint)
        self.host, self.port = address.hostname or "", address.port or (443 if address.scheme == "https" else 80)

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

    async def call(self, operation: str, request: Mapping[str, Any], call: Call, seconds: float) -> Reply:
        described = self.contract.operation(operation)
        own = self.options.operations.get(operation, OperationOptions())
        try:
            asked = written(described, request)
        except Unusable as exc:
            raise self._broken(operation, exc, sent=False) from exc
        visit = _Visit(self, described, own, asyncio.get_running_loop().time() + seconds)
        try:
            return await visit.reply(asked)
        except Unusable as exc:
            raise self._broken(operation, exc, sent=True) from exc

    def _broken(self, operation: str, exc: Unusable, *, sent: bool) -> ContractViolation:
        return ContractViolation(system=self.system, operation=operation, where=exc.where, expected=exc.expected, got=exc.got, sent=sent)


class _Visit:
    """One attempt: all its exchanges share the time and the bytes that one answer may take."""

    def __init__(self, connection: RestConnection, operation: Operation, own: OperationOptions, until: float) -> None:
        self._c, self._operation, self._own, self._until = connection, operation, own, until
        self._bytes_left = connection.options.body_limit
        self._as_of: datetime | None = None

    async def reply(self, asked: Asked) -> Reply:
        paging, documents, path, seen, etag = self._paging(), list[Any](), asked.path, {asked.path}, None
        while True:
            found = await self._page(Asked(path, asked.headers, asked.body))
            if found is None:
                if documents:
                    raise Unusable("paging", "the next page", "nothing there")
                return Reply((), self._as_of)
            document, etag, answer = found
            if document is None:
                return Reply(tuple(documents), self._as_of, etag)
            documents.append(document)
            following = self._following(paging, document, answer, path, len(documents)) if paging else None
            if following is None:
                return Reply(tuple(documents), self._as_of, etag if len(documents) == 1 else None)
            if following in seen:
                raise Unusable("paging", "another page", "a page that was read already")
            if len(documents) >= self._c.options.max_pages:
                raise Unusable("paging", f"at most {len(documents)} pages", "more")
            seen.add(path := following)

    async def _page(self, asked: Asked) -> tuple[Any, str | None, WireAnswer] | None:
        """The document (None: an answer without body), its ETag and the answer. None: there is no such thing."""
        c, op = self._c, self._operation
        path = with_parameter(asked.path, *c.key) if c.key else asked.path
        question = (asked.path, *sorted(asked.headers.items()))
        known = c.known.get(question) if op.method in _SAFE else None
        headers = {**asked.headers, **c.headers, **({"If-None-Match": known.etag} if known else {})}
        hop = current_hop()
        if hop:
            hop.set(protocol="rest", method=op.method, url_template=op.path, host=c.host, port=c.port, request_bytes=len(asked.body or b""))
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
        if answer.status in (204, 205) or not op.answers:
            return None, answer.headers.get("ETag"), answer
        document = decoded(answer.body, answer.content_type)
        if op.wraps:
            document = {op.wraps: document}
        if not isinstance(document, dict):
            raise Unusable("body", "a JSON object", f"a JSON {type(document).__name__}")
        etag = answer.headers.get("ETag")
        if etag and op.method in _SAFE:
            c.known.put(question, _Kept(etag, document, len(answer.body)))
        return document, etag, answer

    async def _exchange(self, path: str, headers: dict[str, str], body: bytes | None, hop: Hop | None) -> WireAnswer:
        """With a token, where the system wants one; a refused token is renewed once (401: nothing was done)."""
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

        if login is None:
            return await once(headers)
        token = await login.token(self._left())
        answer = await once({**headers, "Authorization": f"Bearer {token}"})
        if answer.status == 401:
            login.expire(token)
            token = await login.token(self._left())
            answer = await once({**headers, "Authorization": f"Bearer {token}"})
        return answer

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
            document, is_json = decoded(answer.body, answer.content_type), True
        except Unusable:
            is_json = False
        if 300 <= answer.status < 400:
            raise Unusable("status", "an answer", f"HTTP {answer.status} (redirects are not followed)")
        code, message = said(document, c.options.errors)
        read, meanings = op.method in _SAFE, (*self._own.meanings, *c.options.meanings)
        meaning = means(answer, code, is_json, op.declares(answer.status), meanings, read=read)
        if meaning != "absent" or not read:
            raise translated(meaning, answer, code, message, c.system, op.name)

    def _paging(self) -> CursorPaging | NumberedPaging | LinkPaging | None:
        paging = self._own.paging or self._c.options.paging
        if paging is None or self._operation.method not in _SAFE:
            return None
        if isinstance(paging, LinkPaging) or any(p.name == paging.parameter and p.place == "query" for p in self._operation.parameters):
            return paging
        return None

    def _following(
        self, paging: CursorPaging | NumberedPaging | LinkPaging, document: Any, answer: WireAnswer, path: str, pages: int
    ) -> str | None:
        match paging:
            case CursorPaging():
                cursor = member(document, paging.next)
                if cursor in (None, ""):
                    return None
                if not isinstance(cursor, str | int) or isinstance(cursor, bool):
                    raise Unusable(paging.next, "a text or number that leads to the next page", type(cursor).__name__)
                return with_parameter(path, paging.parameter, str(cursor))
            case NumberedPaging():
                items = member(document, paging.items)
                if not isinstance(items, list):
                    raise Unusable(paging.items, "the list of this page", type(items).__name__)
                if not items or len(items) < paging.size:
                    return None
                return with_parameter(path, paging.parameter, str(paging.first + pages * paging.step))
            case LinkPaging():
                return next_link(answer.headers.get("Link", ""), self._c.wire.base_url, path)
        assert_never(paging)

    def _date(self, answer: WireAnswer) -> None:
        """A cache in between says how old its copy is (RFC 9111 §5.1)."""
        age = answer.headers.get("Age", "")
        if age.isascii() and age.isdigit() and len(age) < 10 and (seconds := int(age)):
            as_of = datetime.now(UTC) - timedelta(seconds=seconds)
            self._as_of = min(self._as_of or as_of, as_of)


@dataclass(frozen=True, slots=True)
class _Kept:
    etag: str
    document: Any
    size: int


class _Known:
    """The last answer with an ETag per question (address and header parameters); bounded in number and bytes, least used first out."""

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
