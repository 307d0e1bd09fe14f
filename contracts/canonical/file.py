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
