import numpy as np
import pytest

from observability.rootcause.statistics import onset


@pytest.mark.parametrize(("ramp", "within"), [(0, 3), (60, 30), (300, 60), (600, 120)])
def test_an_onset_is_found_where_it_began_however_slowly_it_grows(ramp: int, within: int) -> None:
    r = np.random.default_rng(3)
    at = np.sort(r.uniform(0, 2_400, 8_000))
    bad = r.random(len(at)) < 0.01 + 0.5 * np.clip((at - 1_200) / max(ramp, 1e-9), 0, 1)
    found = onset(at, bad, np.ones(len(at)), 0, 2_400, 1_400.0)
    assert found is not None
    assert found[1] <= found[0] <= found[2]
    assert abs(found[0] - 1_200) <= within


def test_without_anything_bad_there_is_no_onset() -> None:
    at = np.arange(100.0)
    assert onset(at, at < 0, np.ones(100), 0, 100) is None
