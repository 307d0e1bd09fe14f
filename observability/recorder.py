"""The recorder: opens flights and takes them back when they end."""

from __future__ import annotations

from observability.flight import FlightRecord
from observability.vocabulary import FlightKind


class Recorder:
    """`Recorder()` alone is harmless: it counts, exports nothing, and serves tests."""

    def flight(
        self,
        kind: FlightKind,
        name: str,
        *,
        channel: str = "",
        api_version: str = "",
        store: str = "",
        client: str = "",
        parent: str | None = None,
        tracestate: str = "",
        trusted: bool = False,
    ) -> FlightRecord:
        """A flight to be used as `with recorder.flight("request", "GET /inventory") as record:`.

        `name` is a template (`GET /products/{sku}`, `sale.feed`, a queue), never a path. `parent` is a traceparent as it came:
        continued when `trusted`, otherwise a new trace begins and the caller's is kept as a link.
        """
        return FlightRecord(
            self._done,
            kind,
            name,
            channel=channel,
            api_version=api_version,
            store=store,
            client=client,
            parent=parent,
            tracestate=tracestate,
            trusted=trusted,
        )

    def _done(self, record: FlightRecord) -> None:
        pass
