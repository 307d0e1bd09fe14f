"""One function per page: plain data in, a whole HTML page out. Everything is escaped; nothing is inline, so a strict policy holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final, NamedTuple, get_args
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined

from contracts.admin import ClientView, DispatchView, FileDetail, FileView, FindingView, RecordDetail, RecordView
from contracts.adoption import VersionsView
from contracts.books import AuditEntry, DispatchState, Label
from observability import dependencies
from observability.console import drawing
from observability.console import incident as incident_parts
from observability.console.data import (
    MINUTES,
    DriftView,
    FileFilter,
    FlightFilter,
    ProcessView,
    Pulse,
    RouteView,
    SystemView,
    Viewer,
)
from observability.console.waterfall import waterfall
from observability.dependencies import Seen
from observability.rootcause import felt
from observability.rootcause.model import DependencyMap, Incident
from observability.rootcause.online.sentence import why_not
from observability.spans import FlightSummary, Span

BASE: Final = "/console"
BLIND_S: Final = 60
"""Without a look for so long, that no incident is open says nothing."""
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'"
)
"""The header every page is sent with."""


class Asset(NamedTuple):
    body: bytes
    media_type: str
    etag: str


_MEDIA: Final = {
    **dict.fromkeys(("console.css", "portal.css"), "text/css"),
    **dict.fromkeys(("console.js", "portal.js"), "text/javascript"),
    "icon.svg": "image/svg+xml",
}


@cache
def asset(name: str) -> Asset | None:
    """A file of `{BASE}/static/{name}`, None for any other name. Cacheable: pages name it with its fingerprint."""
    if name not in _MEDIA:
        return None
    body = files("observability.console").joinpath("static", name).read_bytes()
    return Asset(body, _MEDIA[name], f'"{sha256(body).hexdigest()[:16]}"')


def render_systems(
    systems: Sequence[SystemView],
    *,
    routes: Sequence[RouteView] = (),
    drifted: Sequence[DriftView] = (),
    notices: Sequence[str] = (),
    window_s: int = 0,
    now: datetime | None = None,
    viewer: Viewer | None = None,
) -> str:
    """The estate as it is at this moment, and what channels feel of it: over the last `window_s` seconds, 0 = since the start."""
    operations = [o for s in systems for o in s.operations]
    return _page(
        "systems.html",
        "systems",
        now,
        viewer,
        systems=systems,
        routes=routes,
        drifted=drifted,
        notices=notices,
        window_s=window_s,
        open_breakers=sum(o.breaker == "open" for o in operations),
        half_open=sum(o.breaker == "half_open" for o in operations),
        in_flight=sum(o.in_flight for o in operations),
        waiting=sum(o.waiting for o in operations),
        calls=sum(o.calls for o in operations),
        failing=sum(o.calls * o.failure_rate for o in operations),
        drift=sum(o.drift for o in operations),
    )


def render_flights(
    flights: Sequence[FlightSummary],
    *,
    chosen: FlightFilter | None = None,
    channels: Sequence[str] = (),
    systems: Sequence[str] = (),
    seen: int | None = None,
    kept: int | None = None,
    dropped: int = 0,
    older: str = "",
    now: datetime | None = None,
    viewer: Viewer | None = None,
) -> str:
    """Recent kept flights, newest first. `channels`, `systems`: what the filters offer. `seen` of all flights `kept` were kept.
    `older`: the query of the next page.
    """
    slowest = max((f.milliseconds for f in flights), default=0.0)
    return _page(
        "flights.html",
        "flights",
        now,
        viewer,
        flights=flights,
        chosen=chosen or FlightFilter(),
        channels=channels,
        systems=systems,
        seen=seen,
        kept=kept,
        dropped=dropped,
        slowest=slowest or 1.0,
        older=older,
    )


def render_flight(spans: Sequence[Span], *, now: datetime | None = None, viewer: Viewer | None = None) -> str:
    """One trace, at least one span."""
    return _page("flight.html", "flights", now, viewer, fall=waterfall(spans))


def render_files(
    received: Sequence[FileView],
    *,
    chosen: FileFilter | None = None,
    feeds: Sequence[str] = (),
    findings: Sequence[FindingView] = (),
    waiting: int = 0,
    older: str = "",
    now: datetime | None = None,
    viewer: Viewer | None = None,
) -> str:
    """Received files, newest first. `feeds`: what the filter offers; `waiting`: records of all files that wait for a person; `older`: where
    the next page begins.
    """
    return _page(
        "files.html",
        "files",
        now,
        viewer,
        received=received,
        chosen=chosen or FileFilter(),
        feeds=feeds,
        findings=findings,
        waiting=waiting,
        older=older,
        running=[f for f in received if f.progress],
        booked=sum(f.booked for f in received),
        quarantined=sum(f.quarantined for f in received),
        open=sum(f.open for f in received),
        refused=sum(f.status == "refused" for f in received),
    )


def render_file(detail: FileDetail, *, now: datetime | None = None, viewer: Viewer | None = None) -> str:
    """One file: what happened to it, what to do, and its records that were set aside."""
    return _page("file.html", "files", now, viewer, file=detail.file, detail=detail)


def render_records(
    records: Sequence[RecordView], *, status: str = "open", older: str = "", now: datetime | None = None, viewer: Viewer | None = None
) -> str:
    """Records that were set aside, of all files, in the order in which they came. `older`: cursor of the next page."""
    return _page("records.html", "files", now, viewer, records=records, status=status, more=older)


def render_record(detail: RecordDetail, *, now: datetime | None = None, viewer: Viewer | None = None) -> str:
    """One record: its text and fields, what booking it would do, and the buttons for it."""
    return _page("record.html", "files", now, viewer, record=detail.record, detail=detail)


def render_dispatches(
    sent: Sequence[DispatchView],
    *,
    chosen: FileFilter | None = None,
    older: str = "",
    now: datetime | None = None,
    viewer: Viewer | None = None,
) -> str:
    """Files for the tills, newest first. `older`: where the next page begins."""
    states = get_args(DispatchState)
    return _page("dispatches.html", "files", now, viewer, sent=sent, chosen=chosen or FileFilter(), states=states, older=older)


def render_dispatch(file: DispatchView, *, now: datetime | None = None, viewer: Viewer | None = None) -> str:
    """One file for the tills, what they refused of it, and the buttons for it."""
    return _page("dispatch.html", "files", now, viewer, file=file)


def render_orders(processes: Sequence[ProcessView], *, now: datetime | None = None, viewer: Viewer | None = None) -> str:
    """Orders whose process is open; those that need a person first."""
    rank = {"needs_person": 0, "in_doubt": 1, "open": 2}
    return _page("orders.html", "orders", now, viewer, processes=sorted(processes, key=lambda p: (rank[p.state], p.since)))


def render_overview(
    *,
    channels: Sequence[Pulse] = (),
    systems: Sequence[Pulse] = (),
    notices: Sequence[str] = (),
    looked_at: datetime | None = None,
    now: datetime | None = None,
    viewer: Viewer | None = None,
) -> str:
    """What the viewer is told to be wrong, and how every channel and every system does now. `looked_at`: when that was looked for last."""
    now = now or datetime.now(UTC)
    blind = looked_at is None or (now - looked_at).total_seconds() > BLIND_S
    return _page(
        "overview.html",
        "overview",
        now,
        viewer,
        channels=channels,
        systems=systems,
        notices=notices,
        looked_at=looked_at,
        blind=blind,
        minutes=MINUTES,
    )


def render_incidents(
    incidents: Sequence[Incident], *, older: str = "", watching: str = "", now: datetime | None = None, viewer: Viewer | None = None
) -> str:
    """Newest first. `watching`: a sentence on who looks; `older`: cursor of the next page."""
    return _page("incidents.html", "incidents", now, viewer, incidents=incidents, older=older, watching=watching)


def render_incident(
    incident: Incident,
    *,
    declared: DependencyMap,
    traces: Mapping[str, Sequence[Span]] | None = None,
    labels: Sequence[Label] = (),
    into: str = "",
    stores: int = 0,
    now: datetime | None = None,
    viewer: Viewer | None = None,
) -> str:
    """One incident. `traces`: of its culprits, as far as they are kept; `stores`: how many were active."""
    return _page(
        "incident.html",
        "incidents",
        now,
        viewer,
        here=incident.id,
        incident=incident,
        chart=drawing.chart(incident.timeline, incident) if incident.timeline else None,
        plan=drawing.plan(declared, incident),
        bars=incident_parts.attributes(incident),
        compared=[(c, incident_parts.comparison(c, traces or {})) for c in incident.culprits[: incident_parts.CULPRITS]],
        labels=labels,
        into=into,
        stores=stores,
    )


def render_map(
    declared: DependencyMap, *, down: str = "", seen: Seen | None = None, now: datetime | None = None, viewer: Viewer | None = None
) -> str:
    """The declared map. `down`: a system of it, and what is lost with it; `seen`: what flights say against it."""
    lost = dependencies.losses(declared, down) if down else []
    found = dependencies.differences(declared, seen) if seen else []
    inks: dict[str, drawing.Ink] = {x.route: "hit" if x.effect == "fails" else "risk" for x in lost if x.effect != "none"}
    inks |= dict.fromkeys(dependencies.fallen(declared, down), "culprit") if down else {}
    edges = [(d.route, f"{d.system}.{d.operation}".rstrip(".")) for d in found if d.kind in ("undeclared", "unknown_peer")]
    return _page(
        "map.html",
        "map",
        now,
        viewer,
        plan=drawing.plan(declared, inks=inks, undeclared=edges),
        systems=list(declared.systems),
        channels=declared.channels,
        down=down,
        losses=lost,
        seen=seen,
        requests=sum(seen.requests.values()) if seen else 0,
        differences=found,
    )


def render_error(
    status: int, title: str, detail: str, *, trace_id: str = "", now: datetime | None = None, viewer: Viewer | None = None
) -> str:
    """A page that could not be shown, and what to do."""
    return _page("error.html", "", now, viewer, status=status, title=title, detail=detail, trace_id=trace_id)


def render_clients(clients: Sequence[ClientView], *, now: datetime | None = None, viewer: Viewer | None = None) -> str:
    """Who may call, by name."""
    keys = [key for client in clients for key in client.keys if key.state != "ended"]
    return _page(
        "clients.html",
        "clients",
        now,
        viewer,
        clients=clients,
        suspended=sum(c.state == "suspended" for c in clients),
        keys=len(keys),
        ending=sum(key.state == "ending" for key in keys),
    )


def render_client(client: ClientView, entries: Sequence[AuditEntry], *, now: datetime | None = None, viewer: Viewer | None = None) -> str:
    """One client with all its keys, what may be done about it, and the newest entries that concern it."""
    return _page("client.html", "clients", now, viewer, client=client, entries=entries)


def render_versions(seen: VersionsView, *, now: datetime | None = None, viewer: Viewer | None = None) -> str:
    """Who speaks which API version, and what stands in the way of switching one off."""
    return _page("versions.html", "versions", now, viewer, seen=seen)


def render_audit(
    entries: Sequence[AuditEntry], *, client: str = "", older: str = "", now: datetime | None = None, viewer: Viewer | None = None
) -> str:
    """A page of the audit log, newest first. `client`: the filter as it was asked for; `older`: cursor of the next page."""
    return _page("audit.html", "audit", now, viewer, entries=entries, client=client, older=older)


def _page(template: str, active: str, now: datetime | None, viewer: Viewer | None, **data: Any) -> str:
    return (
        _environment(template in _TELEMETRY)
        .get_template(template)
        .render(active=active, now=now or datetime.now(UTC), viewer=viewer, **data)
    )


_TELEMETRY: Final = frozenset({"overview.html", "incidents.html", "incident.html", "map.html", "flights.html", "flight.html"})
"""What they show is of others' making, and nothing of it is edited: it may be cut, and what would reorder or hide it is replaced."""
_LONGEST: Final = 600
_UNSEEN: Final = dict.fromkeys(
    (
        *range(9),
        *range(11, 32),
        *range(127, 160),
        0x61C,
        0x200E,
        0x200F,
        *range(0x2028, 0x202F),
        *range(0x2066, 0x206A),
        *range(0xD800, 0xE000),
    ),
    "\ufffd",
)


def _plain(value: Any) -> Any:
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return (value if len(value) <= _LONGEST else f"{value[: _LONGEST - 1]}…").translate(_UNSEEN)


@cache
def _environment(telemetry: bool = False) -> Environment:
    env = Environment(
        loader=PackageLoader("observability.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_plain if telemetry else None,
    )
    env.globals.update(base=BASE, static=_static_url, query=_query)
    env.filters.update(
        duration=_duration,
        count=_count,
        percent=_percent,
        size=_size,
        clock=_clock,
        moment=_moment,
        iso=_iso,
        ago=_ago,
        words=_words,
        money=_money,
        of=drawing.of,
        spark=drawing.spark,
        bad_shares=_bad_shares,
        rate=_rate,
        named=drawing.named,
        why_not=why_not,
        felt=felt.felt,
        felt_base=felt.base,
        minute=_minute,
    )
    return env


def _static_url(name: str) -> str:
    found = asset(name)
    return f"{BASE}/static/{name}?{found.etag.strip(chr(34)) if found else ''}"


def _query(**values: str) -> str:
    chosen = {key: value for key, value in values.items() if value}
    return f"?{urlencode(chosen)}" if chosen else ""


def _duration(milliseconds: float) -> str:
    """Three significant figures with a unit: 840 µs, 12.4 ms, 1.25 s, 3 min 20 s."""
    if milliseconds < 1:
        return f"{milliseconds * 1000:.0f} µs"
    if milliseconds < 1000:
        return f"{milliseconds:.3g} ms" if milliseconds < 99.95 else f"{milliseconds:.0f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.3g} s"
    minutes, seconds = divmod(round(milliseconds / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def _count(number: float) -> str:
    return f"{round(number):,}".replace(",", "\u202f")


def _bad_shares(pulse: Pulse) -> list[float]:
    return [bad / n if n else 0.0 for n, bad in zip(pulse.n, pulse.bad, strict=True)]


def _rate(number: float) -> str:
    return f"{number:.3g}" if number < 100 else _count(number)


def _money(cents: int) -> str:
    return f"{cents / 100:+,.2f}".replace(",", "\u202f").replace("-", "\u2212")


def _percent(share: float) -> str:
    value = 100 * share
    if 0 < value < 0.1:
        return "<0.1 %"
    return f"{value:.1f} %" if value < 10 and value != int(value) else f"{value:.0f} %"


def _size(number: int) -> str:
    value = float(number)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}" if unit != "B" else f"{number} B"
        value /= 1000
    return f"{value:.3g} GB"


def _clock(when: datetime) -> str:
    return f"{when.astimezone(UTC):%H:%M:%S}"


def _minute(when: datetime) -> str:
    return f"{when.astimezone(UTC):%H:%M}"


def _moment(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _iso(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ago(when: datetime, now: datetime) -> str:
    seconds = max(0.0, (now - when).total_seconds())
    for limit, size, unit in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds / 86_400:.0f} days ago"


def _words(name: str) -> str:
    return name.replace("_", " ")
