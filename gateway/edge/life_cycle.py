"""Which version a request speaks, and what its life cycle says: Deprecation (RFC 9745), Sunset (RFC 8594), brown-outs, and its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime

from contracts import errors
from contracts.versions import Version, VersionHistory
from gateway.edge.brown_out import BrownOut, Window, upcoming
from gateway.edge.endpoint import AnyEndpoint
from gateway.edge.identity.principal import Principal
from gateway.services.clock import Now

DOCS = "/docs/versions"

VARY = "API-Version, Authorization"
"""What every answer depends on."""


class LifeCycle:
    def __init__(self, history: VersionHistory, now: Now, brown_outs: Sequence[BrownOut] = ()) -> None:
        self._history = history
        self._now = now
        self._brown_outs = {b.version: [o for o in brown_outs if o.version == b.version] for b in brown_outs}
        self._next: dict[str, tuple[Window, BrownOut] | None] = {}
        """By version; looked for again when it is over."""
        self._told: dict[str, tuple[tuple[Window, BrownOut] | None, dict[str, str]]] = {}
        """By version: what its fields say, for the brown-out that is next."""

    def version(self, headers: Mapping[str, str], principal: Principal, extra: dict[str, str]) -> Version:
        """Fills the fields of the version's life cycle into `extra`, also for a version that is refused. Raises UnknownVersion,
        RetiredVersion, VersionBrownOut.
        """
        wanted = spoken(headers, principal)
        version = self._history.by_date.get(wanted)
        if version is None:
            raise errors.UnknownVersion(got=wanted[:40], offered=", ".join(self._history.by_date))
        extra["api-version"] = version.date
        extra["vary"] = VARY
        if version.deprecated:
            now = self._now()
            brown_out = self._brown_out(version.date, now) if version.date in self._brown_outs else None
            extra.update(self._announced(version, brown_out))
            newest = self._history.newest.date
            if version.sunset and version.retired(now):
                raise errors.RetiredVersion(version=version.date, sunset=version.sunset.date().isoformat(), newest=newest)
            if brown_out and brown_out[0].start <= now:
                end = brown_out[0].end
                raise errors.VersionBrownOut(
                    version=version.date, until=f"{end:%Y-%m-%dT%H:%M:%SZ}", newest=newest, retry_after=(end - now).total_seconds()
                )
        return version

    def _announced(self, version: Version, brown_out: tuple[Window, BrownOut] | None) -> dict[str, str]:
        """Deprecation (RFC 9745), Sunset (RFC 8594), and links; the one to the sunset's page tells the next brown-out in its title."""
        told, fields = self._told.get(version.date, (None, {}))
        if fields and told is brown_out:
            return fields
        fields = {"deprecation": f"@{int(version.deprecated.timestamp())}"} if version.deprecated else {}
        links = [f'<{DOCS}>; rel="deprecation"; type="text/html"']
        if version.sunset:
            fields["sunset"] = format_datetime(version.sunset.astimezone(UTC), usegmt=True)
        if brown_out:
            window, declared = brown_out
            links.append(f'<{declared.announcement or DOCS}>; rel="sunset"; type="text/html"; title="brown-out {window}"')
        elif version.sunset:
            links.append(f'<{DOCS}>; rel="sunset"; type="text/html"')
        links.append(f'</openapi/{self._history.newest.date}.json>; rel="successor-version"')
        fields["link"] = ", ".join(links)
        self._told[version.date] = (brown_out, fields)
        return fields

    def _brown_out(self, version: str, now: datetime) -> tuple[Window, BrownOut] | None:
        if version not in self._next or ((known := self._next[version]) and known[0].end <= now):
            self._next[version] = upcoming(self._brown_outs[version], version, now)
        return self._next[version]

    def as_sent(self, where: str, endpoint: AnyEndpoint, version: Version) -> str:
        """A place that a handler named (see InvalidRequest), in the words of the version that its caller speaks."""
        if where.startswith("/") and endpoint.body is None:
            where = _asked(where, endpoint)  # what a system's mapping says of our question to it
        if where.startswith("/") and endpoint.body is not None:
            return self._history.as_sent(where, endpoint.body, version.date)
        if where.startswith("query:"):
            return "query:" + self._history.parameter(where.removeprefix("query:"), endpoint.answer, version.date)
        return where


def spoken(headers: Mapping[str, str], principal: Principal) -> str:
    """The version that a request asks for, whether there is one or not."""
    return headers.get("api-version") or principal.api_version


def _asked(where: str, endpoint: AnyEndpoint) -> str:
    """The parameter that a member of a question stands for: `/pairs/0/locationId` -> `query:location`, `/customerNumber` -> `path:number`.
    Else `request`.
    """
    member = next((part for part in reversed(where.split("/")) if part and not part.isdigit()), "")
    for kind, names in (("path", endpoint.path_parameters), ("query", endpoint.parameters.__struct_encode_fields__)):
        if found := next((name for name in names if member.startswith(name) or member.lower().endswith(name.lower())), ""):
            return f"{kind}:{found}"
    return "request"
