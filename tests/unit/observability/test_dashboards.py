import json
import re
from pathlib import Path

import pytest
import yaml

from observability.dashboards import ALERTS, dashboard, rules
from observability.vocabulary import FAILURE_CLASSES

ROOT = Path(__file__).parents[3]


def test_the_dashboard_names_every_failure_class_and_no_panel_lies_on_another() -> None:
    whole = json.loads(dashboard())
    panels = [p for p in whole["panels"] if p["type"] == "timeseries"]
    assert {t["legendFormat"] for p in panels for t in p["targets"]} >= set(FAILURE_CLASSES)
    taken: set[tuple[int, int]] = set()
    for panel in whole["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({p["id"] for p in whole["panels"]}) == len(whole["panels"])


def test_the_rules_are_yaml_as_prometheus_reads_it() -> None:
    (group,) = yaml.safe_load(rules())["groups"]
    assert [r["alert"] for r in group["rules"]] == [a.name for a in ALERTS]
    for rule in group["rules"]:
        assert rule["expr"].count("(") == rule["expr"].count(")")
        assert re.fullmatch(r"\d+m", rule["for"])
        assert rule["labels"]["severity"] in ("page", "ticket")


@pytest.mark.parametrize("name", ["grafana-dashboard.json", "alert-rules.yml"])
def test_what_is_committed_is_what_is_made(name: str) -> None:
    made = {"grafana-dashboard.json": dashboard, "alert-rules.yml": rules}[name]()
    assert (ROOT / "docs/reference" / name).read_bytes() == made, "stale: ./run publish writes it anew"
