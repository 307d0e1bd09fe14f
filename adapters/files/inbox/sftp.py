"""An SFTP server as a storage: one connection on a loop of its own thread, whose waits are all bounded. Needs the extra `sftp`.

A file is copied once into an unlinked spool file while it is looked at for the first time, and every pass reads that copy: what was
hashed is what is parsed, and a line that breaks costs no transaction its place.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat as modes
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import PurePath
from typing import Any, BinaryIO, Final, TypeVar, cast

import asyncssh

from adapters.files.inbox.storage import BLOCK, Changed, Stamp, Status, kind
from adapters.files.spec import Address, SftpOptions

T = TypeVar("T")

MOST_ENTRIES: Final = 200_000
"""Of one folder; who keeps more in it is told so."""
PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Between attempts to connect: a server counts failed logins, and locks accounts."""

_CODES: Final[dict[type[Exception], int]] = {
    asyncssh.SFTPNoSuchFile: errno.ENOENT,
    asyncssh.SFTPNoSuchPath: errno.ENOENT,
    asyncssh.SFTPPermissionDenied: errno.EACCES,
    asyncssh.SFTPWriteProtect: errno.EROFS,
    asyncssh.SFTPNoSpaceOnFilesystem: errno.ENOSPC,
    asyncssh.SFTPQuotaExceeded: errno.EDQUOT,
    asyncssh.SFTPFileAlreadyExists: errno.EEXIST,
    asyncssh.SFTPNotADirectory: errno.ENOTDIR,
    asyncssh.SFTPConnectionLost: errno.ECONNRESET,
    asyncssh.SFTPNoConnection: errno.ECONNRESET,
}
_LOST: Final = (
    asyncssh.DisconnectError, asyncssh.ChannelOpenError, asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.SFTPBadMessage,
    ConnectionError, TimeoutError,
)  # fmt: skip


class Sftp:
    """Fulfils `Storage`. Errors of the server and the line are OSErrors, as those of a folder are."""

    local = False

    def __init__(self, name: str, address: Address, options: SftpOptions, *, copies: int = 1) -> None:
        """`name`: of the thread. `copies`: files that are read at once, each of which has a copy."""
        self._name, self._address, self._options, self._copies = name, address, options, copies
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._connection: asyncssh.SSHClientConnection | None = None
        self._client: asyncssh.SFTPClient | None = None
        self._connecting = asyncio.Lock()
        self._failures, self._not_before = 0, 0.0
        self._trouble = ""
        self._spools: OrderedDict[PurePath, tuple[Stamp, int | None, str, BinaryIO]] = OrderedDict()
        self._guard = threading.Lock()
        self._closed = False

    def start(self) -> None:
        """Not needed: its loop runs from the first question on. After `close` it may be asked again only when it was started."""
        self._closed = False

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._guard:
            if self._closed:
                raise ConnectionAbortedError(errno.ECONNABORTED, "the feed is closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name=f"sftp-{self._name}", daemon=True)
                self._thread.start()
            return self._loop

    def close(self) -> None:
        with self._guard:
            self._closed = True
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            with suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(self._ended(), loop).result(5)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(5)
            if not thread.is_alive():
                loop.close()
        with self._guard:
            spools, self._spools = self._spools, OrderedDict()
        for *_, spool in spools.values():
            spool.close()

    async def _ended(self) -> None:
        connection = self._connection
        self._drop()
        if connection is not None:
            with suppress(*_LOST, OSError):
                async with asyncio.timeout(2):
                    await connection.wait_closed()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    # ---- what a storage does ---------------------------------------------------------------------------------------

    def make(self, folder: PurePath) -> None:
        async def work(client: asyncssh.SFTPClient) -> None:
            await self._answer(client.makedirs(_path(folder), exist_ok=True))

        self._run(work, str(folder))

    def list(self, folder: PurePath) -> Iterator[tuple[str, Status]]:
        async def work(client: asyncssh.SFTPClient) -> list[tuple[str, Status]]:
            found: list[tuple[str, Status]] = []
            entries = client.scandir(_path(folder))
            try:
                while (entry := await self._answer(anext(entries, None))) is not None:
                    name = os.fsdecode(entry.filename)
                    if name in (".", ".."):
                        continue
                    if len(found) >= MOST_ENTRIES:
                        raise OSError(errno.EFBIG, f"it holds more than {MOST_ENTRIES} files")
                    attributes = entry.attrs
                    if attributes.permissions is None or attributes.size is None or attributes.mtime is None:
                        attributes = await self._answer(client.lstat(_path(folder / name)))
                    found.append((name, _status(attributes)))
            finally:
                await self._answer(entries.aclose())  # type: ignore[attr-defined]  # a generator behind an iterator's type
            return found

        return iter(self._run(work, str(folder)))

    def status(self, path: PurePath) -> Status:
        async def work(client: asyncssh.SFTPClient) -> Status:
            return _status(await self._answer(client.lstat(_path(path))))

        return self._run(work, path.name)

    def exists(self, path: PurePath) -> bool:
        try:
            self.status(path)
        except FileNotFoundError:
            return False
        return True

    def open(self, path: PurePath, stamp: Stamp, *, digest: str = "", most: int | None = None) -> BinaryIO:
        """A copy, to be read by one reader at a time."""
        with self._guard:
            kept = self._spools.get(path)
            if kept is not None and kept[:2] == (stamp, most):
                self._spools.move_to_end(path)
                return _again(kept[3], path, digest, kept[2])

        async def work(client: asyncssh.SFTPClient) -> tuple[BinaryIO, str]:
            return await self._copied(client, path, stamp, most)

        spool, content = self._run(work, path.name)
        with self._guard:
            self._forget(path)
            self._spools[path] = stamp, most, content, spool
            while len(self._spools) > self._copies:
                self._forget(next(iter(self._spools)))
            return _again(spool, path, digest, content)

    def unchanged(self, source: BinaryIO, stamp: Stamp) -> bool:
        """A copy does not change."""
        return True

    def move(self, path: PurePath, target: PurePath, stamp: Stamp) -> None:
        async def work(client: asyncssh.SFTPClient) -> None:
            if _status(await self._answer(client.lstat(_path(path)))).stamp != stamp:
                raise Changed(path.name)
            await self._answer(client.rename(_path(path), _path(target)))  # fails where there is a file already

        self._run(work, path.name)
        with self._guard:
            self._forget(path)

    def write(self, path: PurePath, body: bytes) -> None:
        part = path.with_name(f".{path.name}.part")

        async def work(client: asyncssh.SFTPClient) -> None:
            async with asyncio.timeout(self._options.timeout), client.open(_path(part), "wb") as out:
                await out.write(body)
            with suppress(asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
                await self._answer(client.remove(_path(path)))
            await self._answer(client.rename(_path(part), _path(path)))

        self._run(work, path.name)

    def remove(self, path: PurePath) -> None:
        async def work(client: asyncssh.SFTPClient) -> None:
            with suppress(asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
                await self._answer(client.remove(_path(path)))

        self._run(work, path.name)

    # ---- copies ----------------------------------------------------------------------------------------------------

    async def _copied(self, client: asyncssh.SFTPClient, path: PurePath, stamp: Stamp, most: int | None) -> tuple[BinaryIO, str]:
        """The content of exactly the file that was seen, and its digest. It is asked for beside and through the name: a link that took its
        place meanwhile shows."""
        digest, left = hashlib.sha256(), stamp[2] if most is None else min(most, stamp[2])
        spool: BinaryIO = tempfile.TemporaryFile(buffering=0, dir=self._options.spool or None)  # noqa: SIM115 - outlives this
        try:
            async with self._opened(client, path) as source:
                if _status(await self._answer(source.stat())).stamp != stamp:
                    raise Changed(path.name)
                while left > 0:
                    block = cast("bytes", await self._answer(source.read(min(BLOCK, left))))
                    if not block:
                        raise Changed(path.name)
                    digest.update(block)
                    spool.write(block)
                    left -= len(block)
            if _status(await self._answer(client.lstat(_path(path)))) != Status(stamp):
                raise Changed(path.name)
        except BaseException:
            spool.close()
            raise
        return spool, digest.hexdigest()

    @asynccontextmanager
    async def _opened(self, client: asyncssh.SFTPClient, path: PurePath) -> AsyncIterator[asyncssh.SFTPClientFile]:
        source = await self._answer(client.open(_path(path), "rb"))
        try:
            yield source
        except _LOST:
            raise  # nobody is there whom one could tell
        except BaseException:
            await self._answer(source.close())
            raise
        await self._answer(source.close())

    def _forget(self, path: PurePath) -> None:
        if (kept := self._spools.pop(path, None)) is not None:
            kept[3].close()

    # ---- the line --------------------------------------------------------------------------------------------------

    def _run(self, work: Callable[[asyncssh.SFTPClient], Coroutine[Any, Any, T]], what: str) -> T:
        """In the loop's thread. Raises OSError, Changed."""
        loop = self._running()
        return asyncio.run_coroutine_threadsafe(self._worked(work, what), loop).result()

    async def _worked(self, work: Callable[[asyncssh.SFTPClient], Coroutine[Any, Any, T]], what: str) -> T:
        try:
            client = await self._ready()
            try:
                return await work(client)
            except _LOST as error:
                self._drop()
                raise _translated(error, what) from error
            except asyncssh.Error as error:
                raise _translated(error, what) from error
        except asyncio.CancelledError as error:
            raise ConnectionAbortedError(errno.ECONNABORTED, "the feed is closed") from error

    async def _answer(self, asked: Awaitable[T]) -> T:
        async with asyncio.timeout(self._options.timeout):
            return await asked

    def _drop(self) -> None:
        connection, self._connection, self._client = self._connection, None, None
        if connection is not None:
            connection.abort()

    async def _ready(self) -> asyncssh.SFTPClient:
        """The one connection, made anew where it was lost; after a failure not before a pause is over."""
        async with self._connecting:
            if self._client is not None and self._connection is not None and not self._connection.is_closed():
                return self._client
            if time.monotonic() < self._not_before:
                raise ConnectionRefusedError(errno.ECONNREFUSED, self._trouble)
            try:
                async with asyncio.timeout(self._options.connect):
                    self._connection = await self._connect()
                    self._client = await self._connection.start_sftp_client()
            except (*_LOST, asyncssh.Error, OSError, ValueError) as error:
                self._drop()
                self._failures += 1
                self._not_before = time.monotonic() + min(PAUSE * 2 ** min(self._failures, 10), LONGEST_PAUSE)
                self._trouble = _why(error, self._address)
                raise ConnectionRefusedError(errno.ECONNREFUSED, self._trouble) from error
            self._failures, self._not_before = 0, 0.0
            return self._client

    async def _connect(self) -> asyncssh.SSHClientConnection:
        """Nothing of the machine's own SSH set-up counts: no configuration, no agent, no keys of whoever runs this."""
        options, (host, port, user, _) = self._options, self._address
        trusted: Any = options.known_hosts or ([asyncssh.import_public_key(key) for key in options.host_keys], [], [])
        keys = [asyncssh.import_private_key(options.key, options.key_password or None)] if options.key else None
        return await asyncssh.connect(
            host,
            port,
            username=user,
            known_hosts=trusted,
            client_keys=keys,
            password=options.password or None,
            preferred_auth=[*(["publickey"] if keys else []), *(["password", "keyboard-interactive"] if options.password else [])],
            config=None,
            agent_path=None,
            gss_host=None,
            x509_trusted_certs=None,
            keepalive_interval=15,
            keepalive_count_max=2,
        )


def _again(spool: BinaryIO, path: PurePath, expected: str, digest: str) -> BinaryIO:
    """A handle of its own on a copy, from its beginning."""
    if expected and expected != digest:
        raise Changed(path.name)
    source = os.fdopen(os.dup(spool.fileno()), "rb", buffering=0)
    source.seek(0)
    return source


def _path(path: PurePath) -> bytes:
    return os.fsencode(path)


def _status(attributes: asyncssh.SFTPAttrs) -> Status:
    mode = attributes.permissions or 0
    refused = kind(mode if modes.S_IFMT(mode) else modes.S_IFREG | mode)
    return Status((0, 0, attributes.size or 0, (attributes.mtime or 0) * 10**9 + (attributes.mtime_ns or 0)), refused)


def _translated(error: Exception, what: str) -> OSError:
    if isinstance(error, TimeoutError):
        return TimeoutError(errno.ETIMEDOUT, f"the server did not answer in time about {what}")
    if isinstance(error, asyncssh.DisconnectError | ConnectionError):
        return ConnectionResetError(errno.ECONNRESET, "the connection to the server was lost")
    code = next((code for each, code in _CODES.items() if isinstance(error, each)), errno.EIO)
    said = str(error)[:200]
    return OSError(code, os.strerror(code) if code != errno.EIO else f"the server says: {said}")


def _why(error: BaseException, address: Address) -> str:
    """Why there is no connection, in words, and without anything that is secret."""
    where = f"{address.host}:{address.port}"
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return f"the key of {where} is not the declared one: it was changed, or this is another server"
    if isinstance(error, asyncssh.PermissionDenied):
        return f"{where} refused the login of {address.user}"
    if isinstance(error, asyncssh.KeyImportError):
        return "the declared key of the server or of the login is no key that can be read"
    if isinstance(error, TimeoutError):
        return f"{where} did not answer in time"
    if isinstance(error, OSError) and error.strerror:
        return f"{where}: {error.strerror}"
    return f"{where}: {type(error).__name__}"
