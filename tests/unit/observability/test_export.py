from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from observability import Recorder, Step, step
from observability.export import Otlp
from observability.spans import resource


class Collector:
    """A real OTLP/HTTP receiver on loopback."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"


@pytest.fixture
def collector() -> Iterator[Collector]:
    it = Collector()
    thread = threading.Thread(target=it.server.serve_forever, args=(0.05,))
    thread.start()
    yield it
    it.server.shutdown()
    thread.join()
    it.server.server_close()


async def test_a_kept_flight_reaches_a_collector_with_its_ids_and_times(collector: Collector) -> None:
    otlp = Otlp.over_http(collector.url, resource("1.0", "w1"))
    recorder = Recorder(sinks=[otlp])
    with recorder.flight("request", "GET /inventory", channel="web") as record:
        with step(Step.ATTEMPT, system="erp", operation="GetStock", attempt=1) as hop:
            pass
        record.degraded("stale")
    await recorder.close()
    (spans,) = [s.spans for r in collector.requests for rs in r.resource_spans for s in rs.scope_spans]
    sent = {s.span_id.hex(): s for s in spans}
    assert {s.trace_id.hex() for s in spans} == {record.trace_id}
    attempt = sent[hop.span_id]
    assert (attempt.parent_span_id.hex(), attempt.name) == (record.span_id, "erp.GetStock")
    assert attempt.end_time_unix_nano - attempt.start_time_unix_nano == hop.t1 - hop.t0
    assert (otlp.exported, otlp.dropped, otlp.failed) == (2, 0, 0)


class Stuck(SpanExporter):
    def __init__(self) -> None:
        self.go = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.go.wait(5)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None: ...


async def test_a_stuck_collector_costs_counted_spans_and_no_waiting() -> None:
    exporter = Stuck()
    otlp = Otlp(exporter, resource("1.0", "w1"), queue=10, delay_ms=20)
    recorder = Recorder(sinks=[otlp], objective=0)
    for _ in range(50):
        with recorder.flight("request", "GET /x"):
            pass
    exporter.go.set()
    await recorder.close()
    assert otlp.handed + otlp.dropped == 50
    assert otlp.dropped >= 25
    assert otlp.failed == otlp.handed
