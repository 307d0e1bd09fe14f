"""The one place where source text, made from a checked layout, becomes a function: names are our own, texts are quoted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def function(name: str, source: str, names: Mapping[str, Any]) -> Callable[..., Any]:
    scope: dict[str, Any] = {"__builtins__": {"sum": sum, "next": next, "len": len, "ValueError": ValueError}, **names}
    exec(compile(source, f"<{name}>", "exec"), scope)  # noqa: S102  # made by this package; nothing of a file gets into it
    made: Callable[..., Any] = scope[name]
    return made
