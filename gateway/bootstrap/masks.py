"""What recordings of an operation must not hold, gathered from the estate, the system's options, its contract and its mappings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from adapters.masking import Masking
from adapters.rest import spec as rest
from adapters.rest.spec import AddressPaging, ApiKey, CursorPaging, ErrorBody, NumberedPaging, OffsetPaging, SessionLogin
from adapters.soap.spec import AsOf, Carried, Meaning, Results, Session
from gateway.bootstrap.checking import Checked
from gateway.estate import Operation


def masking(checked: Checked, full: str, declared: Operation, options: Any, secrets: Mapping[str, str]) -> dict[str, Masking]:
    """By call, in their order. `options` and `secrets` with their references replaced."""
    system = full.partition(".")[0]
    rules = checked.estate.system[system].recording
    names = [(kind, name) for part in parts(options) for kind, name in _names(part)]
    given = zip(texts(checked.options.get(system)), texts(options), strict=False)
    calls = declared.called(full)
    one = Masking(
        answer=checked.contracts[system].exchange(calls[-1]).answer,
        reads=checked.mappings.get(declared.answer),
        writes=[checked.mappings[path] for path in declared.requests],
        mask=rules.mask,
        keep=rules.keep,
        secret=frozenset(name for kind, name in names if kind == "secret"),
        clear=frozenset(name for kind, name in names if kind == "clear"),
        clear_at=frozenset(
            tuple(step for step in path.split(".") if not step.isdigit()) for part in parts(options) for path in _read(part)
        ),
        addresses=frozenset(name for kind, name in names if kind == "address"),
        secret_values=frozenset([*secrets.values(), *(value for reference, value in given if reference.startswith(("env:", "file:")))]),
    )
    before = {
        call: replace(one, answer=checked.contracts[system].exchange(call).answer, reads=checked.kept.get((full, number)))
        for number, call in enumerate(calls[:-1])
    }
    return {**before, calls[-1]: one}


def _names(part: msgspec.Struct) -> Iterator[tuple[str, str]]:
    """Fields by their last name: those that carry credentials, those that the driver itself reads, and addresses of further pages."""
    secret: list[str | None] = []
    clear: list[str | None] = []
    address: list[str | None] = []
    match part:
        case Carried():
            secret = [part.token, part.header, part.field, part.cookie]
            if isinstance(part, Session):
                secret += [part.user_field, part.password_field, *part.secrets]
        case ApiKey():
            secret = [part.header, part.query, part.cookie]
        case SessionLogin():
            secret = [part.user_field, part.password_field, part.token, part.cookie]
        case Results():
            clear = [part.type, *part.code]
        case Meaning():
            clear = [part.field]
        case AsOf():
            clear = [*part.fields]
        case AddressPaging():
            address = [part.next]
        case _:
            pass
    for kind, paths in (("secret", secret), ("clear", clear), ("address", address)):
        yield from ((kind, path.rpartition(".")[2]) for path in paths if path)


def _read(part: msgspec.Struct) -> Iterator[str]:
    """Where the REST driver looks into an answer, from its root."""
    match part:
        case CursorPaging():
            yield part.more
        case NumberedPaging():
            yield from (part.total, part.pages)
        case OffsetPaging():
            yield part.total
        case rest.Meaning():
            yield part.member
        case ErrorBody():
            yield from (part.code, "code", "type", "status")
        case _:
            pass


def parts(value: Any) -> Iterator[msgspec.Struct]:
    """Every table of a setting."""
    if isinstance(value, msgspec.Struct):
        yield value
        value = [getattr(value, f) for f in value.__struct_fields__]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from parts(each)


def texts(value: Any) -> Iterator[str]:
    """Every text of a setting, in the order of its fields."""
    if isinstance(value, msgspec.Struct):
        value = [getattr(value, f) for f in value.__struct_fields__]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from texts(each)
    elif isinstance(value, str):
        yield value
