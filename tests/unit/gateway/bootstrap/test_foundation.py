"""What of a changed estate a running gateway cannot take over."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from gateway.bootstrap.foundation import needs_restart
from gateway.estate import read

ROOT = Path(__file__).resolve().parents[4]


def test_another_time_zone_of_the_estate_waits_for_a_restart_and_another_title_does_not() -> None:
    estate, _ = read(ROOT)
    there = replace(estate, estate=replace(estate.estate, time_zone="Asia/Tokyo", api_title="Another"))
    assert needs_restart(estate, there) == ("[estate] time_zone",)
