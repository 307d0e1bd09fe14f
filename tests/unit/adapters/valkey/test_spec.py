import msgspec
import pytest

from adapters.options import read
from adapters.valkey.spec import ValkeyOptions


def test_address_is_read_from_the_url() -> None:
    at = ValkeyOptions(url="rediss://till%40gate:p%2Fw@store.example:7000/3").address
    assert (at.host, at.port, at.database, at.tls, at.user, at.password) == ("store.example", 7000, 3, True, "till@gate", "p/w")
    plain = ValkeyOptions(url="redis://store.example").address
    assert (plain.port, plain.database, plain.tls, plain.user, plain.password) == (6379, 0, False, "", "")


@pytest.mark.parametrize(
    "url", ["http://:geheim@h", "redis://:geheim@", "redis://:geheim@h:port", "redis://:geheim@h/a", "redis://:geheim@h?db=0"]
)
def test_bad_url_is_refused_without_telling_it(url: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="expected redis") as caught:
        read(ValkeyOptions, {"url": url})
    assert "geheim" not in str(caught.value)


def test_password_is_in_no_repr() -> None:
    made = read(ValkeyOptions, {"url": "redis://u:geheim@h", "limit": "30ms", "tls": {"password": "geheim"}})
    assert "geheim" not in f"{made!r} {made} {made.address!r} {made.tls!r}"
    assert float(made.limit) == 0.03
