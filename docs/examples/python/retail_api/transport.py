"""How a call travels (address, credentials, time limits, retries) and what comes back (answers, pages, problems)."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import random
import re
import uuid
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, ClassVar, Final, Generic, TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - an item, beside the T of a whole answer

Credential = str | Callable[[], Awaitable[str]]
"""An API key or token; or what gives a fresh one for each attempt, for tokens that expire."""

MOST: Final = 32 * 1024 * 1024
"""Bytes of one answer."""


class VersionDeprecated(FutureWarning):
    """The API version that this client was generated from has a successor, and a day on which it is switched off."""


class ApiError(Exception):
    """Whatever a call can end with instead of an answer."""


class Unanswered(ApiError):
    """No answer came. A write may have been done: repeat it with `idempotency_key`, and it is done once."""

    def __init__(self, method: str, path: str, attempts: int, idempotency_key: str | None, why: Exception) -> None:
        times = f"{attempts} attempt{'' if attempts == 1 else 's'}"
        super().__init__(f"{method} {path}: no answer in {times}, the last: {str(why) or type(why).__name__}")
        self.attempts = attempts
        self.idempotency_key = idempotency_key


class UnexpectedAnswer(ApiError):
    """What came is not what the contract of this version promises."""


class Place(msgspec.Struct, frozen=True):
    """What is wrong where: a JSON pointer into the body, or `query:NAME`, `header:NAME`, `path:NAME`."""

    pointer: str = ""
    expected: str = ""
    got: str = ""


class _Document(msgspec.Struct, frozen=True, rename="camel"):
    title: str
    code: str
    detail: str = ""
    fault: str = ""
    retryable: bool = False
    advice: str = ""
    trace_id: str = ""
    errors: tuple[Place, ...] = ()


class Problem(ApiError):
    """A problem document (RFC 9457). Decide by the class, or by `code`; `detail` is for people. Quote `trace_id` to the operator."""

    code: str = ""

    def __init__(self, status: int, document: _Document, headers: Mapping[str, str], body: bytes, idempotency_key: str | None) -> None:
        said = f"{document.title}: {document.detail}" if document.detail not in ("", document.title) else document.title
        super().__init__(f"{said} (trace {document.trace_id})" if document.trace_id else said)
        self.status = status
        self.code = document.code
        self.title = document.title
        self.detail = document.detail
        self.fault = document.fault
        """`caller`, `system` or `gateway`."""
        self.retryable = document.retryable
        self.retry_after = _seconds(headers.get("Retry-After"))
        self.advice = document.advice
        self.trace_id = document.trace_id
        self.errors = document.errors
        self.headers = headers
        self.body = body
        """The whole document, with the members that only some problems have."""
        self.idempotency_key = idempotency_key


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A value with what its header fields say about it."""

    value: T
    status: int
    headers: Mapping[str, str] = field(repr=False)

    @property
    def etag(self) -> str | None:
        """For `if_match` of a change; give the whole answer as `known` to ask whether something is new."""
        return self.headers.get("ETag")

    @property
    def replayed(self) -> bool:
        """Whether this is the stored answer to an earlier request with the same key."""
        return self.headers.get("Idempotency-Replayed") == "true"

    @property
    def stale(self) -> bool:
        """Whether an older answer stands in for a system that does not answer."""
        return "fwd=stale" in self.headers.get("Cache-Status", "")

    @property
    def trace_id(self) -> str:
        return self.headers.get("traceresponse", "").split("-")[1] if self.headers.get("traceresponse", "").count("-") == 3 else ""


class Paged(Generic[T, I]):
    """A collection: iterate over its items, or over `pages()`. Each page is asked for when it is needed."""

    def __init__(self, fetch: Callable[[str | None], Awaitable[Answer[T]]], items: Callable[[T], Sequence[I]]) -> None:
        self._fetch = fetch
        self._items = items

    async def pages(self) -> AsyncIterator[Answer[T]]:
        link: str | None = None
        while True:
            page = await self._fetch(link)
            yield page
            if (link := next_of(page.headers.get("Link", ""))) is None:
                return

    async def __aiter__(self) -> AsyncIterator[I]:
        async for page in self.pages():
            for item in self._items(page.value):
                yield item


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a call may take, and how often it is tried. Seconds."""

    deadline: float = 45.0
    """Of a call with all its attempts and waits."""
    attempt: float = 15.0
    attempts: int = 4
    first_wait: float = 0.2
    """Doubled with each attempt and shortened by chance; the API's `Retry-After` is waited for in full."""
    longest_wait: float = 20.0


@dataclass(kw_only=True)
class Transport:
    """One address with one credential. Redirects are not followed, so the credential goes nowhere else."""

    base_url: str
    credential: Credential = field(repr=False)
    version: str
    problems: Mapping[str, type[Problem]] = field(repr=False)
    limits: Limits
    session: aiohttp.ClientSession | None = field(default=None, repr=False)
    _warned: bool = field(default=False, repr=False)
    LOST: ClassVar[tuple[type[Exception], ...]] = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError)
    """What a lost connection or answer looks like."""

    def __post_init__(self) -> None:
        if not re.match(r"https?://[^/]", self.base_url):
            raise ValueError(f"expected an address such as https://api.example.com, got {self.base_url!r}")

    async def close(self) -> None:
        if self.session is not None:
            await self.session.close()
            self.session = None

    async def call(
        self,
        method: str,
        path: str,
        answer: type[T],
        *,
        query: Iterable[tuple[str, object]] = (),
        headers: Iterable[tuple[str, str | float | None]] = (),
        body: msgspec.Struct | None = None,
        idempotency_key: str | None = None,
        known: Answer[T] | None = None,
    ) -> Answer[T]:
        """`path` with its query, or without and `query`. A key makes a write safe to repeat, so it is kept over all attempts.

        Raises Problem, Unanswered, UnexpectedAnswer.
        """
        target = URL(self.base_url.rstrip("/") + path + _query(query), encoded=True)
        fields = {"API-Version": self.version, "Accept": "application/json", **{k: _field(v) for k, v in headers if v is not None}}
        if idempotency_key is not None:
            fields["Idempotency-Key"] = f'"{idempotency_key}"'
        if known is not None and known.etag:
            fields["If-None-Match"] = known.etag
        content = None if body is None else msgspec.json.encode(body)
        if content is not None:
            fields["Content-Type"] = "application/json"
        safe = method == "GET" or idempotency_key is not None
        until = asyncio.get_running_loop().time() + self.limits.deadline
        for attempt in itertools.count(1):
            try:
                return await self._once(method, target, answer, fields, content, until, known, idempotency_key)
            except Problem as problem:
                wait = self._wait(attempt, until, problem.retry_after)
                if wait is None or not problem.retryable or not (safe or problem.status == 429):
                    raise
            except self.LOST as exc:
                wait = self._wait(attempt, until, None)
                if wait is None or not safe:
                    raise Unanswered(method, path, attempt, idempotency_key, exc) from exc
            await asyncio.sleep(wait)
        raise AssertionError("counting ends nowhere")

    def _wait(self, attempt: int, until: float, asked: float | None) -> float | None:
        """Seconds before the next attempt; None: there is none."""
        wait = max(asked or 0.0, random.uniform(0.5, 1.0) * self.limits.first_wait * 2 ** (attempt - 1))  # noqa: S311 - spreads load, guards nothing
        late = asyncio.get_running_loop().time() + wait >= until
        return None if late or attempt >= self.limits.attempts or wait > self.limits.longest_wait else wait

    async def _once(
        self,
        method: str,
        target: URL,
        answer: type[T],
        fields: dict[str, str],
        content: bytes | None,
        until: float,
        known: Answer[T] | None,
        key: str | None,
    ) -> Answer[T]:
        if self.session is None:
            self.session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=None))
        loop = asyncio.get_running_loop()
        credential = self.credential if isinstance(self.credential, str) else await self.credential()
        sent = {**fields, "Authorization": f"Bearer {credential.strip()}"}
        async with asyncio.timeout_at(min(until, loop.time() + self.limits.attempt)):
            async with self.session.request(method, target, data=content, headers=sent, allow_redirects=False) as got:
                body = await _bounded(got)
        headers = got.headers
        self._warn(headers)
        if got.status == 304 and known is not None:
            merged = CIMultiDict(known.headers)
            merged.update(headers)
            return dataclasses.replace(known, status=304, headers=merged)
        if not 200 <= got.status < 300:
            raise self._problem(got.status, headers, body, key)
        try:
            return Answer(msgspec.json.decode(body, type=answer), got.status, headers)
        except msgspec.MsgspecError as exc:
            raise UnexpectedAnswer(f"{method} {target.path}: {exc}") from exc

    def _problem(self, status: int, headers: Mapping[str, str], body: bytes, key: str | None) -> Problem:
        try:
            document = msgspec.json.decode(body, type=_Document)
        except msgspec.MsgspecError:  # something on the way answered, not the API
            document = _Document(title=f"HTTP {status}", code=f"http_{status}", retryable=status in (429, 502, 503, 504))
        return self.problems.get(document.code, Problem)(status, document, headers, body, key)

    def _warn(self, headers: Mapping[str, str]) -> None:
        since = headers.get("Deprecation", "")
        if not since or self._warned:
            return
        self._warned = True
        day = f" since {datetime.fromtimestamp(int(since[1:]), UTC).date()}" if since[:1] == "@" and since[1:].isdecimal() else ""
        ends = f"; it is switched off on {sunset}" if (sunset := headers.get("Sunset")) else ""
        warnings.warn(f"API version {self.version} is deprecated{day}{ends}", VersionDeprecated, stacklevel=2)


def new_key() -> str:
    """An Idempotency-Key of one's own."""
    return str(uuid.uuid4())


def next_of(link: str) -> str | None:
    """The target of `rel="next"` (RFC 8288), as a path of this API: a link to elsewhere is not followed."""
    for part in link.split(","):
        target, _, parameters = part.strip().partition(";")
        if 'rel="next"' in parameters and target.startswith("</") and not target.startswith("<//"):
            return target[1:].rstrip().removesuffix(">")
    return None


async def _bounded(got: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in got.content.iter_any():
        body += piece
        if len(body) > MOST:
            raise UnexpectedAnswer(f"more than {MOST} bytes")
    return bytes(body)


def _query(given: Iterable[tuple[str, object]]) -> str:
    pairs = [(name, _text(one)) for name, value in given if value is not None for one in (value if _is_list(value) else (value,))]  # type: ignore[attr-defined]  # what _is_list says
    return f"?{urlencode(pairs)}" if pairs else ""


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _field(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.3f}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date) else str(value)


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after and retry_after.isdecimal() else None
