from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import threading
from pathlib import Path

import pytest
import trustme

from gateway.cli import main
from tests.products import ROOT, own_estate


@pytest.fixture
def estate(tmp_path: Path) -> Path:
    made = own_estate(tmp_path / "estate")
    shutil.copytree(ROOT / "recordings", made / "recordings")
    return made


def call(capsys: pytest.CaptureFixture[str], estate: Path, *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = 0
    try:
        main(["--estate", str(estate), *arguments])
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out, said.err


def test_one_mapping_in_place_of_the_estates_shows_what_it_changes(
    capsys: pytest.CaptureFixture[str], estate: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new.toml"  # found by its source and target
    new.write_text(
        (estate / "mappings/oms/get_customer.answer.toml").read_text().replace('"name.last | text"', '"name.last | upper | text"')
    )
    code, out, _ = call(capsys, estate, "replay", str(estate / "recordings/oms.jsonl"), "--mapping", str(new), "--json")
    (line,) = out.splitlines()
    found = json.loads(line)
    assert code == 1
    assert (found["operation"], found["part"], found["pointer"]) == ("oms.getCustomer", "answer", "/*/lastName")
    assert found["after"] == found["before"].upper() != found["before"]
    assert found["count"] == 6


def test_a_mapping_with_a_mistake_or_of_nothing_is_refused_with_its_place(
    capsys: pytest.CaptureFixture[str], estate: Path, tmp_path: Path
) -> None:
    new = tmp_path / "get_customer.answer.toml"
    text = (estate / "mappings/oms/get_customer.answer.toml").read_text()
    new.write_text(text.replace('"name.last | text"', '"name.lost | text"'))
    code, _, err = call(capsys, estate, "replay", "--mapping", str(new))
    assert code == 1
    assert f"{new}:8:" in err.replace("\n", "")
    assert "did you mean last?" in err
    new.write_text(text.replace('source = "oms.getCustomer"', 'source = "oms.nobody"'))
    code, _, err = call(capsys, estate, "replay", "--mapping", str(new))
    assert code == 1
    assert "the estate has no mapping from 'oms.nobody' to 'Customer'" in err
    new.write_text("target = ")
    code, _, err = call(capsys, estate, "replay", "--mapping", str(new))
    assert code == 1
    assert "cannot be read" in err


def test_a_new_contract_is_tried_on_what_was_recorded(capsys: pytest.CaptureFixture[str], estate: Path, tmp_path: Path) -> None:
    new = tmp_path / "next" / "retail.wsdl"
    new.parent.mkdir()
    text = (estate / "contracts/systems/erp/retail.wsdl").read_text()
    new.write_text(text.replace('name="BSTNK"', 'name="BSTNK" minOccurs="0"'))
    erp = str(estate / "recordings/erp.jsonl")
    assert call(capsys, estate, "replay", erp, "--contract", str(new))[0] in (0, 1)
    new.write_text(text.replace('name="LABST"', 'name="LABEST"'))
    code, _, err = call(capsys, estate, "replay", erp, "--contract", str(new))
    assert code == 1
    assert "LABST" in err
    code, _, err = call(capsys, estate, "replay", "--contract", str(new))
    assert code == 2
    assert "of which system?" in err


def test_an_estate_that_lost_an_operation_says_so_for_its_calls(capsys: pytest.CaptureFixture[str], estate: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(estate, other)
    text = (other / "estate.toml").read_text()
    begin = text.index('[operation."erp.GetCustomer"]')
    end = text.index("[operation.", begin + 1)
    text = (text[:begin] + text[end:]).replace('["oms.getCustomer", "erp.GetCustomer"]', '["oms.getCustomer"]')
    (other / "estate.toml").write_text(text.replace('keep = ["CUSTOMER.KTOKD"]', "").replace("GetCustomer  = ", "# "))
    code, out, err = call(capsys, estate, "replay", str(estate / "recordings/erp.jsonl"), "--estate", str(other))
    assert code == 1, err
    assert "the estate has no operation erp.GetCustomer" in out


def test_without_recordings_replay_says_where_they_come_from(capsys: pytest.CaptureFixture[str], estate: Path) -> None:
    shutil.rmtree(estate / "recordings")
    code, _, err = call(capsys, estate, "replay")
    assert code == 1
    assert "tillgate record" in err


def test_a_gateway_that_is_not_there_is_said_in_one_line(capsys: pytest.CaptureFixture[str], estate: Path, unused_tcp_port: int) -> None:
    for command in (["reload"], ["record", "--system", "erp"]):
        code, _, err = call(capsys, estate, *command, "--url", f"http://127.0.0.1:{unused_tcp_port}", "--key", "tg_none")
        assert code == 1
        assert "no gateway answers there" in err


def test_where_the_estate_has_tls_commands_speak_https_and_say_that_a_certificate_is_not_trusted(
    capsys: pytest.CaptureFixture[str], estate: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            with contextlib.suppress(OSError), context.wrap_socket(listener.accept()[0], server_side=True) as talk:
                talk.recv(1)

        port = listener.getsockname()[1]
        text = (estate / "estate.toml").read_text().replace("port = 8080", f"port = {port}")
        (estate / "estate.toml").write_text(text + '\n[edge.tls]\ncertificate = "gateway.pem"\nkey = "gateway.key"\n')
        threading.Thread(target=greet, daemon=True).start()
        code, _, err = call(capsys, estate, "reload", "--key", "tg_none")
    assert code == 1
    assert f"https://127.0.0.1:{port}: the gateway's certificate is not trusted here (" in err
    assert "SSL_CERT_FILE" in err


def test_a_system_that_is_not_called_is_not_recorded(capsys: pytest.CaptureFixture[str], estate: Path) -> None:
    code, _, err = call(capsys, estate, "record", "--system", "pos", "--key", "tg_none")
    assert code == 2
    assert "pos" in err


def test_a_body_that_cannot_be_taken_apart_is_compared_as_it_is(capsys: pytest.CaptureFixture[str], estate: Path) -> None:
    file = estate / "recordings/oms.jsonl"
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        line["request"] = "[" * 3_000 + "\x1b[2J" if len(lines) % 2 else "{broken\x1b[2J"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    code, out, _ = call(capsys, estate, "replay", str(file))
    assert code == 1
    assert "request /body: " in out
    assert "\x1b" not in out
