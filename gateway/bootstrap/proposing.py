"""What a system's contract alone proposes, by protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from adapters.files import proposal as files
from adapters.proposal import Proposal
from adapters.rest import proposal as rest
from adapters.soap import proposal as soap

__all__ = ["Proposal", "propose"]


def propose(protocol: Literal["soap", "rest", "files"], system: str, given: Path) -> Proposal:
    """Reads a file or folder that somebody gave us; may take a second. Raises Findings for what is none of its kind."""
    kinds = {"soap": soap.propose, "rest": rest.propose, "files": files.propose}
    return kinds[protocol](system, given)
