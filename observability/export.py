"""Kept flights to any OpenTelemetry collector over OTLP/HTTP, batched in the SDK's own thread; what does not fit is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from observability.flight import FlightRecord
from observability.spans import readable, spans_of

QUEUE: Final = 20_480
BATCH: Final = 1_024
DELAY_MS: Final = 1_000


class Otlp:
    """A sink. Built in each worker after the fork, as the SDK's thread does not survive one."""

    def __init__(self, exporter: SpanExporter, of: Resource, *, queue: int = QUEUE, delay_ms: int = DELAY_MS) -> None:
        self._resource, self._queue = of, queue
        self.handed = self.dropped = 0
        self._counted = _Counted(exporter)
        self._processor = BatchSpanProcessor(
            self._counted, max_queue_size=queue, schedule_delay_millis=delay_ms, max_export_batch_size=min(BATCH, queue)
        )

    @classmethod
    def over_http(cls, endpoint: str, of: Resource, *, headers: Mapping[str, str] | None = None, timeout: float = 10.0) -> Otlp:
        """`endpoint` is the full URL, such as `http://collector:4318/v1/traces`. The exporter loads slowly, hence only when used."""
        from opentelemetry.exporter.otlp.proto.http import Compression
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(endpoint=endpoint, headers=dict(headers or {}), timeout=timeout, compression=Compression.Gzip)
        return cls(exporter, of)

    @property
    def exported(self) -> int:
        return self._counted.exported

    @property
    def failed(self) -> int:
        """Spans that the collector did not take."""
        return self._counted.failed

    @property
    def losses(self) -> dict[str, int]:
        return {"otlp_queue": self.dropped, "otlp_export": self.failed}

    def put(self, record: FlightRecord) -> None:
        for span in spans_of(record, lean=True):
            if self.handed - self._counted.taken >= self._queue:  # the processor itself would drop the oldest without a count
                self.dropped += 1
            else:
                self.handed += 1
                self._processor.on_end(readable(span, self._resource))

    async def close(self) -> None:
        await asyncio.to_thread(self._processor.shutdown)


class _Counted(SpanExporter):
    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.taken = self.exported = self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        try:
            result = self._exporter.export(spans)
        except Exception:
            self.failed += len(spans)
            raise
        if result is SpanExportResult.SUCCESS:
            self.exported += len(spans)
        else:
            self.failed += len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)
