"""What one till did in one business day: what is booked hangs on it."""

from __future__ import annotations

from adapters.store.unit import Transaction

Till = tuple[str, str, str]
"""Store, workstation, business date."""


async def days(tx: Transaction, tills: set[Till]) -> dict[Till, int]:
    """Their numbers; those that were never seen get one."""
    rows = sorted(tills)
    await tx.execute_each("insert into till_day (store, workstation, business_date) values ($1, $2, $3) on conflict do nothing", rows)
    found = await tx.query_each(
        "select store, workstation, business_date, id from till_day where store = $1 and workstation = $2 and business_date = $3", rows
    )
    return {(store, workstation, day): number for store, workstation, day, number in found}
