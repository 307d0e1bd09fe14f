"""Secrets of requests: written where the mapping says, and in no error, drift, repr or cause of an error."""

from __future__ import annotations

import re

import pytest

from contracts.errors import ContractViolation, TillgateError
from contracts.ports import LevelQuery, SkuAt
from mappings.language import ReadContext
from tests.unit.mappings.language.shapes import compiled, context, findings

SECRET = "hunter2-and-a-long-tail"  # of this test
ASKED = LevelQuery(pairs=(SkuAt(sku="1", location_id="0017"),))


def request(expression: str) -> str:
    drops = "".join(f'{name} = "asked by the secret alone"\n' for name in ("pairs",))
    return f'target = "oms.orders"\nsource = "LevelQuery"\n[fields]\nref = "{expression}"\n[drops]\n{drops}'


def holding(value: str, drift: list[tuple[str, str, str]] | None = None) -> ReadContext:
    given = context(drift)
    given.secrets = {"PIN": value}
    return given


def everything(error: BaseException | None) -> str:
    """All that a log could show of an error and its causes."""
    said = ""
    while error is not None:
        said += f"{error!r} {error} {error.args} {vars(error) if hasattr(error, '__dict__') else ''}"
        error = error.__cause__ or error.__context__
    return said


def test_a_secret_is_written_into_the_request() -> None:
    assert compiled(request("secrets.PIN")).write(ASKED, holding("1234")) == {"ref": "1234"}


def test_a_mapping_says_which_secrets_it_needs_and_where_they_go() -> None:
    mapping = compiled(request("secrets.PIN"))
    assert mapping.secrets == {"PIN"}
    assert mapping.lineage["ref"].sources == ["secrets.PIN"]


def test_a_secret_that_the_system_cannot_take_is_in_no_error_and_blames_nobody_outside() -> None:
    with pytest.raises(ContractViolation, match=re.escape("ref: expected at most 20 characters, got ***")) as found:
        compiled(request("secrets.PIN")).write(ASKED, holding(SECRET))
    assert "hunter2" not in everything(found.value)


@pytest.mark.parametrize(
    "expression",
    ["secrets.PIN | integer | string", "secrets.PIN | date('YYYYMMDD') | format('YYYYMMDD') | required", "secrets.PIN | enum(A='x')"],
)
def test_a_secret_that_a_function_refuses_is_in_no_error(expression: str) -> None:
    with pytest.raises(TillgateError) as found:
        compiled(request(expression)).write(ASKED, holding(SECRET))
    assert "hunter2" not in everything(found.value)


def test_a_secret_is_not_counted_as_drift() -> None:
    drift: list[tuple[str, str, str]] = []
    compiled(request("secrets.PIN | enum(A='x', otherwise='y')")).write(ASKED, holding(SECRET, drift))
    assert [value for _, _, value in drift] == ["***"]


def test_a_secret_that_is_not_there_is_named() -> None:
    with pytest.raises(ContractViolation, match="the secret PIN of the operation"):
        compiled(request("secrets.PIN")).write(ASKED, context())


def test_a_context_does_not_show_its_secrets() -> None:
    assert "hunter2" not in repr(holding(SECRET))


def test_an_answer_has_no_secrets() -> None:
    text = 'target = "OrderReceipt"\nsource = "oms.order"\n[fields]\nexternal_id = "secrets.PIN"\n'
    assert any("4:16: external_id: secrets are for requests, this mapping reads answers; use a parameter" in f for f in findings(text))


def test_a_secret_has_a_plain_name() -> None:
    assert any("secrets.a.b" in f or "a.b names no secret; write secrets.NAME" in f for f in findings(request("secrets.a.b")))
