"""An OpenAPI document that nobody here has seen: which files it needs, how one seems to be let in, and what it offers."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from adapters.proposal import Proposal, chosen, gathered, setting
from adapters.rest.contract import RestContract
from adapters.rest.document import Documents
from adapters.rest.schema import table
from contracts.errors import TillgateError
from mappings.language.draft.offers import Offer

_VERBS: Final = {"GET": "read", "HEAD": "read", "POST": "create", "PUT": "change", "PATCH": "change", "DELETE": "delete"}


def propose(system: str, given: Path) -> Proposal:
    """Raises Findings for what is no OpenAPI document."""
    document = chosen(given, (".json", ".yaml", ".yml", ".toml"), "OpenAPI document").resolve()
    contract = RestContract(system, document)
    documents = Documents(document)
    root = documents.load()
    files = {document.name: document, **{name: documents.folder / name for name in _needed(documents, root)}}
    options, questions = _auth(system, root)
    paging = _paging(contract)
    if paging:
        options["paging"] = paging
        questions.append(
            f"[system options] paging: {paging['kind']} by {paging['parameter']!r} is what the parameters look like; is it so?"
        )
    questions.append(
        "[system options] meanings: what do the statuses 404, 409 and 422 mean here (absent, in_doubt, rejected)? 404 is taken for absent"
    )
    options["meanings"] = [{"status": 404, "means": "absent"}]
    return Proposal(
        "rest",
        gathered(files),
        document.name,
        list(_offers(contract)),
        title=str(table(root.get("info")).get("title", "")),
        endpoint=contract.base,
        options=options,
        questions=questions,
        notes=list(contract.notes),
    )


def _offers(contract: RestContract) -> Iterator[Offer]:
    for name in contract.operations():
        try:
            operation = contract.operation(name)
        except TillgateError:
            continue
        yield Offer(name, partial(contract.exchange, name), verb=_VERBS.get(operation.method, "other"), path=operation.path)


def _needed(documents: Documents, root: Any) -> list[str]:
    """Files that references lead to, from file to file; what is not there is the contract's own finding."""
    found: list[str] = []
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        if not isinstance(node, dict):
            continue
        waiting.extend(node.values())
        ref = node.get("$ref")
        file = unquote(ref.partition("#")[0]) if isinstance(ref, str) and "://" not in ref else ""
        name = posixpath.normpath(file) if file else ""  # one file is one file, however it is referred to
        if name and name not in found:
            try:
                waiting.append(documents.load(name))
            except LookupError:
                continue
            found.append(name)
    return found


def _auth(system: str, root: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The kind of access that the document declares, the one that suits machines best when there are several."""
    schemes = table(root.get("securityDefinitions")) or table(table(root.get("components")).get("securitySchemes"))
    found: dict[str, dict[str, Any]] = {}
    for scheme in schemes.values():
        scheme = table(scheme)
        kind, where = scheme.get("type"), scheme.get("in")
        word = str(scheme.get("scheme", "")).lower()
        flow = table(table(scheme.get("flows")).get("clientCredentials")) or (scheme if scheme.get("flow") == "application" else {})
        if kind == "oauth2" and flow:
            auth = {
                "kind": "oauth2",
                "token_url": str(flow.get("tokenUrl", "")),
                "client_id": setting(system, "CLIENT_ID"),
                "client_secret": setting(system, "CLIENT_SECRET"),
            }
            if scopes := list(table(flow.get("scopes"))):
                auth["scope"] = " ".join(scopes[:20])
            found["oauth2"] = auth
        elif kind == "apiKey" and where in ("header", "query") and str(scheme.get("name")).lower() != "authorization":
            place = {"header": str(scheme.get("name"))} if where == "header" else {"query": str(scheme.get("name"))}
            found.setdefault("api_key", {"kind": "api_key", "value": setting(system, "KEY"), **place})
        elif (kind == "http" and word == "basic") or kind == "basic":
            found["basic"] = {"kind": "basic", "user": setting(system, "USER"), "password": setting(system, "PASSWORD")}
        elif kind in ("http", "apiKey", "oauth2", "openIdConnect"):
            found["bearer"] = {"kind": "bearer", "token": setting(system, "TOKEN")}
    for kind in ("oauth2", "api_key", "bearer", "basic"):
        if kind in found:
            others = [k for k in found if k != kind]
            return {"auth": found[kind]}, [
                f"[system options] auth: {kind} was chosen; the contract also allows {', '.join(others)}"
            ] if others else []
    return {}, ["[system options] auth: the contract does not say how one is let in; see docs/estate.md"]


def _paging(contract: RestContract) -> dict[str, Any] | None:
    """Cursor paging where requests have the parameter and answers the member; other kinds cannot be told apart by names alone."""
    for name in contract.operations()[:400]:
        try:
            operation = contract.operation(name)
        except TillgateError:
            continue
        answer = operation.exchange.answer
        parameter = next(
            (
                p.name
                for p in operation.parameters
                if p.place == "query" and p.name.lower() in ("cursor", "pagetoken", "page_token", "after")
            ),
            None,
        )
        if operation.method != "GET" or parameter is None or answer is None:
            continue
        if member := next((f.name for f in answer.root.fields if "next" in f.name.lower()), None):
            return {"kind": "cursor", "next": member, "parameter": parameter}
    return None
