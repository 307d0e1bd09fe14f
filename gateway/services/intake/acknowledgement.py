"""What is told to whoever sent a file: how it ended, what was accepted and what was not. Once for each name under which a content ended."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from itertools import islice

import msgspec

from contracts.books import Books, FileRecord, Reviewed
from gateway.services.intake.feed import Feed, File


class Rejection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    position: int
    line: int = 0
    field: str = ""
    reason: str
    key: str = ""


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """`accepted`: booked now, or before with the same content. Of a refused file nothing more is accepted than `accepted` says."""

    file: str
    digest: str
    state: str
    finished_at: str
    records: int
    accepted: int
    repeated: int
    rejected: int
    reason: str = ""
    same_as: str = ""
    """The name under which the same content came first."""
    rejections: Sequence[Rejection] = ()


async def acknowledge(books: Books, feed: Feed, file: File, record: FileRecord, *, first: bool = False) -> bool:
    """Part of settling a finished file: may be repeated, by anybody, after a crash at any place. The text is written whole under a hidden
    name, then the ledger says which one counts, then that one gets its name: it can get it only once, since the hidden one goes with it.
    Returns whether that happened now. `first`: the file has just ended, and nobody can have tried before. Raises
    UpstreamError, StoreUnavailable; then the file stays where it is, and is settled later.
    """
    rule = feed.options.acknowledge
    if rule is None:
        return False
    name = rule.named(file.name, file.facts.get("store", ""), record.state, record.digest)
    own = f"{record.fence}-{secrets.token_hex(6)}"
    rows = await books.quarantine.list(rule.most, digest=record.digest) if rule.most and record.quarantined else ()
    told = _told(file, record, rows)
    await feed.write_acknowledgement(
        name, own, _lines(told) if rule.format == "lines" else msgspec.json.format(msgspec.json.encode(told)) + b"\n"
    )
    counts = await books.files.acknowledge(record.digest, file.name, record.fence, own)
    return await feed.publish_acknowledgement(name, counts, own, first=first)


def _told(file: File, record: FileRecord, rows: Sequence[Reviewed]) -> Acknowledgement:
    return Acknowledgement(
        file=file.name,
        digest=record.digest,
        state=record.state,
        finished_at=record.finished_at.isoformat() if record.finished_at else "",
        records=record.position,
        accepted=record.booked + record.repeated,
        repeated=record.repeated,
        rejected=record.quarantined,
        reason=record.reason,
        same_as=record.name if record.name != file.name else "",
        rejections=[
            Rejection(position=r.record.position, line=r.record.line, field=r.record.field, reason=r.record.reason, key=r.record.key)
            for r in rows
        ],
    )


def _lines(told: Acknowledgement) -> bytes:
    """KEY=VALUE, then `REJECTED=position;line;field;reason`; no value holds a line end."""
    said = msgspec.to_builtins(told)
    lines = [f"{key.upper()}={_plain(value)}" for key, value in said.items() if key != "rejections"]
    lines += [";".join((f"REJECTED={r.position}", str(r.line), _plain(r.field), _plain(r.reason))) for r in islice(told.rejections, 10_000)]
    return "\n".join([*lines, ""]).encode("utf-8", "replace")


def _plain(value: object) -> str:
    return " ".join(str(value).split())
