"""How a SOAP system speaks: operations found by their payload, documents in the contract's namespaces, faults of both versions."""

from __future__ import annotations

import base64
from html import escape
from http.cookies import CookieError, SimpleCookie

from lxml import etree

from adapters.soap.client import parse_xml
from adapters.soap.contract import SoapContract
from adapters.soap.errors import SOAP11, SOAP12, Unusable
from adapters.soap.spec import OperationOptions, Results, Session, SoapOptions
from adapters.speaker import Asked, Said
from mappings.language.sample import document as sample
from mappings.language.shape import Record

_TYPES = {"1.1": "text/xml; charset=utf-8", "1.2": "application/soap+xml; charset=utf-8"}
_SPACES = {"1.1": SOAP11, "1.2": SOAP12}
_SIDES = {"1.1": ("Client", "Server"), "1.2": ("Sender", "Receiver")}


class SoapSpeaker:
    """Implements adapters.speaker.Speaker. Headers and credentials are looked at as far as the options declare them."""

    def __init__(self, contract: SoapContract, options: SoapOptions) -> None:
        self._contract, self._options = contract, options
        self._by_payload: dict[tuple[str, str], list[str]] = {}
        self._by_action: dict[str, list[str]] = {}
        for name in contract.operations():
            described = contract.operation(name)
            if described.request.element is not None:
                self._by_payload.setdefault(described.request.element, []).append(name)
            if described.action:
                self._by_action.setdefault(described.action, []).append(name)

    def operation(self, asked: Asked) -> str | None:
        action = asked.headers.get("soapaction", "") or asked.headers.get("content-type", "").partition("action=")[2].partition(";")[0]
        by_action = self._by_action.get(action.strip().strip('"'), [])
        if len(by_action) == 1:
            return by_action[0]
        try:
            first = next(_body(asked).iterchildren(etree.Element), None)
        except (Unusable, ValueError):
            return None
        if first is None:
            return by_action[0] if by_action else None
        name = etree.QName(first)
        found = self._by_payload.get((name.namespace or "", name.localname), by_action)
        return next((n for n in found if n in by_action), found[0] if found else None)

    def prepared(self, operation: str, document: object) -> etree._Element:
        if not isinstance(document, bytes | str):
            raise ValueError(f"expected XML, got {type(document).__name__}")
        try:
            payload = parse_xml(document if isinstance(document, bytes) else document.strip().encode())
        except Unusable as exc:
            raise ValueError(f"{exc.where}: expected {exc.expected}, got {exc.got}") from exc
        if etree.QName(payload).localname == "Envelope":
            body = payload.find("{*}Body")
            payload = next(body.iterchildren(etree.Element), payload) if body is not None else payload
        answer = self._contract.operation(operation).answer
        if answer is None:
            return payload
        made = _named(payload, answer.record, answer.element)
        etree.cleanup_namespaces(made)
        return made

    def answer(self, operation: str, document: etree._Element, asked: Asked) -> Said:
        described = self._contract.operation(operation)
        if described.answer is None:
            return self._said(operation, 200, "")
        if described.answer.element is None:
            return self._said(operation, 200, "".join(_text(child) for child in document))
        return self._said(operation, 200, _text(document))

    def logs_in(self, operation: str) -> bool:
        return self._options.session is not None and operation == self._options.session.operation

    def session(self, operation: str, asked: Asked, token: str) -> Said:
        session, described = self._options.session, self._contract.operation(operation)
        message = self._contract.exchange(operation).answer
        if session is None or described.answer is None or message is None:
            return self.error(operation, 500)
        payload = parse_xml(sample(message, optional=False, element=described.answer.element))
        if (results := self._results(operation)) and results.path:
            for row in payload.findall(_xpath(results.path)):
                _above(row).remove(row)
        header, cookies = etree.Element("header"), ""
        for carried in session.carried:
            if carried.token and carried.found_in == "header":
                _put(header, Record("header", open=True), carried.token, token)
            elif carried.token:
                _put(payload, described.answer.record, carried.token, token)
            if carried.cookie:
                cookies = f"{carried.cookie}={token}; Path=/; HttpOnly"
        said, head = self.answer(operation, payload, asked), "".join(_text(block) for block in header)
        body = said.body.replace(b"<s:Body>", f"<s:Header>{head}</s:Header><s:Body>".encode(), 1) if head else said.body
        return Said(said.status, body, said.content_type, {"Set-Cookie": cookies} if cookies else {})

    def admitted(self, operation: str, asked: Asked, tokens: frozenset[str]) -> str | None:
        if basic := self._options.basic:
            wanted = "Basic " + base64.b64encode(f"{basic.user}:{basic.password}".encode()).decode()
            if asked.headers.get("authorization") != wanted:
                return "credentials"
        security = self._options.security
        if security is not None and (known := security.username) is not None:
            username = next(_above(_body(asked)).iter("{*}Username"), None)
            if username is None or username.text != known.user:
                return "credentials"
        session = self._options.session
        if session is None:
            return None
        if operation == session.operation:
            payload = next(_body(asked).iterchildren(etree.Element), None)
            wanted_fields = {session.user_field: session.user, session.password_field: session.password} if session.user else {}
            given = {path: None if payload is None else payload.findtext(_xpath(path)) for path in wanted_fields}
            return None if given == wanted_fields else "credentials"
        if not self._options.operations.get(operation, OperationOptions()).session:
            return None
        return None if self._token(session, asked) in tokens else "session"

    def _token(self, session: Session, asked: Asked) -> str | None:
        if session.cookie:
            try:
                found = SimpleCookie(asked.headers.get("cookie", "")).get(session.cookie)
            except CookieError:
                return None
            return found.coded_value if found is not None else None
        body = _body(asked)
        if session.header:
            header = _above(body).find(f"{{{etree.QName(body).namespace}}}Header")
            return None if header is None else header.findtext(_xpath(session.header))
        payload = next(body.iterchildren(etree.Element), None)
        return None if payload is None else payload.findtext(_xpath(session.field or "*"))

    def refused(self, operation: str) -> Said:
        return self._fault(operation, 500, "LOGIN_FAILED", "name or password is wrong", caller=True)

    def expired(self, operation: str) -> Said | None:
        own = self._options.operations.get(operation, OperationOptions())
        rule = next((m for m in (*own.meanings, *self._options.meanings) if m.means == "expired"), None)
        if self._options.session is None or rule is None:
            return None
        if not rule.codes:
            if rule.status is not None and rule.text is None:
                return Said(rule.status, b"", "text/plain")
            return self._fault(operation, rule.status or 500, "SESSION", rule.text or "", caller=True)
        code = rule.codes[0].removesuffix("*")
        if (results := self._results(operation)) and "/" in code:
            return self._row(operation, results, code, "the session has ended")
        return self._fault(operation, 500, code, "the session has ended", caller=True)

    def error(self, operation: str, status: int) -> Said:
        if status in (401, 403, 404, 429, 503) or status < 500:
            return Said(status, b"", "text/plain")
        return self._fault(operation, status, "INTERNAL", "the system failed", caller=False)

    def fault_in_200(self, operation: str) -> Said | None:
        return self._fault(operation, 200, "INTERNAL", "the system failed", caller=False)

    def refusal(self, operation: str) -> Said:
        if results := self._results(operation):
            return self._row(operation, results, "/".join(["STAND", "IN"][: len(results.code)]), "this is not possible")
        return self._fault(operation, 500, "NOT_POSSIBLE", "this is not possible", caller=True)

    # ---- writing ---------------------------------------------------------------------------------------------------------

    def _results(self, operation: str) -> Results | None:
        own = self._options.operations.get(operation)
        return (own.results if own else None) or self._options.results

    def _row(self, operation: str, results: Results, code: str, text: str) -> Said:
        """An answer whose only content is a row that says no."""
        answer = self._contract.operation(operation).answer
        if answer is None:
            return self._fault(operation, 500, code, text, caller=True)
        says = next((kind for kind in (*results.errors, "E", "X") if results.failed(kind)), "E")
        values = {results.text: text, **dict(zip(results.code, code.split("/"), strict=False))}
        if results.type:
            values[results.type] = says
        namespace, name = answer.element or ("", answer.record.name)
        payload = etree.Element(etree.QName(namespace or None, name))
        here = payload
        for part in results.path.split(".") if results.path else ():
            here = etree.SubElement(here, part)
        for path, value in values.items():
            at = here
            for part in path.split("."):
                at = etree.SubElement(at, part)
            at.text = value
        return self.answer(operation, _named(payload, answer.record, answer.element), Asked("POST", "/", {}, b""))

    def _fault(self, operation: str, status: int, code: str, text: str, *, caller: bool) -> Said:
        version = self._contract.operation(operation).version if operation in self._contract.operations() else "1.1"
        side = _SIDES[version][0 if caller else 1]
        code, text = escape(code), escape(text)
        if version == "1.1":
            body = f"<faultcode>s:{side}</faultcode><faultstring>{text}</faultstring><detail><code>{code}</code></detail>"
        else:
            body = (
                f"<s:Code><s:Value>s:{side}</s:Value></s:Code>"
                f'<s:Reason><s:Text xml:lang="en">{text}</s:Text></s:Reason><s:Detail><code>{code}</code></s:Detail>'
            )
        body = f"<s:Fault>{body}</s:Fault>"
        return self._said(operation, status, body, version)

    def _said(self, operation: str, status: int, body: str, version: str = "") -> Said:
        version = version or self._contract.operation(operation).version
        space = _SPACES[version]
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n<s:Envelope xmlns:s="{space}"><s:Body>{body}</s:Body></s:Envelope>'
        return Said(status, text.encode(), _TYPES[version])


def _body(asked: Asked) -> etree._Element:
    envelope = parse_xml(asked.body)
    found = envelope.find("{*}Body")
    if found is None:
        raise Unusable("Envelope", "a Body", "none")
    return found


def _text(element: etree._Element) -> str:
    return etree.tostring(element, encoding="unicode", with_tail=False)


def _above(element: etree._Element) -> etree._Element:
    above = element.getparent()
    assert above is not None  # noqa: S101  # what was found below something has it above
    return above


def _xpath(path: str) -> str:
    return "/".join(f"{{*}}{name}" for name in path.split("."))


def _named(element: etree._Element, record: Record, name: tuple[str, str] | None) -> etree._Element:
    """A copy whose elements have the namespaces of the contract, whatever those of the document are; unknown ones stay as they are."""
    made = etree.Element(etree.QName(name[0] or None, name[1]) if name else etree.QName(etree.QName(element).localname))
    made.text = element.text
    known = {f.name: f for f in record.fields}
    for key, value in element.attrib.items():
        field = known.get(etree.QName(key).localname)
        made.set(etree.QName(field.namespace, field.name) if field is not None and field.namespace else key, value)
    for child in element.iterchildren(etree.Element):
        local = etree.QName(child).localname
        field = known.get(local)
        if field is not None and isinstance(field.shape, Record):
            made.append(_named(child, field.shape, (field.namespace or "", local)))
        else:
            tag = etree.QName(field.namespace or None, local) if field is not None else etree.QName(child)
            copy = etree.SubElement(made, tag)
            copy.attrib.update(child.attrib)
            copy.text = child.text
            copy.extend(list(child))
    return made


def _put(payload: etree._Element, record: Record, path: str, value: str) -> None:
    """The element at a dotted path, made where it is not there."""
    here, shape = payload, record
    for part in path.split("."):
        found = here.find(f"{{*}}{part}")
        field = shape.get(part)
        here = etree.SubElement(here, etree.QName((field.namespace if field else None) or None, part)) if found is None else found
        if field is not None and isinstance(field.shape, Record):
            shape = field.shape
    here.text = value
