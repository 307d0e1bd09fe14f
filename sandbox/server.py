"""The whole legacy estate in one process: ERP, OMS, tills and the control door, started and stopped together."""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from sandbox.control import Control
from sandbox.erp.books import TillTransaction
from sandbox.erp.server import ErpServer
from sandbox.faults import Faults
from sandbox.oms.server import KEY, OmsServer
from sandbox.pos.till import Tills
from sandbox.world import World


@dataclass(slots=True)
class Sandbox:
    """A running estate. Its books are in memory: they outlive any client, not this process."""

    world: World
    faults: Faults
    erp: ErpServer
    oms: OmsServer
    tills: Tills
    control: Control = field(init=False)
    _started: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def stop(self) -> None:
        """Let go of what hangs, close all ports. Safe to call twice."""
        self.faults.clear()
        await self._started.aclose()

    def describe(self) -> dict[str, object]:
        """Addresses, folders, and the sample credentials of each system."""
        sessions = self.erp.sessions
        return {
            "seed": self.world.seed,
            "control": self.control.url,
            "erp": {
                "url": self.erp.url,
                "wsdl": f"{self.erp.url}?wsdl",
                "user": sessions.user,
                "password": sessions.password,
            },
            "oms": {"url": self.oms.url, "openapi": f"{self.oms.url}/openapi.json", "key": KEY},
            "pos": {"inbox": str(self.tills.inbox), "changes": str(self.tills.changes)},
        }

    def day_close(self) -> int:
        """The ERP takes over all transactions the tills have written as files so far. Answers how many were new."""
        return self.erp.book.post(
            TillTransaction(
                t.key.store,
                t.key.workstation,
                t.key.business_date,
                t.key.sequence,
                tuple((sku, Decimal(thousandths).scaleb(-3)) for sku, thousandths in t.units.items()),
            )
            for t in self.tills.transactions()
            if t.files
        )


async def start(
    root: Path,
    seed: int = 1,
    *,
    stores: int = 200,
    skus: int = 20_000,
    host: str = "127.0.0.1",
    erp_port: int = 0,
    oms_port: int = 0,
    control_port: int = 0,
    session_seconds: int = 1800,
) -> Sandbox:
    """Start everything below `root` (made if missing; port 0: any free one). OSError when a port is taken."""
    await asyncio.to_thread(root.mkdir, parents=True, exist_ok=True)
    world, faults = World(seed, stores, skus), Faults(seed)
    # Reading the WSDL blocks, and nobody is served yet.
    erp = await asyncio.to_thread(ErpServer, world, faults, host, erp_port, session_seconds)
    sandbox = Sandbox(world, faults, erp, OmsServer(world, faults, host=host, port=oms_port), Tills(world, faults, root))
    sandbox.control = Control(sandbox, host, control_port)
    try:
        sandbox._started.push_async_callback(sandbox.tills.stop)  # noqa: SLF001 - the one place that builds it
        for part in (sandbox.erp, sandbox.oms, sandbox.control):
            sandbox._started.push_async_callback(part.stop)  # noqa: SLF001 - same
            await part.start()
    except BaseException:
        await sandbox.stop()
        raise
    return sandbox


async def serve(args: argparse.Namespace) -> None:
    """Run until SIGTERM or SIGINT, or until standard input closes if that was wished."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    if args.with_parent:
        # A pipe closes even when the process at its other end is killed.
        asyncio.get_running_loop().add_reader(0, lambda: None if os.read(0, 4096) else stopped.set())
    sandbox = await start(
        args.root,
        args.seed,
        stores=args.stores,
        skus=args.skus,
        erp_port=args.erp_port,
        oms_port=args.oms_port,
        control_port=args.control_port,
        session_seconds=args.session_seconds,
    )
    try:
        found = sandbox.describe()
        if args.json:
            print(json.dumps(found), flush=True)
        else:
            for name, value in found.items():
                facts = value.items() if isinstance(value, dict) else [("", value)]
                print(*(f"{f'{name} {fact}':14} {text}" for fact, text in facts), sep="\n", flush=True)
        await stopped.wait()
    finally:
        await sandbox.stop()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder for the tills' files; made if missing")
    parser.add_argument("--seed", type=int, default=1, help="another seed is another sample company (default 1)")
    parser.add_argument("--stores", type=int, default=200)
    parser.add_argument("--skus", type=int, default=20_000)
    for system in ("erp", "oms", "control"):
        parser.add_argument(f"--{system}-port", type=int, default=0, help="0 (default): any free port")
    parser.add_argument("--session-seconds", type=int, default=1800, help="how long an ERP session lasts")
    parser.add_argument("--with-parent", action="store_true", help="stop when standard input closes")
    parser.add_argument("--json", action="store_true", help="print addresses and sample credentials as one JSON line")
    args = parser.parse_args(argv)
    try:
        asyncio.run(serve(args))
    except (OSError, ValueError) as exc:
        print(f"the sandbox can't start: {exc}", file=sys.stderr)
        return 1
    return 0
