"""A window of time explained from what gateways have written down, whether or not one runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from pathlib import Path

from adapters.store.driver import cell_file
from gateway import estate as estates
from gateway.bootstrap.dependency import dependency_map
from gateway.bootstrap.foundation import open_books, store_options
from gateway.bootstrap.watching import engine, planned
from gateway.services.clock import utc_now
from gateway.services.evidence import Estate, GuardLog, Witness
from gateway.services.incidents import require_window
from observability import Recorder
from observability.cellstore import CellStore
from observability.rootcause.model import Incident


async def explain_window(
    root: Path, data: Path, begin: datetime, end: datetime | None, environment: Mapping[str, str] = os.environ
) -> Incident:
    """Raises InvalidRequest."""
    require_window(begin, end, utc_now())
    estate, _ = estates.read(root)
    recorder = Recorder()
    async with AsyncExitStack() as stack:
        books = await stack.enter_async_context(open_books(root, data, environment))
        own = store_options(estate, data, environment).path is not None
        await CellStore(recorder, await stack.enter_async_context(cell_file(data / "cells" / "cells.db")) if own else books.cells).load()
        witness = Witness(books, recorder, GuardLog(utc_now), utc_now)
        witness.estate = Estate(map=dependency_map(estate), planned=partial(planned, estate))
        beside = await witness.beside()

        def look() -> Incident:
            from observability.rootcause.timeline import with_timeline  # the arithmetic is loaded where it is first needed

            evidence = witness.counted(beside)
            return with_timeline(engine().explain(evidence, begin.timestamp(), end.timestamp() if end else None), evidence)

        return await asyncio.to_thread(look)
