"""A unit of work: one coroutine over a transaction, the same on both engines.

SQL is one text for both dialects: `$1`-style parameters whose first appearances are in order (SQLite numbers them by appearance),
`on conflict`, `returning`, row values and common table expressions; no vendor functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Protocol, TypeVar

from adapters.store.errors import StoreDefect

T = TypeVar("T")
Row = Sequence[Any]

_PARAMETER = re.compile(r"\$(\d+)")


class Transaction(Protocol):
    """All or nothing. Rows are tuples in the order of the select list."""

    block: int
    """How many rows `insert` puts into one statement."""

    async def query(self, sql: str, *args: Any) -> Sequence[Row]: ...

    async def execute(self, sql: str, *args: Any) -> int:
        """Returns how many rows were changed."""
        ...

    async def query_each(self, sql: str, rows: Sequence[Row]) -> Sequence[Row]:
        """The statement once per row of parameters; what they return, one after the other."""
        ...

    async def execute_each(self, sql: str, rows: Sequence[Row]) -> None: ...

    async def script(self, sql: str) -> None:
        """Many statements without parameters."""
        ...

    async def lock(self, *names: str) -> None:
        """Until the end of the transaction nobody else has these locks. One call per unit: several calls could deadlock."""
        ...


Unit = Callable[[Transaction], Coroutine[Any, Any, T]]


class Engine(Protocol):
    """Runs units. A unit may run more than once (conflicts are repeated), so it only reads what it is given."""

    dialect: dict[str, str]
    """Type words of migrations."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def write(self, unit: Unit[T]) -> T:
        """Durable when it returns. Raises what the unit raises (then nothing was written) or StoreUnavailable."""
        ...

    async def read(self, unit: Unit[T]) -> T:
        """One snapshot."""
        ...

    def describe(self) -> dict[str, Any]: ...


async def insert(tx: Transaction, into: str, rows: Sequence[Row], rest: str = "") -> int:
    """`into` (table and columns) `values` the rows, many to a statement, and the `rest` of it. Returns how many rows came in."""
    return sum(
        [
            await tx.execute(_insert_sql(into, len(block[0]), len(block), rest), *chain.from_iterable(block))
            for block in (rows[start : start + tx.block] for start in range(0, len(rows), tx.block))
        ]
    )


@lru_cache(256)
def _insert_sql(into: str, width: int, rows: int, rest: str) -> str:
    values = ", ".join("(" + ", ".join(f"${row * width + n}" for n in range(1, width + 1)) + ")" for row in range(rows))
    return f"insert into {into} values {values} {rest}"  # noqa: S608  # constants of the books and placeholders


def in_order(sql: str) -> str:
    """The statement itself. Raises StoreDefect when `$n` do not first appear as 1, 2, 3, …: SQLite would bind them otherwise."""
    seen: list[int] = []
    for found in _PARAMETER.finditer(sql):
        if (number := int(found[1])) not in seen:
            seen.append(number)
    if seen != list(range(1, len(seen) + 1)):
        raise StoreDefect(reason=f"expected parameters to appear first as $1, $2, … in this order, got {seen} in: {' '.join(sql.split())}")
    return sql
