"""Leads generated requests to things that the sample company has, so that chains get past the first step. What is wrong is left wrong.

What is right by its contract and refused all the same must be refused by a rule that no schema can say.
"""

import re
import sys
from collections import Counter
from typing import Any

import schemathesis

from contracts.canonical.amounts import UNITS
from contracts.errors import InvalidRequest
from contracts.versions import HISTORY
from gateway.api import ENDPOINTS
from gateway.edge import reading
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


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Of an answer nothing may be left out that its schema requires; names of fields are drawn without looking at the answer."""
    if case.meta is not None and not case.meta.generation.mode.is_positive:
        return
    chosen = case.query.get("fields") if case.query else None
    names = chosen if isinstance(chosen, list) else str(chosen or "").split(",")
    if chosen and all(isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", name) for name in names):
        del case.query["fields"]
    if case.query and "expand" in case.query and "/products" in case.path:  # which parts are about places, no schema can say
        case.query["location"] = case.query.get("location") or [LOCATION]


COUNT = Counter[str]()
STEP = 100


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Says how far each operation is, for whoever started the run."""
    name = f"{case.meta.phase.name.value if case.meta else 'other'} {case.operation.label}"
    COUNT[name] += 1
    if COUNT[name] % STEP == 0:
        sys.stderr.write(f"{name} {COUNT[name]}\n")


def steered(value: Any) -> Any:
    if isinstance(value, list):
        return [steered(v) for v in value]
    if not isinstance(value, dict):
        return value
    return {k: there(k, v) if isinstance(v, str) else steered(v) for k, v in value.items()}


def there(name: Any, text: str) -> str:
    right, known = KNOWN.get(name, (None, ""))
    return known if right is not None and right.fullmatch(text) and (name != "unit" or text in UNITS) else text


RULES = {"unprocessable", "invalid_member"}
"""What a body is refused with that fits its schema."""
CODES = {(412, "precondition_failed"), (422, "idempotency_key_reused"), (422, "rejected_by_system")}
"""What depends on the state of the gateway, or on what the systems behind take."""
FORMS = re.compile(r"fractionDigits|at most \d decimals|expected an integer, got a number")
"""What the door itself asks of a body beyond its schema: decimals that a currency has; an integer is written without a point."""

TAKEN = {"query:sku", "query:location", "query:store", "path:sku", "path:number"}
"""Keys of systems, each with its own form: what no system can have under such a key is said by the mapping that asks it."""


@schemathesis.check
def what_fits_the_contract_is_refused_by_a_rule_only(ctx: Any, response: Any, case: Any) -> None:
    """Instead of `positive_data_acceptance`, which knows no rules."""
    status = response.status_code
    if (
        case.meta is None
        or not case.meta.generation.mode.is_positive
        or status < 400
        or status in (401, 403, 404, 409, 429)
        or status >= 500
    ):
        return
    problem = response.json()
    if (status, problem["code"]) in CODES or (problem["code"] in RULES and case.method == "POST" and read(response, case)):
        return
    place = problem["errors"][0]["pointer"] if problem.get("errors") else ""
    # Opaque, only what a Link header said leads anywhere; and days that no calendar has.
    if place in ("query:cursor", "query:fields", "query:businessDate"):
        return
    if place in TAKEN and problem["code"] in RULES:
        return
    if place.startswith("query:") and "pairs of sku and location" in problem["detail"]:
        return
    if place.startswith("header:") and not fits(case, place.removeprefix("header:").lower()):
        return
    raise AssertionError(f"fits the contract, and is refused with {status} {problem['code']}: {problem['detail']}")


def read(response: Any, case: Any) -> bool:
    """Whether the door takes the body, so that a rule of the resource has refused it: amounts that add up, stock, a key of one's own."""
    endpoint = next(e for e in ENDPOINTS if e.name == case.operation.definition.raw["operationId"])
    body, version = response.request.body, case.operation.schema.raw_schema["info"]["version"]
    try:
        reading.body(body.encode() if isinstance(body, str) else body, endpoint.body, version, HISTORY)
    except InvalidRequest as exc:
        return FORMS.search(str(exc)) is not None
    return True


def fits(case: Any, header: str) -> bool:
    """Whether the value that was drawn is what its pattern says: some are drawn as if there were none."""
    schema = next((p["schema"] for p in case.operation.definition.raw["parameters"] if p["name"].lower() == header), {})
    sent = next((v for k, v in (case.headers or {}).items() if k.lower() == header), "")
    return re.search(schema.get("pattern", ""), sent) is not None
