from __future__ import annotations

import json
import re
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import Finding, Findings
from gateway import estate
from gateway.bootstrap import check

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "estate.toml").read_text(encoding="utf-8")


def found(folder: Path, text: str | bytes) -> list[Finding]:
    (folder / "estate.toml").write_bytes(text.encode() if isinstance(text, str) else text)
    try:
        estate.read(folder)
    except Findings as exc:
        return list(exc.findings)
    return []


def changed(old: str, new: str) -> str:
    assert old in TEXT, old
    return TEXT.replace(old, new, 1)


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def the(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, [str(f) for f in findings]
    return findings[0]


def test_the_reference_estate_is_read_with_its_types() -> None:
    read, _ = estate.read(ROOT)
    assert set(read.channel) == set(estate.CHANNELS)
    assert read.operation["erp.GetPrices"].policy.batch.same == "location_id"
    assert read.operation["erp.GetStock"].policy.batch.linger == pytest.approx(0.002)
    assert read.route["POST /orders"].deadline == pytest.approx(15)


def test_a_brown_out_is_read_in_the_time_zone_of_the_estate(tmp_path: Path) -> None:
    (tmp_path / "estate.toml").write_text(
        TEXT
        + """
[[versions.brown_out]]
version = "2025-09-01"
from = 2027-03-02T10:00:00
until = 2027-03-02T10:15:00+01:00
announcement = "https://shop.example/news?a=1"

[[versions.brown_out]]
version = "2025-09-01"
every = "thu 10:00-10:15"
"""
    )
    read, _ = estate.read(tmp_path)
    once, weekly = estate.brown_outs(read)
    now = datetime(2027, 3, 1, tzinfo=UTC)
    assert [str(next(one.windows(now))) for one in (once, weekly)] == [
        "2027-03-02T09:00Z/2027-03-02T09:15Z",
        "2027-03-04T09:00Z/2027-03-04T09:15Z",
    ]
    assert list(estate.past_brown_outs(read, now)) == []
    assert list(estate.past_brown_outs(read, now + timedelta(days=2))) == [
        "[[versions.brown_out]] of 2025-09-01: it is over, the entry may go"
    ]


@pytest.mark.parametrize(
    ("entry", "says", "hint"),
    [
        ('version = "2025-09-02"\nevery = "tue 10:00-10:15"', "no such API version", "did you mean '2025-09-01'?"),
        ('version = "2026-03-01"\nevery = "tue 10:00-10:15"', "the version is not deprecated", "deprecate it first"),
        ('version = "2025-09-01"', "it has no time", "write from and until"),
        ('version = "2025-09-01"\nfrom = 2027-03-02T10:00:00', "it has no time", "write from and until"),
        ('version = "2025-09-01"\nevery = "tuesdays"', "expected weekdays and hours", ""),
        ('version = "2025-09-01"\nevery = 7', "Expected `str`, got `int`", ""),
        ('version = "2025-09-01"\nfrom = "tomorrow"\nuntil = "later"', "Invalid RFC3339 encoded datetime, got 'tomorrow'", ""),
        ('version = "2025-09-01"\nfrom = 2027-03-02T10:00:00Z\nuntil = 2027-03-02T10:00:00Z', "it ends before it begins", ""),
        ('version = "2025-09-01"\nfrom = 2027-03-02T10:00:00Z\nuntil = 2027-03-04T10:00:00Z', "is longer than a day", "several short ones"),
        ('version = "2025-09-01"\nfrom = 2026-03-02T10:00:00Z\nuntil = 2026-03-02T10:10:00Z', "before its deprecation", "2026-10-01"),
        ('version = "2025-09-01"\nfrom = 2028-03-02T10:00:00Z\nuntil = 2028-03-02T10:10:00Z', "after its sunset", "before 2027-09-30"),
        (
            'version = "2025-09-01"\nevery = "tue 10:00-10:15"\nfrom = 2027-03-02T12:00:00Z\nuntil = 2027-03-08T12:00:00Z',
            "no window is in its time",
            "widen",
        ),
        ('version = "2025-09-01"\nevery = "tue 10:00-10:15"\nannouncement = "ftp://x"', "expected an address such as https://", ""),
        ('version = "2025-09-01"\nevery = "tue 10:00-10:15"\nannouncement = "https://x> y"', "expected an address such as https://", ""),
        (
            'version = "2025-09-01"\nevery = "tue 10:00-10:15"\n[[versions.brown_out]]\nversion = "2025-09-01"\nevery = "day 10:10-10:20"',
            "overlaps another one",
            "keep one",
        ),
    ],
)
def test_a_brown_out_that_cannot_be_meant_is_found(entry: str, says: str, hint: str, tmp_path: Path) -> None:
    findings = found(tmp_path, f"{TEXT}\n[[versions.brown_out]]\n{entry}\n")
    assert says in findings[0].message
    assert hint in findings[0].suggestion
    assert findings[0].line > TEXT.count("\n")


def test_events_are_told_in_a_version_that_there_is(tmp_path: Path) -> None:
    text = changed('exchange = "tillgate.events"', 'version = "2026-03-02"')
    assert "no API version '2026-03-02'" in the(found(tmp_path, text)).message


# ---- findings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "says", "hint"),
    [
        ("[store]", "[stor]", "unknown table 'stor'", "did you mean 'store'?"),
        ("[system.erp]\nprotocol ", "[system.erp]\nprotcol ", "unknown key 'protcol'", "did you mean 'protocol'?"),
        ('protocol     = "soap"', 'protocol     = "sopa"', "Invalid enum value 'sopa'", "did you mean 'soap'?"),
        ("safety_stock = 1,", 'safety_stock = "1",', "Expected `int`, got `str`", ""),
        ("safety_stock = 1,", "safety_stock = -1,", ">= 0", ""),
        ('window = "1s"', 'window = "1 second"', "expected a duration such as 800ms", ""),
        ("ok = 0.999", "ok = 99.9", "<= 1.0", ""),
        ("safety_stock = 5", "safety_stok = 5", "unknown key 'safety_stok'", "did you mean 'safety_stock'?"),
        ("batch = { size = 500", "batch = { sise = 500", "unknown key 'sise'", "did you mean 'size'?"),
        ('provides = "price.read"', 'provides = "price.raed"', "unknown capability 'price.raed'", "did you mean 'price.read'?"),
        ('[operation."erp.GetPlants"]', '[operation."epr.GetPlants"]', "expected SYSTEM.OPERATION", "did you mean 'erp'?"),
        ('"oms.getCustomer", "erp', '"oms.getCustmer", "erp', "unknown operation 'oms.getCustmer'", "did you mean 'oms.getCustomer'?"),
        ('"oms.getCustomer", "erp.GetCustomer"]', '"oms.getCustomer", "erp.GetPlants"]', "erp.GetPlants provides 'location.list'", ""),
        ('capabilities = ["price.read"]', 'capabilities = ["prices.read"]', "nothing provides 'prices.read'", "did you mean 'price.read'?"),
        ('capabilities = ["price.read"]', 'capabilities = ["price.read"]\ndenied = ["erp"]', "'erp' is denied, and", "take it out"),
        ("[channel]\nweb ", "[channel]\nwbe ", "unknown channel 'wbe'", "did you mean 'web'?"),
        ("[quota.standard]", "[quota.standart]", 'no quota "standard"', "add [quota.standard]"),
        ('owner       = "stores-it"', 'owner       = "stores-it"\ndepends_on = ["epr"]', "depends on unknown 'epr'", "did you mean 'erp'?"),
        ('mode     = "file"\nanswer   = "mappings/pos/tlog', 'answer   = "mappings/pos/tlog', "mode 'sync' over protocol", "mode = "),
        ('answer   = "mappings/erp/get_plants.answer.toml"\n', "", "no answer mapping", "add answer"),
        ('request  = "mappings/erp/get_stock.request.toml"\n', "", "no request mapping", "add request"),
        ('description = "Orders and their fulfilment"\n', "description = 7\n", "Expected `str`, got `int`", ""),
        ('owner       = "ecom"\n', "", "'owner' is missing", "add owner"),
        ("[events]", "[[events]]", "expected a table", ""),
        ('combine    = "first"', 'combine    = "first"\npartial = true', "partial says nothing without parts", 'add combine = "all"'),
        ('same = "location_id"', 'same = "location"', "have no field 'location'", "did you mean 'location_id'?"),
        ('"1m", stale_if', '"1m", stale_while_revalidate = "30s", stale_if', "stale_while_revalidate says nothing", "longer"),
        ("batch = { size = 100 }", 'batch = { size = 100, same = "sku" }', "have no field 'sku'", "remove same"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_with_its_line_and_what_to_write_instead(tmp_path: Path, old: str, new: str, says: str, hint: str) -> None:
    text = changed(old, new)
    named = [f for f in found(tmp_path, text) if says in f.message]
    assert named, [str(f) for f in found(tmp_path, text)]
    assert hint in named[0].suggestion
    assert named[0].file == "estate.toml"
    assert 1 <= named[0].line <= text.count("\n") + 1


def policy(name: str = "a", requests: int = 5, window: str = "1s", more: str = "") -> str:
    return f'{{ name = "{name}", requests = {requests}, window = "{window}"{more} }}'


@pytest.mark.parametrize(
    ("policies", "says", "hint"),
    [
        (policy(requests=0), "requests: Expected `int` >= 1", ""),
        (policy(window="100ms"), "a window shorter than a second", 'requests = 50, window = "1s"'),
        (policy(window="32d"), "a window longer than 31 days", "several policies"),
        (policy(more=', routes = ["reads"]'), "routes.0: Invalid enum value 'reads'", "did you mean 'read'?"),
        (policy(more=', per = "stores"'), "per: Invalid enum value 'stores'", "did you mean 'store'?"),
        (policy(more=', per = "store"'), "all its policies count by store", 'per = "client"'),
        (policy() + "," + policy(requests=6, window="1m"), "'a' is declared twice", "by their names"),
        (policy(requests=9) + "," + policy("b", 99), "'b' is never reached", "'a' allows less"),
        (policy() + "]\ncosts = { upstream = 6 }\nx = [", "a call may cost 6, more than the 5", "requests = 6"),
        (policy() + "]\ncosts = { cached = 2 }\nx = [", "an answer from memory costs 2", "the cheapest"),
        (policy() + "]\n[quota.anonymous]\npolicies = [" + policy(more=', per = "store"'), "act for no store", "by address"),
    ],
)
def test_a_quota_that_cannot_do_what_it_says_is_found(tmp_path: Path, policies: str, says: str, hint: str) -> None:
    text = re.sub(r"(?s)(\[quota.standard\]\n)policies = \[.*?\n\]", lambda m: f"{m[1]}policies = [{policies}]", TEXT)
    text = text.replace("\nx = []", "")
    one = the(found(tmp_path, text))
    assert says in one.message
    assert hint in one.suggestion
    assert one.line in range(line_of(text, "[quota.standard]"), line_of(text, "[quota.partner]"))


def test_all_mistakes_are_told_at_once_in_the_order_of_their_lines(tmp_path: Path) -> None:
    text = TEXT.replace("safety_stock = 1", "safety_stock = -1").replace('protocol    = "rest"', 'protocol    = "soap2"')
    text = text.replace('deadline = "15s"', "deadline = 15").replace('deadline     = "15s"', "deadline     = 15") + '\n[edg]\nhost = "x"\n'
    findings = found(tmp_path, text)
    assert [f.line for f in findings] == sorted(f.line for f in findings)
    assert {line_of(text, "safety_stock = -1"), line_of(text, '"soap2"'), line_of(text, "[edg]"), line_of(text, "deadline     = 15")} == {
        f.line for f in findings
    }


def test_an_entry_with_a_mistake_brings_no_further_ones_with_it(tmp_path: Path) -> None:
    text = changed('protocol     = "soap"', 'protocol     = "sopa"')
    assert the(found(tmp_path, text)).line == line_of(text, '"sopa"')


@pytest.mark.parametrize("capability", ["order.create", "order.book", "order.cancel", "order.cancel_booking"])
def test_only_one_system_may_take_a_write(tmp_path: Path, capability: str) -> None:
    second = f"""
[operation."oms.second"]
provides = "{capability}"
request  = "mappings/oms/create_order.request.toml"
answer   = "mappings/oms/create_order.answer.toml"
"""
    text = TEXT + second
    finding = the(found(tmp_path, text))
    assert f"{capability} is a write" in finding.message
    assert finding.line == line_of(text, '[operation."oms.second"]') + 1


def test_a_write_is_not_spread_over_systems(tmp_path: Path) -> None:
    text = TEXT + '\n[capability."order.create"]\noperations = ["oms.createOrder"]\ncombine = "all"\n'
    finding = the(found(tmp_path, text))
    assert "a write goes to one system" in finding.message
    assert finding.line == line_of(text, 'combine = "all"')


def test_what_is_not_asked_by_keys_cannot_travel_together(tmp_path: Path) -> None:
    text = changed('stale_if_error = "7d" }', 'stale_if_error = "7d" }, batch = { size = 5 }')
    finding = the(found(tmp_path, text))
    assert "location.list is not asked by keys" in finding.message
    assert finding.line == line_of(text, "batch = { size = 5 }")


def test_a_route_and_a_channel_need_no_objective(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^objective .*\n", "", TEXT).replace(', safety_stock = 3, owner = "ecom"', "")
    assert found(tmp_path, text) == []


# ---- secrets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "secret"),
    [
        ('url = "env:TILLGATE_STORE|sqlite:tillgate.db"', 'url = "postgresql://till:hunter2@db/till"', "hunter2"),
        ('url = "env:TILLGATE_STORE|sqlite:tillgate.db"', 'url = "env:TILLGATE_STORE|postgresql://till:hunter2@db/till"', "hunter2"),
        ('endpoint    = "env:TILLGATE_OMS_URL"', 'endpoint    = "https://till:hunter2@oms.example"', "hunter2"),
        ('exchange = "tillgate.events"', 'rabbitmq = "amqp://till:hunter2@mq/"', "hunter2"),
        ('password = "env:TILLGATE_ERP_PASSWORD"', 'password = "hunter2"', "hunter2"),
        ('password = "env:TILLGATE_ERP_PASSWORD"', "password = 4711007", "4711007"),
        ('value = "env:TILLGATE_OMS_KEY"', 'value = "hunter2"', "hunter2"),
        ("[system.erp.options]", '[system.erp.options]\nheaders = { Authorization = "Basic aHVudGVyMg==" }', "aHVudGVyMg"),
    ],
)
def test_a_secret_that_stands_there_itself_is_refused_and_not_repeated(tmp_path: Path, old: str, new: str, secret: str) -> None:
    text = changed(old, new)
    linked(tmp_path)
    findings = checked(tmp_path, text)
    assert findings
    assert not any(secret in str(f) for f in findings)
    assert the(findings).line == line_of(text, secret)


def test_a_secret_is_resolved_from_the_environment_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("  s3cret\n")
    assert estate.resolve("env:KEY", {"KEY": "a"}) == "a"
    assert estate.resolve("env:KEY|b", {}) == "b"
    assert estate.resolve("env:KEY|b|c", {}) == "b|c"
    assert estate.resolve(f"file:{tmp_path}/key", {}) == "s3cret"
    assert estate.resolve("plain", {}) == "plain"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("env:KEY", "environment variable KEY is not set"),
        ("file:{}/none", "No such file"),
        ("file:{}", "Is a directory"),
        ("file:{}/binary", "not UTF-8 text"),
        ("file:{}/null\0", "not UTF-8 text"),
        ("file:/dev/zero", "longer than"),
    ],
)
def test_a_reference_that_leads_nowhere_says_so(tmp_path: Path, value: str, says: str) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(LookupError, match=says):
        estate.resolve(value.format(tmp_path), {})


# ---- no TOML at all ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "line", "says"),
    [
        (b"[estate]\nname = \n", 2, "not TOML"),
        (b"[estate]\nname = 'a'\nname = 'b'\n", 3, "not TOML"),
        (b"[estate]\n\nname = '\xff'\n", 3, "not UTF-8"),
        (b"x = " + b"[" * 100_000, 1, "not TOML"),
        (b"#" * 1_000_001, 1, "larger than"),
        (b"", 1, "table [estate] is missing"),
        (b"estate = 1\nchannel = []\nsystem = 'x'\noperation = {}\n", 1, "expected a table"),
    ],
)
def test_what_is_no_estate_is_one_clear_finding(tmp_path: Path, raw: bytes, line: int, says: str) -> None:
    first = found(tmp_path, raw)[0]
    assert first.line == line
    assert says in first.message


def test_a_folder_without_an_estate_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(Findings, match="cannot be read: No such file or directory; tillgate new estate DIR writes one"):
        estate.read(tmp_path)


# ---- places --------------------------------------------------------------------------------------------------------

PLACED = '''# a comment with [brackets] and = signs
[a]
plain = 1 # = { x
"quo.ted" . key = "with # and ] and }"
many = [
  1,
  { inner = "}", deeper = [ "]",
    { last = 2 } ] },   # two = 3
]
text = """
fake = 1
[fake]
"""
when = 1979-05-27 07:32:00
[[b.rows]]
x = 1
[[b.rows]]
x = 2
[b.rows.below]
y = { z = { "w w" = true } }
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("a", 2), ("a/plain", 3), ("a/quo.ted", 4), ("a/quo.ted/key", 4), ("a/many", 5), ("a/many/0", 6), ("a/many/1/inner", 7),
        ("a/many/1/deeper/0", 7), ("a/many/1/deeper/1", 8), ("a/many/1/deeper/1/last", 8),
        ("a/text", 10), ("a/when", 14), ("b/rows/0/x", 16), ("b/rows/1/x", 18),
        ("b/rows/1/below", 19), ("b/rows/1/below/y/z/w w", 20), ("a/many/1/unknown/x", 7), ("nowhere", 1),
    ],
)  # fmt: skip
def test_every_key_and_item_has_its_line(path: str, line: int) -> None:
    assert estate.Source("x", PLACED).line(tuple(path.split("/"))) == line


def paths(value: Any, at: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {at} | {p for name, inner in members for p in paths(inner, (*at, str(name)))}


@pytest.mark.parametrize("text", [TEXT, PLACED], ids=["reference", "odd"])
def test_no_key_and_no_item_is_without_a_place(text: str) -> None:
    assert set(estate.places(text)) | {()} == paths(tomllib.loads(text))


# ---- together with contracts and mappings --------------------------------------------------------------------------


def linked(folder: Path) -> None:
    for part in ("contracts", "mappings"):
        (folder / part).symlink_to(ROOT / part)


def checked(folder: Path, text: str) -> list[Finding]:
    (folder / "estate.toml").write_text(text, encoding="utf-8")
    try:
        check(folder)
    except Findings as exc:
        return list(exc.findings)
    return []


def test_findings_of_estate_contract_and_mapping_come_together(tmp_path: Path) -> None:
    text = changed("safety_stock = 1", "safety_stock = -1").replace(
        "contracts/systems/oms/openapi.json", "contracts/systems/oms/openapi.yaml"
    )
    text = text.replace("mappings/erp/get_plants.answer.toml", "mappings/mine.toml")
    linked(tmp_path)
    (tmp_path / "mappings").unlink()
    (tmp_path / "mappings").mkdir()
    for part in ("erp", "oms", "pos", "tills"):
        (tmp_path / "mappings" / part).symlink_to(ROOT / "mappings" / part)
    plants = (ROOT / "mappings/erp/get_plants.answer.toml").read_text()
    (tmp_path / "mappings/mine.toml").write_text(plants.replace('"WAERS |', '"WEARS |'))
    findings = {(f.file, f.line): f for f in checked(tmp_path, text)}
    assert set(findings) - {("mappings/mine.toml", line_of(plants, "[fields]"))} == {  # WAERS feeds nothing any more
        ("estate.toml", line_of(text, "safety_stock = -1")),
        ("estate.toml", line_of(text, "openapi.yaml")),
        ("mappings/mine.toml", line_of(plants, '"WAERS |')),
    }
    assert "unknown source field WEARS" in str(findings["mappings/mine.toml", line_of(plants, '"WAERS |')])


@pytest.mark.parametrize(
    ("old", "new", "says", "place"),
    [
        ("GetPrices    = { meanings", "GetPrizes    = { meanings", "did you mean 'GetPrices'?", "GetPrizes"),
        ('operation = "Login"', 'operation = "Logon"', "did you mean 'Login'?", 'operation = "Logon"'),
        ('token = "SESSION_ID"', 'token = "SESSION"', "there is no 'SESSION'", 'token = "SESSION"'),
        ("getCustomer = { meanings", "getCustomers = { meanings", "getCustomers", "getCustomers"),
        ('kind = "cursor"', 'kind = "curser"', "unknown kind 'curser'", '"curser"'),
        ('kind = "cursor"', 'kind = ["cursor"]', "unknown kind ['cursor']", '["cursor"]'),
        ('calls    = "GetMaterials"', 'calls    = "GetMaterial"', "did you mean 'GetMaterials'?", 'calls    = "GetMaterial"'),
        ('results = { path = "T_RETURN.item" }', "results = { path = 7 }", "Expected `str`, got `int`", "path = 7"),
        ("oms/find_orders.answer.toml", "oms/get_order.answer.toml", "is between OrderProgress", "oms/get_order.answer"),
        ('"mappings/oms/find_orders.answer.toml"', '"mappings/none.toml"', "cannot be read", "mappings/none.toml"),
        ('contract     = "contracts/systems/erp/retail.wsdl"', 'contract     = "estate.toml"', "", ""),
    ],
)  # fmt: skip
def test_options_and_mappings_are_checked_against_the_contract(tmp_path: Path, old: str, new: str, says: str, place: str) -> None:
    text = changed(old, new)
    linked(tmp_path)
    findings = checked(tmp_path, text)
    named = [f for f in findings if says in str(f)]
    assert named, [str(f) for f in findings]
    if place:
        assert (named[0].file, named[0].line) == ("estate.toml", line_of(text, place))


# ---- schema --------------------------------------------------------------------------------------------------------


def test_the_published_schema_is_the_one_of_these_types_and_accepts_the_reference_estate() -> None:
    published = json.loads((ROOT / "docs/reference/estate.schema.json").read_text(encoding="utf-8"))
    assert published == estate.schema(), "write it anew: ./run publish"
    jsonschema_rs.meta.validate(published)
    validator = jsonschema_rs.Draft202012Validator(published)
    assert [e.message for e in validator.iter_errors(tomllib.loads(TEXT))] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("safety_stock = 1", "safety_stock = -1"),
        ('window = "1s"', 'window = "1 s"'),
        ("safety_stock = 5", "safe = 5"),
        ('"soap"', '"sopa"'),
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(old: str, new: str) -> None:
    validator = jsonschema_rs.Draft202012Validator(estate.schema())
    assert not validator.is_valid(tomllib.loads(changed(old, new)))


# ---- anything ------------------------------------------------------------------------------------------------------

TOKENS = [m.span() for m in re.finditer(r'"[^"\n]*"|[A-Za-z_][A-Za-z0-9_.]*|\d+(?:\.\d+)?|[\[\]{}=,\n]', TEXT)]
LITERALS = (
    '""', '"x"', "0", "-1", "1e400", "nan", "true", "[]", "{}", '["x"]', "{ x = 1 }", "1979-05-27", "99999999999999999999", '"env:X"',
    "\n", "=", "[", "]", "{", "}", ",", "", "#", "name", "kind", "[x]\n", '"\\u0000"', "'''", "system", "erp",
    '"erp.GetStock"', '"order.create"',
)  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, len(TOKENS) - 1), st.sampled_from(LITERALS)), min_size=1, max_size=4))
@pytest.mark.slow
def test_a_mutated_estate_loads_or_gives_findings_with_a_line_that_exists(tmp_path_factory: pytest.TempPathFactory, edits: Any) -> None:
    text = TEXT
    for token, literal in sorted(edits, reverse=True):
        start, end = TOKENS[token]
        text = text[:start] + literal + text[end:]
    folder = tmp_path_factory.mktemp("estate")
    linked(folder)
    findings = checked(folder, text)
    lines = text.count("\n") + 1
    assert all(1 <= f.line <= lines for f in findings if f.file == "estate.toml"), [str(f) for f in findings]
    assert all(f.message for f in findings)


def test_an_operation_that_its_capability_does_not_list_is_found(tmp_path: Path) -> None:
    text = (ROOT / "estate.toml").read_text().replace('["oms.getCustomer", "erp.GetCustomer"]', '["oms.getCustomer"]')
    (tmp_path / "estate.toml").write_text(text)
    _, _, found = estate.examine(tmp_path)
    assert [f.message for f in found] == ['operation erp.GetCustomer: is never used, [capability."customer.read"] does not list it']
