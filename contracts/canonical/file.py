"""What is told about a file that was not booked whole."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from contracts.canonical.base import Noun


class QuarantinedFile(Noun, frozen=True, kw_only=True):
    """`done`: all but the quarantined transactions are booked. `refused`: nothing more of it will be."""

    file: str
    digest: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)", description="SHA-256 of the content: the file's identity")]
    feed: Annotated[str, Meta(examples=["pos.tlog"])]
    state: Literal["done", "refused"]
    quarantined: Annotated[int, Meta(ge=0, description="Transactions set aside")]
    reason: str


FindingKind = Literal[
    "file_late",
    "file_missing",
    "file_early",
    "file_gap",
    "file_out_of_order",
    "file_again",
    "file_refused",
    "file_unanswered",
    "sequence_gap",
    "day_far",
    "day_closed",
    "day_reopened",
    "extension",
]
FindingState = Literal["open", "noted", "closed"]


class FileFinding(Noun, frozen=True, kw_only=True):
    """`open` ones close themselves when what was missed comes; a `noted` one is a fact that nothing can mend. None of them is an error:
    what came is booked.
    """

    kind: FindingKind
    state: FindingState
    feed: Annotated[str, Meta(examples=["pos.tlog"])]
    detail: Annotated[str, Meta(description="One sentence for people")]
    store: str | None = None
    workstation: str | None = None
    business_date: Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$(?!\n)")] | None = None
    file: str | None = None
    missing: Annotated[int, Meta(ge=0, description="Files, or transactions of a till, that are not there")] = 0
    closed_by: Annotated[str, Meta(description="The file that came, or the person who dismissed it")] | None = None
