"""What keeps processes apart, and the gateway's own facts."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class LeaseBook(Protocol):
    async def acquire(self, name: str, owner: str, now: datetime, seconds: float) -> bool:
        """Keeps single what must be single over many processes. The owner may acquire again."""
        ...

    async def release(self, name: str, owner: str) -> None: ...


class Meta(Protocol):
    async def get(self, key: str) -> bytes | None: ...

    async def put_if_absent(self, key: str, value: bytes) -> bytes:
        """Returns what stands afterwards (the gateway's own id and the pepper of API keys live here)."""
        ...
