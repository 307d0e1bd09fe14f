import socket

import pytest


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_connection_beyond_loopback_is_refused_before_anything_is_sent(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as wire, pytest.raises(PermissionError, match="loopback only"):
        wire.connect((address, 9))


def test_look_up_of_a_foreign_name_is_refused() -> None:
    with pytest.raises(PermissionError, match="loopback only"):
        socket.getaddrinfo("example.invalid", 443)


def test_loopback_is_reachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        assert socket.getaddrinfo("localhost", 80)
