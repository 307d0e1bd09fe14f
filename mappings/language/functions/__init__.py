"""The functions of the language. The reference page and the check are made from them."""

from __future__ import annotations

from typing import Final

from mappings.language.functions import absence, amounts, codes, lists, numbers, queries, texts, times
from mappings.language.functions.registry import Function

FAMILIES: Final = (texts, numbers, codes, amounts, times, absence, lists, queries)
FUNCTIONS: Final[dict[str, Function]] = {name: f for family in FAMILIES for name, f in family.family.functions.items()}


def reference() -> str:
    """The table of functions for the manual, generated from the registry."""
    rows = ["| function | takes | gives | what it does | turned round | lost |", "|---|---|---|---|---|---|"]
    for f in FUNCTIONS.values():
        call = f.name
        if f.parameters:
            names = [
                p.name + ("…" if p.many else "") + ("" if p.required or p.many else "=")
                for p in f.parameters
                if not (f.cases and p.name == "table")
            ]
            call += f"({', '.join([*(['CODE=value…'] if f.cases else []), *names])})"
        parameters = "; ".join(f"`{p.name}`: {p.doc}" for p in f.parameters)
        doc = f.doc + (f" {parameters}." if parameters else "") + (f" Example: `{f.example}`." if f.example != f.name else "")
        takes = " or ".join(f.takes) or "–"
        rows.append(f"| `{call}` | {takes} | {f.gives} | {doc.replace('|', chr(92) + '|')} | {f.inverse or '–'} | {f.loss or '–'} |")
    return "\n".join(rows) + "\n"
