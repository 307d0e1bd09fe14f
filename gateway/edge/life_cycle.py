"""Which version a request speaks, and what its life cycle says: Deprecation (RFC 9745), Sunset (RFC 8594), and its end."""

from __future__ import annotations

from email.utils import format_datetime

from contracts import errors
from contracts.versions import Version, VersionHistory
from gateway.edge.endpoint import AnyEndpoint
from gateway.edge.identity.principal import Principal
from gateway.edge.request import Request
from gateway.services.clock import Now


class LifeCycle:
    def __init__(self, history: VersionHistory, now: Now) -> None:
        self._history = history
        self._now = now

    def version(self, request: Request, principal: Principal, extra: dict[str, str]) -> Version:
        """Fills the fields of the version's life cycle into `extra`, also for a version that is refused. Raises UnknownVersion,
        RetiredVersion.
        """
        wanted = request.headers.get("api-version") or principal.api_version
        version = self._history.by_date.get(wanted)
        if version is None:
            raise errors.UnknownVersion(got=wanted[:40], offered=", ".join(self._history.by_date))
        extra["api-version"] = version.date
        extra["vary"] = "API-Version, Authorization"
        if version.deprecated:
            extra["deprecation"] = f"@{int(version.deprecated.timestamp())}"
            links = ['</docs/versions>; rel="deprecation"; type="text/html"']
            if version.sunset:
                extra["sunset"] = format_datetime(version.sunset, usegmt=True)
                links.append('</docs/versions>; rel="sunset"; type="text/html"')
            links.append(f'</openapi/{self._history.newest.date}.json>; rel="successor-version"')
            extra["link"] = ", ".join(links)
        if version.sunset and self._now() >= version.sunset:
            raise errors.RetiredVersion(version=version.date, sunset=version.sunset.date().isoformat(), newest=self._history.newest.date)
        return version

    def as_sent(self, where: str, endpoint: AnyEndpoint, version: Version) -> str:
        """A place that a handler named (see InvalidRequest), in the words of the version that its caller speaks."""
        if where.startswith("/") and endpoint.body is not None:
            return self._history.as_sent(where, endpoint.body, version.date)
        if where.startswith("query:"):
            return "query:" + self._history.parameter(where.removeprefix("query:"), endpoint.answer, version.date)
        return where
