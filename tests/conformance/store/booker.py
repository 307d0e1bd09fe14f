"""A process to be killed: `python -m tests.conformance.store.booker URL TILL` books on and prints a line per answered batch."""

import asyncio
import sys

from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from tests.conformance.store.make import batch, key, later, sale, seen


async def main(url: str, till: str) -> None:
    books = open_store(StoreOptions(url=url, wait=20))
    await books.start()
    digest = f"d{till}"
    before = await books.files.get(digest)
    attempt = before.attempts if before else 0
    claim = await books.files.claim(seen(digest, f"till-{till}"), f"booker {attempt}", later(100 * attempt), 60, "t")
    position = claim.record.position
    while True:
        sales = [sale(n, key=key(n, till=till)) for n in range(position + 1, position + 11)]
        position += len(sales)
        await books.sales.commit(batch(*sales, position=position, fence=claim.record.fence, digest=digest), later(1))
        print(position, flush=True)  # noqa: T201  # this is its answer


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
