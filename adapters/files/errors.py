"""What can go wrong around a folder, translated once into the error tree."""

from __future__ import annotations

import errno
from typing import Final

from contracts.errors import BadFile, ConnectFailed, TillgateError, UpstreamError

_OURS: Final = {
    errno.ENOSPC: "the disk is full",
    errno.EROFS: "the folder is read-only",
    errno.EACCES: "access to the folder is denied",
    errno.EPERM: "access to the folder is denied",
    errno.EDQUOT: "the disk quota is used up",
}

_AWAY: Final = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.EHOSTDOWN)


def from_os(error: OSError, system: str, feed: str, what: str) -> TillgateError:
    """A folder that cannot be reached or written: it may heal, and nothing was lost."""
    reason = _OURS.get(error.errno or 0) or error.strerror or type(error).__name__
    away = isinstance(error, ConnectionError | TimeoutError) or error.errno in _AWAY
    kind = ConnectFailed if away else UpstreamError
    return kind(system=system, operation=feed, reason=f"{what}: {reason}", sent=False)


def refused(name: str, reason: str) -> BadFile:
    return BadFile(file=name, reason=reason)
