"""What those who were hit felt adds up to those who were hit, and says what is counted."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from observability.rootcause.felt import bad, base, felt
from observability.rootcause.model import Culprit, Impact
from tests.unit.observability.console.troubles import incident

STALE = Culprit(rank=1, kind="data_quality", system="erp", failure="stale")


@pytest.mark.parametrize(
    ("impact", "culprits", "said", "counted"),
    [
        (
            Impact(requests=90, failed=40, late=10, hit={"channel": {"web": 30, "store": 20}}),
            (),
            [(40, "failed"), (10, "late")],
            "requests",
        ),
        (
            Impact(requests=90, late=2, hit={"route": {"order": 22, "POST /orders": 20}}),
            (),
            [(2, "late"), (40, "degraded")],
            "requests and processes",
        ),
        (Impact(requests=42, failed=1, hit={"route": {"order": 22}}), (), [(1, "failed"), (21, "degraded")], "processes"),
        (Impact(requests=90, hit={"channel": {"web": 90}}), (STALE,), [(90, "told old figures")], "requests"),
        (Impact(requests=900, failed=400, hit={"channel": {"web": 405}}), (), [(400, "failed")], "requests"),
        (Impact(), (), [(0, "failed")], "requests"),
    ],
)
def test_figures_add_up_to_those_who_were_hit(
    impact: Impact, culprits: tuple[Culprit, ...], said: list[tuple[int, str]], counted: str
) -> None:
    one = replace(incident(), impact=impact, culprits=culprits)
    assert list(felt(one)) == said
    assert bad(one) == sum(n for n, _ in said)
    assert base(one) == counted
