"""The ERP's port: its WSDL by GET, its operations by POST, and every fault of the table as it looks in SOAP."""

import asyncio
from collections import Counter, deque
from datetime import datetime
from http import HTTPStatus

from aiohttp import web
from lxml import etree

from sandbox.erp.books import Books
from sandbox.erp.contract import BadRequest, Contract, SoapCall, as_bytes
from sandbox.erp.service import Retail, RetailFault
from sandbox.erp.sessions import Sessions
from sandbox.faults import Fault, Faults
from sandbox.wire import Listener, hang, reset, send_half
from sandbox.world import World

PATH = "/sap/bc/srt/retail"
LARGEST = 1 << 20
BROKEN = "ABAP runtime error TIME_OUT in program SAPLRETAIL_API, host sapprd01_PRD_00"
# One field per operation that the faults `unknown_enum` and `wrong_type` spoil, and what they write there.
ENUMS = {
    "GetPlants": "VLFKZ", "GetMaterials": "MSTAE", "GetPrices": "KSCHL", "GetStock": "MEINS", "CreateSalesOrder": "TYPE",
    "FindSalesOrder": "GBSTK", "CancelSalesOrder": "TYPE", "GetCustomer": "SPRAS",
}  # fmt: skip
TYPES = {
    "Login": ("VALID_SECONDS", "half an hour"), "GetPlants": ("WERKS", "#N/A"), "GetMaterials": ("MATNR", "#N/A"),
    "GetPrices": ("KBETR", "1.299,00"), "GetStock": ("LABST", "12 ST"), "CreateSalesOrder": ("VBELN", "PENDING"),
    "FindSalesOrder": ("NETWR", "*****"), "CancelSalesOrder": ("NUMBER", "E1"), "GetCustomer": ("KUNNR", "#N/A"),
}  # fmt: skip


class ErpServer:
    """A SOAP 1.1 service on a socket of its own. Books are in memory: they end with the process.

    Faults: `refuse` closes the port (see wire.py); `stale` concerns GetStock alone; `error` and `fault_in_200` are the
    same SOAP fault under HTTP 500 and 200; `hang`, `error`, `fault_in_200` and `429` do not execute the operation,
    `slow`, `reset`, `truncate`, `wrong_type`, `unknown_enum` and `lost_answer` do.
    """

    def __init__(
        self,
        world: World,
        faults: Faults,
        host: str = "127.0.0.1",
        port: int = 0,
        session_seconds: int = 1800,
    ) -> None:
        self.contract = Contract()
        self.book = Books(world, keep_since=lambda: faults.stale_since("erp"), clock=faults.clock)
        self.sessions = Sessions(seconds=session_seconds, seed=world.seed)
        self.calls: Counter[str] = Counter()
        """How often each operation was asked for, broken or not."""
        self.journal: deque[dict[str, object]] = deque(maxlen=2_000)
        """The latest calls: at, operation, plants, fault, traceparent."""
        self._faults = faults
        self._retail = Retail(world, self.book, self.sessions, faults.clock)
        faults.know("erp", self.contract.operations)
        app = web.Application(client_max_size=LARGEST)
        app.router.add_get(PATH, self._describe)
        app.router.add_post(PATH, self._call)
        self._listener = Listener(app, "erp", faults, host, port)

    @property
    def url(self) -> str:
        """Where operations are posted; the WSDL is at `?wsdl`."""
        return self._listener.url + PATH

    async def start(self) -> None:
        await self._listener.start()

    async def stop(self) -> None:
        await self._listener.stop()

    def books(self) -> dict[str, object]:
        """Orders, stock of every touched pair, posted-through per till, and how often each operation was called."""
        return {**self.book.account(), "calls": dict(self.calls)}

    async def _describe(self, request: web.Request) -> web.Response:
        if "wsdl" not in {key.lower() for key in request.query}:
            return web.Response(status=400, text=f"POST a SOAP 1.1 request here, or GET {PATH}?wsdl\n")
        return _xml(self.contract.wsdl(self.url))

    async def _call(self, request: web.Request) -> web.StreamResponse:
        if request.content_type not in ("text/xml", "application/xml"):
            return web.Response(status=415, text=f"expected text/xml (SOAP 1.1), got {request.content_type}\n")
        try:
            call = self.contract.read(await request.read())
        except BadRequest as exc:
            return self._fault("Client", RetailFault("RetailFault", "INVALID_REQUEST", str(exc)))
        plants = self._retail.plants(call)
        fault = self._faults.draw("erp", call.operation, plants)
        self.calls[call.operation] += 1
        self.journal.append(
            {
                "at": self._faults.clock().isoformat(), "operation": call.operation, "plants": sorted(plants)[:20],
                "fault": fault and fault.kind, "traceparent": request.headers.get("traceparent"),
            }
        )  # fmt: skip
        if fault is None:
            return self._answer(call)
        match fault.kind:
            case "refuse":
                return reset(request)
            case "hang":
                return await hang(request, self._faults, fault)
            case "error" | "fault_in_200":
                broken = RetailFault("RetailFault", "INTERNAL", BROKEN)
                return self._fault("Server", broken, 200 if fault.kind == "fault_in_200" else 500)
            case "429":
                headers = {"Retry-After": f"{fault.seconds or 1:.0f}"}
                return web.Response(status=429, text="ICM: too many requests\n", headers=headers)
            case "slow":
                await asyncio.sleep(fault.seconds)
                return self._answer(call)
            case "lost_answer":
                self._answer(call)
                return reset(request)
            case "reset":
                return await send_half(request, self._answer(call))
            case "truncate":
                whole = self._answer(call).body
                return _xml(whole[: len(whole) // 2] if isinstance(whole, bytes) else b"")
            case "stale":
                return self._answer(call, as_of=fault.since)
            case _:
                return self._answer(call, fault)

    def _answer(self, call: SoapCall, spoilt: Fault | None = None, as_of: datetime | None = None) -> web.Response:
        try:
            answer = self._retail.answer(call, as_of)
        except RetailFault as exc:
            return self._fault("Client", exc)
        envelope = self.contract.write(call.operation, answer)
        if spoilt is not None:
            _spoil(envelope, call.operation, spoilt)
        return _xml(as_bytes(envelope))

    def _fault(self, code: str, exc: RetailFault, status: int = 500) -> web.Response:
        fields = {"CODE": exc.code, "MESSAGE": exc.message[:241]}
        if exc.field is not None:
            fields["FIELD"] = exc.field
        return _xml(self.contract.fault(code, exc.message, exc.detail, fields), status)


def _xml(body: bytes, status: int = HTTPStatus.OK) -> web.Response:
    return web.Response(body=body, status=status, content_type="text/xml", charset="utf-8")


def _spoil(envelope: etree._Element, operation: str, fault: Fault) -> None:
    """Write a wrong value into the first such field, or into that of each row of the fault's store."""
    name, value = (ENUMS.get(operation, ""), "ZZ") if fault.kind == "unknown_enum" else TYPES[operation]
    found = list(envelope.iter("{*}" + name)) if name else []
    if fault.store != "*":
        mine = [e for e in found if (row := e.getparent()) is not None and row.findtext("WERKS") == fault.store]
        found = mine or found[:1]
    else:
        found = found[:1]
    for element in found:
        element.text = value
