from __future__ import annotations

from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families

from contracts.errors import UpstreamTimeout
from observability import Recorder, Step, step
from observability.metrics import Reading, exposition


def samples(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(page.decode())
        for s in family.samples
    }


def test_the_page_counts_every_flight_call_and_loss() -> None:
    of = Recorder()
    for n in range(20):
        with of.flight("request", "GET /x", channel="web", api_version="v"), step(Step.CALL, system="erp", operation="Get") as call:
            if n < 3:
                call.failed(UpstreamTimeout(system="erp", operation="Get"))
    found = samples(exposition(of, [Reading("tillgate_waiting", "Waiting", {"system": s}, v) for s, v in (("erp", 3), ("oms", 0))])[0])
    at = (("operation", "Get"), ("system", "erp"))
    assert found["tillgate_call_duration_seconds_count", at] == 20
    assert found["tillgate_call_failures_total", (("class", "timeout"), *at)] == 3
    route = (("api_version", "v"), ("channel", "web"))
    assert found["tillgate_flight_duration_seconds_bucket", (*route, ("le", "+Inf"), ("route", "GET /x"))] == 20
    assert found["tillgate_waiting", (("system", "erp"),)] == 3
    assert found["tillgate_telemetry_lost_total", (("place", "recording_faults"),)] == 0
    assert found["tillgate_flights_open", ()] == 0


def test_label_values_of_others_making_cannot_break_the_page() -> None:
    of = Recorder()
    with of.flight("request", 'GET /"\n} 1', channel="\\"):
        pass
    assert any(name == "tillgate_flight_duration_seconds_count" for name, _ in samples(exposition(of)[0]))


def test_whoever_accepts_openmetrics_is_led_from_a_bucket_to_a_kept_trace() -> None:
    of = Recorder()
    with of.flight("request", "GET /x", channel="web") as record, step(Step.CALL, system="erp", operation="Get"):
        pass
    page, media_type = exposition(of, accept="application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
    assert media_type.startswith("application/openmetrics-text; version=1.0.0")
    found = [s for family in open_families(page.decode()) for s in family.samples if s.exemplar]
    assert {s.name for s in found} == {"tillgate_flight_duration_seconds_bucket", "tillgate_call_duration_seconds_bucket"}
    for sample in found:
        assert sample.exemplar.labels == {"trace_id": record.trace_id}
        assert sample.exemplar.value <= float(sample.labels["le"])
    assert b"trace_id" not in exposition(of, accept="text/plain")[0]
