"""Rows of a SOAP answer cut out of its text before it is parsed, where it is written the regular way."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from contextlib import suppress

from lxml import etree

from adapters.soap.client import ENCODINGS, LARGE, read_body
from adapters.soap.envelope import XSI
from adapters.soap.errors import Unusable
from adapters.soap.mtom import ENVELOPE_TYPES
from adapters.wire import WireAnswer
from mappings.language.rows import Rows, Shortened
from mappings.language.shape import tag


async def shortened(answer: WireAnswer, rows: Rows, worker: Executor | None) -> tuple[etree._Element, Shortened] | None:
    """See `read_rows`. Large answers are read by the worker, beside the event loop."""
    if answer.content_type not in ENVELOPE_TYPES:
        return None
    if len(answer.body) < LARGE:
        return read_rows(answer.body, rows)
    return await asyncio.get_running_loop().run_in_executor(worker, read_rows, answer.body, rows)


def read_rows(document: bytes, rows: Rows) -> tuple[etree._Element, Shortened] | None:
    """The Body of an envelope whose list is written the regular way, without that list, and the payload (the Body, or the first element in
    it) with what was cut out. None: `read_body` has to read it; it alone says what is wrong.
    """
    if (cut := rows.cut(document)) is None:
        return None
    found = None
    if not any(ns.encode() in cut.rest for ns in ENCODINGS):
        with suppress(Unusable):
            body = read_body(cut.rest)
            if (payload := _cut_from(body, rows, cut.way.nil)) is not None:
                found = body, Shortened(payload, cut.rows, cut.way)
    if found is None:
        rows.failed()
    return found


def _cut_from(body: etree._Element, rows: Rows, nil: str) -> etree._Element | None:
    """The payload, where the mark of cut rows stands where the contract has them, no other row beside it, and `nil` (a prefix with colon)
    means xsi. The mark is taken out.
    """
    *above, field = rows.path
    marks = list(body.iter(f"{{*}}{rows.mark}"))
    place = marks[0].getparent() if len(marks) == 1 and marks[0].tag == tag(field, rows.mark) else None
    if place is None or next(place.iterchildren(tag(field)), None) is not None or (nil and place.nsmap.get(nil[:-1]) != XSI):
        return None
    payload: etree._Element | None = place
    for each in reversed(above):
        if payload is None or payload.tag != tag(each):
            return None
        payload = payload.getparent()
    if payload is not body and payload is not next(body.iterchildren(etree.Element), None):
        return None
    place.remove(marks[0])
    return payload
