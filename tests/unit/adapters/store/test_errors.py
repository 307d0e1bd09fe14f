import apsw
import asyncpg
import pytest

from adapters.store.errors import StoreDefect, from_postgres, from_sqlite
from contracts.errors import StoreUnavailable


@pytest.mark.parametrize(
    ("exc", "says"),
    [
        (apsw.BusyError("locked"), "another process"),
        (apsw.FullError("full"), "disk is full"),
        (apsw.CorruptError("x"), "restore it"),
        (apsw.IOError("x"), "disk"),
        (apsw.ReadOnlyError("x"), "may not be written"),
    ],
)
def test_sqlite_trouble_is_told_in_our_words(exc: apsw.Error, says: str) -> None:
    error = from_sqlite(exc)
    assert isinstance(error, StoreUnavailable)
    assert says in str(error)
    assert error.public == "The gateway cannot record this now."


@pytest.mark.parametrize(
    ("exc", "says"),
    [
        (asyncpg.ConnectionDoesNotExistError("x"), "connection was lost"),
        (asyncpg.DeadlockDetectedError("x"), "same rows"),
        (asyncpg.DiskFullError("x"), "disk is full"),
        (asyncpg.TooManyConnectionsError("x"), "limit"),
        (asyncpg.AdminShutdownError("x"), "stopping"),
        (asyncpg.InvalidPasswordError("x"), "credentials"),
        (asyncpg.InterfaceError("pool is closed"), "cannot be reached"),
        (ConnectionRefusedError(111, "refused"), "Connection refused"),
        (TimeoutError(), "in time"),
    ],
)
def test_postgres_trouble_is_told_in_our_words(exc: Exception, says: str) -> None:
    error = from_postgres(exc)
    assert isinstance(error, StoreUnavailable)
    assert says in str(error)


def test_statement_that_should_never_have_been_given_is_our_mistake() -> None:
    assert isinstance(from_sqlite(apsw.SQLError("syntax")), StoreDefect)
    assert isinstance(from_postgres(asyncpg.PostgresSyntaxError("syntax")), StoreDefect)
    assert not StoreDefect(reason="x").retryable
