"""The form of what `causes` prints: the types that its published JSON Schema is made from."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class _Form(msgspec.Struct, forbid_unknown_fields=True):
    pass


class Onset(_Form):
    at: str
    low: str
    high: str


class Window(_Form, rename={"begin": "from", "end": "to"}):
    begin: str
    end: str


class Cause(_Form):
    rank: int
    service: str
    operation: str | None
    kind: Literal["system", "operation", "edge"]
    evidence: Literal["failures", "own_time", "link_time", "missing", "none"]
    score: float
    coverage: float
    lift: float
    p: float
    explains: list[str]
    scope: list[dict[str, list[str]]] | msgspec.UnsetType = msgspec.UNSET


class WhyNot(_Form):
    rank: int
    reason: Literal["explained_by", "started_later", "normal_for_load", "too_few_requests", "only_waiting", "no_path"]
    by: int | msgspec.UnsetType = msgspec.UNSET


class Graph(_Form):
    source: Literal["declared", "inferred", "both"]
    edges: int


class Measured(_Form):
    by: Literal["requests", "time"]
    requests: int
    bad: int
    failed: int
    late: int
    baseline_requests: int
    baseline_bad: int


class Units(_Form):
    start: Literal["s", "ms", "us", "ns"]
    duration: Literal["s", "ms", "us", "ns"]


class Input(_Form):
    spans: int
    traces: int
    orphans: float
    joined: int
    skew_pairs: int
    no_status: float
    duplicates: int
    negative: int
    without_id: int
    folded_names: int
    units: Units


class Answer(_Form):
    schema: Literal["tillgate.causes/1"]
    verdict: Literal["cause", "likely", "unsure", "none"]
    confidence: float
    onset: Onset | None
    window: Window
    ranking: list[Cause]
    culprits: list[int]
    why_not: list[WhyNot]
    graph: Graph
    measured: Measured
    confidence_inputs: dict[str, float]
    input: Input
    warnings: list[str]


class Detected(_Form):
    """With --detect."""

    schema: Literal["tillgate.causes/1"]
    incidents: list[Answer]
    input: Input


def published() -> dict[str, Any]:
    """The JSON Schema of an answer, and of what --detect prints."""
    (answer, detected), forms = msgspec.json.schema_components((Answer, Detected), ref_template="#/$defs/{name}")
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "tillgate causes"}
    return {**head, "anyOf": [answer, detected], "$defs": forms}
