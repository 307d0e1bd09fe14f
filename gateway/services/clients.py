"""Clients and their keys: one set of rules for the command line, the admin API and the console. Every change is in the audit log."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import msgspec

from contracts.admin import ClientChange, ClientView, IssuedKey, KeyState, KeyView, NewClient, Rotation
from contracts.books import ApiKey, AuditEntry, Client, ClientBook, KeyRecord
from contracts.errors import Forbidden, InvalidBody, NotFound, StateConflict
from contracts.suggestion import nearest
from gateway.services.clock import Now
from gateway.services.trail import entry_of, tell

ADMIN = "admin:"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes clients. `scopes` None: whoever can write the books themselves, who may do anything."""

    name: str
    scopes: frozenset[str] | None = None
    stores: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Offer:
    """What a client can be given. `versions` newest first."""

    scopes: Collection[str]
    channels: Collection[str]
    quotas: Collection[str]
    versions: Sequence[str]


class Desk(Protocol):
    """Where clients are looked after: in the books, or through a running gateway."""

    async def list(self) -> Sequence[ClientView]: ...

    async def show(self, name: str) -> ClientView: ...

    async def add(self, wanted: NewClient) -> IssuedKey: ...

    async def change(self, name: str, change: ClientChange) -> ClientView: ...

    async def rotate(self, name: str, rotation: Rotation) -> IssuedKey: ...

    async def end_key(self, name: str, prefix: str) -> ClientView: ...

    async def remove(self, name: str) -> None: ...


class ClientDesk:
    """Fulfils `Desk` on the books, for one actor.

    Who may change clients may give them every scope of channels, but of the scopes for operators only those that it has itself, and
    stores only within its own: else one key for operators would be all of them. The same holds for a client as it stands, since
    whoever gives it a new key can be it. Nobody changes its own rights.
    """

    def __init__(
        self,
        books: ClientBook,
        offer: Offer,
        new_key: Callable[[str, datetime | None], tuple[str, ApiKey]],
        actor: Actor,
        now: Now,
    ) -> None:
        """`new_key` of a client's name and its end: the key as it is shown once, and what is stored of it."""
        self._books, self._offer, self._new_key, self._actor, self._now = books, offer, new_key, actor, now

    async def list(self) -> Sequence[ClientView]:
        keys: dict[str, list[KeyRecord]] = {}
        for key in await self._books.keys(None):
            keys.setdefault(key.client, []).append(key)
        return [self._view(client, keys.get(client.name, ())) for client in await self._books.list()]

    async def show(self, name: str) -> ClientView:
        """Raises NotFound."""
        return self._view(await self._existing(name), await self._books.keys(name))

    async def add(self, wanted: NewClient) -> IssuedKey:
        """Raises InvalidBody, Forbidden, StateConflict (there is one of this name, or with its certificate)."""
        client = Client(
            name=wanted.name,
            channel=wanted.channel,
            scopes=tuple(dict.fromkeys(wanted.scopes)),
            stores=tuple(dict.fromkeys(wanted.stores)),
            certificates=tuple(dict.fromkeys(wanted.certificates)),
            quota=wanted.quota,
            api_version=wanted.api_version or self._offer.versions[0],
        )
        self._fits(client)
        self._may_touch(client)
        shown, key = self._issued(wanted.name, wanted.key_expires_at)
        detail = {**{name: value for name, value in _told(client).items() if value not in _PLAIN}, **_told_of(key)}
        entry = self._entry("client.added", client.name, detail)
        await self._books.create(client, key, [entry])
        tell(entry)
        return await self._answer(client, shown, key)

    async def change(self, name: str, change: ClientChange) -> ClientView:
        """Raises NotFound, InvalidBody, Forbidden, StateConflict."""
        before = await self._existing(name)
        wanted = {f: value for f in change.__struct_fields__ if (value := getattr(change, f)) is not None}
        for many in ("scopes", "stores", "certificates"):
            if many in wanted:
                wanted[many] = tuple(dict.fromkeys(wanted[many]))
        after = msgspec.structs.replace(before, **wanted)
        self._fits(after, before)
        self._may_touch(before)
        self._may_touch(after)
        if after != before:
            if {f for f in _RIGHTS if getattr(after, f) != getattr(before, f)}:
                self._not_itself(name)
            detail = {
                k: f"{was} -> {new}" for (k, was), new in zip(_told(before).items(), _told(after).values(), strict=True) if was != new
            }
            entry = self._entry(_named(before, after), name, detail)
            await self._books.change(before, after, [entry])
            tell(entry)
        return await self.show(name)

    async def rotate(self, name: str, rotation: Rotation) -> IssuedKey:
        """Raises NotFound, InvalidBody, Forbidden."""
        client = await self._existing(name)
        self._may_touch(client)
        shown, key = self._issued(name, rotation.key_expires_at)
        entry = self._entry("key.added", name, {**_told_of(key), "overlap": f"{rotation.overlap_hours} h"})
        await self._books.rotate(key, self._now() + timedelta(hours=rotation.overlap_hours), [entry])
        tell(entry)
        return await self._answer(client, shown, key)

    async def end_key(self, name: str, prefix: str) -> ClientView:
        """From now on it opens nothing. Raises NotFound, Forbidden, StateConflict (it has ended before)."""
        self._may_touch(await self._existing(name))
        entry = self._entry("key.ended", name, {"prefix": prefix})
        await self._books.end_key(name, prefix, self._now(), [entry])
        tell(entry)
        return await self.show(name)

    async def remove(self, name: str) -> None:
        """Raises NotFound, Forbidden, StateConflict."""
        client = await self._existing(name)
        self._may_touch(client)
        self._not_itself(name)
        entry = self._entry("client.removed", name, _told(client))
        await self._books.remove(name, [entry])
        tell(entry)

    # ---- rules

    def _fits(self, client: Client, before: Client | None = None) -> None:
        """What it had before may stay, even if the estate or this release offers it no more. Raises InvalidBody."""
        offer = self._offer
        for at, scope in enumerate(client.scopes):
            if before is None or scope not in before.scopes:
                _known(f"/scopes/{at}", scope, offer.scopes)
        for where, value, known, was in (
            ("/channel", client.channel, offer.channels, before and before.channel),
            ("/quota", client.quota, offer.quotas, before and before.quota),
            ("/apiVersion", client.api_version, offer.versions, before and before.api_version),
        ):
            if value != was:
                _known(where, value, known)

    def _may_touch(self, client: Client) -> None:
        """Raises Forbidden."""
        actor = self._actor
        if actor.scopes is None:
            return
        for scope in client.scopes:
            if scope.startswith(ADMIN) and scope not in actor.scopes:
                raise Forbidden(
                    reason=f"{actor.name!r} lacks the scope {scope}, so it may not give it or stand in for one that has it", scope=scope
                )
        if actor.stores and not (client.stores and actor.stores.issuperset(client.stores)):
            raise Forbidden(reason=f"{actor.name!r} is bound to stores, so it looks after clients of these stores only")

    def _not_itself(self, name: str) -> None:
        """Raises StateConflict."""
        if self._actor.scopes is not None and self._actor.name == name:
            raise StateConflict(
                what="client",
                key=name,
                state="the one that asks",
                why="its own rights are changed by another client or on the command line",
            )

    def _issued(self, name: str, expires_at: datetime | None) -> tuple[str, ApiKey]:
        now = self._now()
        if expires_at is not None and expires_at <= now:
            raise InvalidBody(where="/keyExpiresAt", expected="a moment in the future", got=expires_at.isoformat())
        shown, key = self._new_key(name, expires_at)
        return shown, msgspec.structs.replace(key, created_at=now)

    # ---- what is told

    async def _existing(self, name: str) -> Client:
        client = await self._books.get(name)
        if client is None:
            raise NotFound(what="client", key=name)
        return client

    async def _answer(self, client: Client, shown: str, key: ApiKey) -> IssuedKey:
        return IssuedKey(client=self._view(client, await self._books.keys(client.name)), prefix=key.prefix, key=shown)

    def _entry(self, what: str, name: str, detail: Mapping[str, str]) -> AuditEntry:
        return entry_of(self._now, self._actor.name, what, name, detail)

    def _view(self, client: Client, keys: Iterable[KeyRecord]) -> ClientView:
        now = self._now()
        return ClientView(
            name=client.name,
            channel=client.channel,
            state="suspended" if client.suspended else "active",
            scopes=client.scopes,
            stores=client.stores,
            certificates=client.certificates,
            quota=client.quota,
            api_version=client.api_version,
            keys=tuple(
                KeyView(
                    prefix=key.prefix,
                    state=_state(key, now),
                    created_at=key.created_at,
                    expires_at=key.expires_at,
                    used_at=key.used_at,
                )
                for key in keys
            ),
        )


_RIGHTS = ("scopes", "stores", "suspended", "quota")


def _known(where: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise InvalidBody(where=where, expected=f"one of {', '.join(known)}", got=f"{value!r}; {nearest(value, known)}")


ENDING = timedelta(days=30)


def _state(key: KeyRecord, now: datetime) -> KeyState:
    if key.expires_at is None or key.expires_at > now + ENDING:
        return "active"
    return "ending" if key.expires_at > now else "ended"


_PLAIN = ("all", "none", "no")
_NONE = {"stores": "all"}
"""What it means that there are none."""


def _told(client: Client) -> dict[str, str]:
    """Every field of a client but its name, for people; none is a secret."""
    return {name: _words(name, getattr(client, name)) for name in client.__struct_fields__ if name != "name"}


def _words(name: str, value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or _NONE.get(name, "none")
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _told_of(key: ApiKey) -> dict[str, str]:
    return {"prefix": key.prefix, "key ends": f"{key.expires_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if key.expires_at else "never"}


def _named(before: Client, after: Client) -> str:
    if msgspec.structs.replace(before, suspended=after.suspended) == after:
        return "client.suspended" if after.suspended else "client.resumed"
    return "client.changed"
