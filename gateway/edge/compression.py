"""gzip for answers that may be kept (RFC 9110 §8.4).

Answers to writes and those about persons are never compressed: they hold what the caller wrote beside what others must not learn, and
their length would tell one by the other (BREACH). Catalogue, stock and prices hold no secret.
"""

from __future__ import annotations

import re
import zlib
from functools import lru_cache

SMALLEST = 1_000
"""Bytes: less fits into one packet anyway."""
LEVEL = 3
"""Of 1 to 6 the one beyond which time grows faster than size shrinks: 25 µs for 20 rows (6.5 kB to 0.6), 0.5 ms for 500 (163 kB to 8)."""
_LONGEST = 200
"""Characters of a field that is understood; what is longer is no browser's."""


def packed(body: bytes, accepted: str) -> bytes | None:
    """The body in gzip, if `accepted` (Accept-Encoding) prefers it and it is worth the while; None: as it is."""
    if not accepted or len(accepted) > _LONGEST:
        return None
    gzip, identity = _weights(accepted)
    if not gzip or gzip < identity or (len(body) < SMALLEST and identity):
        return None
    packing = zlib.compressobj(LEVEL, zlib.DEFLATED, wbits=31)
    return packing.compress(body) + packing.flush()


@lru_cache(maxsize=256)
def _weights(accepted: str) -> tuple[float, float]:
    """Of gzip and identity (RFC 9110 §12.5.3). Identity that is not named is welcome, but less than what is; 0: not at all."""
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        coding, _, parameter = part.partition(";")
        if found := re.fullmatch(r"\s*q=(0(\.[0-9]{0,3})?|1(\.0{0,3})?)\s*", parameter or "q=1"):
            weights[coding.strip()] = float(found[1])
    gzip = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    identity = weights.get("identity", 0.001 if weights.get("*", 1) else 0.0)
    return gzip, identity
