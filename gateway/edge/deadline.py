"""How long a caller waits: the field `Request-Timeout`, which can only shorten what the route allows.

No such field is registered. RFC 7240's `Prefer: wait` counts whole seconds and may be ignored; an instant would trust two clocks to
agree. So it is seconds from the arrival of the head, as `2` or `0.8`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from contracts.errors import InvalidHeader

FIELD = "Request-Timeout"
PATTERN = r"[0-9]{1,4}(\.[0-9]{1,3})?"
_KEY = FIELD.lower()


def seconds(headers: Mapping[str, str], longest: float) -> float:
    """What the request may take. `longest`: what its route allows. Raises InvalidHeader."""
    asked = headers.get(_KEY)
    if asked is None:
        return longest
    if not re.fullmatch(PATTERN, asked):
        raise InvalidHeader(where=f"header:{FIELD}", expected="seconds such as 2 or 0.8", got=repr(asked[:40]))
    return min(float(asked), longest)
