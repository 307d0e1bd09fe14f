"""Answers broken in every way that JSON and HTTP allow: each is read as a whole or refused with a named error, and costs no memory."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import random
import resource
from collections import Counter
from collections.abc import AsyncIterator, Callable
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from adapters.options import read
from adapters.rest.contract import RestContract
from adapters.rest.driver import RestConnection
from adapters.rest.spec import RestOptions
from contracts.call import Call
from contracts.errors import UpstreamError
from mappings.language.mapping import CompiledMapping, ReadContext, load
from mappings.language.typed import DECODER, Decoded

JSON = "application/json"


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    sku: str
    active: bool
    price: Decimal
    name: str | None = None
    stock: int | None = None
    card: str | None = None
    tags: tuple[str, ...] = ()


MAPPING = """
target = "Thing"
source = "shop.things/rows"
[fields]
sku    = "sku"
active = "state | enum(A=True, X=False)"
price  = "price.amount"
name   = "(names | where(key == 'de') | first).value | text"
stock  = "stock"
card   = "path('payment:Card').number"
tags   = "tags"
[drops]
"payment:Card.type" = "said by the variant"
"payment:Cash"      = "has no number"
"price.currency"    = "one currency"
seen                = "not shown"
more                = "not shown"
"root.total"        = "the driver pages"
"""


def document() -> dict[str, Any]:
    def kind(name: str, **members: Any) -> dict[str, Any]:
        return {"type": "object", "required": ["type", *members], "properties": {"type": {"type": "string", "enum": [name]}, **members}}

    text = {"type": "string"}
    row = {
        "type": "object",
        "required": ["sku", "state", "price"],
        "properties": {
            "sku": {"type": "string", "minLength": 1, "maxLength": 12},
            "state": {"type": "string", "enum": ["A", "X"]},
            "price": {
                "type": "object",
                "required": ["amount"],
                "properties": {"amount": {"type": "number", "multipleOf": 0.01, "maximum": 99999}, "currency": text},
            },
            "names": {"type": "object", "additionalProperties": text},
            "stock": {"type": ["integer", "null"], "minimum": 0},
            "tags": {"type": "array", "items": text},
            "seen": {"type": "string", "format": "date-time"},
            "payment": {"oneOf": [{"$ref": "#/components/schemas/Card"}, {"$ref": "#/components/schemas/Cash"}]},
            "more": {},
        },
    }
    page = {"type": "object", "required": ["rows"], "properties": {"rows": {"type": "array", "items": row}, "total": {"type": "integer"}}}
    answers = {"200": {"description": "", "content": {JSON: {"schema": page}}}}
    return {
        "openapi": "3.1.0",
        "paths": {"/things": {"get": {"operationId": "things", "responses": answers}}},
        "components": {"schemas": {"Card": kind("card", number=text), "Cash": kind("cash")}},
    }


def good(rng: random.Random) -> dict[str, Any]:
    rows = [
        {
            "sku": f"S{rng.randrange(10_000)}",
            "state": rng.choice("AX"),
            "price": {"amount": rng.randrange(10_000) / 100, "currency": "EUR"},
            "names": {"de": "Größe é", "en": "size"},
            "stock": rng.choice((None, 0, 7)),
            "tags": ["a", "b"],
            "seen": "2026-03-11T09:30:00Z",
            "payment": rng.choice(({"type": "card", "number": "42"}, {"type": "cash"})),
            "more": {"x": [1, {"y": None}]},
        }
        for _ in range(rng.randrange(1, 4))
    ]
    return {"rows": rows, "total": len(rows)}


ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**63, 2**200, -0.0, 1e300, 0.1 + 0.2, "", " ", "0", "12,50", "x" * 3000, "\x00", "\ud800", "Ω" * 20),
    *([], {}, [[]], [None], {"": ""}, {"type": "card"}, {"key": "de", "value": 1}, [1, "a", None], {"amount": "1"}),
    *("2026-13-45T99:99:99Z", "true", "NaN"),
)
PIECES = (b"\x00", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\\ud800", b"\n", b"}", b"]", b",", b'"')
NUMBERS = (
    b"NaN",
    b"Infinity",
    b"1e999999999",
    b"-",
    b"1e5000",
    b"1E-7000",
    b"0x10",
    b"9" * 40,
    b"9" * 400,
    b"9" * 5_000,
    b"1_0",
    b"\xd9\xa3",
)
WHOLE = (b"", b" ", b"null", b"[]", b"{}", b'""', b"0", b"<html><body>gone</body></html>", b'{"rows":null}', b'{"error":"x"}', b"\x1f\x8b")


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(p for k, v in inner for p in places(v, (*at, k)))]


def changed(rng: random.Random, value: Any) -> Any:
    """One member changed, gone, added, renamed, moved, or wrapped."""
    path = rng.choice(places(value)[1:] or [()])
    if not path:
        return deepcopy(rng.choice(ODD))
    here = value
    for key in path[:-1]:
        here = here[key]
    key = path[-1]
    match rng.randrange(8):
        case 0 | 1 | 2:
            here[key] = deepcopy(rng.choice(ODD))
        case 3:
            del here[key]
        case 4 if isinstance(here, dict):
            here[rng.choice(("extra", "SKU", "sku ", "$ref", "__proto__", "ä", "key"))] = deepcopy(rng.choice(ODD))
        case 5 if isinstance(here, dict):
            here[f"{key}_"] = here.pop(key)
        case 6:
            here[key] = [here[key]] if rng.random() < 0.5 else {"value": here[key]}
        case _ if isinstance(here, dict):
            members = list(here.items())
            rng.shuffle(members)
            here.clear()
            here.update(members)
        case _:
            here.append(here[key])
    return value


def damaged(rng: random.Random, raw: bytes) -> bytes:
    """The text itself is broken."""
    at = rng.randrange(len(raw) + 1)
    depth = rng.choice((100, 2_000, 30_000))
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: raw[:at],
        lambda: raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1 :],
        lambda: raw[:at] + rng.choice(PIECES) + raw[at:],
        lambda: b"\xef\xbb\xbf" + raw,
        lambda: raw.decode("utf-8", "replace").encode("utf-16"),
        lambda: raw.decode("utf-8", "replace").encode("latin-1", "replace"),
        lambda: raw + rng.choice((raw, b"garbage", b"\n\n", b"<html>")),
        lambda: raw.replace(b'"total":', b'"total":' + rng.choice(NUMBERS) + b',"a":'),
        lambda: raw.replace(b'"amount":', b'"amount":' + rng.choice(NUMBERS) + b',"x":', 1),
        lambda: raw.replace(b'"sku":', b'"sku":"first","sku":', 1),
        lambda: raw.replace(b'"rows":', b'"rows":[],"rows":', 1),
        lambda: raw.replace(b'"more":', b'"more":' + b"[" * depth + b"]" * depth + b',"z":', 1),
        lambda: raw.replace(b'"more":', b'"more":' + b'{"a":' * depth + b"1" + b"}" * depth + b',"z":', 1),
        lambda: rng.choice(WHOLE),
        lambda: b'{"rows":[' + b",".join([b"{}"] * 5_000) + b"]}",
        lambda: rng.randbytes(rng.randrange(400)),
    )  # fmt: skip
    return rng.choice(ways)()


def answered(rng: random.Random, raw: bytes) -> bytes:
    """The HTTP answer; a tenth of them are broken as such."""
    headers = {"Content-Type": JSON, "Content-Length": str(len(raw))}
    status = "200 OK"
    match rng.randrange(60):
        case 0:
            headers["Content-Type"] = rng.choice(("text/html", "text/plain", "", "application/xml", "application/json; charset=utf-16"))
        case 1:
            headers["Content-Length"] = str(len(raw) + 10)  # and then the connection ends
        case 2:
            raw, headers["Content-Encoding"] = rng.choice((raw, gzip.compress(raw)[:-9], b"\x1f\x8b\x08")), "gzip"
            headers["Content-Length"] = str(len(raw))
        case 3:
            raw, headers["Content-Encoding"] = gzip.compress(raw), "gzip"
            headers["Content-Length"] = str(len(raw))
        case 4:
            status = rng.choice(
                ("204 No Content", "304 Not Modified", "302 Found", "404 Not Found", "500 Oops", "429 Slow", "999 X", "200")
            )
        case 5:
            del headers["Content-Length"]
            headers["Transfer-Encoding"] = "chunked"
            raw = rng.choice((b"%x\r\n%b\r\n0\r\n\r\n" % (len(raw), raw), b"ZZ\r\n" + raw, b"%x\r\n%b" % (len(raw) + 5, raw)))
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{head}Connection: close\r\n\r\n".encode("latin-1") + raw


class Broken:
    """Answers each connection with the next of its answers."""

    def __init__(self) -> None:
        self.next = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.next)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[tuple[Broken, RestConnection, CompiledMapping]]:
    (tmp_path / "openapi.json").write_text(json.dumps(document()))
    contract = RestContract("shop", tmp_path / "openapi.json")
    mapping = load(MAPPING, "things.toml", lambda reference: contract.exchange(reference.partition(".")[2]), {"Thing": Thing})
    broken = Broken()
    server = await asyncio.start_server(broken.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = RestConnection("shop", f"http://127.0.0.1:{port}", contract, read(RestOptions, {"body_limit": 100_000}))
    await connection.start()
    yield broken, connection, mapping
    await connection.close()
    server.close()
    await server.wait_closed()


def amount(value: Any) -> Decimal:
    """A number that is written as a text is the same number."""
    return Decimal(value.strip() if isinstance(value, str) else value)


def plain(found: Any) -> Any:
    return DECODER.decode(found.text.removeprefix(b"\xef\xbb\xbf")) if isinstance(found, Decoded) else found


def whole(things: list[Thing], document: Any) -> bool:
    """Each row is there, with what it says: nothing left out, nothing made up."""
    if len(things) != len(document["rows"]):
        return False
    for thing, row in zip(things, document["rows"], strict=True):
        card = row.get("payment")
        number = card.get("number") if isinstance(card, dict) and card.get("type") == "card" else None
        stock = None if row.get("stock") is None else amount(row["stock"])
        said = (row["sku"], row["state"] == "A", amount(row["price"]["amount"]), stock, tuple(row.get("tags") or ()), number)
        if said != (thing.sku, thing.active, thing.price, thing.stock, thing.tags, thing.card):
            return False
    return True


@pytest.mark.slow
@pytest.mark.timeout(1_800)
async def test_mutated_answers_are_read_whole_or_refused_with_a_named_error(
    shop: tuple[Broken, RestConnection, CompiledMapping], deep: bool
) -> None:
    broken, connection, mapping = shop
    rng, outcomes, memory = random.Random(20261122), Counter[str](), 0
    count = 100_000 if deep else 4_000
    loop, context = asyncio.get_running_loop(), ReadContext("shop", "things")
    for number in range(count):
        value: Any = good(rng)
        for _ in range(rng.randrange(3)):
            value = changed(rng, value) if isinstance(value, dict | list) and value else value
        raw = json.dumps(value, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
        raw = damaged(rng, raw) if rng.random() < 0.4 else raw
        broken.next = answered(rng, raw)
        try:
            call = Call(channel="web", client="c", deadline=loop.time() + 5)
            reply = await connection.call("things", {}, call, 5, mapping.shortcut if number % 2 else None)
            things = [thing for each in reply.documents for thing in mapping.read(each, context)]
        except UpstreamError as error:
            outcomes[type(error).__name__] += 1
        else:
            outcomes["read"] += 1
            assert all(whole(mapping.read(d, context), plain(d)) for d in reply.documents), raw[:2_000]
            assert msgspec.convert(msgspec.to_builtins(things), list[Thing]) == things
        if number == count // 5:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    logging.getLogger(__name__).info("%d mutated answers: %s", count, dict(outcomes.most_common()))
    assert outcomes["UpstreamTimeout"] == 0, "an answer made the driver wait for its end"
    assert outcomes["read"] > count // 10
    assert outcomes["ContractViolation"] > count // 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 30_000, "memory grows with the number of answers"
