"""What a fault or an unusable answer means: SOAP 1.1 and 1.2 faults read into one form and translated into the error tree."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from lxml import etree

from contracts.errors import ContractViolation, UpstreamError, UpstreamFault, UpstreamRejected

SOAP11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP12 = "http://www.w3.org/2003/05/soap-envelope"

_SIDES = {"Client": "Client", "Sender": "Client", "Server": "Server", "Receiver": "Server"}
_UNDERSTOOD_NOT = frozenset({"VersionMismatch", "MustUnderstand", "DataEncodingUnknown"})
"""The envelope was refused before anybody acted on it."""


@dataclass(frozen=True, slots=True)
class SoapFault:
    """`side` is Client or Server for both versions (anything else a system invents counts as Server). `codes` holds all that a rule may
    name: code, dotted parts, subcodes, names and values of the detail's elements.
    """

    side: str
    code: str
    reason: str
    codes: frozenset[str]


class Unusable(Exception):
    """An answer that is no SOAP envelope, with the place and what was expected."""

    def __init__(self, where: str, expected: str, got: str) -> None:
        super().__init__(where, expected, got)
        self.where, self.expected, self.got = where, expected, got

    def translated(self, system: str, operation: str) -> ContractViolation:
        """`sent` stays True: a write with an unreadable answer may have been done."""
        return ContractViolation(system=system, operation=operation, where=self.where, expected=self.expected, got=self.got)


def read_fault(fault: etree._Element) -> SoapFault:
    if etree.QName(fault).namespace == SOAP12:
        ns = f"{{{SOAP12}}}"
        code = _local(fault.findtext(f"{ns}Code/{ns}Value"))
        subcodes = [_local(e.text) for e in fault.iterfind(f"{ns}Code//{ns}Subcode/{ns}Value")]
        reason = fault.findtext(f"{ns}Reason/{ns}Text")
        detail = fault.find(f"{ns}Detail")
    else:
        code = _local(_child(fault, "faultcode"))
        subcodes = []
        reason = _child(fault, "faultstring")
        detail = fault.find("{*}detail")
    head = code.partition(".")[0]
    codes = {code, head, code.rpartition(".")[2], *subcodes}
    if detail is not None:
        for n, element in enumerate(detail.iter(etree.Element)):
            if n > 500:
                break
            codes.add(etree.QName(element).localname)
            if len(element) == 0 and element.text and len(element.text) <= 100:
                codes.add(element.text.strip())
    return SoapFault(_SIDES.get(head, head if head in _UNDERSTOOD_NOT else "Server"), code, _short(reason), frozenset(codes - {""}))


def translated(fault: SoapFault, system: str, operation: str, rejections: Collection[str] = ()) -> UpstreamError:
    """Client: a refusal. Server: a failure that may have left something done. The envelope not understood: a failure, nothing done."""
    if fault.side == "Client" or not fault.codes.isdisjoint(rejections):
        return UpstreamRejected(system=system, operation=operation, refusal=fault.code, reason=fault.reason)
    sent = fault.side not in _UNDERSTOOD_NOT
    return UpstreamFault(system=system, operation=operation, fault_code=fault.side, reason=f"{fault.reason} ({fault.code})", sent=sent)


def _child(element: etree._Element, name: str) -> str | None:
    return element.findtext(name) or element.findtext(f"{{*}}{name}")


def _local(text: str | None) -> str:
    return _short(text).rpartition(":")[2]


def _short(text: str | None) -> str:
    return re.sub(r"\s+", " ", (text or "")[:1000]).strip()[:300]
