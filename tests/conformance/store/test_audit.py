import asyncio

import msgspec
import pytest

from contracts.books import ApiKey, AuditEntry, Books, Client, StoredAnswer
from contracts.errors import NotFound, StateConflict
from tests.conformance.store.conftest import Open
from tests.conformance.store.make import NOW, later

WEB = Client(name="shop", channel="web", scopes=("orders:write",), api_version="2026-03-01")


def entry(id: str, at: float = 0, actor: str = "ops", subject: str = "shop", **more: str) -> AuditEntry:
    return AuditEntry(id=id, at=later(at), actor=actor, what="client.changed", subject=subject, detail=more)


def api_key(prefix: str, client: str = "shop", made: float = 0) -> ApiKey:
    return ApiKey(prefix=prefix, client=client, digest=prefix.encode() * 4, created_at=later(made))


async def ids(books: Books, **wanted: object) -> list[str]:
    return [e.id for e in await books.audit.list(10, **wanted)]  # type: ignore[arg-type]  # as the test names them


async def test_entries_come_back_newest_first_as_they_were_and_a_repeat_is_one(books: Books) -> None:
    first, second = entry("a", 1, scopes="orders:read -> \x00€"), entry("b", 2)
    await books.audit.add([first, second])
    await books.audit.add([first])
    found = await books.audit.list(10)
    assert [e.id for e in found] == ["b", "a"]
    assert found[0] == second
    assert found[1].detail == {"scopes": r"orders:read -> \x00€"}


async def test_pages_of_one_moment_lose_and_repeat_nothing(books: Books) -> None:
    await books.audit.add([entry(f"{n:02}") for n in range(9)])
    seen: list[str] = []
    before = None
    while page := await books.audit.list(4, before=before):
        seen += [e.id for e in page]
        before = (page[-1].at, page[-1].id)
    assert seen == [f"{n:02}" for n in reversed(range(9))]


async def test_entries_are_found_by_time_and_by_whom_they_concern(books: Books) -> None:
    await books.audit.add([entry("a", 1), entry("b", 2, actor="shop", subject="erp"), entry("c", 3, subject="app")])
    assert await ids(books, client="shop") == ["b", "a"]
    assert await ids(books, since=later(2)) == ["c", "b"]
    assert await ids(books, since=later(2), client="shop", before=(later(3), "c")) == ["b"]


async def test_attempts_with_its_keys_concern_a_client(books: Books) -> None:
    await books.clients.create(WEB, api_key("abcdefgh"), [])
    await books.audit.add([entry("a", 1, subject="abcdefgh"), entry("b", 2, subject="zzzzzzzz")])
    assert await ids(books, client="shop") == ["a"]


async def test_keys_that_ended_long_ago_are_forgotten(books: Books) -> None:
    await books.clients.create(WEB, api_key("abc"), [])
    await books.clients.rotate(api_key("xyz", made=5), later(60), [])
    assert await books.clients.purge_keys(later(60)) == 0
    assert await books.clients.purge_keys(later(61)) == 1
    assert [k.prefix for k in await books.clients.keys("shop")] == ["xyz"]


async def test_purge_takes_what_is_older(books: Books) -> None:
    await books.audit.add([entry("a", 1), entry("b", 2)])
    assert await books.audit.purge(later(2)) == 1
    assert await ids(books) == ["b"]


async def test_client_is_created_with_its_key_and_entry_or_not_at_all(books: Books) -> None:
    await books.clients.create(WEB, api_key("abc"), [entry("a")])
    with pytest.raises(StateConflict, match="'shop' is there"):
        await books.clients.create(WEB, api_key("xyz"), [entry("b")])
    assert await ids(books) == ["a"]
    assert [k.prefix for k in await books.clients.keys("shop")] == ["abc"]


async def test_change_over_an_older_state_is_refused_and_leaves_no_entry(books: Books) -> None:
    await books.clients.create(WEB, api_key("abc"), [])
    pinned = Client(name="shop", channel="web", scopes=("orders:write",), api_version="2026-10-01")
    await books.clients.change(WEB, pinned, [entry("a")])
    with pytest.raises(StateConflict, match="somebody else"):
        await books.clients.change(WEB, WEB, [entry("b")])
    with pytest.raises(NotFound):
        await books.clients.change(Client(name="nobody", channel="web", scopes=(), api_version="1"), WEB, [entry("c")])
    assert await books.clients.get("shop") == pinned
    assert await ids(books) == ["a"]


async def test_certificate_stands_for_one_client_also_when_two_are_given_it_at_once(books: Books, another: Open) -> None:
    other = await another()
    await books.clients.create(WEB, api_key("abc"), [])
    app = Client(name="app", channel="web", scopes=("orders:write",), api_version="2026-10-01", certificates=("print",))
    shop = msgspec.structs.replace(WEB, certificates=("print", "more"))
    done = await asyncio.gather(
        books.clients.create(app, api_key("xyz", client="app"), [entry("a")]),
        other.clients.change(WEB, shop, [entry("b")]),
        return_exceptions=True,
    )
    refused = [outcome for outcome in done if outcome is not None]
    assert [type(outcome) for outcome in refused] == [StateConflict]
    assert "stands for client" in str(refused[0])
    assert [c.certificates for c in await books.clients.list() if c.certificates] in ([("print",)], [("print", "more")])
    assert len(await ids(books)) == 1


async def test_client_that_is_removed_while_it_gets_a_key_is_gone_with_it(books: Books, another: Open) -> None:
    other = await another()
    await books.clients.create(WEB, api_key("abc"), [])
    rotated, removed = await asyncio.gather(
        books.clients.rotate(api_key("xyz"), later(60), [entry("a")]), other.clients.remove("shop", [entry("b")]), return_exceptions=True
    )
    assert removed is None
    assert rotated == 1 or isinstance(rotated, NotFound)
    assert await books.clients.keys("shop") == []


async def test_rotation_adds_a_key_and_ends_the_others_after_the_overlap(books: Books) -> None:
    await books.clients.create(WEB, api_key("abc"), [])
    assert await books.clients.rotate(api_key("xyz", made=5), later(60), [entry("a")]) == 1
    assert [(k.prefix, k.expires_at, k.created_at) for k in await books.clients.keys("shop")] == [
        ("xyz", None, later(5)),
        ("abc", later(60), NOW),
    ]
    with pytest.raises(NotFound):
        await books.clients.rotate(api_key("k", client="nobody"), later(60), [entry("b")])
    assert await ids(books) == ["a"]


async def test_key_ends_once_and_only_as_its_own_client(books: Books) -> None:
    await books.clients.create(WEB, api_key("abc"), [])
    with pytest.raises(NotFound):
        await books.clients.end_key("app", "abc", NOW, [entry("a")])
    await books.clients.end_key("shop", "abc", NOW, [entry("b")])
    with pytest.raises(StateConflict):
        await books.clients.end_key("shop", "abc", later(1), [entry("c")])
    assert (await books.clients.keys("shop"))[0].expires_at == NOW
    assert await ids(books) == ["b"]


async def test_removed_client_leaves_no_key_and_no_answer_to_a_later_one_of_its_name(books: Books) -> None:
    await books.clients.create(WEB, api_key("abc"), [])
    answer = StoredAnswer(status=201, headers=(), body=b"{}")
    for name in ("shop", "shop-2"):
        await books.idempotency.begin(f"{name} POST /orders", "k1", b"1", NOW, 20)
        await books.idempotency.finish(f"{name} POST /orders", "k1", answer, NOW)
    await books.clients.remove("shop", [entry("a")])
    with pytest.raises(NotFound):
        await books.clients.remove("shop", [entry("b")])
    assert await books.clients.get("shop") is None
    assert await books.clients.find_key("abc") is None
    assert (await books.idempotency.begin("shop POST /orders", "k1", b"2", NOW, 20)).state == "new"
    assert (await books.idempotency.begin("shop-2 POST /orders", "k1", b"1", NOW, 20)).state == "done"
    assert await ids(books) == ["a"]


async def test_last_use_goes_forward_only(books: Books) -> None:
    await books.clients.create(WEB, api_key("abc"), [])
    await books.clients.used({"abc": later(9), "gone": later(9)})
    await books.clients.used({"abc": later(3)})
    assert [k.used_at for k in await books.clients.keys(None)] == [later(9)]
