"""One connection: scripts are loaded when it opens, and commands that are ready together travel together."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import ConnectionError, NoScriptError, ResponseError  # noqa: A004 - the client's own, which is no OSError

from adapters.valkey.spec import ValkeyOptions


class Line:
    """`exchange` is for one caller at a time."""

    def __init__(self, options: ValkeyOptions, scripts: Sequence[str], probe: bytes) -> None:
        """`probe`: a command that only a server answers which does what we need."""
        at, tls = options.address, options.tls
        self._scripts = scripts
        self._probe = probe
        self._connect_limit = float(options.connect_limit)
        settings: dict[str, Any] = {
            "host": at.host,
            "port": at.port,
            "db": at.database,
            "username": at.user or None,
            "password": at.password or None,
            "client_name": "tillgate",
            "protocol": 2,
            "socket_timeout": None,  # each exchange has its own
            "socket_connect_timeout": self._connect_limit,
        }
        if at.tls:
            files: dict[str, Any] = {
                "ssl_ca_certs": tls.ca,
                "ssl_certfile": tls.certificate,
                "ssl_keyfile": tls.key,
                "ssl_password": tls.password or None,
            }
            self._wire: Connection = SSLConnection(**settings, **files)
        else:
            self._wire = Connection(**settings)

    async def open(self) -> None:
        """Connected, authenticated, the scripts are there, and run. Raises what the client raises."""
        async with asyncio.timeout(self._connect_limit):
            await self._wire.connect()  # type: ignore[no-untyped-call]  # the client has no types here
            await self._load()
            for answer in await self._pass([self._probe]):
                if isinstance(answer, ResponseError):
                    raise answer

    async def _load(self) -> None:
        for script in self._scripts:
            await self._wire.send_command("SCRIPT", "LOAD", script, check_health=False)
            await self._wire.read_response()

    async def exchange(self, commands: Sequence[bytes]) -> list[Any]:
        """The answers in order; one that the server refused is its ResponseError. Raises when the connection does not hold.

        A connection that was lost while nobody looked is opened once again. What the server has taken although its answer was lost counts
        twice then, never not at all.
        """
        try:
            answers = await self._pass(commands)
        except ConnectionError:
            await self.close()
            await self.open()
            answers = await self._pass(commands)
        if forgotten := [i for i, answer in enumerate(answers) if isinstance(answer, NoScriptError)]:  # the server was flushed
            await self._load()
            for i, answer in zip(forgotten, await self._pass([commands[i] for i in forgotten]), strict=True):
                answers[i] = answer
        return answers

    async def _pass(self, commands: Sequence[bytes]) -> list[Any]:
        await self._wire.send_packed_command(b"".join(commands), check_health=False)
        answers: list[Any] = []
        for _ in commands:
            try:
                answers.append(await self._wire.read_response(timeout=math.inf, disconnect_on_error=False))
            except ResponseError as exc:
                answers.append(exc)
        return answers

    async def close(self) -> None:
        await self._wire.disconnect(nowait=True)
