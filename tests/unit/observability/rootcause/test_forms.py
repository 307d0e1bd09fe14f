import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from observability.rootcause import forms, spans
from observability.rootcause.structure import structure

TRACE, DOOR, CALL, WORK = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b171", "eee19b7ec3c1b172", "eee19b7ec3c1b173"
AT = 1_700_000_000_000_000
"""Microseconds since 1970."""
ROWS: list[dict[str, Any]] = [
    {"id": DOOR, "above": "", "service": "web", "name": "POST /orders", "at": AT, "lasts": 90_000, "kind": 2, "failed": True},
    {"id": CALL, "above": DOOR, "service": "web", "name": "stock", "at": AT + 10_000, "lasts": 70_000, "kind": 3, "failed": True},
    {"id": WORK, "above": CALL, "service": "stock", "name": "find", "at": AT + 20_000, "lasts": 50_000, "kind": 2, "failed": False},
]
"""A request, its call, and what that reached: what every form below says."""
KINDS = ("", "INTERNAL", "SERVER", "CLIENT")


def iso(microseconds: int) -> str:
    return f"2023-11-14T22:13:{20 + (microseconds - AT) // 1_000_000:02d}.{microseconds % 1_000_000:06d}Z"


def otlp(row: dict[str, Any], *, snake: bool = False, encode: Any = lambda text: text) -> dict[str, Any]:
    span = {
        "traceId": encode(TRACE), "spanId": encode(row["id"]), "parentSpanId": encode(row["above"]), "name": row["name"],
        "kind": row["kind"], "startTimeUnixNano": str(row["at"] * 1_000), "endTimeUnixNano": str((row["at"] + row["lasts"]) * 1_000),
        "status": {"code": 2 if row["failed"] else 1},
    }  # fmt: skip
    names = {"traceId": "trace_id", "spanId": "span_id", "parentSpanId": "parent_span_id", "startTimeUnixNano": "start_time_unix_nano",
             "endTimeUnixNano": "end_time_unix_nano"}  # fmt: skip
    return {names.get(k, k) if snake else k: v for k, v in span.items()}


def resource(row: dict[str, Any], scopes: str = "scopeSpans", value: str = "stringValue", **how: Any) -> dict[str, Any]:
    return {
        "resource": {"attributes": [{"key": "service.name", "value": {value: row["service"]}}]},
        scopes: [{"spans": [otlp(row, **how)]}],
    }


def based(identifier: str) -> str:
    return base64.b64encode(bytes.fromhex(identifier)).decode()


def jaeger(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "traceID": TRACE, "spanID": row["id"], "operationName": row["name"], "startTime": row["at"], "duration": row["lasts"],
        "references": [{"refType": "CHILD_OF", "traceID": TRACE, "spanID": row["above"]}] if row["above"] else [],
        "processID": "p1" if row["service"] == "web" else "p2", "warnings": None, "logs": [],
        "tags": [{"key": "span.kind", "type": "string", "value": KINDS[row["kind"]].lower()}]
        + [{"key": "error", "type": "bool", "value": True}] * row["failed"],
    }  # fmt: skip


JAEGER = {
    "data": [{"traceID": TRACE, "spans": [jaeger(r) for r in ROWS], "warnings": None,
              "processes": {"p1": {"serviceName": "web", "tags": []}, "p2": {"serviceName": "stock", "tags": []}}}],
    "total": 0, "limit": 0, "offset": 0, "errors": None,
}  # fmt: skip


def zipkin(row: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "traceId": TRACE, "id": row["id"], **({"parentId": row["above"]} if row["above"] else {}), "name": row["name"],
        "kind": KINDS[row["kind"]], "timestamp": row["at"], "duration": row["lasts"], "localEndpoint": {"serviceName": row["service"]},
        "tags": {"error": "500"} if row["failed"] else {},
    } | more  # fmt: skip


def elastic(row: dict[str, Any]) -> dict[str, Any]:
    what = "transaction" if row["kind"] == 2 else "span"
    return {
        "_index": "apm", "_id": row["id"],
        "_source": {
            "@timestamp": iso(row["at"]), "timestamp": {"us": row["at"]}, "trace": {"id": TRACE}, "processor": {"event": what},
            "service": {"name": row["service"]}, what: {"id": row["id"], "name": row["name"], "duration": {"us": row["lasts"]}},
            "event": {"outcome": "failure" if row["failed"] else "success"}, **({"parent": {"id": row["above"]}} if row["above"] else {}),
        },
    }  # fmt: skip


def datadog(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "trace_id": int(TRACE[16:], 16), "span_id": int(row["id"], 16), "parent_id": int(row["above"] or "0", 16),
        "service": row["service"],
        "resource": "a resource", "name": row["name"], "start": row["at"] * 1_000, "duration": row["lasts"] * 1_000,
        "error": int(row["failed"]), "meta": {"span.kind": KINDS[row["kind"]].lower()}, "metrics": {},
    }  # fmt: skip


def events(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "AQAA", "type": "spans",
        "attributes": {
            "trace_id": TRACE, "span_id": row["id"], "parent_id": row["above"] or "0", "service": row["service"],
            "resource_name": row["name"], "start_timestamp": iso(row["at"]), "end_timestamp": iso(row["at"] + row["lasts"]),
            "status": "error" if row["failed"] else "ok", "custom": {"span": {"kind": "x"}},
        },
    }  # fmt: skip


def console(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": row["name"], "context": {"trace_id": f"0x{TRACE}", "span_id": f"0x{row['id']}", "trace_state": "[]"},
        "kind": f"SpanKind.{KINDS[row['kind']]}", "parent_id": f"0x{row['above']}" if row["above"] else None,
        "start_time": iso(row["at"]), "end_time": iso(row["at"] + row["lasts"]),
        "status": {"status_code": "ERROR" if row["failed"] else "OK"}, "attributes": {}, "events": [], "links": [],
        "resource": {"attributes": {"service.name": row["service"]}, "schema_url": ""},
    }  # fmt: skip


def table(header: str, line: Any, delimiter: str = ",") -> str:
    return "\n".join([header, *(delimiter.join(map(str, line(r))) for r in ROWS)]) + "\n"


def status(row: dict[str, Any], good: Any, bad: Any) -> Any:
    return bad if row["failed"] else good


FORMS: dict[str, str] = {
    "OTLP, a request a line": "\n".join(json.dumps({"resourceSpans": [resource(r)]}) for r in ROWS),
    "OTLP, one document over many lines": json.dumps({"resourceSpans": [resource(r) for r in ROWS]}, indent=2),
    "OTLP, documents one behind the other": "".join(json.dumps({"resourceSpans": [resource(r)]}, indent=1) for r in ROWS),
    "OTLP, a list of requests": json.dumps([{"resourceSpans": [resource(r)]} for r in ROWS]),
    "OTLP in snake case": json.dumps({"resource_spans": [resource(r, "scope_spans", "string_value", snake=True) for r in ROWS]}),
    "OTLP before scopes had that name": json.dumps({"resourceSpans": [resource(r, "instrumentationLibrarySpans") for r in ROWS]}),
    "Tempo, ids in base64": json.dumps({"batches": [resource(r, encode=based) for r in ROWS]}),
    "Tempo's second answer": json.dumps({"trace": {"resourceSpans": [resource(r, encode=based) for r in ROWS]}, "metrics": {}}),
    "Jaeger as its page exports it": json.dumps(JAEGER, indent=4),
    "Jaeger's answer on one line": json.dumps(JAEGER),
    "Jaeger, a trace a line": json.dumps(JAEGER["data"][0]),  # type: ignore[index]  # it is the list above
    "Zipkin, a list of spans": json.dumps([zipkin(r) for r in ROWS]),
    "Zipkin, a list of traces": json.dumps([[zipkin(r) for r in ROWS]]),
    "Zipkin, a call and what it reached under one id": json.dumps(
        [zipkin(ROWS[0]), zipkin(ROWS[1]), zipkin(ROWS[2], id=CALL, parentId=DOOR, shared=True)]
    ),
    "Elastic APM, an answer of its search": json.dumps({"took": 3, "hits": {"total": {"value": 3}, "hits": [elastic(r) for r in ROWS]}}),
    "Elastic APM, a document a line": "\n".join(json.dumps(elastic(r)["_source"]) for r in ROWS),
    "Elastic APM, names with dots": "\n".join(
        json.dumps({"trace.id": TRACE, "span.id": r["id"], "parent.id": r["above"], "service.name": r["service"], "span.name": r["name"],
                    "timestamp.us": r["at"], "span.duration.us": r["lasts"], "event.outcome": status(r, "success", "failure")})
        for r in ROWS
    ),
    "Datadog, traces of its agent": json.dumps([[datadog(r) for r in ROWS]]),
    "Datadog, an answer of its search": json.dumps({"data": [events(r) for r in ROWS], "meta": {"elapsed": 1}}),
    "OpenTelemetry's console": "\n".join(json.dumps(console(r), indent=4) for r in ROWS),
    "a list with a span on each line": "[\n" + ",\n".join(
        json.dumps({"trace_id": TRACE, "span_id": r["id"], "parent_id": r["above"], "service": r["service"], "name": r["name"],
                    "start_time": iso(r["at"]), "duration": f"{r['lasts'] / 1000}ms", "status": status(r, "OK", "ERROR")})
        for r in ROWS
    ) + "\n]\n",
    "RCAEval": table(
        "time,traceID,spanID,serviceName,methodName,operationName,startTimeMillis,startTime,duration,statusCode,parentSpanID",
        lambda r: (f"2023-11-14 22:13:20.{r['at'] % 10**6:06d}", TRACE, r["id"], r["service"], "", r["name"], r["at"] // 1000, r["at"],
                   r["lasts"], status(r, "0.0", "13.0"), r["above"]),
    ),
    "Nezha": table(
        "TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano,Duration",
        lambda r: (TRACE, r["id"], r["above"] or "root", f"{r['service']}-579b9bff58-t2dbm", r["name"], r["at"] * 1000,
                   (r["at"] + r["lasts"]) * 1000, r["lasts"]),
    ),
    "AIOps challenge 2020": table(
        "callType,startTime,elapsedTime,success,traceId,id,pid,cmdb_id,dsName,serviceName",
        lambda r: ("CSF", r["at"] // 1000, r["lasts"] / 1000, status(r, "True", "False"), TRACE, r["id"], r["above"] or "None",
                   r["service"], "", r["name"]),
    ),
    "AIOps challenge 2022, a table of a data frame": table(
        ",timestamp,cmdb_id,span_id,trace_id,duration,type,status_code,operation_name,parent_span",
        lambda r: (1, r["at"] // 1000, f"{r['service']}-0", r["id"], TRACE, r["lasts"] // 1000, "rpc", status(r, "Ok", "Unavailable"),
                   r["name"], r["above"]),
    ),
    "GAIA, by semicolon": table(
        "timestamp;host_ip;service_name;trace_id;span_id;parent_id;start_time;end_time;url;status_code;message",
        lambda r: ("x", "", r["service"], TRACE, r["id"], r["above"], iso(r["at"])[:-1].replace("T", " "),
                   iso(r["at"] + r["lasts"])[:-1].replace("T", " ").replace("-", "/"), r["name"], status(r, 200, 500), "a | b"),
        ";",
    ),
    "by tabulator, with quotes and a byte order mark": "\ufeff" + table(
        "trace_id\tspan_id\tparent_id\tservice\tname\tstart_us\tduration_ms\terror",
        lambda r: (TRACE, r["id"], r["above"], f'"{r["service"]}"', r["name"], r["at"], r["lasts"] / 1000, status(r, "false", "true")),
        "\t",
    ),
}  # fmt: skip
NO_STATUS = frozenset({"Nezha"})


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_the_same_spans_are_read_from_every_form(name: str, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / "spans"
    path.write_bytes(gzip.compress(FORMS[name].encode()) if packed else FORMS[name].encode())
    found = spans.read([str(path)])
    order = found.start.argsort(kind="stable")
    s = structure(found)
    assert [found.services[found.service[i]] for i in order] == ["web", "web", "stock"]
    assert [found.operations[found.operation[i]] for i in order] == ["POST /orders", "stock", "find"]
    assert (found.start[order] // 1_000 - AT).tolist() == [0, 10_000, 20_000]
    assert found.duration[order].tolist() == [90_000_000, 70_000_000, 50_000_000]
    assert s.parent[order].tolist() == [-1, order[0], order[1]]
    assert s.traces == 1
    if name not in NO_STATUS:
        assert (found.status[order] == spans.FAILED).tolist() == [True, True, False]


def test_a_directory_is_read_file_by_file_each_in_its_own_form(tmp_path: Path) -> None:
    for index, text in enumerate((FORMS["RCAEval"], FORMS["Jaeger's answer on one line"].replace(TRACE, "a" * 32))):
        (tmp_path / "deeper").mkdir(exist_ok=True)
        (tmp_path / "deeper" / f"{index}.{'json' if index else 'csv'}").write_text(text)
    (tmp_path / "readme.md").write_text("nothing")
    assert len(spans.read([str(tmp_path)])) == 6


def test_forms_may_follow_one_another_in_one_file(tmp_path: Path) -> None:
    flat = {"trace_id": "z", "span_id": "z1", "service": "web", "start": AT, "duration": 5}
    (tmp_path / "s").write_text(json.dumps(flat) + "\n" + json.dumps(JAEGER) + json.dumps([zipkin(r, traceId="b" * 32) for r in ROWS]))
    assert len(spans.read([str(tmp_path / "s")])) == 7


def test_a_large_document_is_taken_apart_and_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "s").write_text(json.dumps(JAEGER | {"data": JAEGER["data"] * 2}))  # type: ignore[operator]  # it is the list above
    monkeypatch.setattr(forms, "_LARGE", 100)
    found = spans.read([str(tmp_path / "s")])
    assert (len(found), found.troubles.duplicates, sorted(found.services)) == (3, 3, ["stock", "web"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PAR1\x15\x04", "got a Parquet file; write its rows as CSV or as JSON lines"),
        (b"PK\x03\x04\x14", "got a zip archive; unpack it"),
        (b"\x0a\xce\x01\x0a\x1e\x0a", "got OTLP in binary form; export it as JSON"),
        (b"time,timestamp,container_name,message\n1,2,web,hello\n", "a table whose first line names its columns"),
        (b"2023-11-14 INFO started\n", "a table whose first line names its columns"),
        (b'{"resourceMetrics": []}', "its members are resourceMetrics"),
        (b'{"span_id": "a", "service": "web"}', "the span's members are span_id, service"),
        (b'{"data": [{"traceID": "a", "spans": [', "truncated"),
        (b"traceID,spanID,serviceName,startTime,duration\na,b,web,1700000000000000,soon\n", "a duration, got 'soon'"),
        (gzip.compress(b"[" * 50, mtime=0)[:-6], "a whole gzip file"),
        (b"[" * 60 + b"]" * 60, "spans as JSON objects"),
    ],
)
def test_what_is_no_span_is_refused_with_what_came(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(spans.Unreadable) as refused:
        spans.read([str(tmp_path / "s")])
    assert says in str(refused.value)
    assert str(refused.value).startswith(f"{tmp_path / 's'}:")


@pytest.mark.parametrize("blank", [b"\n", b"\r\n\n", b" \n"])
def test_blank_lines_before_a_table_are_passed_over(blank: bytes, tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(blank + b"traceID,spanID,serviceName,startTime,duration\na,b,web,1700000000000000,7\n")
    assert len(spans.read([str(tmp_path / "s")])) == 1


def test_an_empty_directory_says_which_files_it_looked_for(tmp_path: Path) -> None:
    with pytest.raises(spans.Unreadable, match=r"\.csv.*got 0 files"):
        spans.read([str(tmp_path)])
