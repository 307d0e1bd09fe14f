"""Numbered migrations: each is applied once, in order, also when several processes start at the same moment."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from adapters.store.unit import Transaction
from contracts.errors import StoreUnavailable

FOLDER = Path(__file__).with_name("migrations")


def steps(folder: Path) -> list[tuple[str, str]]:
    """Name and text of each, in order."""
    return [(path.name, path.read_text("utf-8")) for path in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))]


async def migrate(tx: Transaction, dialect: dict[str, str], folder: Path = FOLDER) -> int:
    """Returns the number of the newest step. Refuses books written by a newer release, or by another text of the same step."""
    await tx.lock("schema")
    await tx.script(
        "create table if not exists schema_step (number {int} primary key, name {text} not null, digest {text} not null) {strict}".format(
            **dialect
        )
    )
    done = {number: (name, digest) for number, name, digest in await tx.query("select number, name, digest from schema_step")}
    newest = 0
    for name, script in steps(folder):
        newest = int(name[:4])
        digest = sha256(script.encode()).hexdigest()
        if newest not in done:
            await tx.script(script.format(**dialect))
            await tx.execute("insert into schema_step (number, name, digest) values ($1, $2, $3)", newest, name, digest)
        elif done[newest][1] != digest:
            raise StoreUnavailable(reason=f"step {done[newest][0]} was applied with another text than {name} has now")
    if done and max(done) > newest:
        raise StoreUnavailable(reason=f"the books are at step {max(done)}, this release knows {newest}: start the newer release")
    return newest
