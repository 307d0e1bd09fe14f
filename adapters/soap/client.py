"""Envelopes on the wire: posting one, and finding the body or the fault in whatever comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from copy import deepcopy
from functools import partial
from typing import Any, Literal

from lxml import etree

from adapters.soap import mtom
from adapters.soap.errors import SOAP11, SOAP12, Unusable
from adapters.wire import Wire, WireAnswer

TYPES = mtom.ENVELOPE_TYPES | {mtom.PACKAGE}
LARGE = 512 * 1024
"""Bytes from which on an answer is parsed beside the event loop."""
MAX_COPIES = 20_000
"""Elements that references may add to those that are there."""
ENCODINGS = ("http://schemas.xmlsoap.org/soap/encoding/", "http://www.w3.org/2003/05/soap-encoding")


class SoapClient:
    """Posts to one path of one wire. Raises what the wire raises, and Unusable."""

    def __init__(self, wire: Wire, path: str, headers: Mapping[str, str], worker: Executor) -> None:
        self._wire, self._path, self._headers, self._worker = wire, path, headers, worker
        self.host, self.port = wire.host, wire.port

    async def post(
        self,
        operation: str,
        version: Literal["1.1", "1.2"],
        action: str,
        envelope: bytes,
        seconds: float,
        *,
        traceparent: str = "",
        cookie: str = "",
        attachments: Mapping[str, bytes] | None = None,
    ) -> WireAnswer:
        """`attachments`: the request travels as a package with these; None: as a plain envelope."""
        if version == "1.1":
            headers = {**self._headers, "Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{action}"'}
        else:
            named = f'; action="{action}"' if action else ""
            headers = {**self._headers, "Content-Type": f"application/soap+xml; charset=utf-8{named}"}
        if attachments is not None:
            plain = "text/xml" if version == "1.1" else "application/soap+xml"
            headers["Content-Type"], envelope = mtom.write_package(envelope, plain, action, attachments)
        if cookie:
            headers["Cookie"] = cookie
        return await self._wire.exchange(operation, "POST", self._path, headers, envelope, seconds, traceparent=traceparent)

    async def body(self, answer: WireAnswer, limit: int, opened: Callable[[bytes], etree._Element] | None = None) -> etree._Element:
        """The Body of an answer's envelope, attachments in their places as far as `limit` bytes go. `opened` finds a Body that is checked
        first, beside the event loop. Raises Unusable, and what `opened` raises.
        """
        if answer.content_type not in TYPES:
            kind = answer.content_type or "no Content-Type"
            raise Unusable(f"HTTP {answer.status}", " or ".join(sorted(TYPES)), f"{kind}, {len(answer.body)} bytes")
        if answer.content_type != mtom.PACKAGE and opened is None and len(answer.body) < LARGE:
            return read_body(answer.body)
        return await asyncio.get_running_loop().run_in_executor(self._worker, _read, answer, limit, opened)


def _read(answer: WireAnswer, limit: int, opened: Callable[[bytes], etree._Element] | None) -> etree._Element:
    document: bytes | etree._Element = answer.body
    if answer.content_type == mtom.PACKAGE:
        parse = partial(parse_xml, comments=opened is not None)
        document = mtom.read_package(answer.headers.get("Content-Type", ""), answer.body, limit, parse)
    if opened is None:
        return read_body(document)
    return _resolved(opened(document if isinstance(document, bytes) else etree.tostring(document)))


def xml_parser(*, comments: bool = False) -> etree.XMLParser:
    """No entities, no network, libxml2's limits on depth and size. Without `comments` neither these nor processing instructions."""
    return etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=not comments, remove_pis=not comments
    )


def parse_xml(document: bytes, *, comments: bool = False) -> etree._Element:
    """XML from outside, without DOCTYPE. Comments and processing instructions are left out unless asked for, so that they cannot cut a
    value. Raises Unusable.
    """
    try:
        root = etree.fromstring(document, xml_parser(comments=comments))
    except (etree.XMLSyntaxError, ValueError) as exc:
        line = getattr(exc, "lineno", None) or 1
        raise Unusable(f"line {line}", "well-formed XML", str(exc)[:200]) from exc
    info: Any = root.getroottree().docinfo
    if info.doctype:
        raise Unusable("line 1", "an envelope without DOCTYPE", "a DOCTYPE")
    return root


_BODIES = {f"{{{ns}}}Envelope": f"{{{ns}}}Body" for ns in (SOAP11, SOAP12)}
_ENCODED = tuple(ns.encode() for ns in ENCODINGS)


def read_body(document: bytes | etree._Element) -> etree._Element:
    """The Body, with the references of encoded answers resolved. Raises Unusable."""
    envelope = parse_xml(document) if isinstance(document, bytes) else document
    name = _BODIES.get(envelope.tag)
    if name is None:
        raise Unusable("line 1", "a SOAP 1.1 or 1.2 Envelope", str(envelope.tag)[:200])
    body = next(envelope.iterchildren(name), None)
    if body is None:
        raise Unusable("Envelope", "a Body", "none")
    if isinstance(document, bytes) and not any(ns in document for ns in _ENCODED):
        return body
    return _resolved(body)


def _resolved(body: etree._Element) -> etree._Element:
    """The same, with what `href="#id"` (1.1) or `enc:ref` (1.2) points at in its place (SOAP encoding, multi-reference values)."""
    targets = {i: e for e in body.iter(etree.Element) if (i := e.get("id") or e.get(f"{{{ENCODINGS[1]}}}id"))}
    if not targets:
        return body
    copies, most = 0, MAX_COPIES + sum(1 for _ in body.iter())
    waiting: list[tuple[etree._Element, frozenset[str]]] = [(child, frozenset()) for child in list(body)[:1]]
    while waiting:
        element, above = waiting.pop()
        if reference := _reference(element):
            target = targets.get(reference)
            if target is None:
                raise Unusable(element.tag[:200], "a value or a reference to one", f"a reference to {reference[:50]!r}, which is not there")
            if reference in above:
                raise Unusable(element.tag[:200], "values that end", f"{reference[:50]!r}, which contains itself")
            above |= {reference}
            copies += sum(1 for _ in target.iter())
            if copies > most:
                raise Unusable(element.tag[:200], f"at most {most} elements behind references", "more")
            element.text = target.text
            element[:] = [deepcopy(child) for child in target]
            for key, value in target.attrib.items():
                if etree.QName(key).localname not in {"id", "root"}:
                    element.set(key, value)
            if "href" in element.attrib:
                del element.attrib["href"]
        waiting += [(child, above) for child in element]
    for independent in list(body)[1:]:
        body.remove(independent)
    return body


def _reference(element: etree._Element) -> str:
    href = element.get("href") or ""
    return href[1:] if href.startswith("#") else (element.get(f"{{{ENCODINGS[1]}}}ref") or "")
