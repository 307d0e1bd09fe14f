"""The keys of one issuer: fetched ahead of their age, once more for a key that nobody knows, and never lost to a bad answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

from joserfc import jwk
from joserfc.errors import JoseError

from contracts.errors import Overloaded, TillgateError
from observability import get_logger

log = get_logger(__name__)

Fetch = Callable[[], Awaitable[Sequence[dict[str, Any]]]]

COOL_DOWN = 30.0
"""Seconds in which unknown keys cause no second fetch."""
_FIRST = 1.0
"""The same before any key is known, and the first pause after a failure."""
_WAITING = 64
"""Requests that may wait for a fetch; the next ones are told to come back."""
_RSA_BITS = range(2048, 16_385)
_PUBLIC = ("kty", "kid", "n", "e", "crv", "x", "y")


class KeyRing:
    """`fetch` gives the issuer's JSON Web Keys or raises a TillgateError; `refresh`: seconds after which they are fetched again."""

    def __init__(
        self, url: str, algorithms: Collection[str], fetch: Fetch, refresh: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.url = url
        self._algorithms = frozenset(algorithms)
        self._fetch, self._refresh, self._clock = fetch, refresh, clock
        self._keys: dict[str, tuple[dict[str, Any], jwk.Key]] = {}
        self._fetching: asyncio.Task[bool] | None = None
        self._retry_at = 0.0
        self._waiting = 0
        self._timer: asyncio.Task[None] | None = None
        self.problem = ""
        """Why the last reading gave no keys; empty: it did."""

    @property
    def loaded(self) -> bool:
        """Whether it ever had a key."""
        return bool(self._keys)

    def take_over(self, before: KeyRing) -> None:
        """What an earlier ring of the same issuer knew, as far as this one may use it."""
        self._keys = {kid: (raw, key) for kid, (raw, key) in before._keys.items() if _usable(raw, self._algorithms)}

    def known(self, kid: str | None) -> jwk.Key | None:
        """Without a name the only key there is."""
        if kid is None:
            return next(iter(self._keys.values()))[1] if len(self._keys) == 1 else None
        found = self._keys.get(kid)
        return found[1] if found else None

    async def key(self, kid: str | None) -> jwk.Key | None:
        """Fetches once for a key that nobody knows, however many ask, and then not for a while. Raises Overloaded."""
        found = self.known(kid)
        if found is None and (self._fetching is not None or self._clock() >= self._retry_at):
            if self._waiting >= _WAITING:
                raise Overloaded
            self._waiting += 1
            try:
                await asyncio.shield(self._fetched())
            finally:
                self._waiting -= 1
            found = self.known(kid)
        return found

    def start(self) -> None:
        """Keeps the keys fresh until `close`."""
        self._timer = asyncio.create_task(self._run(), name=f"keys of {self.url}")

    async def close(self) -> None:
        tasks = [t for t in (self._timer, self._fetching) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        pause = _FIRST
        while True:
            good = await asyncio.shield(self._fetched())
            pause = self._refresh if good else min(pause * 2, COOL_DOWN, self._refresh)
            await asyncio.sleep(pause)

    def _fetched(self) -> asyncio.Task[bool]:
        if self._fetching is None:
            self._retry_at = self._clock() + (COOL_DOWN if self.loaded else _FIRST)
            self._fetching = asyncio.create_task(self._take(), name=f"fetch {self.url}")
            self._fetching.add_done_callback(self._taken)
        return self._fetching

    def _taken(self, task: asyncio.Task[bool]) -> None:
        self._fetching = None
        with suppress(asyncio.CancelledError):
            task.exception()

    async def _take(self) -> bool:
        """Whether there are new keys. Never raises: what cannot be taken today may be taken the next time."""
        try:
            return self._took(await self._fetch())
        except TillgateError as error:
            self.problem = str(error)
            log.warning("keys of an issuer are not refreshed", issuer=self.url, error=self.problem, kept=len(self._keys))
        except Exception:
            self.problem = "its keys cannot be read"
            log.exception("keys of an issuer cannot be read", issuer=self.url, kept=len(self._keys))
        return False

    def _took(self, raws: Sequence[dict[str, Any]]) -> bool:
        keys: dict[str, tuple[dict[str, Any], jwk.Key]] = {}
        for raw in raws:
            kid = raw.get("kid", "")
            if not isinstance(kid, str) or not _usable(raw, self._algorithms):
                continue
            same = self._keys.get(kid)
            key = same[1] if same and same[0] == raw else _imported(raw)  # an unchanged key stays the same object
            if key is not None:
                keys[kid] = (raw, key)
        self.problem = "" if keys else "it publishes no key that may be used"
        if not keys:
            log.warning("an issuer publishes no key that may be used", issuer=self.url, keys=len(raws), kept=len(self._keys))
            return False
        self._keys = keys
        return True


def _usable(raw: dict[str, Any], algorithms: Collection[str]) -> bool:
    """A public key for signatures, of one of the algorithms if it names one (RFC 7517 §4). Shared secrets are no keys of an issuer."""
    operations = raw.get("key_ops", ["verify"])
    return (
        raw.get("kty") in ("RSA", "EC", "OKP")
        and raw.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and ("alg" not in raw or raw["alg"] in algorithms)
    )


def _imported(raw: dict[str, Any]) -> jwk.Key | None:
    try:
        key = jwk.import_key({name: raw[name] for name in _PUBLIC if name in raw})
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, jwk.RSAKey) and key.public_key.key_size not in _RSA_BITS:
        return None
    return key
