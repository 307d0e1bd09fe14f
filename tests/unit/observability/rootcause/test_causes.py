import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from observability.rootcause import causes, graph, spans, sureness
from observability.rootcause.detect import incidents
from tests.traces import BEGIN, Estate, Fault, incident

pytestmark = pytest.mark.slow

STYLES: dict[str, dict[str, bool]] = {
    "calls, kinds and status": {},
    "calls and status": {"kind": False},
    "calls alone": {"kind": False, "status": False},
    "servers and status": {"client": False, "kind": False},
    "servers alone": {"client": False, "kind": False, "status": False},
}
Written = Callable[[list[dict[str, Any]]], str]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(rows: list[dict[str, Any]]) -> str:
        file = tmp_path / f"{random.getrandbits(40):x}.jsonl"
        file.write_text("\n".join(map(json.dumps, rows)))
        return str(file)

    return write


def case(seed: int, fault: Fault, **how: Any) -> tuple[list[dict[str, Any]], tuple[int, int], str]:
    estate = Estate(seed)
    culprit = random.Random(seed).choice(estate.reached())
    rows, window = incident(estate, culprit, fault, **{"before": 200.0, "during": 100.0} | how)
    return rows, window, culprit


def first(file: str, window: tuple[int, int], **options: Any) -> dict[str, Any]:
    return causes.causes(causes.load(spans.read([file])), window, **options)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("fault", ["slow", "network", "dead"])
def test_the_first_rank_is_the_culprit_in_every_style_of_spans(style: str, fault: Fault, written: Written) -> None:
    rows, window, culprit = case(10, fault, before=300.0, during=150.0, **STYLES[style])
    answer = first(written(rows), window)
    assert answer["ranking"][0]["service"] == culprit
    assert answer["verdict"] in ("cause", "likely")
    assert answer["culprits"][0] == 1


@pytest.mark.parametrize("style", ["calls, kinds and status", "servers and status"])
def test_errors_name_the_service_that_failed_first_not_those_that_passed_it_on(style: str, written: Written) -> None:
    rows, window, culprit = case(10, "errors", **STYLES[style])
    answer = first(written(rows), window)
    assert (answer["ranking"][0]["service"], answer["ranking"][0]["evidence"]) == (culprit, "failures")
    assert answer["ranking"][0]["explains"]
    assert len(answer["why_not"]) == len(answer["ranking"]) - len(answer["culprits"])


@pytest.mark.slow
def test_most_of_twenty_faults_are_ranked_first_although_spans_are_lost_and_clocks_are_wrong(written: Written) -> None:
    right = 0
    for seed in range(20, 40):
        fault: Fault = ("slow", "errors", "network", "dead")[seed % 4]  # type: ignore[assignment]  # of these four
        skew = {s: random.Random(seed).uniform(-2, 2) for s in Estate(seed).order}
        rows, window, culprit = case(seed, fault, loss=0.1, skew=skew)
        right += first(written(rows), window)["ranking"][0]["service"] == culprit
    assert right >= 18


@pytest.mark.slow
def test_windows_without_a_fault_have_no_verdict(written: Written) -> None:
    verdicts = []
    for seed in range(12):
        rows, window, _ = case(seed, "none")
        verdicts.append(first(written(rows), window)["verdict"])
    assert verdicts.count("none") >= 11


def test_twice_the_load_is_no_incident(written: Written) -> None:
    estate = Estate(3)
    calm, (begin, end) = incident(estate, estate.reached()[0], "none", rate=2.0, before=200.0, during=100.0)
    more, _ = incident(Estate(3), estate.reached()[0], "none", rate=6.0, before=200.0, during=100.0)
    rows = [r for r in calm if r["start"] * 1000 < begin] + [
        r
        | {"trace_id": "f" + r["trace_id"][1:], "span_id": "f" + r["span_id"][1:], "parent_id": r["parent_id"] and "f" + r["parent_id"][1:]}
        for r in more
        if r["start"] * 1000 >= begin
    ]
    assert first(written(rows), (begin, end))["verdict"] == "none"


def test_the_onset_lies_within_seconds_of_the_fault(written: Written) -> None:
    rows, window, _ = case(10, "slow")
    late = (window[0] - 40_000_000_000, window[1])
    onset = first(written(rows), late)["onset"]
    low, at, high = (spans.moment(onset[k]) / 1e9 - BEGIN for k in ("low", "at", "high"))
    assert low <= at <= high
    assert abs(at - 200) < 10


@pytest.mark.parametrize(("caller_at", "callee_at", "order"), [(400, 500, 0.0), (500, 400, 1.0), (400, 400, 1.0)])
def test_a_callee_that_rose_after_its_caller_speaks_against_the_order(
    caller_at: int, callee_at: int, order: float, written: Written
) -> None:
    chance, rows = random.Random(1), []
    for n in range(1500):
        at = n * 0.4
        stock = chance.uniform(0.01, 0.02) + (0.05 if at >= callee_at and n % 2 else 0.0)
        shop = chance.uniform(0.01, 0.02) + (0.05 if at >= caller_at and n % 3 else 0.0)
        for span, parent, service, kind, begin, seconds in (
            (1, "", "web", "SERVER", 0.0, shop + stock + 0.014),
            (2, 1, "web", "CLIENT", 0.004, shop + stock + 0.004),
            (3, 2, "shop", "SERVER", 0.005, shop + stock + 0.002),
            (4, 3, "shop", "CLIENT", 0.005 + shop, stock + 0.002),
            (5, 4, "stock", "SERVER", 0.006 + shop, stock),
        ):
            rows.append({
                "trace_id": f"{n + 1:032x}", "span_id": f"{n * 8 + span:016x}", "parent_id": parent and f"{n * 8 + parent:016x}",
                "service": service, "name": kind, "kind": kind, "start": int((BEGIN + at + begin) * 1e6), "duration": int(seconds * 1e6),
            })  # fmt: skip
    window = (int((BEGIN + 400) * 1e9), int((BEGIN + 600) * 1e9))
    answer = first(written(rows), window)
    assert {row["service"] for row in answer["ranking"][:2]} == {"shop", "stock"}
    assert answer["confidence_inputs"]["order"] == order


def test_who_answers_early_is_named_although_every_status_is_good(written: Written) -> None:
    chance, rows = random.Random(1), []
    for n in range(900):
        stock = chance.lognormvariate(0, 0.3) * (0.002 if n >= 600 and n % 2 else 0.02)
        for span, parent, service, begin, seconds in ((1, "", "web", 0.0, 0.01 + stock), (2, 1, "stock", 0.004, stock)):
            rows.append({
                "trace_id": f"{n + 1:032x}", "span_id": f"{n * 8 + span:016x}", "parent_id": parent and f"{n * 8 + parent:016x}",
                "service": service, "name": "GET", "status": "OK", "start": int((BEGIN + n + begin) * 1e6), "duration": int(seconds * 1e6),
            })  # fmt: skip
    answer = first(written(rows), (int((BEGIN + 600) * 1e9), int((BEGIN + 900) * 1e9)))
    assert (answer["ranking"][0]["service"], answer["ranking"][0]["evidence"]) == ("stock", "failures")
    assert answer["verdict"] in ("cause", "likely")


def test_the_same_input_gives_the_same_bytes(written: Written) -> None:
    rows, window, _ = case(11, "network")
    file = written(rows)
    assert json.dumps(first(file, window)) == json.dumps(first(file, window))


def test_the_ranking_is_complete(written: Written) -> None:
    rows, window, _ = case(10, "slow")
    answer = first(written(rows), window, top=100)
    assert {r["service"] for r in answer["ranking"]} == {r["service"] for r in rows}
    assert [r["rank"] for r in answer["ranking"]] == list(range(1, len(answer["ranking"]) + 1))


def test_level_operation_names_the_one_operation_that_is_slow(written: Written) -> None:
    rows, window, culprit = case(10, "slow")
    answer = first(written(rows), window, level="operation")
    assert answer["ranking"][0]["service"] == culprit
    assert answer["ranking"][0]["operation"].startswith("op")


def test_an_attribute_that_all_bad_requests_share_is_the_scope(written: Written, tmp_path: Path) -> None:
    culprit = random.Random(10).choice(Estate(10).reached())
    rows: list[dict[str, Any]] = []
    for number, (store, fault) in enumerate([("017", "errors"), *((f"{i:03}", "none") for i in range(20, 26))]):
        mine, window = incident(Estate(10), culprit, fault, rate=1.0)  # type: ignore[arg-type]  # literals above
        rows += [r | {k: r[k] and f"{number}{r[k][1:]}" for k in ("trace_id", "span_id", "parent_id")} | {"store": store} for r in mine]
    loaded = causes.load(spans.read([written(rows)], attributes=["store"]))
    answer = causes.causes(loaded, window, attributes=["store"])
    assert answer["ranking"][0]["service"] == culprit
    assert answer["ranking"][0]["scope"] == [{"store": ["017"]}]


def test_without_a_baseline_the_slow_half_is_compared_with_the_fast_one_and_confidence_is_capped(written: Written) -> None:
    rows, window, _ = case(10, "slow")
    only = [r for r in rows if r["start"] * 1000 >= window[0]]
    answer = first(written(only), window)
    assert answer["confidence"] <= 0.6
    assert "half" in answer["warnings"][0]


def test_a_window_without_traces_is_told_apart_from_a_window_without_faults(written: Written) -> None:
    rows, (_, end), _ = case(10, "none", before=20.0, during=10.0)
    with pytest.raises(causes.EmptyWindow):
        first(written(rows), (end + 10**12, end + 2 * 10**12))


@pytest.mark.parametrize("bare", [False, True], ids=["with names and status", "service, ids and times alone"])
def test_refusals_of_an_open_breaker_count_for_the_service_that_was_found_sick(bare: bool, written: Written) -> None:
    r, rows = random.Random(3), []
    for i in range(900):
        sick, start = i >= 600, BEGIN + i
        refused = sick and i % 20 > 1

        def span(
            id_: str,
            parent: str,
            service: str,
            seconds: float,
            kind: str,
            *,
            failed: bool = False,
            peer: str = "",
            at: float = start,
            i: int = i,
        ) -> None:
            rows.append({
                "trace_id": f"{i + 1:032x}", "span_id": f"{id_}{i}", "parent_id": f"{parent}{i}" if parent else "", "service": service,
                "start": int(at * 1e9), "duration": int(seconds * 1e9), "name": f"{kind} {peer}", "kind": kind,
                "status": "ERROR" if failed else "OK", **({"service.peer.name": peer} if peer else {}),
            })  # fmt: skip

        seconds = 2.0 if sick else r.uniform(0.03, 0.05)
        span("a", "", "door", 0.004 if refused else seconds + r.uniform(0.02, 0.03), "SERVER", failed=sick)
        if refused:
            span("b", "a", "door", 0.0001, "INTERNAL", failed=True, peer="stock", at=start + 0.002)
        else:
            span("c", "a", "door", seconds + 0.004, "CLIENT", failed=sick, peer="stock", at=start + 0.002)
            span("d", "c", "stock", seconds, "SERVER", failed=sick, at=start + 0.004)
    if bare:
        rows = [{key: row[key] for key in ("service", "span_id", "parent_id", "start", "duration")} for row in rows]
    answer = first(written(rows), (int((BEGIN + 600) * 1e9), int((BEGIN + 900) * 1e9)))
    assert (answer["ranking"][0]["service"], answer["verdict"]) == ("stock", "cause")


@pytest.mark.parametrize("bare", [False, True], ids=["with names and status", "service, ids and times alone"])
@pytest.mark.parametrize(
    ("fault", "culprit"),
    [("no answer", "desk"), ("no answer at first", "desk"), ("answers badly at first", "desk"), ("cannot be read", "door")],
)
def test_a_system_few_ask_for_is_told_from_the_gateway_that_cannot_read_it(fault: str, culprit: str, bare: bool, written: Written) -> None:
    """Requests of three kinds; one in eight asks desk. Calls lie around attempts, and what reads an answer inside the attempt."""
    r, rows = random.Random(5), []
    for i in range(3_000):
        sick, at, begun = i >= 2_000 and i % 8 == 0, [BEGIN + i / 4], len(rows)

        def span(id_: str, parent: str, service: str, kind: str, seconds: float, *, i: int = i, at: list[float] = at, **more: str) -> None:
            rows.append({
                "trace_id": f"{i + 1:032x}", "span_id": f"{id_}{i}", "parent_id": f"{parent}{i}" if parent else "", "service": service,
                "start": int(at[0] * 1e9), "duration": int(seconds * 1e9), "name": more.pop("name", kind), "kind": kind, "status": "OK",
            } | more)  # fmt: skip

        peer = "desk" if i % 8 == 0 else ("stock", "price")[i % 2]
        fails = [fault] if sick else []
        fails += ["fine"] if "at first" in fault and sick else []
        span("a", "", "door", "SERVER", 0.0, name=f"GET /{peer}")
        at[0] += 0.001
        span("b", "a", "door", "INTERNAL", 0.0, name=f"call {peer}")
        for n, what in enumerate(fails or ["fine"]):
            work = r.lognormvariate(-4, 0.3)
            told = {"status": "ERROR"} if what != "fine" else {}
            span(f"c{n}", "b", "door", "CLIENT", work + 0.006, name=f"{peer} {n}", **{"service.peer.name": peer}, **told)
            at[0] += 0.002
            if "no answer" not in what:
                span(f"d{n}", f"c{n}", peer, "SERVER", work, name="read", **({} if "read" in what else told))
                at[0] += work + 0.001
            if what in ("fine", "cannot be read"):
                reads, own = r.uniform(0.5, 1) * (0.001 if what == "fine" else 0.0001), {"error.type": "gateway"} if told else {}
                span(f"e{n}", f"c{n}", "door", "INTERNAL", reads, name=f"map {peer}", **{"service.peer.name": peer}, **told, **own)
                at[0] += 0.003
            at[0] += 0.05 if len(fails) > 1 and n == 0 else 0.001
        failed = {"status": "ERROR"} if fails and fails[-1] != "fine" else {}
        for row, add in ((rows[begun], 0.001), (rows[begun + 1], 0.0)):
            row |= {"duration": int((at[0] + add) * 1e9) - row["start"]} | failed
    if bare:
        rows = [{key: row[key] for key in ("service", "span_id", "parent_id", "start", "duration")} for row in rows]
    answer = first(written(rows), (int((BEGIN + 500) * 1e9), int((BEGIN + 750) * 1e9)))
    assert (answer["ranking"][0]["service"], answer["verdict"] in ("cause", "likely")) == (culprit, True)


def test_incidents_are_found_in_spans_without_being_told_when(written: Written) -> None:
    rows, window, culprit = case(10, "errors", before=600.0, during=120.0)
    loaded = causes.load(spans.read([written(rows)]))
    (found,) = incidents(loaded.structure)
    assert abs(found.begin - window[0]) < 30e9
    assert causes.causes(loaded, (found.begin, found.end))["ranking"][0]["service"] == culprit


def test_short_incidents_minutes_apart_are_told_apart_with_their_ends(written: Written) -> None:
    chance, times, rows = random.Random(3), ((900, 990), (1230, 1310), (1700, 2000)), []
    for n in range(4400):
        at = n / 2
        slow = any(begin <= at < end for begin, end in times)
        seconds = chance.lognormvariate(0, 0.4) * 0.02 + 0.2 * slow
        rows.append({"trace_id": f"t{n}", "span_id": f"s{n}", "service": "stock", "name": "find", "start": int((BEGIN + at) * 1e6),
                     "duration": int(seconds * 1e6)})  # fmt: skip
    found = incidents(causes.load(spans.read([written(rows)])).structure)
    assert len(found) == len(times)
    for window, (begin, end) in zip(found, times, strict=True):
        assert abs(window.begin / 1e9 - BEGIN - begin) <= 20
        assert abs(window.end / 1e9 - BEGIN - end) <= 20


def test_what_speaks_against_a_culprit_lowers_its_confidence() -> None:
    inputs = {"score": 0.9, "rival": 0.0, "shared": 1.0, "indirect": 0.0, "hit": 100.0, "order": 1.0, "loss": 0.0}
    worse = {"score": 0.2, "rival": 0.9, "shared": 0.1, "indirect": 1.0, "hit": 3.0, "order": 0.0, "loss": 0.5}
    table = sureness.shipped()
    assert table.of(sureness.raw(inputs)) >= 0.95
    assert all(sureness.raw(inputs | {key: value}) < sureness.raw(inputs) for key, value in worse.items())
    assert table.of(sureness.raw(worse)) < 0.5


@pytest.mark.slow
def test_hours_without_a_fault_hold_no_incident(written: Written) -> None:
    rows, _, _ = case(4, "none", before=1800.0, during=600.0, rate=2.0)
    assert incidents(causes.load(spans.read([written(rows)])).structure) == []


def test_a_declared_graph_is_united_with_what_was_seen(written: Written, tmp_path: Path) -> None:
    rows, window, culprit = case(10, "slow")
    (tmp_path / "graph.json").write_text('{"edges": [{"from": "service-a", "to": "mainframe", "mode": "sync"}]}')
    loaded = causes.load(spans.read([written(rows)]), graph.read(tmp_path / "graph.json"))
    answer = causes.causes(loaded, window)
    assert answer["graph"]["source"] == "both"
    assert answer["ranking"][0]["service"] == culprit


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("g.csv", "from,to\na,b\nb,c\n"),
        ("g.json", '[["a","b"],["b","c"]]'),
        ("g.json", '{"edges":[{"source":"a","target":"b"},{"from":"b","to":"c"}]}'),
    ],
)
def test_graphs_are_read_in_their_usual_forms(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert graph.read(tmp_path / name) == {("a", "b"), ("b", "c")}


def test_an_estate_is_a_graph(tmp_path: Path) -> None:
    (tmp_path / "estate.toml").write_text('[system.erp]\nprotocol = "soap"\n[system.oms]\nprotocol = "rest"\ndepends_on = ["erp"]\n')
    assert graph.read(tmp_path / "estate.toml") == {("tillgate", "erp"), ("tillgate", "oms"), ("oms", "erp")}


@pytest.mark.parametrize("text", ['{"edges": [1]}', "{", "only one column\n"])
def test_a_graph_that_says_nothing_is_refused_with_what_was_expected(text: str, tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text(text)
    with pytest.raises(graph.Malformed, match="expected"):
        graph.read(tmp_path / "g.csv")
