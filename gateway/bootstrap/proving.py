"""One system of an estate, cut out so that it can be proven: the real parts, with a stand-in at the other end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from adapters.driver import Connection
from adapters.files.driver import FileContract, FileFeed
from adapters.files.writing import Raw, Unwritable, Writer, Written
from adapters.rest.contract import RestContract
from adapters.rest.spec import OAuth2, RestOptions
from adapters.rest.stand_in import RestSpeaker
from adapters.soap.contract import SoapContract
from adapters.soap.spec import SoapOptions
from adapters.soap.stand_in import SoapSpeaker
from adapters.speaker import Speaker
from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts.books import Books
from contracts.policy import Policy
from gateway import estate as estates
from gateway.bootstrap.checking import Checked
from gateway.bootstrap.masks import texts
from gateway.bootstrap.systems import Wiring, feeds, wire
from gateway.services.catalogue import Zones
from mappings.language import CompiledMapping

__all__ = ["Raw", "Unwritable", "Wiring", "Written", "alone", "books", "feed", "options_of", "references", "speaker", "wired", "writer"]


def options_of(checked: Checked, name: str, environment: Mapping[str, str]) -> tuple[Any, list[str]]:
    """The system's options as a stand-in can keep to them, and what was left out for it.

    A secret that cannot be had here is replaced: the stand-in knows the replacement. TLS is left out, and so is what only the holder of
    the system's own key could answer.
    """
    options, notes = _replaced(checked.options[name], environment), list[str]()
    if getattr(options, "tls", None) is not None:
        options = replace(options, tls=None)
        notes.append("without TLS")
    if isinstance(options, SoapOptions) and (security := options.security) is not None and (security.verify or security.sign):
        options = replace(options, security=replace(security, verify=None, sign=None))
        notes.append("without X.509 signatures")
    return options, notes


def speaker(checked: Checked, name: str, options: Any) -> Speaker:
    """Raises LookupError for a system that is not called."""
    contract = checked.contracts.get(name)
    if isinstance(contract, SoapContract):
        return SoapSpeaker(contract, options)
    if isinstance(contract, RestContract):
        return RestSpeaker(contract, options)
    raise LookupError(f"system {name}: {checked.estate.system[name].protocol} systems are not called")


def alone(
    checked: Checked,
    operations: Iterable[str],
    options: Any,
    endpoint: str,
    policy: Callable[[Policy], Policy] = lambda policy: policy,
    feed: Mapping[str, Any] | None = None,
) -> Checked:
    """The estate with these operations of one system only, at another address. `feed`: another table than the declared one."""
    estate, names = checked.estate, tuple(operations)
    name = names[0].partition(".")[0]
    if isinstance(options, SoapOptions) and options.session is not None and options.session.endpoint:
        options = replace(options, session=replace(options.session, endpoint=endpoint + urlsplit(options.session.endpoint).path))
    if isinstance(options, RestOptions) and isinstance(options.auth, OAuth2):
        token = endpoint + (urlsplit(options.auth.token_url).path or "/token")
        options = replace(options, auth=replace(options.auth, token_url=token))
    chosen = {full: replace(estate.operation[full], policy=policy(estate.operation[full].policy)) for full in names}
    if feed is not None:
        chosen = {full: replace(operation, feed=dict(feed)) for full, operation in chosen.items()}
    cut = replace(estate, system={name: replace(estate.system[name], endpoint=endpoint)}, operation=chosen, capability={})
    return Checked(checked.root, cut, checked.contracts, checked.mappings, {name: options}, checked.digests, checked.kept)


async def wired(checked: Checked, zones: Zones, connections: Mapping[str, Connection] | None = None) -> Wiring:
    """Connection, guards and switchboard of what `alone` left, started. `connections`: another one instead of the driver's."""
    return await wire(checked, {}, connections or {}, zones)


def feed(checked: Checked, clock: Callable[[], float]) -> tuple[FileFeed, CompiledMapping]:
    """The one feed that `alone` left. `clock`: by which a file has been quiet."""
    found, mapping = next(feeds(checked, {}))
    found.inbox.clock = clock
    return found, mapping


def books(folder: Path) -> Books:
    """Books of their own, in a folder."""
    return open_store(StoreOptions(url=f"sqlite:///{folder.absolute()}/books.db"))


def writer(checked: Checked, operation: str) -> Writer:
    """Raises LookupError for an operation that is no feed."""
    contract = checked.contracts.get(operation)
    if not isinstance(contract, FileContract):
        raise LookupError(f"operation {operation} is no feed of files")
    return Writer(contract.layout)


def references(checked: Checked, name: str) -> list[str]:
    """Environment variables that the options of a system refer to."""
    return sorted({t[4:].partition("|")[0] for t in texts(checked.options[name]) if t.startswith("env:")})


def _replaced(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, msgspec.Struct):
        return replace(value, **{f: _replaced(getattr(value, f), environment) for f in value.__struct_fields__})
    if isinstance(value, dict):
        return {k: _replaced(v, environment) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(_replaced(v, environment) for v in value)
    if isinstance(value, str) and value.startswith(("env:", "file:")):
        with suppress(LookupError):
            return estates.resolve(value, environment)
        return "stand-in"
    return value
