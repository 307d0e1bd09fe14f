import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from observability.rootcause import names, spans
from observability.rootcause.structure import structure


def flat(**changes: Any) -> dict[str, Any]:
    return {
        "trace_id": "t1",
        "span_id": "a",
        "parent_id": None,
        "service": "web",
        "name": "GET /",
        "start": 1_700_000_000_000_000,
        "duration": 900,
    } | changes


def read(tmp_path: Path, *rows: dict[str, Any], **options: Any) -> spans.Spans:
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return spans.read([str(tmp_path / "s.jsonl")], **options)


WEB = [{"key": "service.name", "value": {"stringValue": "web"}}]
TRACE = "5b8efff798038103d269b633813fc60c"
SERVED = {
    "traceId": TRACE,
    "spanId": "eee19b7ec3c1b174",
    "name": "GET /orders/4711",
    "kind": 2,
    "startTimeUnixNano": "1700000000000000000",
    "endTimeUnixNano": "1700000000250000000",
    "status": {"code": "STATUS_CODE_ERROR"},
    "unknown": {"x": 1},
}
CALLED = {
    "traceId": TRACE,
    "spanId": "eee19b7ec3c1b175",
    "parentSpanId": "eee19b7ec3c1b174",
    "name": "call",
    "kind": "SPAN_KIND_CLIENT",
    "startTimeUnixNano": 1700000000010000000,
    "endTimeUnixNano": 1700000000240000000,
    "attributes": [
        {"key": "server.address", "value": {"stringValue": "erp"}},
        {"key": "http.response.status_code", "value": {"intValue": "503"}},
    ],
}
OTLP = {"resourceSpans": [{"resource": {"attributes": WEB}, "scopeSpans": [{"spans": [SERVED, CALLED]}]}]}


def test_otlp_lines_are_read_with_enums_and_numbers_in_either_form(tmp_path: Path) -> None:
    found = read(tmp_path, OTLP)
    assert [found.services[i] for i in found.service] == ["web", "web"]
    assert [found.operations[i] for i in found.operation] == ["GET /orders/{}", "call"]
    assert found.duration.tolist() == [250_000_000, 230_000_000]
    assert found.kind.tolist() == [spans.SERVER, spans.CLIENT]
    assert found.status.tolist() == [spans.FAILED, spans.FAILED]
    assert [found.services[p] for p in found.peer if p >= 0] == ["erp"]
    assert structure(found).parent.tolist() == [-1, 0]


def test_gzip_is_recognised_by_its_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(gzip.compress(json.dumps(flat()).encode()))
    assert len(spans.read([str(tmp_path / "s")])) == 1


@pytest.mark.parametrize(
    ("start", "duration", "unit"),
    [
        (1_700_000_000, 0.25, "s"),
        (1_700_000_000_000, 250, "ms"),
        (1_700_000_000_000_000, 250_000, "us"),
        (1_700_000_000_000_000_000, 250_000_000, "ns"),
    ],
)
def test_the_unit_of_times_is_told_by_their_size(start: int, duration: float, unit: str, tmp_path: Path) -> None:
    found = read(tmp_path, flat(start=start, duration=duration))
    assert (found.units[0], int(found.start[0]), int(found.duration[0])) == (unit, 1_700_000_000 * 10**9, 250_000_000)


def test_durations_in_another_unit_than_starts_are_seen_by_calls_that_would_not_fit(tmp_path: Path) -> None:
    rows = []
    for i in range(40):
        rows.append(flat(trace_id=f"t{i}", span_id=f"a{i}", start=1_700_000_000.0 + i, duration=80.0))
        rows += [
            flat(trace_id=f"t{i}", span_id=f"b{i}{j}", parent_id=f"a{i}", service="b", start=1_700_000_000.0 + i + j / 100, duration=9.0)
            for j in range(7)
        ]
    found = read(tmp_path, *rows)
    assert found.units == ("s", "ms")
    assert int(found.duration[0]) == 80_000_000


def test_times_written_as_text_are_understood(tmp_path: Path) -> None:
    found = read(tmp_path, flat(start="2023-11-14T22:13:20.5Z", duration=12))
    assert int(found.start[0]) == 1_700_000_000_500_000_000


def test_duplicates_negative_durations_and_empty_ids_are_dropped_and_counted(tmp_path: Path) -> None:
    found = read(tmp_path, flat(), flat(duration=5), flat(span_id="b", duration=-1), flat(span_id="0000000000000000"))
    assert (len(found), found.troubles.duplicates, found.troubles.negative, found.troubles.without_id) == (1, 1, 1, 1)


def test_spans_that_are_their_own_ancestors_become_roots(tmp_path: Path) -> None:
    found = structure(read(tmp_path, flat(parent_id="b"), flat(span_id="b", parent_id="a"), flat(span_id="c", parent_id="c")))
    assert (found.parent >= 0).sum() <= 1
    assert found.traces == 1


def test_without_trace_ids_connected_parents_make_a_trace(tmp_path: Path) -> None:
    rows = [flat(trace_id=None, span_id=f"r{i}") for i in range(3)] + [
        flat(trace_id="", span_id=f"c{i}", parent_id=f"r{i}") for i in range(3)
    ]
    found = structure(read(tmp_path, *rows))
    assert found.traces == 3


def test_exclusive_time_is_what_no_child_covers(tmp_path: Path) -> None:
    at = 1_700_000_000_000_000
    rows = [
        flat(start=at, duration=1000),
        flat(span_id="b", parent_id="a", service="x", start=at + 100, duration=300),
        flat(span_id="c", parent_id="a", service="y", start=at + 200, duration=400),
        flat(span_id="d", parent_id="a", service="z", start=at + 900, duration=500),
    ]
    found = structure(read(tmp_path, *rows))
    assert found.exclusive[0] == 1000 - 500 - 100
    pauses = found.pauses(np.ones(len(found.duration), bool))
    assert sorted(zip(pauses.before.tolist(), pauses.after.tolist(), pauses.time.tolist(), strict=True)) == [
        (-1, 1, 100.0),
        (1, 2, 0.0),
        (2, 3, 300.0),
        (3, -1, 0.0),
    ]


def test_a_clock_that_is_wrong_by_seconds_does_not_change_exclusive_time(tmp_path: Path) -> None:
    rows, at = [], 1_700_000_000_000_000
    for i in range(30):
        rows += [
            flat(trace_id=f"t{i}", span_id=f"a{i}", start=at + i * 1000_000, duration=100_000),
            flat(
                trace_id=f"t{i}",
                span_id=f"b{i}",
                parent_id=f"a{i}",
                service="far",
                start=at + i * 1000_000 + 30_000 - 5_000_000,
                duration=40_000,
            ),
        ]
    found = structure(read(tmp_path, *rows))
    assert found.skewed == 1
    assert np.allclose(found.exclusive[::2], 60_000)


def test_a_fragment_joins_the_only_span_that_can_have_called_it(tmp_path: Path) -> None:
    rows, at = [], 1_700_000_000_000_000
    for i in range(20):
        rows += [
            flat(trace_id=f"t{i}", span_id=f"a{i}", start=at + i, duration=100),
            flat(trace_id=f"t{i}", span_id=f"b{i}", parent_id=f"a{i}", service="b", start=at + i + 5, duration=10),
        ]
    rows += [
        flat(trace_id="x", span_id="ax", start=at, duration=100),
        flat(trace_id="x", span_id="bx", parent_id="gone", service="b", start=at + 5, duration=10),
    ]
    found = structure(read(tmp_path, *rows))
    assert found.joined == 1
    assert found.parent[-1] == len(rows) - 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "s.jsonl:2: expected one span per line"),
        ('{"span_id": "b", "service": "x", "start": null, "duration": 1}', "expected one span"),
        ("[1]", "s.jsonl:2"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(line: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text(json.dumps(flat()) + "\n" + line)
    with pytest.raises(spans.Unreadable, match=says):
        spans.read([str(tmp_path / "s.jsonl")])


def test_replicas_are_one_service_and_parts_of_names_stay() -> None:
    found = names.services(["cart-7d9f8b6c5d-x2x9z", "cart", "stock-0", "stock-1", "user_db", "user_service", "pay_Charge", "pay_Refund"])
    assert found["cart-7d9f8b6c5d-x2x9z"] == ("cart", "")
    assert found["stock-0"] == found["stock-1"] == ("stock", "")
    assert found["user_db"] == ("user_db", "")
    assert found["pay_Charge"] == ("pay", "Charge")


def test_numbers_and_a_common_beginning_tell_services_apart_not_operations_or_replicas() -> None:
    found = names.services(["MS_27772", "MS_18029", "ts_order_service", "ts_travel_service", "svc-1", "svc-2"], calls=[("svc-1", "svc-2")])
    assert {service for service, _ in found.values()} == set(found)


def test_who_numbers_services_with_leading_zeros_numbers_all_of_them() -> None:
    found = names.services(["docker_001", "docker_002", "db_003", "db_007"], calls=[("docker_001", "docker_002"), ("docker_002", "db_003")])
    assert {service for service, _ in found.values()} == set(found)
    assert names.services(["cart-01", "cart-02", "web"])["cart-02"] == ("cart", "")


DATA_SETS: dict[str, dict[str, Any]] = {
    "Jaeger": {"traceID": "a1", "spanID": "b1", "references": [{"refType": "CHILD_OF", "spanID": "c1"}], "operationName": "op",
               "startTimeMillis": 1_700_000_000_000, "duration": 50_000, "process": {"serviceName": "cart"},
               "tags": [{"key": "error", "value": True}]},
    "Zipkin": {"traceId": "a1", "id": "b1", "parentId": "c1", "name": "op", "timestamp": 1_700_000_000_000_000, "duration": 50_000,
               "localEndpoint": {"serviceName": "cart"}, "tags": {"http.status_code": "500"}},
    "RCAEval": {"time": "x", "traceID": "a1", "spanID": "b1", "serviceName": "cart", "operationName": "op",
                "startTimeMillis": 1_700_000_000_000, "startTime": 1_700_000_000_000_000, "duration": 50_000, "statusCode": "13.0",
                "parentSpanID": "c1"},
    "Nezha": {"TraceID": "a1", "SpanID": "b1", "ParentID": "c1", "PodName": "cart-579f59597d-wc2lz", "OperationName": "op",
              "StartTimeUnixNano": "1700000000000000000", "EndTimeUnixNano": "1700000000050000000", "error": "boom"},
    "AIOps challenge": {"timestamp": 1_700_000_000_000, "cmdb_id": "cart-0", "parent_span": "c1", "span_id": "b1", "trace_id": "a1",
                        "duration": 50, "status_code": "Unavailable", "operation_name": "op"},
    "GAIA": {"service_name": "cart", "trace_id": "a1", "span_id": "b1", "parent_id": "c1", "start_time": "2023-11-14 22:13:20.000000",
             "end_time": "2023-11-14 22:13:20.050000", "url": "op", "status_code": 500},
}  # fmt: skip


@pytest.mark.parametrize("name", DATA_SETS)
def test_the_spellings_of_public_data_sets_are_understood(name: str, tmp_path: Path) -> None:
    found = read(tmp_path, DATA_SETS[name])
    assert (found.services[found.service[0]], found.operations[found.operation[0]]) == ("cart", "op")
    assert (int(found.start[0]), int(found.duration[0])) == (1_700_000_000_000_000_000, 50_000_000)
    assert (int(found.status[0]), bool(found.parent_key[0])) == (spans.FAILED, True)


@pytest.mark.parametrize("parent", ["root", "None", "a", 0, None])
def test_a_span_that_names_no_parent_or_itself_is_a_root(parent: Any, tmp_path: Path) -> None:
    assert int(read(tmp_path, flat(parent_id=parent)).parent_key[0]) == 0


def test_writers_of_different_units_are_read_side_by_side(tmp_path: Path) -> None:
    rows = [flat(trace_id=f"u{i}", span_id=f"u{i}") for i in range(9)]
    rows += [flat(trace_id=f"m{i}", span_id=f"m{i}", start=1_700_000_000_000, duration=9) for i in range(9)]
    found = read(tmp_path, *rows)
    assert set(found.start.tolist()) == {1_700_000_000_000_000_000}
    assert set(found.duration.tolist()) == {900_000, 9_000_000}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("GET /orders/4711/lines?x=1", "GET /orders/{}/lines"),
        ("find 8c6a5e9e-0d3c-4a39-8e1c-5d1f7c1b0f11", "find {}"),
        ("v2 GetStock", "v2 GetStock"),
    ],
)
def test_operations_lose_what_changes_from_call_to_call(written: str, meant: str) -> None:
    assert names.operation(written) == meant
