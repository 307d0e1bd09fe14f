"""Who is logged in to the ERP, and until when."""

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

MOST = 1000


@dataclass(slots=True)
class Sessions:
    """One technical user. A session ends `seconds` after its login, used or not; the oldest of too many ends early."""

    user: str = "TILLGATE"
    password: str = field(default="retail-sandbox", repr=False)
    seconds: int = 1800
    seed: int = 1
    clock: Callable[[], float] = time.monotonic
    _until: OrderedDict[str, float] = field(default_factory=OrderedDict, repr=False)
    _opened: int = 0

    def open(self, user: str, password: str) -> str | None:
        """A new session id, or None for a wrong user or password."""
        if not hmac.compare_digest(f"{user}\n{password}".encode(), f"{self.user}\n{self.password}".encode()):
            return None
        self._opened += 1
        session = blake2b(f"{self.seed}/session/{self._opened}".encode(), digest_size=20).hexdigest().upper()
        self._until[session] = self.clock() + self.seconds
        while len(self._until) > MOST:
            self._until.popitem(last=False)
        return session

    def holds(self, session: str) -> bool:
        until = self._until.get(session)
        if until is not None and self.clock() >= until:
            del self._until[session]
            return False
        return until is not None

    def expire_all(self) -> int:
        """End every session now. Answers how many there were."""
        ended = len(self._until)
        self._until.clear()
        return ended
