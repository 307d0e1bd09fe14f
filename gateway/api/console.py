"""Pages for operators, behind a session of their own; and the gateway's health, metrics and published documents."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
from litestar import Request, Response
from litestar.datastructures import Cookie
from litestar.handlers import HTTPRouteHandler
from litestar.status_codes import HTTP_303_SEE_OTHER

from contracts.admin import (
    Booking,
    ClientChange,
    Dismissal,
    DispatchEnd,
    DispatchesParameters,
    Edit,
    FileRetry,
    FilesParameters,
    FindingsParameters,
    GivingUp,
    RecordsParameters,
    RecordView,
)
from contracts.books import Label
from contracts.books.incidents import Right
from contracts.errors import Forbidden, InvalidParameter, InvalidRequest, NotFound, TillgateError, Unauthenticated, UnsupportedMediaType
from contracts.policy import Duration
from gateway.api.admin import Admitted
from gateway.api.clients import behind, cursor_behind
from gateway.api.files import cursor_behind as cursor_behind_file
from gateway.edge import problems, reading
from gateway.edge.peer import certificate_of
from gateway.edge.sessions import LIFETIME, SCOPE, Session, Sessions
from gateway.services.clients import Actor, Desk
from gateway.services.clock import utc_now
from gateway.services.dispatches import DispatchDesk, DispatchKey
from gateway.services.dispatches import cursor_behind as cursor_behind_dispatch
from gateway.services.intake.review import FileDesk
from gateway.services.overview import Overview
from gateway.services.services import AdoptionReader, AuditReader
from observability import current
from observability.console import pages, portal
from observability.console.data import FileFilter, FlightFilter, Viewer
from observability.dependencies import document

WRITE = "admin:write"
COOKIE, LOGIN_COOKIE = "tillgate_session", "tillgate_sign_in"
_LOGIN_SECONDS = 3600
_READER = Actor("console", frozenset())
_FORM_BYTES = 4_000
_FORM_SECONDS = 10.0
_FIELDS, _FIELD = 20, 500
_TEXT_BYTES = 400_000
"""Of the form that holds the text of a record, every character of which may be written as three."""
_PAGE = 100
_FLIGHTS = 200
_HOURS = 168.0
"""In which flights are held against the map, as far as they are kept."""
_ENTRIES = 20
_HERE = re.compile(rf"{pages.BASE}(?:/[A-Za-z0-9._~%:@!$&'()*+,;=-]+)+(?:\?[!-~]*)?")
_DAYS = 30
"""In which requests are counted by version."""

WebRequest = Request[Any, Any, Any]
Form = dict[str, str]
T = TypeVar("T")


def _html(body: str, status: int = 200) -> Response[bytes]:
    headers = {"content-security-policy": pages.CONTENT_SECURITY_POLICY, "cache-control": "no-store"}
    return Response(body.encode(), status_code=status, media_type="text/html; charset=utf-8", headers=headers)


@dataclass(frozen=True)
class Console:
    """What the pages show and do. `secure`: cookies travel over TLS only."""

    overview: Overview
    sessions: Sessions
    desk: Callable[[Actor], Desk]
    audit: AuditReader
    adoption: AdoptionReader
    channels: tuple[str, ...]
    secure: bool
    files: Callable[[Actor], FileDesk]
    dispatches: Callable[[Actor], DispatchDesk]
    feeds: tuple[str, ...] = ()

    def routes(self) -> list[HTTPRouteHandler]:
        base = pages.BASE
        client, file, record = base + "/clients/{name:str}", base + "/files/{digest:str}", base + "/records/{id:int}"
        dispatch = base + "/dispatches/{feed:str}/{store:str}/{number:int}"
        incident = base + "/incidents/{id:str}"
        return [
            self._page(base, self._home),
            self._page(f"{base}/overview", self._overview),
            self._page(f"{base}/systems", self._systems),
            self._page(f"{base}/map", self._map),
            self._document(f"{base}/map/json", self._map_json),
            self._page(f"{base}/incidents", self._incidents),
            self._page(incident, self._incident),
            self._document(f"{incident}/json", self._incident_json),
            self._action(f"{incident}/label", self._label, WRITE),
            self._page(f"{base}/flights", self._flights),
            self._page(base + "/flights/{trace_id:str}", self._flight),
            self._page(f"{base}/files", self._files),
            self._page(file, self._file),
            self._page(f"{base}/records", self._records),
            self._page(record, self._record),
            self._page(f"{base}/dispatches", self._dispatches),
            self._page(dispatch, self._dispatch),
            self._page(f"{base}/orders", self._orders),
            self._page(f"{base}/clients", self._clients),
            self._page(client, self._client),
            self._page(f"{base}/versions", self._versions),
            self._page(f"{base}/audit", self._log),
            self._action(f"{client}/suspend", self._suspend, WRITE),
            self._action(f"{client}/resume", self._resume, WRITE),
            self._action(client + "/keys/{prefix:str}/end", self._end_key, WRITE),
            self._action(f"{file}/retry", self._retry, WRITE),
            self._action(f"{file}/give-up", self._give_up, WRITE),
            self._action(f"{dispatch}/resend", self._resend, WRITE),
            self._action(f"{dispatch}/give-up", self._give_up_dispatch, WRITE),
            self._action(f"{record}/edit", self._edit, WRITE, _TEXT_BYTES),
            self._action(f"{record}/restore", self._restore, WRITE),
            self._action(f"{record}/book", self._book, WRITE),
            self._action(f"{record}/dismiss", self._dismiss, WRITE),
            self._action(f"{base}/logout", self._logout, ""),
            _named("GET", base + "/static/{name:str}", _static),
            _named("GET", f"{base}/login", self._login_form),
            _named("POST", f"{base}/login", self._login),
        ]

    # ---- pages

    async def _home(self, request: WebRequest, viewer: Viewer) -> str:
        return await (self._systems if viewer.stores else self._overview)(request, viewer)

    async def _overview(self, request: WebRequest, viewer: Viewer) -> str:
        _of_all_stores(viewer)
        channels, systems = await self.overview.pulses()
        watch = self.overview.detective.watch
        return pages.render_overview(
            channels=channels,
            systems=systems,
            notices=(*self.overview.notices(), *([f"Nobody can tell what is broken: {watch.trouble}"] if watch.trouble else [])),
            looked_at=watch.looked_at,
            viewer=viewer,
        )

    async def _map(self, request: WebRequest, viewer: Viewer) -> str:
        declared, down = self.overview.declared, request.query_params.get("down", "")[:100]
        if down and down not in declared.systems:
            raise NotFound(what="system", key=down)
        seen = await self.overview.edges(_HOURS) if request.query_params.get("observed") else None
        return pages.render_map(declared, down=down, seen=seen, viewer=viewer)

    async def _map_json(self, request: WebRequest, viewer: Viewer) -> bytes:
        return msgspec.json.encode(document(self.overview.declared))

    async def _incidents(self, request: WebRequest, viewer: Viewer) -> str:
        _of_all_stores(viewer)
        cursor = request.query_params.get("cursor", "")
        before = int(cursor) if cursor.isascii() and cursor.isdigit() and len(cursor) < 19 else None
        found = await self.overview.incidents(_PAGE + 1, before=before)
        older = str(found[_PAGE - 1][0]) if len(found) > _PAGE else ""
        watch = self.overview.detective.watch
        looked = f"Looked {watch.looks} times since {watch.since:%Y-%m-%d %H:%M} UTC." if watch.looks else "Nobody has looked yet."
        return pages.render_incidents([i for _, i in found[:_PAGE]], older=older, watching=looked, viewer=viewer)

    async def _incident(self, request: WebRequest, viewer: Viewer) -> str:
        _of_all_stores(viewer)
        found = await self.overview.incident(_incident_id(request))
        incident = found.view.incident
        return pages.render_incident(
            incident,
            declared=self.overview.declared,
            traces=await self.overview.traces(incident),
            labels=found.labels,
            into=found.view.into or "",
            stores=incident.impact.stores,
            viewer=viewer,
        )

    async def _incident_json(self, request: WebRequest, viewer: Viewer) -> bytes:
        _of_all_stores(viewer)
        return msgspec.json.encode((await self.overview.incident(_incident_id(request))).view.incident)

    async def _systems(self, request: WebRequest, viewer: Viewer) -> str:
        seen = self.overview
        return pages.render_systems(seen.systems(), routes=seen.routes(), drifted=seen.drift(), notices=seen.notices(), viewer=viewer)

    async def _flights(self, request: WebRequest, viewer: Viewer) -> str:
        _of_all_stores(viewer, "flights are")
        chosen = FlightFilter(**{k: request.query_params.get(k, "").strip()[:100] for k in FlightFilter.__struct_fields__})
        found = await self.overview.flights(
            _FLIGHTS,
            **{k: getattr(chosen, k) for k in ("channel", "route", "system", "operation", "store", "outcome", "kind")},
            trace_id=chosen.trace,
            at_least=_milliseconds(chosen.slower),
            since=_moment(chosen.since, "since"),
            before=_moment(chosen.until, "until"),
        )
        older = ""
        if len(found) == _FLIGHTS:
            asked = {k: v for k, v in msgspec.structs.asdict(chosen).items() if v}
            older = f"?{urlencode({**asked, 'until': found[-1].start.isoformat()})}"
        return pages.render_flights(
            found,
            chosen=chosen,
            channels=self.channels,
            systems=[s.id for s in self.overview.systems()],
            seen=self.overview.seen,
            older=older,
            viewer=viewer,
        )

    async def _flight(self, request: WebRequest, viewer: Viewer) -> str:
        _of_all_stores(viewer, "flights are")
        spans = await self.overview.flight(request.path_params["trace_id"])
        if not spans:
            raise NotFound(what="trace", key=request.path_params["trace_id"][:40])
        return pages.render_flight(spans, viewer=viewer)

    async def _files(self, request: WebRequest, viewer: Viewer) -> str:
        asked = {k: request.query_params.get(k, "").strip()[:100] for k in ("state", "feed", "store")}
        desk = self._files_of(viewer)
        wanted = {k: v for k, v in {**asked, "cursor": request.query_params.get("cursor", "")[:200]}.items() if v}
        found = await desk.list(_wanted({**wanted, "limit": _PAGE}, FilesParameters))
        waiting = await desk.records(RecordsParameters(status="open", limit=_PAGE))
        return pages.render_files(
            found,
            chosen=FileFilter(**asked),
            feeds=self.feeds,
            findings=await desk.findings(FindingsParameters(state="open", limit=_ENTRIES)),
            waiting=len(waiting),
            older=cursor_behind_file(found[-1]) if len(found) == _PAGE else "",
            viewer=viewer,
        )

    async def _file(self, request: WebRequest, viewer: Viewer) -> str:
        return pages.render_file(await self._files_of(viewer).show(request.path_params["digest"][:100]), viewer=viewer)

    async def _records(self, request: WebRequest, viewer: Viewer) -> str:
        asked = {k: request.query_params.get(k, "")[:40] for k in ("status", "cursor")}
        status = asked["status"] or "open"
        wanted = {"cursor": asked["cursor"] or None, "status": None if status == "all" else status, "limit": _PAGE}
        found = await self._files_of(viewer).records(_wanted(wanted, RecordsParameters))
        older = str(found[-1].id) if len(found) == _PAGE else ""
        return pages.render_records(found, status=status, older=older, viewer=viewer)

    async def _record(self, request: WebRequest, viewer: Viewer) -> str:
        return pages.render_record(await self._files_of(viewer).record(request.path_params["id"]), viewer=viewer)

    async def _dispatches(self, request: WebRequest, viewer: Viewer) -> str:
        asked = {k: request.query_params.get(k, "").strip()[:100] for k in ("state", "feed", "store")}
        wanted = {k: v for k, v in {**asked, "cursor": request.query_params.get("cursor", "")[:200]}.items() if v}
        found = await self.dispatches(_actor(viewer)).list(_wanted({**wanted, "limit": _PAGE}, DispatchesParameters))
        older = cursor_behind_dispatch(found[-1]) if len(found) == _PAGE else ""
        return pages.render_dispatches(found, chosen=FileFilter(**asked), older=older, viewer=viewer)

    async def _dispatch(self, request: WebRequest, viewer: Viewer) -> str:
        return pages.render_dispatch(await self.dispatches(_actor(viewer)).show(_dispatch_key(request)), viewer=viewer)

    def _files_of(self, who: Viewer | Session) -> FileDesk:
        return self.files(_actor(who))

    async def _orders(self, request: WebRequest, viewer: Viewer) -> str:
        _of_all_stores(viewer, "open orders are")
        return pages.render_orders(await self.overview.orders(), viewer=viewer)

    async def _clients(self, request: WebRequest, viewer: Viewer) -> str:
        return pages.render_clients(await self.desk(_READER).list(), viewer=viewer)

    async def _client(self, request: WebRequest, viewer: Viewer) -> str:
        entries = await self.audit.read(_ENTRIES, client=_name(request))  # first: it writes what was counted until now
        return pages.render_client(await self.desk(_READER).show(_name(request)), entries, viewer=viewer)

    async def _versions(self, request: WebRequest, viewer: Viewer) -> str:
        return pages.render_versions(await self.adoption.read(_DAYS), viewer=viewer)

    async def _log(self, request: WebRequest, viewer: Viewer) -> str:
        client, cursor = request.query_params.get("client", "").strip()[:256], request.query_params.get("cursor")
        found = await self.audit.read(_PAGE + 1, client=client or None, before=behind(cursor))
        older = cursor_behind(found[_PAGE - 1]) if len(found) > _PAGE else ""
        return pages.render_audit(found[:_PAGE], client=client, older=older, viewer=viewer)

    # ---- what operators do here

    async def _label(self, request: WebRequest, session: Session, form: Form) -> str:
        _of_all_stores(session)
        try:
            said = msgspec.convert({k: form[k] for k in ("right", "culprit", "note") if k in form}, _Label)
        except msgspec.ValidationError as exc:
            raise InvalidRequest(where="form:right", expected="yes, partly or no, and few words", got=str(exc)[:100]) from exc
        number = _incident_id(request)
        await self.overview.label(number, Label(at=utc_now(), by=session.client, **msgspec.structs.asdict(said)))
        return f"{pages.BASE}/incidents/{quote(number, safe='')}"

    async def _suspend(self, request: WebRequest, session: Session, form: Form) -> str:
        return await self._changed(request, session, ClientChange(suspended=True))

    async def _resume(self, request: WebRequest, session: Session, form: Form) -> str:
        return await self._changed(request, session, ClientChange(suspended=False))

    async def _changed(self, request: WebRequest, session: Session, change: ClientChange) -> str:
        client = await self._desk(session).change(_name(request), change)
        return _of(client.name)

    async def _end_key(self, request: WebRequest, session: Session, form: Form) -> str:
        client = await self._desk(session).end_key(_name(request), request.path_params["prefix"][:100])
        return _of(client.name)

    async def _retry(self, request: WebRequest, session: Session, form: Form) -> str:
        done = await self._files_of(session).retry(request.path_params["digest"][:100], FileRetry(fence=_number(form, "fence")))
        return f"{pages.BASE}/files/{done.file.digest}"

    async def _give_up(self, request: WebRequest, session: Session, form: Form) -> str:
        wanted = GivingUp(reason=form.get("reason", ""), fence=_number(form, "fence"))
        return f"{pages.BASE}/files/{(await self._files_of(session).give_up(request.path_params['digest'][:100], wanted)).digest}"

    async def _resend(self, request: WebRequest, session: Session, form: Form) -> str:
        key = _dispatch_key(request)
        await self.dispatches(_actor(session)).resend(key)
        return _of_dispatch(key)

    async def _give_up_dispatch(self, request: WebRequest, session: Session, form: Form) -> str:
        key = _dispatch_key(request)
        await self.dispatches(_actor(session)).give_up(key, DispatchEnd(reason=form.get("reason", "")))
        return _of_dispatch(key)

    async def _edit(self, request: WebRequest, session: Session, form: Form) -> str:
        return await self._edited(request, session, Edit(version=_number(form, "version"), text=form.get("text", "")))

    async def _restore(self, request: WebRequest, session: Session, form: Form) -> str:
        return await self._edited(request, session, Edit(version=_number(form, "version")))

    async def _edited(self, request: WebRequest, session: Session, wanted: Edit) -> str:
        return _at_record((await self._files_of(session).edit(request.path_params["id"], wanted)).record)

    async def _book(self, request: WebRequest, session: Session, form: Form) -> str:
        wanted = Booking(version=_number(form, "version"), reason=form.get("reason", ""))
        return _at_record(await self._files_of(session).book(request.path_params["id"], wanted))

    async def _dismiss(self, request: WebRequest, session: Session, form: Form) -> str:
        wanted = Dismissal(version=_number(form, "version"), reason=form.get("reason", ""))
        return _at_record(await self._files_of(session).dismiss(request.path_params["id"], wanted))

    async def _logout(self, request: WebRequest, session: Session, form: Form) -> str:
        await self.sessions.end(session)
        return f"{pages.BASE}/login"

    def _desk(self, session: Session) -> Desk:
        return self.desk(Actor(session.client, session.scopes, session.stores))

    # ---- the way in and out

    async def _login_form(self, request: WebRequest) -> Response[bytes]:
        return self._asking("", _here(request.query_params.get("to", "")))

    async def _login(self, request: WebRequest) -> Response[bytes]:
        form = await _form(request)
        to = _here(form.get("to", ""))
        try:
            _require_here(request)
            begun = request.cookies.get(self._cookie(LOGIN_COOKIE), "")
            value = await self.sessions.open(form.get("key", "").strip(), begun, form.get("csrf", ""), _peer(request))
        except TillgateError as error:
            answer = self._asking(error.public, to, problems.status_of(error))
            for name, text in problems.headers(error).items():
                answer.set_header(name, text)
            return answer
        answer = Response(b"", status_code=HTTP_303_SEE_OTHER, headers={"location": to or pages.BASE})
        self._set(answer, COOKIE, value, int(LIFETIME.total_seconds()))
        return answer

    def _asking(self, problem: str, to: str, status: int = 200) -> Response[bytes]:
        begun, token = self.sessions.beginning()
        answer = _html(portal.render_login(problem, csrf=token, to=to), status)
        self._set(answer, LOGIN_COOKIE, begun, _LOGIN_SECONDS)
        return answer

    def _set(self, answer: Response[bytes], name: str, value: str, seconds: int) -> None:
        """`__Host-` (RFC 6265bis §4.1.3.2) keeps a neighbour's host from setting it; it needs TLS and the whole site as path."""
        path = "/" if self.secure else pages.BASE
        answer.set_cookie(
            Cookie(
                key=self._cookie(name),
                value=value,
                max_age=seconds,
                path=path,
                httponly=True,
                samesite="strict",
                secure=self.secure or None,
            )
        )

    def _cookie(self, name: str) -> str:
        return f"__Host-{name}" if self.secure else name

    async def _session(self, request: WebRequest) -> Session:
        """Raises Unauthenticated."""
        return await self.sessions.check(request.cookies.get(self._cookie(COOKIE)), opened="x-refresh" not in request.headers)

    async def _seen(self, session: Session) -> Viewer:
        viewer = _viewer(session)
        return viewer if viewer.stores else msgspec.structs.replace(viewer, open=await self.overview.open_incidents())

    def _page(self, path: str, show: Callable[[WebRequest, Viewer], Awaitable[str]]) -> HTTPRouteHandler:
        async def handle(request: WebRequest) -> Response[bytes]:
            viewer = None
            try:
                viewer = await self._seen(await self._session(request))
                return _html(await show(request, viewer))
            except Unauthenticated:
                return _sign_in(request)
            except TillgateError as error:
                return _failed(error, viewer)

        return _named("GET", path, handle)

    def _document(self, path: str, show: Callable[[WebRequest, Viewer], Awaitable[bytes]]) -> HTTPRouteHandler:
        async def handle(request: WebRequest) -> Response[bytes]:
            viewer = None
            try:
                viewer = _viewer(await self._session(request))
                return Response(await show(request, viewer), media_type="application/json", headers={"cache-control": "no-store"})
            except Unauthenticated:
                return _sign_in(request)
            except TillgateError as error:
                return _failed(error, viewer)

        return _named("GET", path, handle)

    def _action(
        self, path: str, do: Callable[[WebRequest, Session, Form], Awaitable[str]], scope: str, most: int = _FORM_BYTES
    ) -> HTTPRouteHandler:
        """A form of a signed-in operator; `do` answers where to go on. `scope`: what it takes beyond being signed in; `most`: bytes."""

        async def handle(request: WebRequest) -> Response[bytes]:
            viewer = None
            try:
                session = await self._session(request)
                viewer = _viewer(session)
                try:
                    _require_here(request)
                    form = await _form(request, most)
                    session.require_form(form.get("csrf", ""))
                    if scope and scope not in session.scopes:
                        raise Forbidden(reason=f"client {session.client!r} lacks the scope {scope}", scope=scope)
                    return Response(b"", status_code=HTTP_303_SEE_OTHER, headers={"location": await do(request, session, form)})
                except Forbidden as error:
                    self.sessions.denied(error, session, _peer(request), f"POST {path.replace(':str', '')}")
                    raise
            except Unauthenticated:
                return _sign_in()
            except TillgateError as error:
                return _failed(error, viewer)

        return _named("POST", path, handle)


def _sign_in(request: WebRequest | None = None) -> Response[bytes]:
    """`request`: for a page to go on to. One that a link of another site asked for came without the cookie, which is Strict: this site asks
    for it once more.
    """
    to = _target(request)
    fetched = [request.headers.get(f"sec-fetch-{name}") for name in ("site", "mode")] if request else []
    if to and fetched == ["cross-site", "navigate"]:
        return _html(portal.render_again(to))
    query = f"?{urlencode({'to': to})}" if to else ""
    return Response(b"", status_code=HTTP_303_SEE_OTHER, headers={"location": f"{pages.BASE}/login{query}"})


def _target(request: WebRequest | None) -> str:
    if request is None:
        return ""
    query = request.scope["query_string"].decode("latin-1")
    return _here(f"{request.scope['raw_path'].decode('latin-1')}{f'?{query}' if query else ''}")


def _here(path: str) -> str:
    """An address below the console's, without host; empty for any other."""
    return path if _HERE.fullmatch(path) else ""


def _failed(error: TillgateError, viewer: Viewer | None) -> Response[bytes]:
    flight = current()
    if flight:
        flight.failed(error)
    status = problems.status_of(error)
    trace_id = flight.trace_id if flight else ""
    return _html(pages.render_error(status, error.title, error.public, trace_id=trace_id, viewer=viewer), status)


class _Label(msgspec.Struct, frozen=True, kw_only=True):
    right: Right
    culprit: Annotated[str, msgspec.Meta(max_length=200)] = ""
    note: str = ""


def _incident_id(request: WebRequest) -> str:
    return str(request.path_params["id"])[:40]


def _of_all_stores(who: Viewer | Session, what: str = "incidents are") -> None:
    """Raises Forbidden: some pages are of all stores at once, and nobody sees more than theirs."""
    if who.stores:
        raise Forbidden(reason=f"you are bound to stores, and {what} of all of them")


def _milliseconds(text: str) -> float:
    """`800`, `800ms`, `2s`. Raises InvalidRequest."""
    if not text:
        return 0.0
    try:
        return 1000 * Duration.parse(text if text[-1:].isalpha() else f"{text}ms")
    except ValueError as exc:
        raise InvalidParameter(where="query:slower", expected="milliseconds, or a duration such as 2s", got=repr(text[:40])) from exc


def _moment(text: str, name: str) -> datetime | None:
    """ISO 8601, UTC unless it says otherwise. Raises InvalidRequest."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as exc:
        raise InvalidParameter(where=f"query:{name}", expected="a time such as 2026-03-11 10:40", got=repr(text[:40])) from exc


def _name(request: WebRequest) -> str:
    return str(request.path_params["name"])[:256]


def _of(client: str) -> str:
    return f"{pages.BASE}/clients/{quote(client, safe='')}"


def _actor(who: Viewer | Session) -> Actor:
    return Actor(who.name if isinstance(who, Viewer) else who.client, who.scopes, who.stores)


def _dispatch_key(request: WebRequest) -> DispatchKey:
    """Raises NotFound."""
    feed, store, number = (request.path_params[name] for name in ("feed", "store", "number"))
    if not 0 < number < 2**63:
        raise NotFound(what="file", key=f"{feed}/{store}/{number}"[:80])
    return DispatchKey(feed[:100], store[:100], number)


def _of_dispatch(key: DispatchKey) -> str:
    return f"{pages.BASE}/dispatches/{quote(str(key))}"


def _peer(request: WebRequest) -> str:
    return request.client.host if request.client else ""


def _require_here(request: WebRequest) -> None:
    """Fetch Metadata (W3C): a browser says whether one of our own pages sent the form. Raises Forbidden."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden(reason="this form was sent by another site")


def _viewer(session: Session) -> Viewer:
    return Viewer(name=session.client, csrf=session.csrf, may_change=WRITE in session.scopes, scopes=session.scopes, stores=session.stores)


def _wanted(given: dict[str, Any], kind: type[T]) -> T:
    """Raises InvalidRequest."""
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as exc:
        raise InvalidParameter(where="query", expected="what the filters of this page offer", got=str(exc)[:200]) from exc


def _number(form: Form, name: str) -> int:
    """Raises InvalidRequest."""
    text = form.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidRequest(where=f"form:{name}", expected="a number", got=repr(text[:20]))
    return int(text)


def _at_record(record: RecordView) -> str:
    return f"{pages.BASE}/records/{record.id}"


async def _form(request: WebRequest, most: int = _FORM_BYTES) -> Form:
    """Fields of a URL-encoded form, each once. Raises BodyTooLarge, InvalidRequest, UnsupportedMediaType."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise UnsupportedMediaType(expected="application/x-www-form-urlencoded", got=request.headers.get("content-type", "")[:80])
    headers = {name.lower(): value for name, value in request.headers.items()}
    raw = await reading.received(request.receive, headers, most, _FORM_SECONDS)
    try:
        fields = parse_qsl(raw.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=_FIELDS)
    except ValueError as exc:
        raise InvalidRequest(where="", expected=f"at most {_FIELDS} fields", got="more") from exc
    return {name: value if most > _FORM_BYTES else value[:_FIELD] for name, value in fields}


async def _static(request: WebRequest) -> Response[bytes]:
    found = pages.asset(request.path_params["name"])
    if found is None:
        raise NotFound(what="file", key=request.path_params["name"][:40])
    headers = {"etag": found.etag, "cache-control": "public, max-age=31536000, immutable"}
    return Response(found.body, media_type=found.media_type, headers=headers)


@dataclass(frozen=True)
class Documents:
    """What anybody may read: contracts and how the process feels. Nothing of a retailer's data."""

    openapi: dict[str, bytes]
    asyncapi: dict[str, bytes]
    problems: bytes
    changelog: bytes
    reference: Callable[[str], str]
    problem: Callable[[dict[str, Any]], str]
    """A problem's entry -> its page."""
    ready: Callable[[], Awaitable[dict[str, str]]]
    metrics: Callable[[str], Awaitable[tuple[bytes, str]]]
    """What the request accepts -> page and media type."""
    admitted: Admitted


def documents(docs: Documents) -> list[HTTPRouteHandler]:
    newest = next(iter(docs.openapi))

    def by_version(found: dict[str, bytes]) -> Callable[[WebRequest], Awaitable[Response[bytes]]]:
        async def document(request: WebRequest) -> Response[bytes]:
            version = request.path_params["file"].removesuffix(".json")
            if version not in found:
                raise NotFound(what="API version", key=version[:40])
            return _json(found[version])

        return document

    async def problems(request: WebRequest) -> Response[bytes]:
        return _json(docs.problems)

    async def problem(request: WebRequest) -> Response[bytes]:
        code = request.path_params["code"]
        for entry in msgspec.json.decode(docs.problems):
            if entry["code"] == code:
                page = "text/html" in request.headers.get("accept", "")  # a browser; whoever says nothing gets what a program reads
                found = _html(docs.problem(entry)) if page else _json(msgspec.json.encode(entry))
                found.set_header("vary", "accept")
                return found
        raise NotFound(what="problem", key=code[:40])

    async def versions(request: WebRequest) -> Response[bytes]:
        return _json(docs.changelog)

    async def reference(request: WebRequest) -> Response[bytes]:
        version = request.path_params.get("version", newest)
        if version == "versions":
            version = newest
        if version not in docs.openapi:
            raise NotFound(what="API version", key=version[:40])
        return _html(docs.reference(version))

    async def alive(request: WebRequest) -> Response[bytes]:
        return _json(b'{"status":"alive"}')

    async def ready(request: WebRequest) -> Response[bytes]:
        return _json(msgspec.json.encode(await docs.ready()))

    async def metrics(request: WebRequest) -> Response[bytes]:
        await docs.admitted("GET /metrics", SCOPE, request.headers, certificate_of(request.scope), _peer(request))
        page, media_type = await docs.metrics(request.headers.get("accept", ""))
        return Response(page, media_type=media_type)

    async def root(request: WebRequest) -> Response[bytes]:
        return Response(b"", status_code=HTTP_303_SEE_OTHER, headers={"location": "/docs"})

    routes: dict[str, Callable[[WebRequest], Awaitable[Response[bytes]]]] = {
        "/": root,
        "/openapi/{file:str}": by_version(docs.openapi),
        "/asyncapi/{file:str}": by_version(docs.asyncapi),
        "/problems": problems,
        "/problems/{code:str}": problem,
        "/changelog": versions,
        "/docs": reference,
        "/docs/{version:str}": reference,
        "/health/live": alive,
        "/health/ready": ready,
        "/metrics": metrics,
    }
    return [_named("GET", path, handle) for path, handle in routes.items()]


def _named(method: Literal["GET", "POST"], path: str, handle: Callable[[WebRequest], Awaitable[Response[bytes]]]) -> HTTPRouteHandler:
    async def answer(request: WebRequest) -> Response[bytes]:
        if flight := current():
            flight.name = f"{method} {path.replace(':str', '')}"
        return await handle(request)

    return HTTPRouteHandler(path, http_method=[method], status_code=HTTP_303_SEE_OTHER if method == "POST" else None)(answer)


def _json(body: bytes) -> Response[bytes]:
    return Response(body, media_type="application/json", headers={"cache-control": "public, max-age=60"})
