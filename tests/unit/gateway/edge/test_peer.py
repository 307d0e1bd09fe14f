"""Who a request comes from, with and without proxies in between."""

from __future__ import annotations

import base64
import ssl
from typing import Any
from urllib.parse import quote

import pytest

from gateway.edge.peer import Proxies, certificate_of

DER = b"certificate in DER"
PEM = ssl.DER_cert_to_PEM_cert(DER)
PROXIES = Proxies(["10.0.0.0/8", "192.0.2.1", "2001:db8:1::/48"], "Client-Cert")


def scope(peer: str, *fields: tuple[str, str], own: bytes | None = None) -> dict[str, Any]:
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in fields]
    return {"client": (peer, 4711), "headers": headers, "state": {"peer_cert": own}}


@pytest.mark.parametrize(
    ("peer", "forwarded", "caller"),
    [
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.7, 10.0.0.9, 192.0.2.1"], "198.51.100.7"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7, 10.0.0.3", "10.0.0.4"], "198.51.100.7"),
        ("10.0.0.1", ["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.7:50123"], "198.51.100.7"),
        ("2001:db8:1::5", ["[2001:db8:ffff::1]:443"], "2001:db8:ffff::1"),
        ("2001:db8:1::5", ["2001:DB8:FFFF:0:0:0:0:1"], "2001:db8:ffff::1"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["6.6.6.6, "], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["<script>"], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6," * 10_000 + "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("198.51.100.9", ["6.6.6.6"], "198.51.100.9"),
        ("2001:db8:2::1", ["6.6.6.6"], "2001:db8:2::1"),
        ("", ["6.6.6.6"], ""),
    ],
)
def test_the_caller_is_the_nearest_address_that_is_no_declared_proxy(peer: str, forwarded: list[str], caller: str) -> None:
    it = scope(peer, *(("X-Forwarded-For", line) for line in forwarded))
    PROXIES.admit(it)
    assert it["client"][0] == caller


def test_without_declared_proxies_nobody_is_believed() -> None:
    it = scope("10.0.0.1", ("X-Forwarded-For", "6.6.6.6"), ("Client-Cert", f":{base64.b64encode(DER).decode()}:"))
    assert Proxies((), "client-cert").admit(it) is False
    assert it["client"] == ("10.0.0.1", 4711)
    assert certificate_of(it) is None


@pytest.mark.parametrize("value", [f":{base64.b64encode(DER).decode()}:", quote(PEM), PEM.replace("\n", "\t"), quote(PEM, safe="")])
def test_a_declared_proxy_names_the_certificate_in_either_form(value: str) -> None:
    it = scope("192.0.2.1", ("Client-Cert", value), own=b"the proxy's own")
    assert PROXIES.admit(it) is True
    assert certificate_of(it) == DER


@pytest.mark.parametrize(
    "fields", [[], [("Client-Cert", "x")], [("Client-Cert", "::")], [("Client-Cert", ":!:")], [("Client-Cert", quote(PEM))] * 2]
)
def test_without_one_readable_field_a_proxy_s_caller_has_no_certificate(fields: list[tuple[str, str]]) -> None:
    it = scope("192.0.2.1", *fields, own=b"the proxy's own")
    PROXIES.admit(it)
    assert certificate_of(it) is None


def test_from_anybody_else_the_field_is_nothing_and_the_connection_s_certificate_counts() -> None:
    it = scope("198.51.100.7", ("Client-Cert", quote(PEM)), own=b"its own")
    assert PROXIES.admit(it) is False
    assert certificate_of(it) == b"its own"
    assert certificate_of({}) is None


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "proxy.example.test", "10.0.0.0/40", "*", ""])
def test_what_is_no_network_cannot_be_declared(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"address|network|host bits"):
        Proxies([wrong])
