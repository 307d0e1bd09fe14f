"""What a function of the language is: what it takes and gives, how it compiles, how it turns round and what it loses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from mappings.language.emit import RecordNode
from mappings.language.expression import Call, Node
from mappings.language.kinds import STRING, Type, Value
from mappings.language.shape import Leaf
from mappings.language.source import Source

ParameterForm = Literal["value", "constant", "word", "answer", "cases", "row"]
REQUIRED: Final = object()


@dataclass(frozen=True, slots=True)
class Parameter:
    """`form`: value = an expression; word = a bare name; answer = a constant or refuse; cases = a table; row = an expression per row."""

    name: str
    doc: str
    kinds: tuple[str, ...] = ()
    form: ParameterForm = "value"
    default: Any = REQUIRED
    many: bool = False
    raw: bool = False

    @property
    def required(self) -> bool:
        return self.default is REQUIRED


Build = Callable[[Source, Any, dict[str, Any], RecordNode], Value]


Invert = Callable[[Node, Call], Node | None]


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    takes: tuple[str, ...]
    gives: str
    doc: str
    example: str
    build: Build
    parameters: tuple[Parameter, ...] = ()
    inverse: str = ""
    invert: Invert | None = None
    """(the target's value, the call with its parameters by name) -> the expression that gives the source value; None when this call
    cannot be turned round."""
    loss: str = ""
    raw: bool = False
    cases: bool = False
    parts: tuple[str, str] | None = None
    """The functions that give the number and the code of an amount, and so turn the two fields round that it was made of."""
    samples: tuple[str, ...] = ()
    """Source values that the example is for, where a plain word or number is none."""


class Family:
    """Functions of one kind of value."""

    def __init__(self) -> None:
        self.functions: dict[str, Function] = {}

    def function(
        self,
        name: str,
        takes: str,
        gives: str,
        doc: str,
        *parameters: Parameter,
        example: str = "",
        inverse: str = "",
        invert: Invert | None = None,
        loss: str = "",
        raw: bool = False,
        cases: bool = False,
        parts: tuple[str, str] | None = None,
        samples: tuple[str, ...] = (),
    ) -> Callable[[Build], Build]:
        def register(build: Build) -> Build:
            self.functions[name] = Function(
                name,
                tuple(takes.split()),
                gives,
                doc,
                example or name,
                build,
                parameters,
                inverse,
                invert,
                loss,
                raw,
                cases,
                parts,
                samples,
            )
            return build

        return register


def by_name(call: Call, function: Function) -> Call:
    """The call with its arguments by the names of the parameters; those of a parameter that takes many stay as they are."""
    value, *rest = call.arguments
    named = dict(call.named)
    for parameter in function.parameters:
        if parameter.many or not rest:
            break
        named[parameter.name] = rest.pop(0)
    return Call(call.name, (value, *rest), tuple(named.items()), call.column)


def back(name: str, *shared: str) -> Invert:
    """Turn round by one function. `shared`: parameters that both have, in the order of that one; `pivot?` need not be given."""

    def invert(value: Node, call: Call) -> Node | None:
        given = dict(call.named)
        needed = [given.get(s) for s in shared if not s.endswith("?")]
        also = tuple((s[:-1], given[s[:-1]]) for s in shared if s[:-1] in given)
        return Call(name, (value, *(n for n in needed if n is not None)), also) if None not in needed else None

    return invert


def same(value: Node, call: Call) -> Node | None:
    return value


def short(value: Value, length: int | None) -> Type:
    return replace(STRING, leaf=Leaf("string", length)) if length is not None else STRING


def length_of(value: Value) -> int | None:
    if value.type.values:
        return max(len(str(v)) for v in value.type.values)
    return value.type.leaf.max_length if value.type.leaf is not None else None


def over(value: Value, change: Callable[[Any], Any]) -> tuple[Any, ...] | None:
    return None if value.type.values is None else tuple(change(v) for v in value.type.values)
