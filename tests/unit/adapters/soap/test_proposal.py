"""What a WSDL alone says about connecting a system: its files, its login, and how the token travels."""

from pathlib import Path
from typing import Any

import pytest

from adapters.soap.proposal import propose
from contracts.errors import Findings
from tests.docs.demo import ROOT


def test_the_login_of_the_reference_erp_is_recognised_with_its_header() -> None:
    proposal = propose("erp", ROOT / "contracts/systems/erp")
    assert proposal.options["session"] == {
        "operation": "Login", "user": "env:ERP_USER", "password": "env:ERP_PASSWORD", "user_field": "USER", "password_field": "PASSWORD",
        "header": "SessionHeader.SESSION_ID", "token": "SESSION_ID",
    }  # fmt: skip
    assert list(proposal.files) == ["retail.wsdl"]
    assert any("session has ended" in q for q in proposal.questions)


@pytest.mark.parametrize(
    ("file", "session", "filled"),
    [
        ("shop-rpc-encoded.wsdl", {"operation": "login", "field": "sessionId", "token": "loginReturn"}, {"sessionId"}),
        ("shop-document-literal.wsdl", {"operation": "login", "field": "sessionId", "token": "result"}, {"sessionId"}),
        ("e-conomic-erp.wsdl", {"operation": "Connect", "user_field": "userName", "password_field": "password"}, set()),
    ],
)
def test_logins_of_foreign_systems_are_recognised(file: str, session: dict[str, Any], filled: set[str], samples: Path) -> None:
    proposal = propose("shop", samples / "wsdl" / file)
    assert proposal.options["session"] | session == proposal.options["session"]
    assert proposal.filled == filled


def test_a_system_without_a_login_is_asked_about(samples: Path) -> None:
    proposal = propose("epcis", samples / "wsdl/epcis/EPCglobal-epcis-query-1_2.wsdl")
    assert "session" not in proposal.options
    assert any("no login was recognised" in q for q in proposal.questions)
    assert len(proposal.files) > 5  # the schemas it imports, and those that they import


@pytest.mark.slow
def test_no_credential_of_any_kind_is_in_a_proposal(samples: Path) -> None:
    for file in (samples / "wsdl").glob("*.wsdl"):
        session = propose("shop", file).options.get("session", {})
        assert all(session.get(k, "env:").startswith("env:") for k in ("user", "password"))


def test_what_is_no_wsdl_is_a_finding(tmp_path: Path) -> None:
    for text, says in (("", "not well-formed"), ("<a/>", "not a WSDL"), ("{}", "not well-formed")):
        (tmp_path / "x.wsdl").write_text(text)
        with pytest.raises(Findings, match=says):
            propose("x", tmp_path / "x.wsdl")
    with pytest.raises(Findings, match="no such file"):
        propose("x", tmp_path / "nowhere.wsdl")
    (tmp_path / "y.wsdl").write_text("<a/>")
    with pytest.raises(Findings, match=r"x\.wsdl, y\.wsdl"):
        propose("x", tmp_path)
