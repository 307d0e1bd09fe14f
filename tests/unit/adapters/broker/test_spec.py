import msgspec
import pytest

from adapters.broker.spec import BrokerOptions
from adapters.options import read


def test_address_is_read_from_the_url() -> None:
    at = BrokerOptions(url="amqps://till%40gate:p%2Fw@mq.example:5700/shop%2F1").address
    assert (at.host, at.port, at.vhost, at.tls, at.user, at.password) == ("mq.example", 5700, "shop/1", True, "till@gate", "p/w")
    plain = BrokerOptions(url="amqp://mq.example").address
    assert (plain.port, plain.vhost, plain.user, plain.password) == (5672, "/", "guest", "guest")


@pytest.mark.parametrize(
    "url", ["http://u:geheim@h", "amqp://u:geheim@", "amqp://u:geheim@h:port", "amqp://u:geheim@h/a/b", "amqp://u:geheim@h?heartbeat=0"]
)
def test_bad_url_is_refused_without_telling_it(url: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="expected amqp") as caught:
        read(BrokerOptions, {"url": url})
    assert "geheim" not in str(caught.value)


def test_password_is_in_no_repr() -> None:
    made = read(BrokerOptions, {"url": "amqp://u:geheim@h", "connect_limit": "3s", "tls": {"password": "geheim"}})
    assert "geheim" not in f"{made!r} {made} {made.address!r} {made.tls!r}"
    assert float(made.connect_limit) == 3.0


def test_unknown_option_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="prefetch"):
        read(BrokerOptions, {"url": "amqp://h", "prefetch": 3})
