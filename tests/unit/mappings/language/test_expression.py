from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.language.expression import Call, Const, ExpressionError, Member, Path, parse


def test_a_pipe_is_a_call_with_the_piped_value_first() -> None:
    assert parse("A.B | f(1, k='x') | g") == Call(
        "g", (Call("f", (Path(("A", "B"), column=1), Const(1, 9)), (("k", Const("x", 14)),), 7),), (), 21
    )


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('path("x-y.z")', Path(("x-y", "z"))),
        ('path(("a.b", "c"))', Path(("a.b", "c"))),
        ('attr(Node, "Na-me")', Path(("Node", "Na-me"))),
        ('attr("id")', Path(("id",))),
        ("root.A", Path(("A",), "root")),
        ("parent.parent.A", Path(("A",), "parent", 2)),
        ("this", Path((), "this")),
    ],
)
def test_names_that_are_no_identifiers_and_anchors(text: str, path: Path) -> None:
    found = parse(text)
    assert isinstance(found, Path)
    assert (found.steps, found.anchor, found.up) == (path.steps, path.anchor, path.up)


def test_a_member_follows_an_expression() -> None:
    assert isinstance(parse("(ROWS | first).NAME"), Member)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('x')",
        "[x for x in y]",
        "lambda: 1",
        "f'{a}'",
        "a[0]",
        "a if b",
        "1.5",
        "b'x'",
        "x := 1",
        "f(*a)",
        "f(**a)",
        "a | 3",
        "await x",
        "a / b",
        "-a",
        "{'a': b}",
        "a < b < c",
        "...",
        "(" * 300 + ")" * 300,
        "a|" * 1500 + "a",
        "not",
        "",
        "\0",
        "a." * 200 + "b",
    ],
)
def test_everything_else_is_refused_with_a_place(text: str) -> None:
    with pytest.raises(ExpressionError) as error:
        parse(text)
    assert error.value.column >= 1


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_refused_and_nothing_else(text: str) -> None:
    with suppress(ExpressionError):
        parse(text)
