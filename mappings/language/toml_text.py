"""Keys and strings as TOML 1.0 writes them, whatever somebody else's names hold."""

from __future__ import annotations

import json
import re

_HALVES = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029]")
"""What TOML forbids, and what some take for the end of a line."""
_UNWRITABLE = re.compile(f"[\x00-\x1f]|{_HALVES.pattern}|{_ESCAPED.pattern}")


def toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_string(name)


def toml_string(text: str) -> str:
    """A basic string on one line. What no TOML can say (half a surrogate pair) becomes U+FFFD."""
    whole = json.dumps(_HALVES.sub("\ufffd", text), ensure_ascii=False)
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", whole)


def comment(text: str) -> str:
    """On one line, without what a comment must not hold."""
    return _UNWRITABLE.sub(" ", text)
