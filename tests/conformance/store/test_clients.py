import pytest

from contracts.books import ApiKey, Books, Client
from contracts.errors import NotFound, StateConflict
from tests.conformance.store.make import NOW, later

WEB = Client(name="shop", channel="web", scopes=("orders:write",), api_version="2026-03-01")


async def test_client_put_twice_keeps_the_newest(books: Books) -> None:
    await books.clients.put(WEB)
    await books.clients.put(Client(name="shop", channel="web", scopes=(), api_version="2026-03-01", suspended=True))
    await books.clients.put(Client(name="app", channel="mobile", scopes=(), api_version="2026-03-01"))
    assert (found := await books.clients.get("shop")) is not None
    assert found.suspended
    assert [c.name for c in await books.clients.list()] == ["app", "shop"]
    assert await books.clients.get("nobody") is None


async def test_key_is_found_with_its_client_by_prefix(books: Books) -> None:
    await books.clients.put(WEB)
    key = ApiKey(prefix="tg_abc", client="shop", digest=b"\x00\xff" * 16, expires_at=later(60))
    await books.clients.add_key(key)
    await books.clients.add_key(key)
    assert await books.clients.find_key("tg_abc") == (key, WEB)
    assert await books.clients.find_key("tg_xyz") is None


async def test_key_without_client_or_with_a_taken_prefix_is_refused(books: Books) -> None:
    with pytest.raises(NotFound):
        await books.clients.add_key(ApiKey(prefix="tg_abc", client="nobody", digest=b"1"))
    await books.clients.put(WEB)
    await books.clients.add_key(ApiKey(prefix="tg_abc", client="shop", digest=b"1"))
    with pytest.raises(StateConflict, match="prefix"):
        await books.clients.add_key(ApiKey(prefix="tg_abc", client="shop", digest=b"2"))


async def test_rotation_ends_only_keys_without_an_earlier_end(books: Books) -> None:
    await books.clients.put(WEB)
    for prefix, end in (("a", None), ("b", later(10)), ("c", later(99))):
        await books.clients.add_key(ApiKey(prefix=prefix, client="shop", digest=b"1", expires_at=end))
    assert await books.clients.expire_keys("shop", later(50)) == 2
    ends = [found[0].expires_at for p in "abc" if (found := await books.clients.find_key(p))]
    assert ends == [later(50), later(10), later(50)]
    assert await books.clients.expire_keys("nobody", NOW) == 0
