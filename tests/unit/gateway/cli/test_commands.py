from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import pytest

from contracts.versions import HISTORY
from gateway.cli import main
from tests.products import own_estate

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[4]


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


Call = Callable[..., Said]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command as the shell calls it, with the reference estate and data of its own."""

    def run(*arguments: str, estate: Path = ROOT, data: Path | None = None) -> Said:
        capsys.readouterr()
        code = 0
        try:
            main(["--estate", str(estate), "--data", str(data or tmp_path / "data"), *arguments])
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else int(bool(exc.code))
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Said(code, said.out, said.err)

    return run


COMMANDS: tuple[list[str], ...] = (
    [], ["serve"], ["work"], ["demo"], ["tour"], ["check"], ["new"], ["new", "estate"], ["new", "system"],
    ["map"], ["map", "list"], ["map", "show"],
    ["map", "try"], ["map", "coverage"], ["lineage"], ["impact"], ["drift"],
    ["causes"], ["prove"], ["stand-in"],
    ["client"], ["client", "add"], ["client", "rotate"], ["client", "pin"],
    ["client", "suspend"], ["client", "resume"], ["client", "change"], ["client", "revoke"], ["client", "remove"], ["client", "show"],
    ["client", "list"], ["audit"], ["trace"], ["files"], ["files", "list"], ["files", "show"], ["orders"], ["bench"],
    ["publish"],
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(call: Call, command: list[str]) -> None:
    said = call(*command, "--help")
    assert said.code == 0
    text = said.out[said.out.index("Usage") :]
    assert len(re.findall(r"\w{2,}", text)) > 12


def test_a_command_that_is_none_is_refused_with_the_way_to_help(call: Call) -> None:
    said = call("chekc")
    assert said.code == 2
    assert "No such command" in said.err


@pytest.mark.parametrize(
    ("name", "url", "expected"),
    [
        ("x", "https://example.com/h", "expected 2 to 64 letters, digits, _ and -, got 'x'"),
        ("pager", "h", "expected an address such as https://shop.example.com/hooks/tillgate, got 'h'"),
    ],
)
def test_a_receiver_that_cannot_be_says_what_was_expected(call: Call, name: str, url: str, expected: str) -> None:
    said = call("webhook", "add", name, url)
    assert said.code == 2
    assert expected in said.err


# ---- check, new ----------------------------------------------------------------------------------------------------


def test_check_counts_what_it_found_sound(call: Call) -> None:
    said = call("check")
    assert said.code == 0
    assert re.search(r"reference: 3 systems, \d+ operations, \d+ mappings, 5 channels, \d+ routes: no finding", said.out)


def test_check_shows_every_mistake_and_their_number(call: Call, tmp_path: Path) -> None:
    (tmp_path / "estate.toml").write_text(
        (ROOT / "estate.toml").read_text().replace("safety_stock = 1", "safety_stock = -1").replace('"rest"', '"rets"')
    )
    said = call("check", estate=tmp_path)
    assert said.code == 1
    assert "estate.toml:" in said.err
    assert "did you mean 'rest'?" in said.err
    assert said.err.rstrip().endswith("findings")


def test_a_new_estate_is_sound_and_stands_alone(call: Call, tmp_path: Path) -> None:
    said = call("new", "estate", str(tmp_path / "mine"))
    assert said.code == 0
    assert f"tillgate --estate {tmp_path / 'mine'} check" in said.out
    assert call("check", estate=tmp_path / "mine").code == 0
    assert not list((tmp_path / "mine").rglob("*.py"))


@pytest.mark.parametrize("what", ["folder", "file", "closed"])
def test_a_new_estate_overwrites_nothing(call: Call, tmp_path: Path, what: str) -> None:
    place = tmp_path / "there"
    if what == "folder":
        place.mkdir()
        (place / "x").touch()
    elif what == "file":
        place.touch()
    else:
        place = Path("/proc/tillgate/estate")
    said = call("new", "estate", str(place))
    assert said.code == 1
    assert str(place) in said.err or "/proc/tillgate" in said.err


# ---- map, lineage --------------------------------------------------------------------------------------------------

ORDER = next(m for m in re.findall(r"given  = '''\n(.*?)'''", (ROOT / "mappings/oms/create_order.answer.toml").read_text(), re.DOTALL))


def test_map_list_names_both_sides(call: Call) -> None:
    assert "OrderCancellation -> erp.CancelSalesOrder" in call("map", "list").out


def test_map_show_explains_and_shows_the_code(call: Call) -> None:
    assert "MATNR" in call("map", "show", "erp/get_stock.answer").out
    assert "def " in call("map", "show", "mappings/erp/get_stock.answer.toml", "--code").out


def test_map_try_runs_the_examples(call: Call) -> None:
    said = call("map", "try", "get_prices.answer")
    assert said.code == 0
    assert said.out.count("ok ") == said.out.count("\n") > 5


def test_map_try_reads_a_document_and_counts_drift(call: Call, tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text(ORDER.replace('{"orderNo"', '{"novel": 1, "orderNo"', 1))
    said = call("map", "try", "oms/create_order.answer", str(tmp_path / "order.json"))
    assert said.code == 0
    assert json.loads(said.out)[0]["externalId"] == "SO-000001"
    assert "drift: unknown" in said.err
    assert "novel" in said.err


def test_map_try_runs_one_mapping_while_others_are_not_right_yet(call: Call, tmp_path: Path) -> None:
    estate = own_estate(tmp_path / "estate")
    broken = estate / "mappings/oms/get_customer.answer.toml"
    broken.write_text(broken.read_text(encoding="utf-8").replace("target", "novel", 1), encoding="utf-8")
    assert call("check", estate=estate).code == 1
    assert call("map", "try", "erp/get_stock.answer", estate=estate).code == 0
    wrong = call("map", "try", "oms/get_customer.answer", estate=estate)
    assert (wrong.code, wrong.out, "novel" in wrong.err) == (1, "", True)


def test_map_try_reads_an_answer_as_it_came_in_its_envelope(call: Call, tmp_path: Path) -> None:
    (tmp_path / "bare").write_text('<r:Z_RETAIL_CREATE_ORDER.Response xmlns:r="urn:sap-com:document:sap:rfc:functions"/>')
    envelope = '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{}</s:Body></s:Envelope>'
    (tmp_path / "whole").write_text(envelope.format((tmp_path / "bare").read_text()))
    bare, whole = (call("map", "try", "erp/get_stock.answer", str(tmp_path / name)) for name in ("bare", "whole"))
    assert "Envelope" not in whole.err
    assert (whole.code, whole.out, whole.err) == (bare.code, bare.out, bare.err)


@pytest.mark.parametrize(
    ("name", "document", "says"),
    [
        ("oms/create_order.answer", b"{", "cannot be read as JSON of oms.createOrder"),
        ("oms/create_order.answer", b"\xff", "cannot be read as JSON"),
        ("oms/create_order.answer", b"[" * 5000, "cannot be read as JSON"),
        ("oms/create_order.answer", b"{}", "expected"),
        ("erp/get_stock.answer", b"no xml", "cannot be read as XML of erp.GetStock"),
        ("erp/get_stock.answer", b"<!DOCTYPE x><x/>", "cannot be read as XML"),
        ("erp/get_stock.answer", b"<x/>", "expected"),
        (
            "erp/get_stock.answer",
            b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode>7</faultcode></s:Fault></s:Body></s:Envelope>',
            "expected an answer, got the fault 7",
        ),
        ("erp/get_stock.request", b'{"pairs": 7}', "a canonical value in JSON"),
        ("tlog", b"7", "rows in JSON"),
        ("get_customer.answer", b"{}", "no mapping 'get_customer.answer'"),
        ("get_stok.answer", b"{}", "did you mean"),
    ],
)  # fmt: skip
def test_map_try_says_what_is_wrong_with_a_document_or_a_name(call: Call, tmp_path: Path, name: str, document: bytes, says: str) -> None:
    (tmp_path / "document").write_bytes(document)
    said = call("map", "try", name, str(tmp_path / "document"))
    assert said.code == 1
    assert says in said.err
    assert said.out == ""


def test_map_coverage_speaks_of_all_mappings_by_their_path(call: Call) -> None:
    said = call("map", "coverage")
    assert "mappings/oms/get_customer.answer.toml: source 100%" in said.out
    assert call("map", "coverage", "oms/create_order.request").out.startswith("mappings/oms/create_order.request.toml: source 100%")


@pytest.mark.parametrize("field", ["InventoryLevel.on_hand", "inventory.on_hand", "inventory.onHand"])
def test_lineage_names_the_system_fields_that_feed_a_canonical_one(call: Call, field: str) -> None:
    said = call("lineage", field)
    assert said.code == 0
    assert said.out.startswith("InventoryLevel.on_hand  <-  erp.GetStock")
    assert "LABST" in said.out
    assert "SPEME" in said.out


def test_lineage_follows_a_field_to_its_name_in_each_version_its_routes_and_channels(call: Call) -> None:
    said = call("lineage", "InventoryLevel.location_id").out
    assert "inventory.levels: GET /inventory   2026-10-01: items.locationId" in said
    assert "2025-09-01: items.storeId" in said
    assert "inventory.levels: POST /orders, POST /reservations" in said
    assert "channels: web, mobile, store, call_centre, marketplace" in said
    assert "2026-03-01: items.value (amount, currency)" in call("lineage", "Price.value").out


@pytest.mark.parametrize("field", ["erp.GetStock.LABST", "erp.GetStock/T_STOCK/item/LABST", "erp.GetStock.T_STOCK.item.LABST"])
def test_lineage_of_a_systems_field_says_what_hangs_on_it(call: Call, field: str) -> None:
    said = call("lineage", field).out
    assert said.startswith("erp.GetStock: T_STOCK.item.LABST  ->  InventoryLevel.on_hand")
    assert "GET /inventory" in said


def test_lineage_of_requests_goes_to_the_systems_field_and_back(call: Call) -> None:
    assert "Order.order_number  ->  erp.CreateSalesOrder: HEADER.BSTNK" in call("lineage", "Order.order_number").out
    assert "HEADER.BSTNK  <-  Order.order_number" in call("lineage", "erp.CreateSalesOrder.BSTNK").out
    assert "oms.getCustomer: group  is dropped" in call("lineage", "oms.getCustomer.group").out


@pytest.mark.slow
def test_impact_ends_with_1_when_something_is_hit_and_writes_a_patch_that_applies(call: Call, tmp_path: Path) -> None:
    contract = ROOT / "contracts/systems/erp/retail.wsdl"
    assert (call("impact", str(contract)).code, "no impact" in call("impact", str(contract)).out) == (0, True)
    new, patch = tmp_path / "erp-2027.wsdl", tmp_path / "erp.patch"
    new.write_text(contract.read_text(encoding="utf-8").replace('name="LABST"', 'name="LABST_FREE"'), encoding="utf-8")
    said = call("impact", str(new), "--patch", str(patch))
    assert said.code == 1
    for part in (
        "get_stock.answer.toml:8:20: on_hand: unknown source field LABST",
        "reaches GET /inventory, POST /reservations, POST /orders",
    ):
        assert part in said.out
    assert f"the check passes after the patch: written to {patch}" in said.out
    estate = tmp_path / "estate"
    assert call("new", "estate", str(estate)).code == 0
    subprocess.run(["patch", "-p1", "-s", "-i", str(patch)], cwd=estate, check=True)
    assert call("check", estate=estate).code == 0


def test_impact_as_json_names_mapping_capability_routes_versions_and_channels(call: Call, tmp_path: Path) -> None:
    new = tmp_path / "openapi.json"
    document = json.loads((ROOT / "contracts/systems/oms/openapi.json").read_text(encoding="utf-8"))
    del document["components"]["schemas"]["Customer"]["properties"]["phone"]
    new.write_text(json.dumps(document), encoding="utf-8")
    said = call("impact", str(new), "--json")
    report = json.loads(said.out)
    assert (said.code, report["system"], report["impact"]) == (1, "oms", True)
    (operation,) = report["operations"]
    assert (operation["capability"], operation["routes"]) == ("customer.read", ["GET /customers/{number}"])
    assert operation["channels"] == ["web", "mobile", "store", "call_centre", "marketplace"]
    assert {"route": "GET /customers/{number}", "fields": dict.fromkeys((v.date for v in HISTORY.versions), "phone")} in operation["seen"]
    assert any("unknown source field phone" in b for m in operation["mappings"] for b in m["breaks"])
    assert report["left"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["x.toml"], "--system with one of pos.tlog, pos.poslog"),
        (["x.wsdl", "--system", "crm"], "--system with one of"),
        (["x.wsdl"], "not a WSDL"),
    ],
)
def test_impact_of_what_is_no_contract_of_the_estate_says_so(call: Call, tmp_path: Path, arguments: list[str], says: str) -> None:
    (tmp_path / arguments[0]).write_text("<html/>", encoding="utf-8")
    said = call("impact", str(tmp_path / arguments[0]), *arguments[1:])
    assert (said.code, says in said.out + said.err) == (1, True)


def test_drift_without_a_gateway_says_where_none_answers(call: Call) -> None:
    said = call("drift", "--url", "http://127.0.0.1:1", "--key", "tg_x")
    assert said.code == 1
    assert "no gateway answers there" in said.err


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("InventoryLevel.on_hnd", "did you mean 'on_hand'?"),
        ("Stock.on_hand", "no noun 'Stock'"),
        ("order.state", "no noun 'order'"),
        ("InventoryLevel.net_of", "no system says it"),
        ("", "no noun ''"),
    ],
)
def test_lineage_of_what_nothing_feeds_says_so(call: Call, field: str, says: str) -> None:
    said = call("lineage", field)
    assert said.code == 1
    assert says in said.err


# ---- client --------------------------------------------------------------------------------------------------------


def test_a_client_is_added_pinned_suspended_and_its_key_is_shown_once(call: Call, tmp_path: Path) -> None:
    added = call("client", "add", "shop", "--channel", "web", "--store", "0001", "--scope", "orders:write")
    assert added.code == 0
    key = added.out.strip()
    assert len(key) > 30
    rotated = call("client", "rotate", "shop", "--overlap", "0").out.strip()
    assert rotated != key
    assert call("client", "pin", "shop", HISTORY.versions[-1].date).code == 0
    assert call("client", "suspend", "shop").code == 0
    listed = call("client", "list").out
    assert re.search(rf"shop +web +{HISTORY.versions[-1].date} +standard +suspended +orders:write", listed)
    assert call("client", "resume", "shop").code == 0
    listed += call("client", "list").out
    assert "active" in listed
    assert key not in listed
    kept = b"".join(p.read_bytes() for p in (tmp_path / "data").rglob("*") if p.is_file())
    assert key.encode() not in kept
    assert key.split("_", 2)[2].encode() not in kept


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["add", "a b", "--channel", "web", "--scope", "sales:read"], 2, "expected 2 to 256 letters"),
        (["add", "shop"], 2, "--channel"),
        (["add", "shop", "--channel", "fax"], 2, "fax"),
        (["add", "shop", "--channel", "web", "--scope", "sales:read", "--quota", "partners"], 1, "did you mean 'partner'?"),
        (["add", "shop", "--channel", "web", "--scope", "sales:read", "--store", "../x"], 2, "a location such as 0017"),
        (["add", "shop", "--channel", "web", "--scope", "everything"], 2, "everything"),
        (["add", "shop", "--channel", "web", "--scope", "sales:read", "--version", "2020-01-01"], 2, "2020-01-01"),
        (["rotate", "nobody"], 1, "no client 'nobody'"),
        (["rotate", "nobody", "--overlap", "-1"], 2, "-1"),
        (["pin", "nobody", HISTORY.newest.date], 1, "no client 'nobody'"),
        (["pin", "nobody", "tomorrow"], 2, "tomorrow"),
        (["suspend", "nobody"], 1, "no client 'nobody'"),
    ],
)
def test_a_mistake_about_clients_is_a_sentence(call: Call, arguments: list[str], code: int, says: str) -> None:
    said = call("client", *arguments)
    assert (said.code, said.out) == (code, "")
    assert says in re.sub(r"\s+", " ", said.err)


def test_a_key_is_revoked_a_client_changed_and_removed_and_the_audit_log_tells_by_whom(call: Call) -> None:
    key = call("client", "add", "shop", "--channel", "web", "--scope", "orders:write", "--expires", "90").out.strip()
    assert call("client", "change", "shop", "--scope", "orders:read", "--store", "0001", "--quota", "partner").code == 0
    assert call("client", "revoke", "shop", key).code == 0
    assert "tg_" not in call("client", "list").out
    shown = call("client", "show", "shop").out
    assert re.search(r"orders:read  only 0001$", shown, re.MULTILINE)
    assert re.search(rf"tg_{key.split('_')[1]}_…  ended +made 20\d\d-", shown)
    assert call("client", "remove", "shop").code == 0
    assert call("client", "list") == Said(0, "", "")
    entries = [json.loads(line) for line in call("audit", "--client", "shop", "--json").out.splitlines()]
    assert [e["what"] for e in entries] == ["client.removed", "key.ended", "client.changed", "client.added"]
    assert {e["actor"] for e in entries} == {f"command line: {pwd.getpwuid(os.getuid()).pw_name}"}
    assert entries[2]["detail"] == {
        "scopes": "orders:write -> orders:read",
        "stores": "all -> 0001",
        "quota": "standard -> partner",
    }
    assert key.split("_", 2)[2] not in json.dumps(entries)
    assert re.search(r"key\.ended shop +prefix", call("audit", "--limit", "2").out)
    assert call("audit", "--since", "2999-01-01") == Said(0, "", "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["client", "change", "shop"], "say what changes"),
        (["client", "change", "shop", "--store", "1", "--all-stores"], "not both"),
        (["client", "list", "--url", "http://127.0.0.1:1"], "the key of an operator"),
        (["audit", "--since", "yesterday"], "yesterday"),
    ],
)
def test_a_command_without_what_it_needs_says_so(call: Call, arguments: list[str], says: str) -> None:
    said = call(*arguments)
    assert said.code == 2
    assert says in re.sub(r"\s+", " ", said.err)


def test_a_certificate_stands_for_one_client_and_comes_from_its_file_or_by_its_fingerprint(call: Call, tmp_path: Path) -> None:
    print_ = "x" * 43
    assert call("client", "add", "shop", "--channel", "web", "--scope", "catalogue:read", "--certificate", print_).code == 0
    assert f"certificate {print_}" in call("client", "show", "shop").out
    assert (
        "it stands for client shop"
        in call("client", "add", "app", "--channel", "web", "--scope", "catalogue:read", "--certificate", print_).err
    )
    (tmp_path / "no.pem").write_text("nothing")
    for wrong, says in (("short", "a PEM file or a fingerprint"), (str(tmp_path / "no.pem"), "expected a certificate in PEM")):
        said = call("client", "change", "shop", "--certificate", wrong)
        assert (said.code, says in re.sub(r"[\s│]+", " ", said.err)) == (2, True), said.err
    assert call("client", "change", "shop", "--no-certificates").code == 0
    assert "certificate" not in call("client", "show", "shop").out


def test_a_client_is_not_added_twice(call: Call) -> None:
    assert call("client", "add", "shop", "--channel", "web", "--scope", "catalogue:read").code == 0
    said = call("client", "add", "shop", "--channel", "store", "--scope", "catalogue:read")
    assert (said.code, said.out) == (1, "")
    assert "tillgate client rotate shop" in said.err
    assert "web" in call("client", "list").out


# ---- operating -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["trace", "0" * 32], 1, "no kept trace"),
        (["trace", "../../etc/passwd"], 1, "no kept trace"),
        (["trace"], 2, "TRACE_ID"),
        (["files", "show", "abc"], 1, "no file"),
        (["files", "list", "--limit", "0"], 2, "--limit"),
        (["bench", "nothing"], 1, "no benchmark 'nothing'; there are"),
        (["bench", "../tests"], 1, "no benchmark"),
    ],
)
def test_what_is_not_there_is_a_sentence(call: Call, arguments: list[str], code: int, says: str) -> None:
    said = call(*arguments)
    assert said.code == code
    assert says in re.sub(r"\s+", " ", said.err)


def test_without_any_data_lists_are_empty(call: Call) -> None:
    for command in (["files", "list"], ["orders"], ["client", "list"]):
        assert call(*command) == Said(0, "", "")


def test_data_that_cannot_be_written_is_a_sentence(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = call("client", "list", data=tmp_path / "file")
    assert said.code == 1
    assert str(tmp_path / "file") in said.err


def test_a_reader_who_leaves_early_is_no_mistake() -> None:
    command = f'{sys.executable} -c \'from gateway.cli import main; main(["map", "coverage"])\' | true'
    said = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert said.stderr == ""


# ---- whole -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_tour_tells_its_nine_chapters() -> None:
    said = subprocess.run([ROOT / "run", "tour"], cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert said.returncode == 0, said.stdout[-3000:] + said.stderr[-3000:]
    assert re.findall(r"(?m)^\((\d)\) ", said.stdout) == [str(n) for n in range(1, 10)]


@pytest.mark.slow
def test_a_copied_estate_runs_the_demo_until_ctrl_c(tmp_path: Path, call: Call) -> None:
    call("new", "estate", str(tmp_path / "mine"))
    command = [str(ROOT / "run"), "--estate", str(tmp_path / "mine"), "--data", str(tmp_path / "data"), "demo", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        told = list(takewhile(lambda line: "Ctrl-C stops everything" not in line, child.stdout))
        child.send_signal(signal.SIGINT)
        assert child.wait(30) in (0, 130)
    assert any("/console" in line for line in told)


@pytest.mark.slow
def test_an_installed_wheel_checks_and_copies_its_reference_estate(tmp_path: Path) -> None:
    """Unpacked into a fresh environment; the libraries it needs come from this one."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, timeout=120, check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], timeout=60, check=True)
    (site,) = (tmp_path / "venv/lib").glob("python3*/site-packages")
    shutil.unpack_archive(next(tmp_path.glob("*.whl")), site, "zip")
    (site / "libraries.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))
    entry = re.search(r"tillgate = (\S+):(\S+)", next(site.glob("tillgate-*/entry_points.txt")).read_text())
    assert entry

    def tillgate(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = f"import sys; sys.argv[0] = 'tillgate'; from {entry[1]} import {entry[2]}; sys.exit({entry[2]}())"
        command = [str(tmp_path / "venv/bin/python"), "-c", code, *arguments]
        return subprocess.run(command, cwd=tmp_path, env={"PATH": "/usr/bin"}, capture_output=True, text=True, timeout=60, check=False)

    checked = tillgate("check")
    assert checked.returncode == 0, checked.stderr
    assert "no finding" in checked.stdout
    made = tillgate("new", "estate", "mine")
    assert made.returncode == 0, made.stderr
    assert tillgate("--estate", "mine", "check").returncode == 0
    added = tillgate("--estate", "mine", "client", "add", "shop", "--channel", "web", "--scope", "catalogue:read")
    assert (added.returncode, added.stderr) == (0, "")
    names = {str(p.relative_to(site)) for p in site.rglob("*") if p.is_file()}
    for needed in ("observability/console/templates/base.html", "observability/console/static/console.js", "adapters/store/migrations"):
        assert any(n.startswith(needed) for n in names), needed
    assert not any(n.startswith(("tests/", "benchmarks/")) for n in names)
