"""What the options of all drivers have in common: strict tables, secrets that never show, TLS files, durations as people write them."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from contracts.policy import Duration

T = TypeVar("T")

Secret = Annotated[str, Meta(extra={"secret": True}, description="A secret; the estate holds a reference to it")]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of options; unknown keys are refused."""


class Tls(Options, frozen=True, kw_only=True):
    """Files in PEM form. `ca` replaces the machine's trusted authorities."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    password: Secret = ""

    def __repr__(self) -> str:
        return f"Tls(ca={self.ca!r}, certificate={self.certificate!r})"


def read(kind: type[T], raw: dict[str, Any]) -> T:
    """From an estate entry, with references already replaced by their values. Raises msgspec.ValidationError naming the place."""
    return msgspec.convert(raw, kind, dec_hook=as_written)


def as_written(kind: type, value: Any) -> Any:
    """msgspec's `dec_hook` for what people write as text."""
    if kind is Duration:
        return Duration.parse(value)
    raise NotImplementedError(kind)
