"""What may not be written down: secrets and personal data are masked before they are stored or logged, not when shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

MASK: Final = "***"
TEXT_LIMIT: Final = 400
DEPTH_LIMIT: Final = 4
ITEM_LIMIT: Final = 32

_SECRET_KEY: Final = re.compile(
    r"(?i)pass(word|wd|phrase)?$|secret|token|authori[sz]ation|api[_-]?key|cookie|credential|private[_-]?key|signature|session[_-]?id"
    r"|^pin$|cvv|cvc|(^|_)pan$|card[_-]?number|iban"
)
_PERSONAL_KEY: Final = re.compile(
    r"(?i)e?mail|phone|mobile[_-]?(no|number)|(first|last|given|family|full|customer|recipient)[_-]?name|birth|street|address[_-]?line"
    r"|postal[_-]?code|^ip$|client[_-]?ip|remote[_-]?addr"
)
_PATTERNS: Final = (
    (re.compile(r"(?i)\b(bearer|basic|digest)\s+[A-Za-z0-9._~+/=-]{6,}"), r"\1 " + MASK),
    (re.compile(r"\beyJ[\w-]{4,}\.[\w-]+(\.[\w-]*)?"), MASK),  # a JSON web token
    (re.compile(r"(?i)\b(tg|sk|pk|whsec|whsk|key|token)_[A-Za-z0-9_-]{12,}"), MASK),  # keys with a prefix, ours first
    (
        re.compile(r"(?i)\b(password|passwd|secret|token|api[_-]?key|access[_-]?key)(\"?\s*[=:]\s*\"?)[^\s\"',;&<]+"),
        r"\1\2" + MASK,
    ),
    (re.compile(r"(?i)(<[\w:.-]*(?:password|passwd|secret|token|signature)[\w.-]*(?:\s[^<>]*)?>)[^<]+"), r"\1" + MASK),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/@:]+:[^\s/@]+@"), r"\1" + MASK + "@"),
    (re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(\.[\w-]{1,63})+"), MASK),
    (re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"), MASK),  # an IBAN
)
_SUSPECT: Final = re.compile(
    r"[@=<\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]|://|\d\d[ A-Z0-9-]{10}|eyJ"
    r"|(?i:bearer|basic|digest|passw|secret|token|key|tg_|sk_|pk_|whs)"
)
"""Whatever a pattern could match holds one of these: most texts hold none and pass after one search."""
_DIGITS: Final = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){13,18}(?![\w.-])")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Half a surrogate pair too: no encoder takes it, and a file's name or a foreign document may hold one."""


def is_secret(key: str) -> bool:
    """Whether the name alone says that the value is a secret or personal."""
    return _SECRET_KEY.search(key) is not None or _PERSONAL_KEY.search(key) is not None


def redact(text: str, limit: int = TEXT_LIMIT) -> str:
    """The text without credentials, card numbers, mail addresses and what is no text, at most `limit` characters."""
    text = text[: limit * 2]  # masks are short: what is cut here cannot come back
    if _SUSPECT.search(text) is not None:
        for pattern, mask in _PATTERNS:
            text = pattern.sub(mask, text)
        text = _CONTROL.sub(" ", _DIGITS.sub(_mask_card, text))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def redacted(value: Any, key: str = "", depth: int = 0) -> Any:
    """A value of a log line, bounded in depth, breadth and length; unknown objects become text."""
    if value is None or isinstance(value, bool | float):
        return value
    if key and is_secret(key):
        return MASK
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else redact(f"{value:#x}")
    if isinstance(value, str):
        return redact(value)
    if depth >= DEPTH_LIMIT:
        return "…"
    if isinstance(value, Mapping):
        pairs = list(value.items())[:ITEM_LIMIT]
        return {str(k)[:64]: redacted(v, str(k), depth + 1) for k, v in pairs}
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted(v, "", depth + 1) for v in list(value)[:ITEM_LIMIT]]
    return redact(str(value))


def _mask_card(found: re.Match[str]) -> str:
    digits = [int(c) for c in found[0] if c.isdecimal()]
    doubled = [sum(divmod(2 * d, 10)) if i % 2 else d for i, d in enumerate(reversed(digits))]
    return MASK if sum(doubled) % 10 == 0 else found[0]
