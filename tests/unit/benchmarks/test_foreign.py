import random
from functools import cache

import pytest

from benchmarks.rootcause.foreign import CONTROLS, DAMAGES, STYLES, Case, case, damaged, hint
from benchmarks.rootcause.foreign_trial import Said, answered, pairs, tables


@cache
def made(style: str, fault: str, seed: int = 1) -> Case:
    found = case(style, seed, fault)
    assert found is not None
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("style", "fault", "damage"),
    [
        ("shop", "early", "stripped"),
        ("shop", "crash", "stripped"),
        ("queues", "hang", "hint 60 s late"),
        ("shop", "cpu", "clients only"),
        ("wide", "crash", "native"),
    ],
)
def test_a_fault_in_an_unknown_estate_is_ranked_first_although_much_is_missing(style: str, fault: str, damage: str) -> None:
    said = answered(made(style, fault), damage)
    assert (said.first[0] in said.blame, said.verdict in ("cause", "likely")) == (True, True)
    assert said.confidence <= 0.99


@pytest.mark.parametrize("control", CONTROLS)
def test_where_nothing_is_wrong_nobody_is_named(control: str) -> None:
    said = answered(made("shop", control), "stripped")
    assert (said.blame, said.right) == ([], 0)
    assert said.verdict in ("none", "unsure")


def test_the_same_seed_gives_the_same_lines_and_another_one_others() -> None:
    once, again, other = (list(damaged(made("shop", "cpu", seed), "clocks 2 s apart")) for seed in (1, 1, 2))
    assert once == again
    assert {row["service"] for row in once} != {row["service"] for row in other}


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_takes_what_it_says(damage: str) -> None:
    found = made("shop", "cpu")
    rows = list(damaged(found, damage))
    whole = len(found.spans)
    assert rows[0].keys() >= {"service", "span_id", "parent_id", "start", "duration"}
    assert any("status" in row for row in rows) == ("status" not in damage and not damage.startswith("stripped"))
    assert any("name" in row for row in rows) == (not damage.startswith("stripped"))
    least, most = {"10 % sampled": (0.05, 0.2), "servers only": (0.2, 0.8), "clients only": (0.2, 0.9)}.get(damage, (0.99, 1.0))
    if "spans lost" in damage:
        least, most = 0.75, 0.85
    assert least <= len(rows) / whole <= most
    assert (hint(damage, (240.0, 360.0))[0] != 240.0) == damage.startswith("hint")


def test_tables_show_chance_beside_each_figure_and_confidence_is_learned_from_named_answers() -> None:
    r = random.Random(1)
    inputs = {"score": 0.5, "rival": 0.1, "shared": 1.0, "indirect": 0.0, "hit": 50.0, "order": 1.0, "loss": 0.0}
    said = [
        Said(
            style=style, seed=1, fault=fault, damage=damage, blame=["a"] * (fault != "nothing"), services=10, first=["a", "b"],
            evidence="", right=r.choice((1, 2)) * (fault != "nothing"), found=0.5, verdict="none" if fault == "nothing" else "cause",
            confidence=0.9, inputs=inputs, onset_error=1.0, cpu=0.1,
        )
        for style in STYLES for fault in ("cpu", "two", "nothing") for damage in ("native", "stripped")
    ]  # fmt: skip
    found = dict(tables(said))
    by_damage = next(rows for title, rows in found.items() if "damage" in title)
    assert by_damage[0][5] == "chance AC@1"
    assert {row[5] for row in by_damage[1:]} == {"0.10"}
    assert len(pairs(said)) == 20
