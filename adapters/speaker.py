"""The other side of a protocol: what a stand-in needs to answer as a system would, with nothing but its contract and options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Asked:
    """One HTTP request. `target` is path and query as they came; header names are lower case."""

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> str:
        return urlsplit(self.target).query


@dataclass(frozen=True, slots=True)
class Said:
    """One HTTP answer."""

    status: int
    body: bytes = b""
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class Speaker(Protocol):
    """Pure: no socket and no state. Operations are named as in the contract."""

    def operation(self, asked: Asked) -> str | None:
        """Which operation is asked for; None for what the contract does not describe. The login of a session is "" where it is none."""
        ...

    def prepared(self, operation: str, document: Any) -> Any:
        """A document (the text of an XML payload, a JSON value) as the contract names its parts. Raises ValueError for what is none."""
        ...

    def answer(self, operation: str, document: Any, asked: Asked) -> Said:
        """The answer that carries a prepared document. Of a paged read it is the last page."""
        ...

    def logs_in(self, operation: str) -> bool: ...

    def session(self, operation: str, asked: Asked, token: str) -> Said:
        """The answer of the login: this token."""
        ...

    def admitted(self, operation: str, asked: Asked, tokens: frozenset[str]) -> str | None:
        """None: the credentials are those of the options, or the token one of these. Else `credentials` or `session`: what is wrong."""
        ...

    def refused(self, operation: str) -> Said:
        """Nobody knows these credentials."""
        ...

    def expired(self, operation: str) -> Said | None:
        """The session has ended, said as the options declare it. None: there are no sessions, or nothing says how an ended one shows."""
        ...

    def error(self, operation: str, status: int) -> Said:
        """The system's own error with this status."""
        ...

    def fault_in_200(self, operation: str) -> Said | None:
        """The protocol's own fault under HTTP 200; None where there is no such thing."""
        ...

    def refusal(self, operation: str) -> Said:
        """A business refusal, in the system's own form."""
        ...
