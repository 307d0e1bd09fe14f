"""Own functions beside a mapping: typed by annotations, part of the check, with the place of what they refuse."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from contracts.errors import ContractViolation
from mappings.language import attempt
from mappings.language.mapping import CompiledMapping
from mappings.language.own import Own, read
from mappings.language.shape import Exchange, Field, Leaf, Message, Record
from tests.unit.mappings.language.shapes import context

FUNCTIONS = '''
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from contracts.canonical.amounts import Money

INVERSES = {"with_digit": "without_digit"}


def with_digit(body: str, prefix: str = "") -> str:
    """The number with its check digit (modulo 10)."""
    if not body.isdigit():
        raise ValueError("digits only")
    return f"{prefix}{body}{sum(map(int, body)) % 10}"


def without_digit(number: str, prefix: str = "") -> str:
    body = number.removeprefix(prefix)[:-1]
    if with_digit(body, prefix) != number:
        raise ValueError("wrong check digit")
    return body


def gross(net: Decimal, rate: int) -> Decimal:
    return net * (100 + rate) / 100


def season(day: date | None) -> Literal["winter", "summer"]:
    return "winter" if day is None or day.month in (1, 2, 12) else "summer"


def lies(text: str) -> int:
    return text


def twice(texts: tuple[str, ...]) -> tuple[str, ...]:
    return texts * 2


def naive(text: str) -> datetime:
    return datetime(2026, 3, 11)


def leave(text: str) -> str:
    raise SystemExit(3)


def _hidden(x):
    return x
'''
SOURCE = Record(
    "S",
    [
        Field("a", Leaf("string"), required=False),
        Field("x", Leaf("decimal"), required=False),
        Field("n", Leaf("integer"), required=False),
        Field("day", Leaf("date"), required=False),
        Field("secret", Leaf("string"), required=False, personal=True),
        Field("tags", Leaf("string"), required=False, repeated=True),
    ],
)
EXCHANGE = Exchange("get", None, Message("x.get", "json", SOURCE))


def own(text: str = FUNCTIONS) -> Own:
    found, findings = read(text, "mappings/x/functions.py")
    assert findings == []
    return found


def compiled(expression: str, kind: Any, *, reverse: bool = False) -> tuple[CompiledMapping | None, list[str]]:
    drops = "".join(f'{f.name} = "not asked"\n' for f in SOURCE.fields if not re.search(rf"\b{f.name}\b", expression))
    text = f'target = "T"\nsource = "x.get"\n{"reverse = true" if reverse else ""}\n[fields]\nv = """{expression}"""\n[drops]\n{drops}'
    target = msgspec.defstruct("T", [("v", kind)])
    mapping, findings = attempt(text, "m.toml", lambda _: EXCHANGE, {"T": target}, own())
    return mapping, [str(f) for f in findings]


def value(expression: str, kind: Any, **document: Any) -> Any:
    mapping, findings = compiled(expression, kind)
    assert mapping is not None, findings
    return mapping.read(document, context())[0].v


@pytest.mark.parametrize(
    ("expression", "kind", "document", "expected"),
    [
        ("a | with_digit", str | None, {"a": "123"}, "1236"),
        ("a | with_digit('X')", str | None, {"a": "123"}, "X1236"),
        ("a | with_digit(prefix='X')", str | None, {"a": "123"}, "X1236"),
        ("a | with_digit", str | None, {}, None),
        ("x | gross(19)", Decimal | None, {"x": Decimal(100)}, Decimal(119)),
        ("n | gross(19)", Decimal | None, {"n": 100}, Decimal(119)),
        ("day | season", str, {"day": "2026-12-01"}, "winter"),
        ("day | season", str, {}, "winter"),
        ("day | season | enum(winter='w', summer='s')", str, {"day": "2026-07-01"}, "s"),
        ("tags | twice", tuple[str, ...], {"tags": ["a", "b"]}, ("a", "b", "a", "b")),
    ],
)
def test_an_own_function_is_called_like_those_of_the_language(expression: str, kind: Any, document: dict[str, Any], expected: Any) -> None:
    assert value(expression, kind, **document) == expected


@pytest.mark.parametrize(
    ("expression", "kind", "said"),
    [
        ("x | with_digit", str, "m.toml:5:12: v: with_digit is given decimal, it takes string; append | string"),
        ("a | with_digits", str, "m.toml:5:12: v: unknown function with_digits; did you mean with_digit?"),
        ("x | gross('19')", Decimal, "m.toml:5:18: v: gross: rate is one of '19', it takes integer; it is integer"),
        ("x | gross", Decimal, "m.toml:5:12: v: gross needs rate; write gross: it is integer"),
        ("x | gross(19, 2)", Decimal, "m.toml:5:12: v: gross is given too many values; write gross"),
        ("x | gross(n)", Decimal, "m.toml:5:12: v: gross: rate may be absent; append | required or | default(…) to it"),
        ("day | season | enum(winter='w')", str, "v: no case for 'summer'; add summer=…, or otherwise=refuse"),
        ("a | with_digit", str, "v: a may be absent, but v is required; append | required"),
    ],
)
def test_the_check_knows_the_types_of_own_functions(expression: str, kind: Any, said: str) -> None:
    assert any(said in f for f in compiled(expression, kind)[1]), compiled(expression, kind)[1]


@pytest.mark.parametrize(
    ("expression", "kind", "document", "said"),
    [
        (
            "a | with_digit",
            str | None,
            {"a": "12x"},
            "a: expected a value that with_digit takes (mappings/x/functions.py:14), got 'ValueError: digits only'",
        ),
        ("a | lies", int | None, {"a": "1"}, "a: expected lies to give integer (mappings/x/functions.py:33), got 'str'"),
    ],
)
def test_what_an_own_function_refuses_is_refused_with_its_place(expression: str, kind: Any, document: dict[str, Any], said: str) -> None:
    with pytest.raises(ContractViolation, match=re.escape(said)):
        value(expression, kind, **document)


def test_a_function_that_forgets_the_offset_of_a_time_is_told() -> None:
    with pytest.raises(ContractViolation, match=re.escape("expected naive to give instant (mappings/x/functions.py:41), got 'datetime'")):
        value("a | naive", datetime | None, a="1")


def test_what_an_own_function_says_of_personal_data_is_masked() -> None:
    with pytest.raises(ContractViolation) as found:
        value("secret | with_digit", str | None, secret="Miller")
    assert "digits only" not in str(found.value)
    assert "functions.py:14" in str(found.value)


def test_an_own_function_with_an_inverse_is_turned_round() -> None:
    mapping, findings = compiled("a | with_digit('X') | required", str, reverse=True)
    assert mapping is not None, findings
    thing = mapping.read({"a": "123"}, context())[0]
    assert mapping.write(thing, context()) == {"a": "123"}


def test_an_own_function_without_an_inverse_is_not() -> None:
    findings = compiled("x | gross(19)", Decimal | None, reverse=True)[1]
    said = "v cannot be turned round: gross loses what no INVERSES of its file gives back; use functions that can be, or remove reverse"
    assert findings == [f"m.toml:5:5: {said}"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(x: str) -> str\n    return x\n", "f.py:1:21: not Python: expected ':'; correct it"),
        (
            "import nowhere_at_all\n",
            "f.py:1: cannot be loaded: ModuleNotFoundError: No module named 'nowhere_at_all'; what",
        ),
        ("\n1 / 0\n", "f.py:2: cannot be loaded: ZeroDivisionError: division by zero"),
        ("def f(x) -> str:\n    return x\n", "f.py:1: f: x has no type; write x: str"),
        ("def f(x: str):\n    return x\n", "f.py:1: f: what it returns has no type; write def f(…) -> str:"),
        ("def f(x: bytes) -> str:\n    return ''\n", "f.py:1: f: x is bytes; known are str, int, Decimal"),
        ("def f(x: float) -> str:\n    return ''\n", "f.py:1: f: x is float; known are"),
        (
            "def f(x: Decimal) -> str:\n    return ''\n",
            "f.py:1: f: its annotations cannot be read: name 'Decimal' is not defined; import the types it names",
        ),
        ("async def f(x: str) -> str:\n    return x\n", "f.py:1: f: a mapping waits for nothing; write a plain function"),
        ("def f(*x: str) -> str:\n    return ''\n", "f.py:1: f: *x: 'str' takes any number of values"),
        ("def text(x: str) -> str:\n    return x\n", "f.py:1: text: the language has a function of that name; name it otherwise"),
        ("INVERSES = {'f': 'g'}\ndef f(x: str) -> str:\n    return x\n", "f.py:1: INVERSES names 'g', which is no function of this file"),
    ],
)
def test_a_mistake_in_the_file_is_a_finding_with_its_line(text: str, said: str) -> None:
    findings = [str(f) for f in read(text, "f.py")[1]]
    assert any(f.startswith(said) or said in f for f in findings), findings


def test_another_text_of_the_functions_is_another_version_of_the_mapping() -> None:
    versions = set()
    for text in (FUNCTIONS, FUNCTIONS + "\n# changed\n"):
        mapping, _ = attempt(
            'target = "T"\nsource = "x.get"\n[fields]\nv = "a | with_digit"\n[drops]\n'
            + "".join(f'{f.name} = "no"\n' for f in SOURCE.fields[1:]),
            "m.toml",
            lambda _: EXCHANGE,
            {"T": msgspec.defstruct("T", [("v", str | None)])},
            own(text),
        )
        assert mapping is not None
        versions.add(mapping.version)
    assert len(versions) == 2


def test_a_file_that_ends_the_process_is_a_finding() -> None:
    made, found = read("import sys\nsys.exit(3)\n", "mappings/x/functions.py")
    assert made.functions == {}
    assert "mappings/x/functions.py:2: cannot be loaded: SystemExit: 3" in str(found[0])


def test_a_function_that_ends_the_process_refuses_its_value() -> None:
    with pytest.raises(ContractViolation, match="SystemExit: 3"):
        value("a | leave", str | None, a="x")
