"""Who speaks which API version, what of it newer versions have otherwise, and who stands in the way of switching one off."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from contracts.adoption import BrownOutView, ChangeView, ClientUseView, State, UseView, VersionsView, VersionView
from contracts.books import Books, Client, Used
from contracts.versions import Version, VersionHistory
from gateway.edge import problems
from gateway.edge.brown_out import BrownOut, coming
from gateway.edge.endpoint import AnyEndpoint
from gateway.edge.usage import SELECTED
from gateway.services.clock import Now

_AHEAD = 3
"""Brown-outs that are told of each version."""

Touching = Mapping[tuple[str, str, str], str]
"""Version, route and field -> the change that touched it."""


@dataclass(frozen=True)
class Adoption:
    """`endpoints`: every route that the versions hold for. `flush` writes what this process has counted and not yet written."""

    books: Books
    history: VersionHistory
    endpoints: Sequence[AnyEndpoint]
    brown_outs: Sequence[BrownOut]
    now: Now
    flush: Callable[[], Awaitable[None]] | None = None

    async def read(self, days: int) -> VersionsView:
        """What was seen in the last so many days, today among them."""
        if self.flush is not None:
            await self.flush()
        now = self.now()
        since = (now - timedelta(days=days - 1)).date()
        used = await self.books.usage.since(since)
        clients = {c.name: c for c in await self.books.clients.list()}
        touching = touched(self.history, self.endpoints)
        return VersionsView(since=since, items=tuple(self._version(v, used, clients, touching, now) for v in self.history.versions))

    def _version(
        self, version: Version, used: Sequence[Used], clients: Mapping[str, Client], touching: Touching, now: datetime
    ) -> VersionView:
        mine = [u for u in used if u.version == version.date]
        spoken: dict[str, list[Used]] = {}
        for u in mine:
            spoken.setdefault(u.client, []).append(u)
        seen = sorted((_client(n, rows, clients.get(n), touching) for n, rows in spoken.items()), key=lambda c: (-c.requests, c.client))
        came = {c: v.date for v in self.history.versions for c in v.changes}
        return VersionView(
            version=version.date,
            state=state(version, self.history, now),
            summary=version.summary,
            deprecated=version.deprecated,
            sunset=version.sunset,
            requests=sum(c.requests for c in seen),
            clients=tuple(seen),
            pinned_unseen=tuple(sorted(c.name for c in clients.values() if c.api_version == version.date and c.name not in spoken)),
            changes=tuple(
                ChangeView(
                    name=change.__name__,
                    version=came[change],
                    sentence=change.sentence(),
                    clients=tuple(c.client for c in seen if any(u.change == change.__name__ for u in c.uses)),
                )
                for change in self.history.newer_than(version.date)
            ),
            brown_outs=tuple(
                BrownOutView(start=w.start, end=w.end, announcement=b.announcement or None)
                for w, b in coming(self.brown_outs, version.date, now, _AHEAD)
            ),
        )


def state(version: Version, history: VersionHistory, now: datetime) -> State:
    if version is history.newest:
        return "current"
    if version.retired(now):
        return "retired"
    return "deprecated" if version.deprecated and now >= version.deprecated else "supported"


def touched(history: VersionHistory, endpoints: Iterable[AnyEndpoint]) -> Touching:
    """What newer versions have otherwise, by the names under which it is counted."""
    found: dict[tuple[str, str, str], str] = {}
    told = {v.date: problems.touched(history, v.date) for v in history.versions}
    for endpoint in endpoints:
        for version in history.versions:
            at, parameters = version.date, endpoint.parameters.__struct_encode_fields__
            for where, touches in (
                ("query:", history.touched_parameters(parameters, endpoint.answer, at)),
                ("body:", history.touched(endpoint.body, at) if endpoint.body is not None else ()),
                ("answer:", history.touched(endpoint.answer, at)),
            ):
                for each in touches:
                    found.setdefault((at, endpoint.route, where + each.place), each.change.__name__)
            for name, change in told[at].items():
                found.setdefault((at, endpoint.route, name), change.__name__)
    return found


def _client(name: str, rows: Sequence[Used], client: Client | None, touching: Touching) -> ClientUseView:
    version = rows[0].version
    by_route: dict[str, dict[str, Used]] = {}
    for row in rows:
        by_route.setdefault(row.route, {})[row.field] = row
    uses: list[UseView] = []
    for (at, route, field), change in touching.items():
        fields = by_route.get(route, {})
        counted = fields.get(field)
        times, seen = (counted.times, counted.seen_at) if counted else (0, None)
        if field.startswith("answer:") and (whole := fields.get("")):  # who did not choose its fields reads all of them
            chosen = fields[SELECTED].times if SELECTED in fields else 0
            if whole.times > chosen:
                times, seen = times + whole.times - chosen, whole.seen_at
        if at == version and times and seen:
            uses.append(UseView(client=name, route=route, field=field, change=change, times=times, last_seen=seen))
    return ClientUseView(
        client=name,
        channel=rows[0].channel,
        pinned=client.api_version if client else None,
        suspended=bool(client and client.suspended),
        requests=sum(fields[""].times for fields in by_route.values() if "" in fields),
        routes=tuple(sorted(by_route)),
        last_seen=max(r.seen_at for r in rows),
        uses=tuple(uses),
    )
