"""A real SFTP server on loopback: a folder of this machine, one user, and lines that can be cut."""

import asyncio
import threading
from pathlib import Path
from typing import Any, Self

import asyncssh

USER, PASSWORD = "pos", "till-secret"


class _Login(asyncssh.SSHServer):
    def __init__(self, host: "SftpHost") -> None:
        self.host = host

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.host.lines.append(conn)

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        self.host.logins.append(username)
        return (username, password) == (USER, PASSWORD)

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        self.host.logins.append(username)
        return username == USER and key.public_data == self.host.client_key.public_data


class SftpHost:
    """`root` is what the user sees as /. `slow`: seconds before each answer to a read; `cut_after`: bytes until all lines break once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.client_key = asyncssh.generate_private_key("ssh-ed25519")
        self.lines: list[asyncssh.SSHServerConnection] = []
        self.logins: list[str] = []
        self.opened: list[Any] = []
        self.slow = 0.0
        self.cut_after: int | None = None
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sftp-server", daemon=True)
        self._listener: Any = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()
        asyncio.run_coroutine_threadsafe(self._quiet(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        for file in self.opened:  # of lines that were cut
            file.close()

    async def _quiet(self) -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def up(self) -> None:
        async def listen() -> Any:
            return await asyncssh.listen(
                "127.0.0.1",
                self.port,
                server_factory=lambda: _Login(self),
                server_host_keys=[self.host_key],
                sftp_factory=lambda channel: _Files(channel, self),
                reuse_address=True,
            )

        self._listener = asyncio.run_coroutine_threadsafe(listen(), self._loop).result(10)
        self.port = self._listener.get_port()

    def down(self) -> None:
        """Nobody answers any more; who is connected is cut off."""
        if self._listener is None:
            return

        async def close() -> None:
            self._listener.close()
            await self._listener.wait_closed()

        listener_closed = asyncio.run_coroutine_threadsafe(close(), self._loop)
        self.cut()
        listener_closed.result(10)
        self._listener = None

    def cut(self) -> None:
        lines, self.lines = self.lines, []
        for line in lines:
            self._loop.call_soon_threadsafe(line.abort)

    @property
    def public_key(self) -> str:
        return self.host_key.export_public_key().decode().strip()

    @property
    def private_key(self) -> str:
        return self.client_key.export_private_key().decode()


class _Files(asyncssh.SFTPServer):
    def __init__(self, channel: Any, host: SftpHost) -> None:
        super().__init__(channel, chroot=str(host.root).encode())
        self.host = host

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> Any:
        found = super().open(path, pflags, attrs)
        self.host.opened.append(found)
        return found

    async def read(self, file_obj: object, offset: int, size: int) -> bytes:
        if self.host.slow:
            await asyncio.sleep(self.host.slow)
        if self.host.cut_after is not None and offset + size > self.host.cut_after:
            self.host.cut_after = None
            self.host.cut()
            await asyncio.sleep(30)
        found = super().read(file_obj, offset, size)
        return await found if asyncio.iscoroutine(found) else found  # type: ignore[no-any-return]  # either, by the library's own type
