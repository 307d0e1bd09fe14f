import msgspec
import pytest

from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions


@pytest.mark.parametrize("url", ["mysql://x", "sqlite://", "sqlite:///", "tillgate.db", ""])
def test_address_of_no_known_kind_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(ValueError, match="expected sqlite:///path or postgresql://"):
        StoreOptions(url=url)


def test_password_is_never_shown() -> None:
    options = StoreOptions(url="postgresql://tillgate:s3cret@db:5432/tillgate")
    assert options.shown == "postgresql://tillgate:***@db:5432/tillgate"
    assert "s3cret" not in repr(options)
    for url in ("postgresql://u:s3cret@s3cret/s3cret@db/t", "postgresql://db/t?user=u&password=s3cret&sslmode=require"):
        assert "s3cret" not in StoreOptions(url=url).shown
    assert StoreOptions(url="sqlite:///var/a:b@c.db").shown == "sqlite:///var/a:b@c.db"
    with pytest.raises(ValueError, match="expected") as refused:
        StoreOptions(url="mysql://tillgate:s3cret@db/x")
    assert "s3cret" not in str(refused.value)


def test_path_is_relative_or_absolute() -> None:
    assert str(StoreOptions(url="sqlite:///var/t.db").path) == "var/t.db"
    assert str(StoreOptions(url="sqlite:////var/t.db").path) == "/var/t.db"
    assert StoreOptions(url="postgresql://db/t").path is None


def test_unknown_option_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="synchron"):
        msgspec.convert({"url": "sqlite:///t.db", "synchron": "full"}, StoreOptions)


def test_opening_touches_nothing(tmp_path: object) -> None:
    open_store(StoreOptions(url=f"sqlite:///{tmp_path}/deep/t.db"))
    open_store(StoreOptions(url="postgresql://nobody@127.0.0.1:1/none"))
