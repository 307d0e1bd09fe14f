from __future__ import annotations

import io
import logging
from typing import Any

import msgspec
import pytest

from observability import Recorder, Step, step
from observability.logs import configure, get_logger


@pytest.fixture
def stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), write_through=True)


def lines(stream: io.TextIOWrapper) -> list[dict[str, Any]]:
    stream.seek(0)
    return [msgspec.json.decode(line) for line in stream.read().splitlines()]


def test_a_line_is_json_with_the_ids_of_the_current_step(stream: io.TextIOWrapper) -> None:
    configure(stream=stream)
    with Recorder().flight("request", "GET /x") as record, step(Step.CALL) as hop:
        get_logger("gateway.edge").info("answered", status=200)
    get_logger("gateway.edge").info("idle")
    first, second = lines(stream)
    assert (first["event"], first["level"], first["module"], first["status"]) == ("answered", "info", "gateway.edge", 200)
    assert (first["trace_id"], first["span_id"]) == (record.trace_id, hop.span_id)
    assert "trace_id" not in second


def test_secrets_do_not_reach_a_line_not_even_in_a_traceback(stream: io.TextIOWrapper) -> None:
    configure(stream=stream)
    try:
        raise ValueError("refused: Bearer abcdef123456")
    except ValueError:
        get_logger("x").exception("call_failed", token="abc", note="mail bob@example.com")
    (line,) = lines(stream)
    assert line["token"] == "***"
    assert line["note"] == "mail ***"
    assert "ValueError: refused: Bearer ***" in line["exception"]
    assert "abcdef" not in str(line)


def test_lines_of_libraries_join_ours_and_quiet_levels_stay_quiet(stream: io.TextIOWrapper) -> None:
    configure(stream=stream, level="warning")
    logging.getLogger("aiohttp.client").warning("lost %s", "connection")
    logging.getLogger("aiohttp.client").info("noise")
    get_logger("x").info("noise")
    (line,) = lines(stream)
    assert (line["event"], line["module"], line["message"], line["level"]) == ("library", "aiohttp.client", "lost connection", "warning")


def test_a_terminal_gets_friendly_text(stream: io.TextIOWrapper) -> None:
    configure(stream=stream, console=True)
    get_logger("x").warning("breaker_opened", system="erp")
    stream.seek(0)
    text = stream.read()
    assert "breaker_opened" in text
    assert "erp" in text
    assert not text.startswith("{")


def test_values_that_are_no_json_are_written_as_text(stream: io.TextIOWrapper) -> None:
    configure(stream=stream)
    get_logger("x").info("odd", value=object(), data={1, 2}, big=10**40, file="\udcff.txt")
    (line,) = lines(stream)
    assert line["file"] == " .txt"
    assert line["value"].startswith("<object")
