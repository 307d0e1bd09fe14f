"""Counted flights of all processes of an estate, packed: what happened when, in bins of several widths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from contracts.canonical.base import Noun


class CellBlob(Noun, frozen=True, kw_only=True):
    """What one process counted, or several, within one bin. Bodies of a bin are added up; who writes them knows their form."""

    width: int
    """Seconds that the bin is wide."""
    begin: int
    """Seconds since 1970."""
    source: str
    """Process; empty: several together."""
    body: bytes
    number: int = 0
    """Given by the book."""


class CellBook(Protocol):
    """Bins by width. A book of its own file where one process or host is all there is, and of the shared store else."""

    async def add(self, blobs: Sequence[CellBlob]) -> None: ...

    async def read(
        self, width: int, since: int, before: int, besides: str = "-", above: int = 0, most: int | None = None
    ) -> Sequence[CellBlob]:
        """Bins that began from `since` on and earlier than `before`, oldest first, of all sources but one. `above`: only those that the
        book numbered higher, as they were written later (on PostgreSQL nearly: transactions overlap). `most`: no more than so many.
        """
        ...

    async def replace(self, gone: Sequence[int], blobs: Sequence[CellBlob]) -> bool:
        """These for those. False: some of them are gone already, and nothing is changed."""
        ...

    async def prune(self, width: int, before: int, most_bytes: int) -> int:
        """Deletes bins that began earlier than `before`, and the oldest beyond so many bytes. Returns how many blobs went."""
        ...
