"""A WSDL that nobody here has seen: which files it needs, how one seems to log in, and what it offers."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any, Final

from lxml import etree

from adapters.proposal import Proposal, chosen, gathered, setting
from adapters.soap.contract import SoapContract
from adapters.soap.documents import XSD, Documents
from adapters.soap.schema import WSDL, line
from contracts.errors import Findings, TillgateError
from mappings.language.draft.offers import Offer
from mappings.language.shape import Leaf, Record

_LOGIN = re.compile(
    r"(?i)^(user_?)?(login|logon|log_in|sign_?in|connect|authenticate|open_?session|start_?session|create_?session|anmelden|get_?token)$"
)
_USER = re.compile(r"(?i)user|login|uid|account|benutzer|mail|client_?id")
_PASSWORD = re.compile(r"(?i)pass|pwd|secret|api_?key|kennwort|pin$|token")
_TOKEN = re.compile(r"(?i)session|token|ticket|^sid$")
_LOOKED_AT: Final = 60


def propose(system: str, given: Path) -> Proposal:
    """Raises Findings for what is no WSDL."""
    wsdl = chosen(given, (".wsdl",), "WSDL").resolve()
    folder = given.resolve() if given.is_dir() else wsdl.parent
    contract = SoapContract(system, wsdl, folder=folder)
    documents = Documents(folder)
    paths = _needed(documents, wsdl)
    options, questions, filled = _session(system, contract)
    if "session" not in options:
        questions.append("[system options] no login was recognised: is it basic authentication, WS-Security or nothing? see docs/estate.md")
    return Proposal(
        "soap",
        gathered({str(p.relative_to(folder)): p for p in paths}),
        str(wsdl.relative_to(folder)),
        [Offer(name, partial(contract.exchange, name), _documented(contract, name)) for name in contract.operations()],
        endpoint=contract.endpoint,
        options=options,
        questions=questions,
        notes=[*documents.notes, *contract.notes],
        filled=filled,
    )


def _documented(contract: SoapContract, name: str) -> str:
    try:
        return contract.operation(name).doc[:200]
    except TillgateError:
        return ""


def _needed(documents: Documents, wsdl: Path) -> list[Path]:
    """The file and everything it imports or includes, from file to file."""
    found, waiting = [wsdl], [wsdl]
    while waiting:
        path = waiting.pop()
        for node in documents.read(path).iter(f"{{{WSDL}}}import", *(f"{{{XSD}}}{kind}" for kind in ("import", "include", "redefine"))):
            location = node.get("location") or node.get("schemaLocation")
            if not location:
                continue
            if (other := documents.beside(path, location)) is None:
                if not location.startswith(("http:", "https:")) or etree.QName(node).localname == "include":
                    documents.note(
                        path,
                        line(node),
                        f"{location!r} is not in the folder",
                        "put it there and name the folder, it is read offline",
                    )
            elif other not in found:
                found.append(other)
                waiting.append(other)
    return found


def _leaves(record: Record, prefix: str = "", depth: int = 0) -> list[tuple[str, Leaf, bool]]:
    found: list[tuple[str, Leaf, bool]] = []
    for f in record.fields:
        if isinstance(f.shape, Leaf):
            found.append((f"{prefix}{f.name}", f.shape, f.required))
        elif depth < 3 and not f.repeated:
            found += _leaves(f.shape, f"{prefix}{f.name}.", depth + 1)
    return found


def _session(system: str, contract: SoapContract) -> tuple[dict[str, Any], list[str], frozenset[str]]:
    """The login as options, what is not sure about it, and the field that carries the token."""
    for name in contract.operations():
        if not _LOGIN.fullmatch(name.rpartition(".")[2]):
            continue
        try:
            operation = contract.operation(name)
        except Findings:
            continue
        asked, answered = _leaves(operation.request.record), _leaves(operation.answer.record) if operation.answer else []
        password = next((p for p, _, _ in asked if _PASSWORD.search(p.rpartition(".")[2])), None)
        user = next((p for p, _, _ in asked if p != password and _USER.search(p.rpartition(".")[2])), None)
        token = next((p for p, _, _ in answered if _TOKEN.search(p)), None) or (answered[0][0] if len(answered) == 1 else None)
        if user is None or password is None:
            continue
        session: dict[str, Any] = {
            "operation": name,
            "user": setting(system, "USER"), "password": setting(system, "PASSWORD"),
            "user_field": user, "password_field": password,
        }  # fmt: skip
        ended = 'which fault codes mean that the session has ended? meanings = [{ code = "…", means = "expired" }]'
        questions = [f"[system options] meanings: {ended}; without it nobody logs in again"]
        more = [p for p, _, required in asked if required and p not in (user, password)]
        if more:
            session["request"] = dict.fromkeys(more, "?")
            questions.append(f"[system options.session] request: the login also wants {', '.join(more)}")
        carrier = _carrier(contract, name)
        if carrier is None:
            session["cookie"] = "ASP.NET_SessionId"
            questions.append("[system options.session] cookie: no header and no field seems to carry the session; which cookie does?")
        else:
            session[carrier[0]] = carrier[1]
            if token is None:
                questions.append(f"[system options.session] token: which field of {name}'s answer is the session?")
        if token is not None and carrier is not None:
            session["token"] = token
        elif carrier is not None:
            session["token"] = "?"  # noqa: S105 - a question, not a token
        return {"session": session}, questions, frozenset({carrier[1]} if carrier and carrier[0] == "field" else ())
    return {}, [], frozenset()


def _carrier(contract: SoapContract, login: str) -> tuple[str, str] | None:
    """How the token travels: a header block that most operations declare, or a field that most requests have."""
    headers: dict[str, int] = {}
    fields: dict[str, int] = {}
    others = [n for n in contract.operations() if n != login][:_LOOKED_AT]
    for name in others:
        try:
            operation = contract.operation(name)
        except Findings:
            continue
        for (_, block), header in operation.headers.items():
            leaves = _leaves(header.shape) if isinstance(header.shape, Record) else []
            if found := next((p for p, _, _ in leaves if _TOKEN.search(p)), None):
                headers[f"{block}.{found}"] = headers.get(f"{block}.{found}", 0) + 1
        for f in operation.request.record.fields:
            if isinstance(f.shape, Leaf) and _TOKEN.search(f.name):
                fields[f.name] = fields.get(f.name, 0) + 1
    for kind, counted in (("header", headers), ("field", fields)):
        if counted and max(counted.values()) * 2 >= len(others):
            return kind, max(counted, key=lambda k: counted[k])
    return None
