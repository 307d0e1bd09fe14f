"""Functions of an estate: typed Python beside its mappings, checked by its annotations and called like those of the language.

The text is the estate owner's own code: it runs with the rights of the gateway. Reading the file is the caller's.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from decimal import Decimal
from types import CodeType
from typing import Any, Final, get_type_hints

from contracts.canonical.amounts import Money, Quantity, UnitPrice
from contracts.errors import Finding
from mappings.language.emit import Problem, RecordNode
from mappings.language.functions import FUNCTIONS
from mappings.language.functions.registry import REQUIRED, Function, Parameter, back
from mappings.language.kinds import AMOUNTS, LOCALIZED, Type, Value, leaf_type
from mappings.language.runtime import Bad
from mappings.language.shape import Field, Leaf
from mappings.language.source import Source
from mappings.language.structs import field_of

MAX_TEXT: Final = 200_000
MAX_RESULT: Final = 1_000_000
"""Characters or items that a function may give."""
KNOWN: Final = "str, int, Decimal, bool, date, time, datetime, Money, Quantity, UnitPrice, Literal, tuple[…, ...], each also | None"
_CLASSES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,), "integer": (int,), "decimal": (Decimal,), "boolean": (bool,), "date": (date,), "time": (time,),
    "instant": (datetime,), "money": (Money,), "quantity": (Quantity,), "unit_price": (UnitPrice,), "localized": (dict,),
    "list": (tuple, list),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Own:
    """The functions of one file, and what tells this text from another one."""

    functions: Mapping[str, Function] = field(default_factory=dict)
    digest: str = ""

    def __or__(self, other: Own) -> Own:
        return Own({**self.functions, **other.functions}, self.digest + other.digest)


NO_OWN: Final = Own()


def read(text: str, file: str) -> tuple[Own, list[Finding]]:
    """Runs the file's text and describes its public functions. Everything that is wrong is a finding with its line."""
    if len(text) > MAX_TEXT:
        return Own(), [Finding(file, 1, f"the file has {len(text)} characters", f"at most {MAX_TEXT} are read")]
    names: dict[str, Any] = {"__name__": re.sub(r"\W", "_", file), "__file__": file}
    try:
        code: CodeType = compile(text, file, "exec")
        exec(code, names)  # noqa: S102  # the estate owner's own code, as documented
    except SyntaxError as error:
        return Own(), [Finding(file, error.lineno or 1, f"not Python: {error.msg}", "correct it", error.offset or 0)]
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever a foreign file raises is a finding
        line = _line(error, file)
        return Own(), [Finding(file, line, f"cannot be loaded: {type(error).__name__}: {error}"[:300], "what it imports must be installed")]
    found: list[Finding] = []
    own = {n: f for n, f in names.items() if inspect.isfunction(f) and f.__code__.co_filename == file and not n.startswith("_")}
    made = {n: function for n, f in own.items() if (function := _function(n, f, file, found)) is not None}
    _inverses(names.get("INVERSES", {}), made, text, file, found)
    return Own(made, hashlib.sha256(text.encode()).hexdigest()), found


def _function(name: str, call: Callable[..., Any], file: str, found: list[Finding]) -> Function | None:
    line = call.__code__.co_firstlineno

    def find(message: str, suggestion: str) -> None:
        found.append(Finding(file, line, f"{name}: {message}", suggestion))

    before = len(found)
    if name in FUNCTIONS:
        find("the language has a function of that name", f"name it otherwise, for example own_{name}")
    if inspect.iscoroutinefunction(call) or inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        find("a mapping waits for nothing", "write a plain function that computes and returns")
    try:
        hints = get_type_hints(call, include_extras=True)
    except Exception as error:  # noqa: BLE001  # annotations are code of the file
        find(f"its annotations cannot be read: {error}"[:200], "import the types it names")
        return None
    fields: dict[str, Field] = {}
    for parameter in (*inspect.signature(call).parameters.values(), None):
        key = parameter.name if parameter else "return"
        shown = key if parameter else "what it returns"
        if parameter is not None and parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            find(f"{parameter} takes any number of values", "name each parameter")
        elif key not in hints:
            find(f"{shown} has no type", f"write {key}: str" if parameter else f"write def {name}(…) -> str:")
        elif (made := _field(key, hints[key])) is None:
            find(f"{shown} is {getattr(hints[key], '__name__', hints[key])}", f"known are {KNOWN}")
        else:
            fields[key] = made
    if len(found) > before:
        return None
    result = fields.pop("return")
    parameters = tuple(
        Parameter(
            p.name,
            f"it is {_type(fields[p.name])}",
            (_type(fields[p.name]).kind,),
            default=REQUIRED if p.default is p.empty else None,
        )
        for p in inspect.signature(call).parameters.values()
    )
    takes = parameters[0].kinds if parameters and parameters[0].required else ()
    guarded = _guarded(name, call, result, file, line)

    def build(b: Source, value: Any, args: dict[str, Any], scope: RecordNode) -> Value:
        given: list[tuple[str, Value]] = [(parameters[0].name, value)] if takes else []
        given += [(n, v) for n, v in args.items() if v is not None]
        origin = value if takes else Value("", _type(result))
        codes: list[str] = []
        for n, v in given:
            if v.optional and not fields[n].nillable and not (takes and n == parameters[0].name):
                raise Problem(f"{name}: {n} may be absent", "append | required or | default(…) to it, or annotate it with | None")
            wanted = _type(fields[n])
            if wanted.values is not None and (v.type.values is None or not {*v.type.values} <= {*wanted.values}):
                raise Problem(f"{name}: {n} is {v.type}, it takes {wanted}", "append | enum(CODE='…')")
            turned = "decimal({})" if wanted.kind == "decimal" and v.type.kind == "integer" else "{}"
            if takes and n == parameters[0].name:
                codes.append(turned.format("$"))
            else:
                codes.append(f"{n}={turned.format(v.code)}")
        template = f"{b.constant(name, guarded)}({', '.join(codes)})"
        if takes and not fields[parameters[0].name].nillable:
            return b.apply(origin, template, _type(result), optional=origin.optional or result.nillable)
        code = b.temporary(template.replace("$", origin.code), origin)
        return origin.with_(code, _type(result), optional=result.nillable)

    said = (inspect.getdoc(call) or "").partition("\n")[0]
    return Function(
        name,
        takes,
        str(_type(result)),
        said or f"Of {file}.",
        name,
        build,
        parameters[len(takes) :],
        loss="what no INVERSES of its file gives back",
    )


def _field(name: str, hint: Any) -> Field | None:
    """None for a type that the language does not know."""
    try:
        made = field_of(name, hint)
    except (TypeError, NotImplementedError):
        return None
    if isinstance(made.shape, Leaf):
        return None if made.shape.kind in ("any", "binary") else made
    return made if made.shape.name in (*AMOUNTS, "Localized") else None


def _type(given: Field) -> Type:
    if isinstance(given.shape, Leaf):
        one = leaf_type(given.shape)
        one = Type("instant") if one.kind == "datetime" else one
    else:
        one = Type(AMOUNTS[given.shape.name]) if given.shape.name in AMOUNTS else LOCALIZED
    return Type("list", item=one) if given.repeated else one


def _guarded(name: str, call: Callable[..., Any], result: Field, file: str, line: int) -> Callable[..., Any]:
    """The function with its promise kept: what it raises refuses the value, and so does a result that is not of its type."""
    wanted = _type(result)
    one = wanted.item or wanted
    classes, items = _CLASSES[wanted.kind], _CLASSES[one.kind]

    def good(value: Any, allowed: tuple[type, ...]) -> bool:
        if isinstance(value, bool) and bool not in allowed:
            return False
        if isinstance(value, datetime) and (datetime not in allowed or value.tzinfo is None):
            return False
        if isinstance(value, str | tuple | list) and len(value) > MAX_RESULT:
            return False
        return isinstance(value, allowed) and (one.values is None or value in one.values or allowed is not items)

    def guarded(*given: Any, **named: Any) -> Any:
        try:
            value = call(*given, **named)
        except (Exception, SystemExit) as error:
            raise Bad(f"a value that {name} takes ({file}:{_line(error, file)})", f"{type(error).__name__}: {error}") from error
        if value is None and result.nillable:
            return None
        if not good(value, classes) or (wanted.item is not None and not all(good(v, items) for v in value)):
            raise Bad(f"{name} to give {wanted} ({file}:{line})", f"{type(value).__name__}")
        return tuple(value) if wanted.kind == "list" else value

    return guarded


def _line(error: BaseException, file: str) -> int:
    """The last line of the file on the way to the error."""
    return next((f.lineno or 1 for f in reversed(traceback.extract_tb(error.__traceback__)) if f.filename == file), 1)


def _inverses(said: Any, made: dict[str, Function], text: str, file: str, found: list[Finding]) -> None:
    """`INVERSES = {"with_digit": "without_digit"}`: which function turns which one round."""
    line = next((n for n, row in enumerate(text.splitlines(), 1) if row.startswith("INVERSES")), 1)
    if not isinstance(said, dict):
        found.append(Finding(file, line, "INVERSES is no table of names", 'write INVERSES = {"there": "back"}'))
        return
    for there, home in said.items():
        if there in made and home in made:
            known = {p.name for p in made[home].parameters}
            shared = tuple(f"{p.name}?" for p in made[there].parameters if p.name in known)
            made[there] = replace(made[there], inverse=home, invert=back(home, *shared))
        else:
            missing = there if there not in made else home
            found.append(Finding(file, line, f"INVERSES names {missing!r}, which is no function of this file", "name two of its functions"))
