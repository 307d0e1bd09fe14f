"""The figure from its inputs, by hand, and the table it is read through."""

from pathlib import Path

import msgspec
import pytest

from observability.rootcause.online.confidence import Calibration, raw, shipped, verdict

INPUTS = {"coverage": 0.81, "margin": 0.5, "bad": 1e6, "order_agrees": 1.0, "loss": 0.0, "residual": 0.2}


def test_the_figure_can_be_redone_by_hand() -> None:
    assert raw(INPUTS) == pytest.approx(0.9 * 1 * 0.75 * 1 * 1 * 0.8)
    assert raw({**INPUTS, "loss": 0.5, "order_agrees": 0.0}) == pytest.approx(0.9 * 0.75 * 0.5 * 0.25 * 0.8)
    assert raw({**INPUTS, "bad": 0.0}) == 0.0


def test_a_table_is_read_between_its_points_and_none_shows_what_was_computed() -> None:
    table = Calibration(raw=(0.2, 0.6, 1.0), confidence=(0.0, 0.5, 0.9))
    assert [table.of(x) for x in (0.0, 0.4, 0.8, 1.0)] == pytest.approx([0.0, 0.25, 0.7, 0.9])
    assert Calibration().of(0.37) == 0.37


@pytest.mark.parametrize("columns", [((0.1,), ()), ((0.5, 0.1), (0.1, 0.5)), ((0.1, 0.5), (0.5, 0.1)), ((0.1,), (1.5,))])
def test_a_table_that_falls_or_leaves_its_range_is_refused(columns: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match="two rising columns"):
        Calibration(raw=columns[0], confidence=columns[1])


def test_the_shipped_table_is_read_if_there_is_one(tmp_path: Path) -> None:
    assert shipped(tmp_path / "none.json") == Calibration()
    table = Calibration(raw=(0.0, 1.0), confidence=(0.1, 0.9), date="2026-11-22", cases=700)
    (tmp_path / "calibration.json").write_bytes(msgspec.json.encode(table))
    assert shipped(tmp_path / "calibration.json") == table
    assert shipped()


def test_verdicts_have_their_limits() -> None:
    assert [verdict(x) for x in (0.8, 0.79, 0.5, 0.49, 0.0)] == ["cause", "likely", "likely", "unsure", "unsure"]
