"""What was recorded is read by the estate as it stands, without anything of its environment."""

from __future__ import annotations

import shutil
from pathlib import Path

from gateway.bootstrap import check
from gateway.bootstrap.replaying import replayer

ROOT = Path(__file__).parents[4]
KEY = 'auth     = { kind = "api_key", value = "env:TILLGATE_OMS_KEY", header = "X-Oms-Key" }'
TOKEN = 'auth = { kind = "oauth2", token_url = "env:OMS_TOKEN_URL", client_id = "env:OMS_ID", client_secret = "env:OMS_SECRET" }'


async def test_an_estate_whose_token_address_comes_from_the_environment_replays_where_that_is_not_set(tmp_path: Path) -> None:
    for part in ("contracts/systems", "mappings"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    text = (ROOT / "estate.toml").read_text()
    assert KEY in text
    (tmp_path / "estate.toml").write_text(text.replace(KEY, TOKEN))
    async with replayer(check(tmp_path)) as now:
        assert "oms.getOrder" in now.operations
