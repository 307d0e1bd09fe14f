from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.store.forms import after, instant, micros, millionths, text, units


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1)), st.integers(-14, 14))  # noqa: DTZ001  # zone added below
def test_times_come_back_to_the_microsecond(naive: datetime, hours: int) -> None:
    at = naive.replace(tzinfo=timezone(timedelta(hours=hours)))
    back = instant(micros(at))
    assert back == at
    assert back.tzinfo is UTC


@given(st.decimals(-(10**9), 10**9, places=6))
def test_quantities_come_back_exactly(amount: Decimal) -> None:
    assert units(millionths(f"{amount:f}")) == amount


def test_quantity_beyond_64_bit_sums_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 1000000000 units"):
        millionths("1000000000.000001")


def test_quantities_print_plainly() -> None:
    assert [str(units(n)) for n in (2_000_000, 420_000, 0, -10_000_000)] == ["2", "0.42", "0", "-10"]


def test_lease_end_is_counted_in_whole_microseconds() -> None:
    at = datetime(2026, 3, 11, tzinfo=UTC)
    assert instant(after(at, 0.0000014)) == at + timedelta(microseconds=1)
    assert instant(None) is None
    assert micros(None) is None


@given(st.text())
def test_text_that_a_database_takes_stays(value: str) -> None:
    stored = text(value)
    assert "\0" not in stored
    assert stored.encode().decode() == stored
    assert stored == value or "\0" in value


def test_half_a_surrogate_pair_is_escaped() -> None:
    assert text("caf\udce9") == "caf\\udce9"
