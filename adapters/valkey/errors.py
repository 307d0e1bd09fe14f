"""What the client's exceptions mean: the store is away, and why, in words without secrets."""

from __future__ import annotations

import socket
import ssl

from redis import exceptions as redis

from contracts.quota import LedgerAway


def away(error: BaseException) -> LedgerAway:
    if isinstance(error, LedgerAway):
        return error
    causes = [error]
    while (deeper := causes[-1].__cause__ or causes[-1].__context__) is not None and len(causes) < 8:
        causes.append(deeper)  # the client wraps what happened
    found = (reason for kinds, reason in _REASONS if any(isinstance(cause, kinds) for cause in causes))
    return LedgerAway(next(found, f"{type(error).__name__} of the client"))


_REASONS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((redis.AuthenticationError, redis.AuthorizationError), "user or password not accepted"),
    ((redis.NoPermissionError,), "the user may not run scripts, or not on these keys"),
    ((redis.BusyLoadingError,), "the server is still loading"),
    ((redis.ReadOnlyError,), "this server is a replica: it takes no writes"),
    ((redis.OutOfMemoryError,), "the server has no memory left"),
    ((redis.AskError, redis.ClusterDownError), "this server is one of a cluster and does not hold these keys"),
    ((redis.ResponseError,), "the server refuses the call"),
    ((socket.gaierror,), "its name is not known"),
    ((ssl.SSLError, ssl.CertificateError), "no TLS connection: its certificate, or ours, is not accepted"),
    ((TimeoutError, redis.TimeoutError), "no answer in time"),
    ((ConnectionRefusedError,), "nobody listens there"),
    ((redis.ConnectionError, OSError, EOFError), "the connection is lost"),
)
