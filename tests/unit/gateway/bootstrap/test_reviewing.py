"""What looks after files from the command line says what it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.admin import FilesParameters
from gateway.bootstrap import open_review
from gateway.services.clients import Actor


async def test_a_setting_of_the_estate_that_is_not_there_is_named_with_the_way_round_it(tmp_path: Path) -> None:
    async with open_review(Path(), tmp_path, Actor("tester"), {}) as review:
        assert await review.list(FilesParameters()) == [], "what lies in the books needs no folder"
        with pytest.raises(LookupError, match=r"TILLGATE_POS_INBOX is not set; .* ask a running one: --url"):
            await review.explain("sales.csv")
