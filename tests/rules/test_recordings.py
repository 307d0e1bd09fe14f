"""The recordings of the reference estate: read again by its drivers and mappings, nothing changes."""

from __future__ import annotations

import pytest

from adapters import recording
from gateway.bootstrap.replaying import Comparison, replayer
from tests.products import ROOT, reference

FILES = sorted((ROOT / recording.FOLDER).glob("*.jsonl"))


def test_both_systems_that_are_called_are_recorded() -> None:
    assert [f.stem for f in FILES] == ["erp", "oms"]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
async def test_no_canonical_answer_and_no_request_has_changed(file: object) -> None:
    """If it was meant: `tillgate record` again, and show the difference in the review."""
    found, exchanges = Comparison(), [r for f in FILES for r in recording.read(f) if f == file or r.capability == "location.list"]
    async with replayer(reference()) as now:
        for one in now.in_order(exchanges):
            await found.add(now, one)
    assert list(found.found.values()) == []
    assert found.calls > 5
