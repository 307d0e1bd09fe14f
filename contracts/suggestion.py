"""What somebody meant who wrote a name that there is not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, words: Iterable[str]) -> str:
    """`did you mean …?`, or what is allowed."""
    known = list(words)
    if close := difflib.get_close_matches(word, known, 1, 0.5):
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(sorted(known)[:12])}" if known else ""
