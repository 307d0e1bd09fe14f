"""Leads generated requests to things that the sample company has, so that chains get past the first step. What is wrong is left wrong."""

import re
from typing import Any

import schemathesis

from contracts.canonical.amounts import UNITS
from gateway.edge.deadline import FIELD, PATTERN
from tests.products import LOCATION, SKU

KNOWN = {
    "sku": (re.compile(r"[A-Za-z0-9]([A-Za-z0-9 ._/+#:&()*=@-]{0,62}[A-Za-z0-9._/+#:&()*=@-])?"), SKU),
    "requestedLocationId": (re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,19}"), LOCATION),
    "locationId": (re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,19}"), LOCATION),
    "value": (re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,6})?"), "1"),
    "unit": (re.compile(r"[A-Z]{2,3}"), "EA"),
}


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    return steered(body)


@schemathesis.hook
def map_headers(context: Any, headers: Any) -> Any:
    """A time that is asked for must not decide whether an answer comes."""
    if headers and re.fullmatch(PATTERN, headers.get(FIELD, "")):
        headers[FIELD] = "9999"
    return headers


def steered(value: Any) -> Any:
    if isinstance(value, list):
        return [steered(v) for v in value]
    if not isinstance(value, dict):
        return value
    return {k: there(k, v) if isinstance(v, str) else steered(v) for k, v in value.items()}


def there(name: Any, text: str) -> str:
    right, known = KNOWN.get(name, (None, ""))
    return known if right is not None and right.fullmatch(text) and (name != "unit" or text in UNITS) else text
