"""What is said of issuers, TLS and proxies in an estate that cannot be meant so."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import Findings
from gateway.bootstrap import check
from gateway.estate import read
from tests.products import ROOT, own_estate

ESTATE = (ROOT / "estate.toml").read_text(encoding="utf-8")
GOOD = '[[identity.issuer]]\nurl = "https://login.example.test"\naudiences = ["api"]\n'


def findings(folder: Path, more: str) -> list[str]:
    (folder / "estate.toml").write_text(f"{ESTATE}\n{more}", encoding="utf-8")
    try:
        read(folder)
    except Findings as found:
        return [str(each) for each in found.findings]
    return []


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (GOOD.replace("https", "http"), "expected https"),
        (GOOD.replace("https", "http") + "insecure = true\n", "expected https"),
        (GOOD.replace(".test", ".test/?tenant=a"), "a user, query or fragment"),
        (GOOD.replace("//login", "//me@login"), "a user, query or fragment"),
        (GOOD.replace("login.example.test", "[::1"), "Invalid IPv6 URL"),
        (GOOD.replace(".test", ".test:99999"), "Port out of range"),
        ('public_url = "https://[::1"\n', "Invalid IPv6 URL"),
        (GOOD.replace('["api"]', "[]"), "audiences: expected at least 1 entry"),
        (GOOD + 'algorithms = ["HS256"]\n', "Invalid enum value 'HS256'"),
        (GOOD + 'algorithms = ["none"]\n', "Invalid enum value 'none'"),
        (GOOD + 'scopes = { buyer = ["orders:wrote"] }\n', "unknown scope 'orders:wrote'; did you mean 'orders:write'?"),
        (GOOD + 'leeway = "1h"\n', "expected at most 5m"),
        (GOOD + 'refresh = "1s"\n', "expected at least 10s"),
        (GOOD + GOOD, "a second table for it"),
        (GOOD + GOOD.replace("login", "partner"), "speaks for every client, although there are several issuers"),
        ('trusted_proxies = ["10.0.0.1/8"]\n', "has host bits set"),
        ('trusted_proxies = ["*"]\n', "does not appear to be an IPv4 or IPv6 network"),
        ('certificate_header = "Client-Cert"\n', "nobody may send it"),
        ('[edge.tls]\ncertificate = "c"\nkey = "k"\nclient_certificates = "required"\n', "belong together"),
        ('[edge.tls]\ncertificate = "c"\nkey = "k"\nclient_ca = "ca"\n', "belong together"),
        ('[edge.tls]\ncertificate = "c"\nkey = "k"\npassword = "geheim"\n', "a secret must not stand here"),
        ('[edge.tls]\ncertificate = "c"\nkey = "k"\nminimum = "1.1"\n', "Invalid enum value '1.1'"),
    ],
)
def test_what_cannot_be_meant_is_found_with_its_line(tmp_path: Path, more: str, says: str) -> None:
    found = findings(tmp_path, more)
    assert any(says in each for each in found), found
    assert all(each.startswith("estate.toml:") for each in found)


def test_issuers_tls_and_proxies_as_they_are_meant_are_no_finding(tmp_path: Path) -> None:
    partner = GOOD.replace("login", "partner") + 'clients = ["partner-*"]\n'
    tls = '[edge.tls]\ncertificate = "c"\nkey = "k"\npassword = "env:KEY"\nclient_ca = "ca"\nclient_certificates = "optional"\n'
    proxies = 'trusted_proxies = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"]\ncertificate_header = "Client-Cert"\n'
    assert findings(tmp_path, proxies + GOOD + 'clients = ["*-app"]\n' + partner + tls) == []


def test_an_issuer_for_trials_is_no_finding_and_is_told(tmp_path: Path) -> None:
    estate = own_estate(tmp_path / "estate")
    with (estate / "estate.toml").open("a", encoding="utf-8") as file:
        file.write("\n" + GOOD.replace("https://login.example.test", "http://127.0.0.1:9000") + "insecure = true\n")
    assert any("issuer http://127.0.0.1:9000: insecure" in note for note in check(estate).notes)
