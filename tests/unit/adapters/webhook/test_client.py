"""Where a receiver may be: judged by the address that is connected to, whatever the URL looks like."""

import socket

import pytest

from adapters.webhook.client import Addresses, origin_of
from adapters.webhook.spec import WebhookOptions


def addresses(*networks: str) -> Addresses:
    return Addresses(WebhookOptions(networks=networks).declared)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1",
        "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::a00:1",
        "64:ff9b:1::1", "::127.0.0.1", "::ffff:0:127.0.0.1", "fec0::1",
    ],
)  # fmt: skip
def test_address_that_is_not_public_is_refused(address: str) -> None:
    assert not addresses().allows(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34"])
def test_public_address_is_allowed(address: str) -> None:
    assert addresses().allows(address)


def test_declared_network_is_allowed_and_nothing_beside_it() -> None:
    declared = addresses("10.20.0.0/16", "fd00:1::/32")
    assert declared.allows("10.20.3.4")
    assert declared.allows("::ffff:10.20.3.4")
    assert declared.allows("fd00:1::9")
    assert not declared.allows("10.21.0.1")
    with pytest.raises(ValueError, match="host bits"):
        addresses("10.20.0.1/16")


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/hook", "http://127.0.0.1/hook", "https://127.0.0.1/hook", "https://[::1]/", "https://169.254.169.254/latest",
        "ftp://shop.example/", "https://user:word@shop.example/", "https://shop.example/#part", "https:///hook", "https://shop.example:0/",
        "https://shop.example:99999/", "https://shop.example/a b", "https://shöp.example/", "https://shop.example\\@10.0.0.1/",
        "//shop.example/hook", "https://[::ffff:10.0.0.1]/", "https://shop.example/\n", "https://a,b/", "https://ex%41mple.com/",
        "https://shop.example/../x", "https://shop.example/%2e%2e/x",
    ],
)  # fmt: skip
def test_url_where_nobody_can_be_a_receiver_is_refused_with_a_reason(url: str) -> None:
    assert addresses().refusal(url)


def test_http_is_for_this_machine_in_a_declared_network_only() -> None:
    here = addresses("127.0.0.0/8", "10.20.0.0/16")
    assert not here.refusal("http://127.0.0.1:8099/hook")
    assert "https" in here.refusal("http://10.20.0.1/hook")
    assert "https" in here.refusal("http://localhost:8099/hook"), "a name may lead elsewhere tomorrow"
    assert not here.refusal("https://10.20.0.1/hook")
    assert not addresses().refusal("https://shop.example/hook?shop=1")


def test_parts_of_a_url_are_kept_as_they_are() -> None:
    assert origin_of("https://shop.example:8443/a/?b=%20c")[1:] == ("https://shop.example:8443", "/a/?b=%20c")
    assert origin_of("https://shop.example")[2] == "/"


def test_socket_is_made_for_an_allowed_address_only() -> None:
    found = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 9))
    with pytest.raises(PermissionError, match="not public"):
        addresses().socket(found)
    with addresses("127.0.0.1/32").socket(found) as made:
        assert made.getblocking() is False
