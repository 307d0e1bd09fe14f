"""What a call of an operation in steps leaves to those that follow: written in the estate, read by a small mapping made of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from contracts.errors import Finding, Findings
from gateway import estate as estates
from mappings.language import CompiledMapping, attempt, did_you_mean
from mappings.language.shape import Exchange

_ANSWERED = "_answered"
"""A mapping fills something, although only its refusal may be wanted."""


def keeping(
    full: str,
    operation: estates.Operation,
    number: int,
    shapes: Callable[[str], Exchange],
    mappings: Mapping[str, CompiledMapping],
    source: estates.Source,
) -> tuple[CompiledMapping | None, list[Finding]]:
    """Of the step with this number: None where it keeps and refuses nothing. Every parameter has the type that the mappings give it."""
    step, place = operation.steps[number], ("operation", full, "steps", str(number))
    found = list(_too_early(full, operation, number, mappings, source))
    later = [mappings[p] for p in (*operation.requests[number + 1 :], operation.answer) if p in mappings]
    wanted = {n: v for m in later for n, v in m.file.parameters.items()}
    if len(later) == len(operation.requests) - number:  # else what is wrong with a mapping is said elsewhere
        for name in step.keep.keys() - wanted.keys():
            message = f"operation {full}: keeps {name}, and no mapping after it names parameters.{name}"
            found.append(source.finding((*place, "keep", name), message, did_you_mean(name, wanted)))
    if not (step.keep.keys() & wanted.keys() or step.refuse):
        return None, found
    call = f"{full.partition('.')[0]}.{step.calls}"
    try:
        shapes(call)
    except (LookupError, Findings):  # said elsewhere
        return None, found
    lines = [(("keep", name), name, path) for name, path in step.keep.items() if name in wanted]
    refusal = [(("refuse", key), key, words) for key in ("when", "code", "reason") if step.refuse and (words := getattr(step.refuse, key))]
    kept = msgspec.defstruct("Kept", [(n, _kind(wanted[n])) for _, n, _ in lines] or [(_ANSWERED, bool)], kw_only=True)
    text = ['target = "Kept"', f"source = {json.dumps(call)}", "[fields]", *([] if lines else [f'{_ANSWERED} = "True"'])]
    at: dict[int, tuple[str, ...]] = {2: (*place, "keep" if lines else "refuse")}
    for group in (lines, refusal):
        text += ["[[refuse]]"] if group is refusal and group else []
        for where, key, words in group:
            text.append(f"{key} = {json.dumps(words)}")
            at[len(text)] = (*place, *where)
    made, wrong = attempt("\n".join(text), source.file, shapes, {"Kept": kept}, partial=True)
    said = [source.finding(at.get(f.line, place), f"operation {full}: {f.message}", f.suggestion) for f in wrong]
    return made, found + said


def _kind(default: Any) -> Any:
    """What is kept may be anything, also a customer's number: it is never shown."""
    kind: Any = Annotated[type(default), Meta(extra={"personal": True})]
    return kind | None


def _too_early(
    full: str, operation: estates.Operation, number: int, mappings: Mapping[str, CompiledMapping], source: estates.Source
) -> Iterator[Finding]:
    """Parameters that its request names, and only a call at or behind it keeps."""
    if (mapping := mappings.get(operation.steps[number].request)) is None:
        return
    before = {name for s in operation.steps[:number] for name in s.keep}
    for later, step in enumerate(operation.steps[number:], number):
        for name in sorted(step.keep.keys() & mapping.file.parameters.keys() - before):
            message = f"operation {full}: {operation.steps[number].request} names parameters.{name} before it is kept"
            yield source.finding(("operation", full, "steps", str(later), "keep", name), message, "keep it in an earlier step")
