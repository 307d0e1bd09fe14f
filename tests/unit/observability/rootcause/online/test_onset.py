"""The split of bins into before and after, with its band."""

import numpy as np

from observability.rootcause.online.onset import Moment, change


def test_a_clean_step_is_found_to_the_second() -> None:
    n = np.full(60, 20.0)
    bad = np.where(np.arange(60) >= 37, 20.0, 0.0)
    assert change(bad, n, 1000, 1) == Moment(1037.0, 1037.0, 1038.0)


def test_seconds_without_a_request_before_the_first_bad_one_belong_to_the_band() -> None:
    n = np.where(np.isin(np.arange(60), (*range(30), *range(36, 60))), 20.0, 0.0)
    bad = np.where(np.arange(60) >= 36, 20.0, 0.0)
    assert change(bad, n, 1000, 1) == Moment(1036.0, 1030.0, 1037.0)


def test_a_small_rise_has_a_wide_band_around_it() -> None:
    n = np.full(120, 20.0)
    bad = np.where(np.arange(120) >= 60, (np.arange(120) % 3 == 0) * 2.0, (np.arange(120) % 20 == 0) * 1.0)
    found = change(bad, n, 0, 1)
    assert found is not None
    assert found.low <= 60 <= found.high
    assert found.high - found.low > 3


def test_there_is_no_moment_without_bad_ones_a_rise_or_bins() -> None:
    n = np.full(10, 5.0)
    assert change(np.zeros(10), n, 0, 1) is None
    assert change(np.arange(10, 0, -1.0) / 10, n, 0, 1) is None
    assert change(np.ones(1), np.ones(1), 0, 1) is None
