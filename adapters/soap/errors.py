"""What a fault or an unusable answer means: SOAP 1.1 and 1.2 faults read into one form and translated into the error tree."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lxml import etree

from adapters.soap.spec import Meaning, Means
from contracts.errors import ContractViolation, OutcomeUnknown, UpstreamBusy, UpstreamError, UpstreamFault, UpstreamRejected

SOAP11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP12 = "http://www.w3.org/2003/05/soap-envelope"

_SIDES = {"Client": "Client", "Sender": "Client", "Server": "Server", "Receiver": "Server"}
_UNDERSTOOD_NOT = frozenset({"VersionMismatch", "MustUnderstand", "DataEncodingUnknown"})
"""The envelope was refused before anybody acted on it."""


@dataclass(frozen=True, slots=True)
class SoapFault:
    """`side` is Client or Server for both versions (anything else a system invents counts as Server). `codes` holds all that a rule may
    name: code, dotted parts, subcodes, names and values of the detail's elements. A failed result row and an HTTP error have this form too.
    """

    side: str
    code: str
    reason: str
    codes: frozenset[str]
    detail: etree._Element | None = None

    @property
    def means(self) -> Means:
        """What it means when nothing is declared."""
        return "rejected" if self.side == "Client" else "failed"


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
    return SoapFault(_SIDES.get(head, head if head in _UNDERSTOOD_NOT else "Server"), code, _short(reason), frozenset(codes - {""}), detail)


def meant(meanings: Iterable[Meaning], said: SoapFault, status: int) -> Means | None:
    """The first declared meaning that fits a fault, a result row or an HTTP error."""
    for meaning in meanings:
        if meaning.status not in (None, status) or (meaning.text is not None and meaning.text.casefold() not in said.reason.casefold()):
            continue
        if not meaning.codes or any(_fits(pattern, said, meaning.field) for pattern in meaning.codes):
            return meaning.means
    return None


def _fits(pattern: str, said: SoapFault, field: str | None) -> bool:
    if field is not None:
        found = None if said.detail is None else value(said.detail, field)
        codes = frozenset() if found is None else frozenset((found,))
    else:
        codes = said.codes
    return any(c.startswith(pattern[:-1]) for c in codes) if pattern.endswith("*") else pattern in codes


def translated(
    means: Means, said: SoapFault, at: Mapping[str, Any], *, sent: bool = True, retry_after: float | None = None
) -> UpstreamError:
    """`absent` of a write is a refusal: the thing to be changed is not there. An ended session is never the asker's fault."""
    reason = f"{said.reason} ({said.code})" if said.code and said.code not in said.reason else said.reason
    match means:
        case "rejected" | "absent" | "tolerated":
            return UpstreamRejected(**at, refusal=said.code, reason=said.reason)
        case "busy":
            return UpstreamBusy(**at, reason=reason, retry_after=retry_after)
        case "in_doubt":
            return OutcomeUnknown(**at, reason=reason)
        case "expired":
            return UpstreamFault(**at, fault_code="Client", reason=said.reason, sent=False)
        case "failed":
            return UpstreamFault(**at, fault_code=said.side, reason=reason, sent=sent and said.side not in _UNDERSTOOD_NOT)


def value(element: etree._Element, path: str) -> str | None:
    """The text at a dotted path of local names, of which the last may be an attribute; None if there is none."""
    above, _, last = path.rpartition(".")
    holder = element.find(xpath(above)) if above else element
    if holder is None:
        return None
    found = holder.findtext(f"{{*}}{last}")
    if found is None:
        found = next((str(held) for name, held in holder.items() if etree.QName(name).localname == last), None)
    return None if found is None else found.strip()


def xpath(path: str) -> str:
    return "/".join(f"{{*}}{name}" for name in path.split("."))


def _child(element: etree._Element, name: str) -> str | None:
    return element.findtext(name) or element.findtext(f"{{*}}{name}")


def _local(text: str | None) -> str:
    return _short(text).rpartition(":")[2]


def _short(text: str | None) -> str:
    return re.sub(r"\s+", " ", (text or "")[:1000]).strip()[:300]
