"""The mapping language: read, check, compile, explain. `load` is the door; a CompiledMapping is what it gives."""

from mappings.language.mapping import CompiledMapping, ReadContext, Shortcut, attempt, load
from mappings.language.read import did_you_mean

__all__ = ["CompiledMapping", "ReadContext", "Shortcut", "attempt", "did_you_mean", "load"]
