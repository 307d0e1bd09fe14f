"""What of one wiring goes on in the next."""

from __future__ import annotations

import shutil
from pathlib import Path
from zoneinfo import ZoneInfo

import trustme

from gateway.bootstrap import check
from gateway.bootstrap.systems import wire
from gateway.services.catalogue import Zones

ROOT = Path(__file__).resolve().parents[4]
ENVIRONMENT = {"TILLGATE_ERP_USER": "u", "TILLGATE_ERP_PASSWORD": "p", "TILLGATE_OMS_KEY": "k"}
ENVIRONMENT |= {"TILLGATE_ERP_URL": "http://127.0.0.1:1/erp", "TILLGATE_OMS_URL": "https://127.0.0.1:1"}


async def test_a_certificate_that_is_renewed_in_its_file_makes_a_new_connection_of_that_system_only(tmp_path: Path) -> None:
    for part in ("contracts/systems", "mappings"):
        shutil.copytree(ROOT / part, tmp_path / part)
    authority = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(authority)
    text = (ROOT / "estate.toml").read_text(encoding="utf-8")
    mark = "[system.oms.options]\n"
    assert mark in text
    (tmp_path / "estate.toml").write_text(text.replace(mark, f'{mark}tls = {{ ca = "{authority}" }}\n'), encoding="utf-8")
    checked, zones = check(tmp_path), Zones(ZoneInfo("UTC"))
    first = await wire(checked, ENVIRONMENT, {}, zones)
    second = await wire(checked, ENVIRONMENT, {}, zones, first)
    assert second.held == first.held
    trustme.CA().cert_pem.write_to_path(authority)
    third = await wire(checked, ENVIRONMENT, {}, zones, second)
    assert third.held["oms"].part[0] is not first.held["oms"].part[0]
    assert third.held["erp"].part[0] is first.held["erp"].part[0]
    await second.close([third])
    await third.close()
