"""Whatever bytes come: every reader ends, in bounded time and memory, with transactions, bad records or a refusal, and nothing else."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.files.formats.reading import parsing
from adapters.files.layout import Layout, load, parse
from adapters.files.parsing import Parser, Refuse
from adapters.files.proposal import propose
from contracts.errors import Findings
from tests.unit.adapters.files.formats import test_columns, test_edi, test_fixed

ROOT = Path(__file__).resolve().parents[5]
POS = ROOT / "contracts/systems/pos"
TLOG = (
    b"FH;1;0001;20260311;20260311220000;00001\nTH;003;000007;S;20260311080448;20260311080520;0026;R7;EUR;\n"
    b"TL;1;S;000010000082;4006100000823;2000;ST;1199;2398;;S\nTT;BAR;2398;\nTF;2398;2398;0;2398\nFT;1;1;2398\n"
)
POSLOG = (
    b'<?xml version="1.0"?><POSLog><Transaction><RetailStoreID>0001</RetailStoreID><WorkstationID>3</WorkstationID><SequenceNumber>7'
    b"</SequenceNumber><BusinessDayDate>2026-03-11</BusinessDayDate><EndDateTime>2026-03-11T09:00:00</EndDateTime><CurrencyCode>EUR"
    b'</CurrencyCode><RetailTransaction TypeCode="Sale"><Total TotalType="TransactionGrandAmount">0.00</Total></RetailTransaction>'
    b"</Transaction></POSLog>"
)
EDIFACT = test_edi.SALES.encode()
X12 = test_edi.interchange(test_edi.GOOD, test_edi.GOOD).encode()
SHIPMENT = test_edi.shipment(*test_edi.SHIPMENT).encode()
SEEDS: dict[str, tuple[Callable[[], Layout], bytes]] = {
    "tlog": (lambda: load(POS / "tlog.toml"), TLOG),
    "poslog": (lambda: load(POS / "poslog.toml"), POSLOG),
    "x12": (lambda: parse(test_edi.ORDER, "m", "m"), X12),
    "x12 tree": (lambda: load(ROOT / "contracts/systems/edi/x12_856.toml"), SHIPMENT),
    "edifact": (lambda: load(ROOT / "contracts/systems/edi/edifact_slsrpt.toml"), EDIFACT),
    "fixed": (test_fixed.layout, b"".join(test_fixed.lines(trailer="00003"))),
    "columns": (lambda: parse(test_columns.LAYOUT, "m", "m"), test_columns.TABLE.encode()),
}
SIGNS = [
    *(bytes([c]) for c in b"'~+:?*;,\"\n\r\0\x1a\xff<>&"), b"\r\n", b"\xef\xbb\xbf", b"UNB+", b"ISA*", b"IEA*", b"UNZ+", b"UNA", b"ST*850*",
    b"SE*", b"HL*1*1*", b"]]>", b"<!DOCTYPE x>", b"9" * 40, b" " * 300, b"A" * 3000,
]  # fmt: skip


@cache
def made(name: str) -> Callable[[int | None], Parser]:
    return parsing(SEEDS[name][0]())


def outcome(name: str, raw: bytes) -> None:
    """Reads it to its end. A bad record says what was expected and what came."""
    parser = made(name)(None)
    count = 0
    try:
        for unit in parser.units(BytesIO(raw), f"{name}.dat", {"store": "0001", "business_date": "20260311"}):
            count += 1
            assert unit.position == count
            assert (unit.row is None) == (unit.wrong is not None)
            if unit.bad is not None:
                assert unit.bad.expected
                assert unit.bad.line >= 0
                assert len(str(unit.bad)) < 2000
            assert isinstance(unit.raw(), bytes)
            assert all(isinstance(part, bytes) for part in unit.around())
    except Refuse:
        return
    assert parser.ending.units == count
    assert all(reason for reason in parser.ending.reasons)


def mutated(raw: bytes, chance: random.Random) -> bytes:
    """The seed after a few things that happen to files: cut, doubled, swapped, flipped, with signs in it."""
    body = bytearray(raw)
    for _ in range(chance.randint(1, 6)):
        at, to = sorted((chance.randint(0, len(body)), chance.randint(0, len(body))))
        match chance.randint(0, 6):
            case 0:
                del body[at : min(to, at + 40)]
            case 1:
                body[at:at] = body[at:to][:200]
            case 2:
                body[at:at] = chance.choice(SIGNS)
            case 3 if body:
                body[min(at, len(body) - 1)] = chance.randrange(256)
            case 4:
                del body[to:]
            case 5 if body:
                body[min(at, len(body) - 1)] ^= 1 << chance.randrange(8)
            case _:
                body[at:to] = body[at:to][::-1] if to - at < 60 else body[at:to]
    return bytes(body)


@pytest.mark.parametrize("name", SEEDS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=600))
def test_any_bytes_end_in_a_refusal_or_in_bad_records(name: str, raw: bytes) -> None:
    outcome(name, raw)
    outcome(name, SEEDS[name][1][:40] + raw)


@pytest.mark.parametrize("name", SEEDS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_a_damaged_file_ends_in_transactions_bad_records_or_a_refusal(name: str, seed: int) -> None:
    outcome(name, mutated(SEEDS[name][1], random.Random(seed)))


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDS)
def test_no_file_of_one_sign_takes_long_or_holds_more_than_its_bounds(name: str) -> None:
    head = SEEDS[name][1][:120]
    for sign in (b"A", b"'", b"~", b"*", b"+", b"?", b'"', b"\n", b"\r", b"\0", b" ", b"<", b"9", b"UNA", b"ISA*", b"\xff"):
        for front in (b"", head):
            outcome(name, front + sign * (120_000 // len(sign)))


@pytest.mark.parametrize("name", SEEDS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_a_damaged_sample_gets_a_layout_or_a_sentence(name: str, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / f"sample {name}.txt"
    file.write_bytes(mutated(SEEDS[name][1], random.Random(seed)))
    try:
        proposal = propose("x", file)
    except Findings:
        return
    assert proposal.questions


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_minutes_of_damage_find_nothing(deep: bool) -> None:
    """In a nightly run four minutes over all formats, else a second: each round is a new seed, which a failure names."""
    until = time.monotonic() + (240 if deep else 1)
    rounds = 0
    names = list(SEEDS)
    while time.monotonic() < until:
        seed = random.SystemRandom().getrandbits(48)
        name = names[rounds % len(names)]
        raw = mutated(SEEDS[name][1] * random.Random(seed).choice((1, 1, 3)), random.Random(seed))
        try:
            outcome(name, raw)
        except BaseException as error:
            raise AssertionError(f"{name}, seed {seed}: {raw[:400]!r}") from error
        rounds += 1
    assert rounds


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_damage_that_follows_what_it_reaches_finds_nothing(deep: bool, tmp_path: Path) -> None:
    """In a nightly run two minutes for each format, else a moment for one."""
    for name in SEEDS if deep else ["edifact"]:
        corpus = tmp_path / name.replace(" ", "-")
        corpus.mkdir()
        (corpus / "seed").write_bytes(SEEDS[name][1])
        limits = [f"-max_total_time={120 if deep else 1}", "-max_len=20000", "-timeout=20", "-rss_limit_mb=1000"]
        command = [sys.executable, "-m", "tests.unit.adapters.files.formats.guided", name, str(corpus), *limits]
        ran = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False)
        found = [(file.name, file.read_bytes()[:400]) for file in tmp_path.iterdir() if file.is_file()]  # libFuzzer leaves them there
        assert ran.returncode == 0, f"{name}: {found}\n{ran.stderr[-4000:].decode('utf-8', 'replace')}"
        assert len(list(corpus.iterdir())) > 1, f"{name}: nothing new was reached"
