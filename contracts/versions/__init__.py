"""Public API versions: the list, and one class per breaking change."""

from contracts.versions.change import Change, Former, Misshapen, ProblemChange, Version
from contracts.versions.conversion import Touched, VersionHistory
from contracts.versions.history import HISTORY

__all__ = ["HISTORY", "Change", "Former", "Misshapen", "ProblemChange", "Touched", "Version", "VersionHistory"]
