"""Settings and secrets that an estate names and does not hold."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

MAX_SECRET_BYTES = 64_000


def resolve(value: str, environment: Mapping[str, str] = os.environ) -> str:
    """A setting or reference to its value: `env:NAME`, `env:NAME|default`, `file:PATH`, or itself. Raises LookupError."""
    if value.startswith("env:"):
        name, bar, default = value[4:].partition("|")
        if name in environment:
            return environment[name]
        if bar:
            return default
        raise LookupError(f"environment variable {name} is not set")
    if value.startswith("file:"):
        try:
            with Path(value[5:]).open("rb") as file:
                raw = file.read(MAX_SECRET_BYTES + 1)
            text = raw.decode("utf-8").strip()
        except (OSError, ValueError) as exc:
            raise LookupError(f"{value}: {exc.strerror if isinstance(exc, OSError) else 'not UTF-8 text'}") from exc
        if len(raw) > MAX_SECRET_BYTES:
            raise LookupError(f"{value}: longer than {MAX_SECRET_BYTES} bytes")
        return text
    return value
