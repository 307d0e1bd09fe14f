from contracts.books import Books, ConsoleSession
from tests.conformance.store.make import later


def session(mark: str, at: float, client: str = "ops") -> ConsoleSession:
    scopes = ("admin:read",)
    return ConsoleSession(mark=mark, client=client, prefix="abcdefgh", scopes=scopes, opened_at=later(at), seen_at=later(at))


async def test_session_is_found_until_it_ends_and_is_seen_forwards_only(books: Books) -> None:
    await books.sessions.open(session("a", 1), 5)
    assert await books.sessions.get("a") == session("a", 1)
    await books.sessions.seen("a", later(9))
    await books.sessions.seen("a", later(3))
    assert (found := await books.sessions.get("a"))
    assert found.seen_at == later(9)
    await books.sessions.end("a")
    await books.sessions.end("a")
    assert await books.sessions.get("a") is None


async def test_client_keeps_its_newest_sessions_and_others_keep_theirs(books: Books) -> None:
    for n in range(5):
        await books.sessions.open(session(f"a{n}", n), 3)
    await books.sessions.open(session("b", 0, client="other"), 3)
    assert [bool(await books.sessions.get(f"a{n}")) for n in range(5)] == [False, False, True, True, True]
    assert await books.sessions.get("b")


async def test_old_sessions_are_forgotten(books: Books) -> None:
    await books.sessions.open(session("a", 1), 3)
    await books.sessions.open(session("b", 2), 3)
    assert await books.sessions.purge(later(2)) == 1
    assert await books.sessions.get("a") is None
