"""Pipe expressions: text in Python's expression grammar -> a small tree of our own nodes. Whitelisted, bounded, never evaluated."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MAX_LENGTH = 2000
MAX_NODES = 400
MAX_DEPTH = 40
ANCHORS = ("this", "parent", "root", "parameters", "secrets", "context", "asked")
"""First words of a path that say where it starts. A source field of that name is written `path("root")`."""


class ExpressionError(Exception):
    """`column` counts from 1 within the expression."""

    def __init__(self, message: str, suggestion: str = "", column: int = 1) -> None:
        super().__init__(message)
        self.message, self.suggestion, self.column = message, suggestion, column


@dataclass(frozen=True, slots=True)
class Path:
    """`anchor` is empty for a path that starts at the current record; `up` counts `parent.` words."""

    steps: tuple[str, ...]
    anchor: str = ""
    up: int = 0
    column: int = 1

    def __str__(self) -> str:
        return ".".join((*(["parent"] * self.up or ([self.anchor] if self.anchor else [])), *self.steps))


@dataclass(frozen=True, slots=True)
class Const:
    value: Any
    column: int = 1


@dataclass(frozen=True, slots=True)
class Cases:
    """A literal dictionary of constants: `{'01': 'cancelled', '': None}`."""

    items: tuple[tuple[Any, Any], ...]
    column: int = 1


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple[Node, ...]
    column: int = 1


@dataclass(frozen=True, slots=True)
class Call:
    """`x | f(a, k=b)` is `f(x, a, k=b)`: the piped value is the first argument."""

    name: str
    arguments: tuple[Node, ...]
    named: tuple[tuple[str, Node], ...] = ()
    column: int = 1


@dataclass(frozen=True, slots=True)
class Member:
    """A path that starts at the record which an expression gives: `(ITEMS | first).NAME`."""

    base: Node
    steps: tuple[str, ...]
    column: int = 1


@dataclass(frozen=True, slots=True)
class Compare:
    operator: str
    left: Node
    right: Node
    column: int = 1


@dataclass(frozen=True, slots=True)
class Logic:
    """`operator` is and, or, not."""

    operator: str
    parts: tuple[Node, ...]
    column: int = 1


@dataclass(frozen=True, slots=True)
class Choice:
    test: Node
    then: Node
    otherwise: Node
    column: int = 1


@dataclass(frozen=True, slots=True)
class Arithmetic:
    operator: str
    left: Node
    right: Node
    column: int = 1


Node = Path | Const | Cases | Sequence | Call | Member | Compare | Logic | Choice | Arithmetic


def nodes(node: Node) -> Iterator[Node]:
    """The node and all below it."""
    yield node
    below: tuple[Node, ...]
    match node:
        case Call(arguments=parts, named=named):
            below = (*parts, *(n for _, n in named))
        case Sequence(items=parts) | Logic(parts=parts):
            below = parts
        case Member(base=base):
            below = (base,)
        case Compare(left=left, right=right) | Arithmetic(left=left, right=right):
            below = (left, right)
        case Choice(test=test, then=then, otherwise=otherwise):
            below = (test, then, otherwise)
        case _:
            below = ()
    for part in below:
        yield from nodes(part)


_COMPARE = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.In: "in", ast.NotIn: "not in", ast.Is: "is", ast.IsNot: "is not",
}  # fmt: skip
_ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}


_BREAKS = re.compile(r"[\r\n\t]")


def parse(text: str) -> Node:
    """Lines may be broken anywhere. Raises ExpressionError."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"the expression has {len(text)} characters", f"at most {MAX_LENGTH} are read")
    try:
        tree = ast.parse(_BREAKS.sub(" ", text.strip()), mode="eval").body
    except SyntaxError as error:
        raise ExpressionError(
            f"not an expression: {error.msg}",
            'write a pipe such as `NAME | text`; a field whose name is no identifier is written path("x-y.z")',
            max(error.offset or 1, 1),
        ) from None
    except (ValueError, MemoryError, RecursionError):
        raise ExpressionError("not an expression", "it nests too deeply or holds a null character") from None
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise ExpressionError("the expression is too large", f"at most {MAX_NODES} parts are read; use a lookup table")
    return _node(tree, 0)


def _node(node: ast.expr, depth: int) -> Node:
    column = node.col_offset + 1
    if depth > MAX_DEPTH:
        raise ExpressionError("the expression nests too deeply", f"at most {MAX_DEPTH} levels are read", column)
    below = depth + 1
    match node:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _pipe(_node(left, below), right, below)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _ARITHMETIC:
            return Arithmetic(_ARITHMETIC[type(operator)], _node(left, below), _node(right, below), column)
        case ast.Constant(value=str() | int() | bool() | None as value):
            return Const(value, column)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as value)):
            return Const(-value, column)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return Logic("not", (_node(operand, below),), column)
        case ast.Name() | ast.Attribute():
            return _path(node, below)
        case ast.Call():
            return _call(node, (), below)
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            return Compare(_COMPARE[type(operator)], _node(left, below), _node(right, below), column)
        case ast.BoolOp(op=operator, values=values):
            word = "and" if isinstance(operator, ast.And) else "or"
            return Logic(word, tuple(_node(v, below) for v in values), column)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return Choice(_node(test, below), _node(body, below), _node(orelse, below), column)
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return Sequence(tuple(_node(i, below) for i in items), column)
        case ast.Dict(keys=keys, values=values):
            return Cases(tuple((_constant(k, column), _constant(v, column)) for k, v in zip(keys, values, strict=True)), column)
        case ast.Constant(value=value):
            raise ExpressionError(f"{value!r} is not allowed", "write a decimal number as text: '1.5' | decimal", column)
    raise ExpressionError(
        f"`{ast.unparse(node)[:60]}` is not part of the mapping language",
        "names, constants, calls of functions, |, comparisons, and/or/not, `a if test else b`, + - * are",
        column,
    )


def _constant(node: ast.expr | None, column: int) -> Any:
    match node:
        case ast.Constant(value=str() | int() | bool() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as value)):
            return -value
    raise ExpressionError("a table of cases holds constants only", "write {'A': 'active', 'X': 'gone'}", column)


def _pipe(value: Node, function: ast.expr, depth: int) -> Node:
    match function:
        case ast.Name(id=name):
            return Call(name, (value,), (), function.col_offset + 1)
        case ast.Call():
            return _call(function, (value,), depth)
    raise ExpressionError(
        f"`{ast.unparse(function)[:60]}` stands after | but is no function", "write `value | function(…)`", function.col_offset + 1
    )


def _call(node: ast.Call, first: tuple[Node, ...], depth: int) -> Node:
    column = node.col_offset + 1
    if not isinstance(node.func, ast.Name):
        raise ExpressionError(
            f"`{ast.unparse(node.func)[:60]}` is no function", "functions have plain names and stand behind |: VALUE | function(…)", column
        )
    name = node.func.id
    if any(isinstance(a, ast.Starred) for a in node.args) or any(k.arg is None for k in node.keywords):
        raise ExpressionError("* and ** are not part of the mapping language", "name the arguments", column)
    arguments = (*first, *(_node(a, depth) for a in node.args))
    if name in ("path", "attr") and not first:
        return _named_path(name, arguments, column)
    return Call(name, arguments, tuple((str(k.arg), _node(k.value, depth)) for k in node.keywords), column)


def _named_path(name: str, arguments: tuple[Node, ...], column: int) -> Node:
    """`path("x-y.z")`, `path(("a.b", "c"))` for names that hold a dot, `attr("Name")`, `attr(Node, "Name")`."""
    match name, arguments:
        case "path", (Const(value=str() as text),):
            return Path(split(text), column=column)
        case "path", (Sequence(items=items),) if all(isinstance(i, Const) and isinstance(i.value, str) for i in items):
            return Path(tuple(i.value for i in items if isinstance(i, Const)), column=column)
        case "path" | "attr", (Path() as base, Const(value=str() as text)):
            more = (text,) if name == "attr" else split(text)
            return Path((*base.steps, *more), base.anchor, base.up, column)
        case "attr", (Const(value=str() as text),):
            return Path((text,), column=column)
    raise ExpressionError(f"{name}(…) takes names in quotes", 'write path("x-y.z"), attr("Name") or attr(Node, "Name")', column)


_STEP = re.compile(r"(?:\{[^}]*\}|[^.{])+")


def split(path: str) -> tuple[str, ...]:
    """Names between dots; a namespace in braces may hold dots: `{http://x.y}NAME`."""
    return tuple(_STEP.findall(path))


def _path(node: ast.expr, depth: int) -> Node:
    names: list[str] = []
    inner: ast.expr = node
    while isinstance(inner, ast.Attribute):
        names.append(inner.attr)
        inner = inner.value
        if len(names) > MAX_DEPTH:
            raise ExpressionError("the path is too long", f"at most {MAX_DEPTH} steps are read", node.col_offset + 1)
    names.reverse()
    column = node.col_offset + 1
    if not isinstance(inner, ast.Name):
        base = _node(inner, depth)
        if isinstance(base, Path):
            return Path((*base.steps, *names), base.anchor, base.up, column)
        return Member(base, tuple(names), column)
    if inner.id not in ANCHORS:
        return Path((inner.id, *names), column=column)
    up = 0
    if inner.id == "parent":
        up = 1
        while names and names[0] == "parent":
            up, names = up + 1, names[1:]
    return Path(tuple(names), inner.id, up, column)
