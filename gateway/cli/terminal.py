"""The terminal and the person at it."""

from __future__ import annotations

import os
import pwd


def who() -> str:
    """Of the operating system; a container may have no name for its user."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"


def printable(text: str) -> str:
    """What came from outside writes no commands to the terminal."""
    return "".join(c if c.isprintable() else "·" for c in text)
