"""What databases raise, in the words of the one error tree."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

import apsw

from contracts.errors import StoreUnavailable, TillgateError


@dataclass(eq=False, kw_only=True)
class StoreDefect(TillgateError):
    """The store refused a statement that it should never have been given: a mistake of ours."""

    text: ClassVar[str] = "store: {reason}"
    reason: str


SQLITE: tuple[tuple[type[apsw.Error], str], ...] = (
    (apsw.BusyError, "another process holds the write lock"),
    (apsw.LockedError, "another process holds the write lock"),
    (apsw.FullError, "the disk is full"),
    (apsw.ReadOnlyError, "the database file may not be written"),
    (apsw.PermissionsError, "the database file may not be opened"),
    (apsw.CantOpenError, "the database file cannot be opened"),
    (apsw.NotADBError, "the file is not a database"),
    (apsw.CorruptError, "the database file is damaged: restore it from a copy"),
    (apsw.IOError, "the disk does not read or write"),
    (apsw.NoMemError, "out of memory"),
    (apsw.InterruptError, "interrupted"),
)

POSTGRES: tuple[tuple[str, str], ...] = (
    ("08", "the connection was lost"),
    ("28", "the server refuses these credentials"),
    ("3D", "there is no such database"),
    ("53100", "the server's disk is full"),
    ("53", "the server is at its limit"),
    ("57P", "the server is stopping or starting"),
    ("57014", "the statement took too long"),
    ("55P03", "a lock was not free in time"),
    ("40", "too many changes to the same rows at once"),
    ("25006", "the server is read-only"),
    ("58", "the server's disk does not read or write"),
)
"""Beginning of SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html) -> reason; the first match wins."""


def from_sqlite(exc: apsw.Error) -> TillgateError:
    for kind, reason in SQLITE:
        if isinstance(exc, kind):
            return StoreUnavailable(reason=f"{reason} ({exc})")
    return StoreDefect(reason=f"{type(exc).__name__}: {exc}")


def from_postgres(exc: Exception) -> TillgateError:
    """Everything asyncpg raises: SQLSTATE errors, its own InterfaceError (a pool or connection that is gone), OS errors and time-outs."""
    code = getattr(exc, "sqlstate", None)
    if code is None:
        if isinstance(exc, TimeoutError):
            return StoreUnavailable(reason="the server did not answer in time")
        detail = os.strerror(exc.errno) if isinstance(exc, OSError) and exc.errno else type(exc).__name__
        return StoreUnavailable(reason=f"the server cannot be reached ({detail})")
    for start, reason in POSTGRES:
        if code.startswith(start):
            return StoreUnavailable(reason=f"{reason} (SQLSTATE {code})")
    return StoreDefect(reason=f"SQLSTATE {code}: {exc}")
