"""How long files are kept: what is booked, or was given up by a person, is removed when its time is over; nothing else ever is."""

from __future__ import annotations

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
        self._stays: dict[str, str] = {}
        """Place -> digest of those that were looked into and must stay, so that none is read at every sweep."""
        self.feed = f"{feed.system}.{feed.name}"

    async def sweep(self) -> int:
        """Returns how many were removed."""
        removed = 0
        rules = self._feed.options.retention
        for kind, keep in (("archive", rules.archive), ("quarantine", rules.quarantine)):
            if keep is None:
                continue
            before = self._now().timestamp() - float(keep)
            for place, mark in await self._feed.kept_before(kind, before, MOST, frozenset(self._stays)):
                try:
                    removed += await self._look(kind, place, mark)
                except TillgateError as error:
                    log.warning("kept file cannot be removed", feed=self.feed, place=place, reason=str(error)[:300])
        return removed

    async def _look(self, kind: str, place: str, mark: str) -> bool:
        digest = await self._feed.digest_of(place)
        record = await self._books.files.get(digest) if digest else None
        if digest is None or record is None or not _over(kind, record, self.feed):
            if len(self._stays) >= _REMEMBERED:
                self._stays.clear()
            self._stays[mark] = digest or ""
            return False
        await self._books.files.removed(digest, self._now())  # first: after a crash between the two the next sweep finds the file again
        await self._feed.remove(kind, place)
        log.info("kept file removed", feed=self.feed, file=record.name, digest=digest, place=place, state=record.state)
        return True


def _over(kind: str, record: FileRecord, feed: str) -> bool:
    """Whether nothing of this content waits for anybody."""
    if record.feed != feed:
        return False
    done = record.state == "done" and record.quarantined == record.decided
    return done if kind == "archive" else done or record.given_up is not None
