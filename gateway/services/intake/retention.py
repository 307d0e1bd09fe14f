"""How long files are kept: what is booked, or was given up by a person, is removed when its time is over; nothing else ever is."""

from __future__ import annotations

from datetime import datetime, timedelta

from contracts.books import Books, FileRecord
from contracts.errors import TillgateError
from gateway.services.clock import Now
from gateway.services.intake.feed import Feed
from observability import get_logger

log = get_logger(__name__)

MOST = 200
"""Files that one sweep looks into."""
_REMEMBERED = 10_000


class Retention:
    """One feed's kept files. A file is known by its content, which is read again before it is removed: not by its name or place."""

    def __init__(self, feed: Feed, books: Books, now: Now) -> None:
        self._feed, self._books, self._now = feed, books, now
        self._stays: dict[str, tuple[str, str, str]] = {}
        """Mark -> kind, place and digest of those that were looked into and must stay, so that none is read at every sweep."""
        self.feed = f"{feed.system}.{feed.name}"

    async def sweep(self) -> int:
        """Returns how many were removed."""
        removed = 0
        rules = self._feed.options.retention
        for kind, keep in (("archive", rules.archive), ("quarantine", rules.quarantine)):
            if keep is None:
                continue
            before = self._now() - timedelta(seconds=float(keep))
            known = [(place, mark, digest) for mark, (of, place, digest) in self._stays.items() if of == kind]
            new = await self._feed.kept_before(kind, before.timestamp(), MOST, frozenset(self._stays))
            for place, mark, digest in (*known, *((place, mark, "") for place, mark in new)):
                try:
                    removed += await self._look(kind, place, mark, digest, before)
                except TillgateError as error:
                    log.warning("kept file cannot be removed", feed=self.feed, place=place, reason=str(error)[:300])
        return removed

    async def _look(self, kind: str, place: str, mark: str, known: str, before: datetime) -> bool:
        if known and not await self._over(kind, known, before):
            return False
        digest = await self._feed.digest_of(place)  # of a known one again, now that it goes
        record = await self._over(kind, digest, before) if digest else None
        if digest is None or record is None:
            if len(self._stays) >= _REMEMBERED:
                self._stays.clear()
            if digest is None:
                self._stays.pop(mark, None)
            else:
                self._stays[mark] = kind, place, digest
            return False
        self._stays.pop(mark, None)
        await self._books.files.removed(digest, self._now())  # first: after a crash between the two the next sweep finds the file again
        await self._feed.remove(kind, place)
        log.info("kept file removed", feed=self.feed, file=record.name, digest=digest, place=place, state=record.state)
        return True

    async def _over(self, kind: str, digest: str, before: datetime) -> FileRecord | None:
        """The ledger's line when its time is over and nothing of this content waits for anybody."""
        record = await self._books.files.get(digest)
        if record is None or record.feed != self.feed:
            return None
        given_up = record.given_up is not None and kind == "quarantine"
        ended = record.given_up.at if record.given_up is not None else record.finished_at
        done = record.state == "done" and record.quarantined == record.decided
        return record if (done or given_up) and ended is not None and ended < before else None
