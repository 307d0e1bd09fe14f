"""The admin API: who speaks which version, and what stands in the way of switching one off."""

from __future__ import annotations

from contracts.adoption import VersionsParameters, VersionsView
from gateway.edge.endpoint import AnyEndpoint, Ask, Endpoint, Outcome
from gateway.services.services import Services


async def list_versions(ask: Ask[VersionsParameters, None], services: Services) -> Outcome:
    return Outcome(await services.adoption.read(ask.parameters.since_days))


ENDPOINTS: tuple[AnyEndpoint, ...] = (
    Endpoint(
        method="GET",
        path="/admin/versions",
        name="listVersions",
        summary="Requests by version, client and by what newer versions have otherwise",
        scope="admin:read",
        answer=VersionsView,
        handle=list_versions,
        parameters=VersionsParameters,
        tag="Versions",
    ),
)
