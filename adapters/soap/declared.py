"""What the options name, looked up in the contract: header blocks, constant fields, and every mistake in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from adapters.soap.contract import Operation, SoapContract
from adapters.soap.spec import OperationOptions, Results, SoapOptions
from contracts.errors import Finding, Findings
from mappings.language.read import did_you_mean
from mappings.language.shape import TEXT, Field, Record


def load_declared(contract: SoapContract, options: SoapOptions) -> dict[str, Field]:
    """The header blocks that the options name, by element name. Raises Findings for all that the contract does not have."""
    blocks = {name: _block(contract, name) for name in _block_names(options)}
    if found := tuple(_mistakes(contract, options, blocks)):
        raise Findings(findings=found)
    return {name: block for name, block in blocks.items() if block is not None}


def provided(options: SoapOptions) -> tuple[str, ...]:
    """Paths of request fields that the driver fills."""
    carried = options.session.carried if options.session else ()
    return (*options.constants, *options.secrets, *(c.field for c in carried if c.field))


def _block_names(options: SoapOptions) -> tuple[str, ...]:
    carried = options.session.carried if options.session else ()
    named = (*options.blocks, *options.secret_blocks, *options.signed_blocks)
    return tuple(dict.fromkeys((*named, *(c.header.partition(".")[0] for c in carried if c.header))))


def _block(contract: SoapContract, name: str) -> Field | None:
    """The element of that name, or of several the one that a binding declares."""
    names = contract.schemas.globals(name)
    if len(names) == 1:
        return contract.schemas.element(names[0])
    declared = (field for each in contract.operations() for field in contract.operation(each).headers.values())
    return next((field for field in declared if field.name == name), None)


def constant_fields(record: Record, *tables: Mapping[str, str]) -> dict[str, Any]:
    """The constants that a record has fields for, as nested tables."""
    made: dict[str, Any] = {}
    for path, value in (pair for table in tables for pair in table.items()):
        if has(record, path):
            made = placed(made, path, value, record)
    return made


def has(record: Record, path: str) -> bool:
    return not any(True for _ in missing("", "", record, path))


def placed(table: Mapping[str, Any], path: str, value: Any, record: Record | None = None) -> dict[str, Any]:
    """A copy of the table with one more value; tables that are there are copied on the way, not changed. With a record, text of an element
    that has attributes too is put where it belongs.
    """
    head, _, rest = path.partition(".")
    inner = table.get(head)
    below = field.shape if record is not None and (field := record.get(head)) is not None else None
    if not rest and isinstance(below, Record) and below.get(TEXT) is not None:
        rest = TEXT
    if rest:
        value = placed(inner if isinstance(inner, Mapping) else {}, rest, value, below if isinstance(below, Record) else None)
    return {**table, head: value}


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both tables in one; what `over` says wins."""
    made = dict(under)
    for name, value in over.items():
        known = made.get(name)
        made[name] = merged(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return made


def _mistakes(contract: SoapContract, options: SoapOptions, blocks: Mapping[str, Field | None]) -> Iterable[Finding]:
    file, of = contract.wsdl.name, f"options of {contract.system}: "
    session = options.session
    known = contract.operations()
    named = [*options.operations, *([session.operation] if session else []), *([session.logout] if session and session.logout else [])]
    for name in named:
        try:
            operation = contract.operation(name)
        except KeyError as exc:
            yield Finding(file, 1, of + str(exc.args[0]))
            continue
        if name in options.operations:
            yield from _operation(file, f"{of}operation {name}: ", operation, options.operations[name])
    for name, block in blocks.items():
        if block is None:
            yield Finding(file, 1, f"{of}there is no element {name!r} for a header block")
        elif isinstance(block.shape, Record):
            signed = (path for rule in (options.signed_blocks.get(name),) if rule for path in (rule.field, *rule.of))
            for path in (*options.blocks.get(name, ()), *options.secret_blocks.get(name, ()), *signed):
                yield from missing(file, f"{of}blocks.{name}", block.shape, path)
    requests = [contract.operation(name).request.record for name in known] if options.constants or options.secrets else []
    for path in (*options.constants, *options.secrets):
        if not any(has(record, path) for record in requests):
            yield Finding(file, 1, f"{of}constants: no request has a field {path!r}")
    if session is None or session.operation not in known:
        return
    login = contract.operation(session.operation)
    given = {
        "user_field": (session.user_field,) if session.user else (),
        "password_field": (session.password_field,) if session.password else (),
    }
    for option, paths in {**given, "request": tuple(session.request), "secrets": tuple(session.secrets)}.items():
        for path in paths:
            yield from missing(file, f"{of}session.{option}", login.request.record, path)
    for carried in session.carried:
        if carried.token and carried.found_in == "body" and login.answer:
            yield from missing(file, f"{of}session.token", login.answer.record, carried.token)
        elif carried.token and login.answer_headers:
            told = {name: field.shape for (_, name), field in login.answer_headers.items()}
            name, _, rest = carried.token.partition(".")
            if name not in told:
                yield Finding(file, 1, f"{of}session.token: the answer has no header block {name!r}", did_you_mean(name, told))
            elif isinstance(shape := told[name], Record):
                yield from missing(file, f"{of}session.token", shape, rest)
        if carried.header and (block := blocks.get(carried.header.partition(".")[0])) is not None and isinstance(block.shape, Record):
            yield from missing(file, f"{of}session.header", block.shape, carried.header.partition(".")[2])


def _operation(file: str, of: str, operation: Operation, options: OperationOptions) -> Iterable[Finding]:
    if options.results and operation.answer:
        yield from _results(file, f"{of}results", options.results, operation.answer.record)
    for path in options.as_of.fields if options.as_of and operation.answer else ():
        yield from missing(file, f"{of}as_of.fields", operation.answer.record, path)  # type: ignore[union-attr]  # looked at just above
    for field in (m.field for m in options.meanings if m.field):
        name, _, rest = field.partition(".")
        if operation.faults and name not in operation.faults:
            yield Finding(file, operation.line, f"{of}meanings.field: no fault has a detail {name!r}", did_you_mean(name, operation.faults))
        elif (fault := operation.faults.get(name)) is not None and rest and isinstance(fault.shape, Record):
            yield from missing(file, f"{of}meanings.field", fault.shape, rest)


def _results(file: str, of: str, results: Results, answer: Record) -> Iterable[Finding]:
    found = list(missing(file, f"{of}.path", answer, results.path)) if results.path else []
    yield from found
    row: Any = answer
    for name in results.path.split(".") if results.path and not found else ():
        field = row.get(name) if isinstance(row, Record) else None
        row = field.shape if field is not None else None
    if isinstance(row, Record):
        for option, paths in {"type": (results.type,) if results.type else (), "code": results.code, "text": (results.text,)}.items():
            for path in filter(None, paths):
                yield from missing(file, f"{of}.{option}", row, path)


def missing(file: str, option: str, record: Record, path: str) -> Iterable[Finding]:
    """What a path names and the record does not have."""
    here: Any = record
    for name in path.split("."):
        if not isinstance(here, Record):
            yield Finding(file, 1, f"{option}: {path!r} goes on below a single value")
            return
        field = here.get(name)
        if field is None:
            if not here.open:
                known = [f.name for f in here.fields]
                yield Finding(file, 1, f"{option}: there is no {name!r} in {here.name}", f"it has {', '.join(known[:12]) or 'nothing'}")
            return
        here = field.shape
