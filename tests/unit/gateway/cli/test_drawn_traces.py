"""A trace in text: its steps, and below them what failed and where."""

from __future__ import annotations

from gateway.cli.operating import drawn
from observability.spans import Span
from observability.vocabulary import ERROR_DETAIL, ERROR_TYPE

DETAIL = "where: data/price\x1b[2J; expected: a decimal number"


def span(name: str, number: int, detail: str = "") -> Span:
    said = {ERROR_TYPE: "contract_invalid", ERROR_DETAIL: detail} if detail else {}
    return Span(
        trace_id="1" * 32,
        span_id=str(number),
        parent_id=str(number - 1) if number else "",
        name=name,
        start=number,
        end=9,
        status="error" if detail else "",
        attributes={**said},
    )


def test_what_failed_is_said_once_by_the_innermost_step_without_commands_to_the_terminal() -> None:
    text = drawn([span("GET /products", 0, DETAIL), span("call wms.get_item", 1, DETAIL), span("map get_item.answer", 2, DETAIL)])
    assert text.count("contract_invalid") == 3
    assert text.splitlines()[4:] == ["map get_item.answer: where: data/price·[2J; expected: a decimal number"]


def test_a_trace_without_a_failure_ends_with_its_steps() -> None:
    assert len(drawn([span("GET /products", 0)]).splitlines()) == 2
