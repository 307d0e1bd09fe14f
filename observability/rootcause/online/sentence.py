"""The verdict in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from observability.rootcause.model import CLIENT, GATEWAY, Culprit, Impact, Onset, WhyNot, WhyNotReason

_SAID: Final = {
    "down": "down",
    "timeout": "does not answer",
    "slow": "slow",
    "errors": "fails",
    "faults": "answers with faults",
    "contract": "breaks its contract",
    "data": "delivers wrong data",
    "refused": "refused by its breaker",
    "late": "late",
    "missing": "missing",
    "stale": "stands still",
    "lagging": "lags behind",
    "mixed": "in trouble",
}
_OF_FEEDS: Final = {"late": "files are late", "missing": "files are missing", "refused": "files are refused"}
_REASONS: Final[dict[WhyNotReason, str]] = {
    "explained_by": "explained by {by}",
    "started_later": "started {later} later",
    "normal_for_load": "normal for the load at that time",
    "too_few_requests": "too few requests to tell",
    "only_retries": "only retries of what had failed elsewhere",
    "only_waiting": "only waited for others",
    "no_path": "nothing that was hit depends on it",
    "caller_fault": "the callers' own mistakes",
}
_SHOWN: Final = 3


def sentence(culprits: Sequence[Culprit], confidence: float, onset: Onset, candidates: Sequence[str], felt: Impact | None = None) -> str:
    """`ERP GetStock slow since 10:42:10 (±8 s), 93 % sure`; below one half it names nobody and lists who it could be. `felt`: of a
    client's own mistakes, how many of its requests they are.
    """
    named = [c for c in culprits if c.kind != "unknown"]
    when = f"since {onset.at:%H:%M:%S}{_band(onset)}"
    if confidence < 0.5 or not named:
        could = f"; candidates: {', '.join(candidates[:_SHOWN])}" if candidates else ""
        return f"Requests fail or are late {when}, cause not known{could}"
    base = f" ({felt.failed} of {felt.requests})" if felt is not None else ""
    return f"{'; '.join(_said(c) for c in named)}{base} {when}, {round(confidence * 100)} % sure"


def why_not(one: WhyNot, by: str = "") -> str:
    """Why it is not the one. `by`: what explains it, if its rank does not say enough."""
    later = f"{one.by_s:.0f} s" if one.by_s < 120 else f"{one.by_s / 60:.0f} min"
    return _REASONS[one.reason].format(by=by or f"rank {one.by or 1}", later=later if one.by_s else "").replace("  ", " ")


def title(kind: str, system: str, operation: str, shared: str = "", members: Sequence[str] = ()) -> str:
    """What people call it."""
    if kind == "shared":
        return f"{shared or 'one cause'} behind {' and '.join(_label(m) for m in members)}"
    if kind == "unknown":
        return "unknown"
    if system == GATEWAY:
        return f"gateway {operation}".strip()
    if system == CLIENT:
        return f"client {operation}".strip()
    return f"{_label(system)} {operation}".strip()


def _label(system: str) -> str:
    return system.upper() if len(system) <= 4 else system


def _said(c: Culprit) -> str:
    who, how = title(c.kind, c.system, c.operation, c.shared, c.members), _SAID[c.failure]
    if c.kind == "shared":
        who, how = " and ".join(_label(m) for m in c.members), f"{how} (they share {c.shared or 'something'})"
    elif c.kind == "client":
        how = "sends requests that are refused" if c.failure == "refused" else how
    elif c.kind == "feed":
        how = _OF_FEEDS.get(c.failure, how)
    elif c.kind == "gateway_part" and c.failure == "refused":
        how = "refuses calls"
    elif c.kind == "edge":
        who = f"{who} (the way to it)" if c.failure != "down" else who
    elif c.kind == "version" and c.scope:
        who = f"{who} in version {', '.join(v for s in c.scope for v in s.get('api_version', ()))}"
    stores = [v for s in c.scope for v in s.get("store", ())]
    where = f" for store {', '.join(stores[:_SHOWN])}{' and others' if len(stores) > _SHOWN else ''}" if stores else ""
    return f"{who} {how}{where}"


def _band(onset: Onset) -> str:
    half = max((onset.high - onset.at).total_seconds(), (onset.at - onset.low).total_seconds())
    return f" (±{round(half)} s)" if half >= 1 else ""
