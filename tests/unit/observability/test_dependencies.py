import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observability import Recorder, Step, step
from observability.dependencies import Edge, Seen, differences, document, fallen, losses, mermaid
from observability.ring import Ring
from observability.rootcause.model import CapabilityNode, DependencyMap, Needs, OperationNode, RouteNode, SystemNode


def small(needs: Needs = "answer", stale: float = 0.0, **capability: object) -> DependencyMap:
    return DependencyMap(
        systems={"erp": SystemNode(owner="finance"), "oms": SystemNode(depends_on=("erp",)), "pos": SystemNode()},
        operations={
            "erp.GetStock": OperationNode(provides="levels", stale_s=stale),
            "oms.Reserved": OperationNode(provides="levels", stale_s=stale),
            "pos.tlog": OperationNode(provides="feed", mode="file"),
        },
        capabilities={
            "levels": msgspec.convert({"operations": ("erp.GetStock",), **capability}, CapabilityNode),
            "feed": CapabilityNode(operations=("pos.tlog",)),
        },
        routes={"GET /stock": RouteNode(capabilities=("levels", "feed"), needs=needs), "GET /own": RouteNode()},
        channels=("web", "store"),
    )


BOTH = ("oms.Reserved", "pos.other")


@pytest.mark.parametrize(
    ("declared", "down", "effect", "why"),
    [
        (small(), "erp", "fails", "nothing stands in for erp.GetStock"),
        (small(stale=7200.0), "erp", "degraded", "up to 2 h old"),
        (small(stale=7200.0, needs="fresh"), "erp", "fails", "nothing stands in"),
        (small(needs="later"), "erp", "degraded", "carried out when it is back"),
        (small(needs="aside"), "erp", "degraded", "own record"),
        (small(), "pos", "degraded", "what came before still counts"),
        (small(operations=("pos.other", "erp.GetStock"), combine="first"), "erp", "none", ""),
        (small(operations=("erp.GetStock", "pos.other"), combine="first"), "erp", "degraded", "pos.other stands in for erp.GetStock"),
        (small(operations=("erp.GetStock", "pos.other")), "erp", "fails", "nothing stands in"),
        (small(operations=("erp.GetStock", "pos.other"), partial=True), "erp", "degraded", "lack the part of erp.GetStock"),
        (small(operations=("erp.GetStock", "oms.Reserved"), partial=True), "erp", "fails", "oms depends on erp"),
        (small(operations=("oms.Reserved",)), "erp", "fails", "oms depends on erp"),
    ],
)
def test_what_callers_feel_follows_from_combine_freshness_and_what_the_route_needs(
    declared: DependencyMap, down: str, effect: str, why: str
) -> None:
    lost = {loss.route: loss for loss in losses(declared, down)}
    assert lost["GET /stock"].effect == effect
    assert why in " / ".join(lost["GET /stock"].why)
    assert (lost["GET /own"].effect, lost["GET /own"].why) == ("none", ())


def test_systems_that_depend_on_each_other_fall_together_and_end() -> None:
    round_about = DependencyMap(systems={"a": SystemNode(depends_on=("b",)), "b": SystemNode(depends_on=("a",)), "c": SystemNode()})
    assert fallen(round_about, "a") == {"a": (), "b": ("b depends on a",)}


def test_what_was_seen_is_held_against_the_map() -> None:
    edges = (
        Edge(route="GET /stock", system="erp", operation="GetStock", n=900),
        Edge(route="GET /stock", system="erp", operation="GetHidden", n=40),
        Edge(route="GET /stock", system="crm", operation="Find", n=6),
        Edge(route="GET /stock", system="pos", operation="tlog", carrier="message", n=50),
        Edge(route="GET /own", system="erp", operation="GetStock", n=30),
        Edge(route="GET /stock", system="wms", operation="Rare", n=4),
    )
    found = differences(small(), Seen(hours=1.0, edges=edges, requests={"GET /stock": 5_000}))
    assert [(d.kind, d.system, d.operation, d.n) for d in found] == [
        ("unknown_peer", "crm", "Find", 6),
        ("undeclared", "erp", "GetHidden", 40),
        ("undeclared", "erp", "GetStock", 30),
        ("mode_differs", "pos", "tlog", 50),
        ("unused", "oms", "Reserved", 5_000),
    ]
    assert not differences(small(), Seen(hours=1.0, edges=edges[:1] + edges[5:], requests={"GET /stock": 999}))
    assert 'add "levels" to [route."GET /own"]' in found[2].advice


def test_what_a_route_denies_is_no_difference_and_all_else_stays_one() -> None:
    edges = [Edge(route="GET /stock", system=s, operation=o, n=40) for s, o in (("erp", "GetHidden"), ("erp", "GetOther"), ("crm", "Find"))]
    declared = small()
    denying = msgspec.structs.replace(declared.routes["GET /stock"], denied=("erp.GetHidden", "crm"))
    told = msgspec.structs.replace(declared, routes={**declared.routes, "GET /stock": denying})
    found = differences(told, Seen(hours=1.0, edges=(*edges, msgspec.structs.replace(edges[2], route="GET /own"))))
    assert [(d.kind, d.route, d.operation) for d in found] == [
        ("unknown_peer", "GET /own", "Find"),
        ("undeclared", "GET /stock", "GetOther"),
    ]


def test_the_json_names_what_each_channel_loses_with_each_system() -> None:
    whole = document(small(), seen=Seen(hours=2.0, edges=(Edge(route="GET /own", system="erp", operation="GetStock", n=30),)))
    assert whole["schema"] == "tillgate.map/1"
    assert list(whole["when_down"]) == ["erp", "oms", "pos"]
    assert whole["when_down"]["erp"]["also"] == ["oms"]
    assert whole["when_down"]["erp"]["channels"]["web"] == {
        "fails": {"GET /stock": ["levels: nothing stands in for erp.GetStock"]},
        "degraded": {},
        "unaffected": ["GET /own"],
    }
    assert whole["observed"]["differences"][0]["kind"] == "undeclared"
    assert list(document(small(), down=["pos"])["when_down"]) == ["pos"]
    assert msgspec.json.encode(whole) == msgspec.json.encode(
        document(small(), seen=Seen(hours=2.0, edges=(Edge(route="GET /own", system="erp", operation="GetStock", n=30),)))
    )


_LINE = re.compile(
    r"flowchart LR|  end"
    r'|  +[a-z]\d+(\["([\w \-./,:+@]|#\d+;|<br/>)*"\]|\(\["([\w \-./,:+@]|#\d+;)*"\]\))'
    r'|  subgraph [a-z]\d+\["([\w \-./,:+@]|#\d+;|<br/>)*"\]'
    r'|  [a-z]\d+ (-->|-\. message \.->|-\. file \.->|-\. "seen \d+ times, not declared" \.->) [a-z]\d+'
    r"|  classDef \w+ [\w#:,\- ]+|  class [a-z0-9,]+ \w+"
)


@settings(max_examples=60)
@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=300))
def test_no_name_can_leave_its_place_in_the_diagram(system: str, route: str, owner: str) -> None:
    operation = f"{system}.x"
    declared = DependencyMap(
        systems={system: SystemNode(owner=owner)},
        operations={operation: OperationNode(provides="c", mode="file")},
        capabilities={"c": CapabilityNode(operations=(operation,))},
        routes={route: RouteNode(capabilities=("c",))},
        channels=(owner,),
    )
    seen = Seen(hours=1.0, edges=(Edge(route=owner, system=route, operation=system, n=99),))
    for line in mermaid(declared, down=system, seen=seen).removesuffix("\n").split("\n"):
        assert _LINE.fullmatch(line), line


async def test_kept_flights_say_who_reached_whom_and_stand_for_those_that_were_not_kept(tmp_path: Path) -> None:
    ring = Ring(tmp_path)
    ring.start()
    recorder = Recorder(sinks=[ring])
    for _ in range(3):
        with (
            recorder.flight("request", "GET /stock", channel="web", store="17"),
            step(Step.CALL, system="erp", operation="GetStock") as hop,
        ):
            hop.degraded("stale")
    with recorder.flight("file", "pos.tlog", system="pos", operation="tlog", store="18"):
        pass
    seen = await ring.edges(datetime.now(UTC) - timedelta(hours=1))
    assert {(e.route, e.system, e.operation, e.carrier, e.n) for e in seen.edges} == {
        ("GET /stock", "erp", "GetStock", "call", 3),
        ("pos.tlog", "pos", "tlog", "file", 1),
    }
    assert seen.requests == {"GET /stock": 3}
    assert (await ring.edges(datetime.now(UTC) + timedelta(hours=1))).edges == ()
    await ring.close()
