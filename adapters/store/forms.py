"""How values are stored: times as microseconds UTC, quantities as millionths, nouns as JSON, text that every engine takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeVar, overload

import msgspec

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
MILLION = 1_000_000
MOST_UNITS = 10**9
"""Keeps any sum of quantities inside 64 bits."""

_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {}

encode = msgspec.json.Encoder().encode


def decode(body: bytes, kind: type[T]) -> T:
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind)
    return decoder.decode(body)  # type: ignore[no-any-return]  # one decoder per type, kept without it


@overload
def micros(at: datetime) -> int: ...
@overload
def micros(at: None) -> None: ...
def micros(at: datetime | None) -> int | None:
    return None if at is None else (at - _EPOCH) // _MICROSECOND


@overload
def instant(us: int) -> datetime: ...
@overload
def instant(us: None) -> None: ...
def instant(us: int | None) -> datetime | None:
    return None if us is None else _EPOCH + us * _MICROSECOND


def after(now: datetime, seconds: float) -> int:
    return micros(now) + round(seconds * MILLION)


@lru_cache(4096)
def millionths(value: str) -> int:
    """Of a canonical quantity's text, which has at most six decimals. Raises ValueError above a milliard units."""
    if not -MOST_UNITS <= (amount := Decimal(value)) <= MOST_UNITS:
        raise ValueError(f"expected at most {MOST_UNITS} units, got {value}")
    return int(amount.scaleb(6))


def units(number: int) -> Decimal:
    """The shortest form: 2, 0.42."""
    return Decimal(f"{Decimal(number).scaleb(-6).normalize():f}")


def text(value: str) -> str:
    """What no database takes (NUL, half a surrogate pair) is written as an escape; everything else stays."""
    if value.isascii() and "\0" not in value:
        return value
    return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
