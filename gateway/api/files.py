"""The admin API of files: what the tills dropped, what was set aside, and what people decide about it."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated, Any

from msgspec import Meta

from contracts.admin import (
    Booking,
    Dismissal,
    Edit,
    ExplainParameters,
    Explanation,
    FileDetail,
    FileRetry,
    Files,
    FilesParameters,
    FileView,
    Findings,
    FindingsParameters,
    GivingUp,
    RecordDetail,
    Records,
    RecordsParameters,
    RecordView,
    Retried,
)
from contracts.canonical.answers import NoParameters
from contracts.errors import InvalidBody, NotFound, StateConflict, UpstreamError
from gateway.api.clients import actor
from gateway.edge.endpoint import AnyEndpoint, Ask, Outcome, Subject
from gateway.services.intake.review import FileDesk
from gateway.services.services import Services

Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{6,64}$(?!\n)", description="SHA-256 of the content, or the beginning of it")]
RecordId = Annotated[str, Meta(pattern=r"^[0-9]{1,18}$(?!\n)", examples=["17"])]


def _desk(ask: Ask[Any, Any], services: Services) -> FileDesk:
    return services.files(actor(ask.client))


async def list_files(ask: Ask[FilesParameters, None], services: Services) -> Outcome:
    found = await _desk(ask, services).list(ask.parameters)
    return Outcome(Files(items=tuple(found)), cursor=cursor_behind(found[-1]) if len(found) == ask.parameters.limit else None)


def cursor_behind(file: FileView) -> str:
    return f"{file.first_seen.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z~{file.digest}"


async def get_file(ask: Ask[NoParameters, None], services: Services) -> Outcome:
    return Outcome(await _desk(ask, services).show(ask.path["digest"]))


async def explain_file(ask: Ask[ExplainParameters, None], services: Services) -> Outcome:
    return Outcome(await _desk(ask, services).explain(ask.parameters.name))


async def list_findings(ask: Ask[FindingsParameters, None], services: Services) -> Outcome:
    return Outcome(Findings(items=tuple(await _desk(ask, services).findings(ask.parameters))))


async def retry_file(ask: Ask[NoParameters, FileRetry], services: Services) -> Outcome:
    return Outcome(await _desk(ask, services).retry(ask.path["digest"], ask.body))


async def give_up_file(ask: Ask[NoParameters, GivingUp], services: Services) -> Outcome:
    return Outcome(await _desk(ask, services).give_up(ask.path["digest"], ask.body))


async def list_records(ask: Ask[RecordsParameters, None], services: Services) -> Outcome:
    found = await _desk(ask, services).records(ask.parameters)
    return Outcome(Records(items=tuple(found)), cursor=str(found[-1].id) if len(found) == ask.parameters.limit else None)


async def get_record(ask: Ask[NoParameters, None], services: Services) -> Outcome:
    return Outcome(await _desk(ask, services).record(int(ask.path["id"])))


async def edit_record(ask: Ask[NoParameters, Edit], services: Services) -> Outcome:
    return Outcome(await _desk(ask, services).edit(int(ask.path["id"]), ask.body))


async def book_record(ask: Ask[NoParameters, Booking], services: Services) -> Outcome:
    return Outcome(await _desk(ask, services).book(int(ask.path["id"]), ask.body))


async def dismiss_record(ask: Ask[NoParameters, Dismissal], services: Services) -> Outcome:
    return Outcome(await _desk(ask, services).dismiss(int(ask.path["id"]), ask.body))


_FILES = Subject("Files", "/admin", {"digest": Digest})
_RECORDS = Subject("Quarantine", "/admin/records", {"id": RecordId})

ENDPOINTS: tuple[AnyEndpoint, ...] = (
    _FILES(
        "GET",
        "/files",
        "listFiles",
        "Files that were taken, newest first, with the progress of those that are read now",
        Files,
        list_files,
        parameters=FilesParameters,
    ),
    _FILES(
        "GET",
        "/files/{digest}",
        "getFile",
        "One file: what happened to it in sentences, and the records that were set aside",
        FileDetail,
        get_file,
        errors=(NotFound, StateConflict),
    ),
    _FILES(
        "GET",
        "/explanations",
        "explainFile",
        "Why a file of this name is where it is, or is not there",
        Explanation,
        explain_file,
        parameters=ExplainParameters,
    ),
    _FILES(
        "GET",
        "/findings",
        "listFindings",
        "What is late, missing, early or left out, without being an error",
        Findings,
        list_findings,
        parameters=FindingsParameters,
    ),
    _FILES(
        "POST",
        "/files/{digest}/retry",
        "retryFile",
        "A refused file goes back to the inbox, a claim is taken from a dead worker, open records of a done file are read again",
        Retried,
        retry_file,
        body=FileRetry,
        errors=(NotFound, StateConflict, UpstreamError),
        example=FileRetry(fence=1),
    ),
    _FILES(
        "POST",
        "/files/{digest}/give-up",
        "giveUpFile",
        "A refused file will not be needed any more, and may be removed when its time is over",
        FileView,
        give_up_file,
        body=GivingUp,
        errors=(NotFound, StateConflict),
        example=GivingUp(reason="The till was broken; the store rang the sales again"),
    ),
    _RECORDS(
        "GET",
        "",
        "listRecords",
        "Records that were set aside, in the order in which they came",
        Records,
        list_records,
        parameters=RecordsParameters,
    ),
    _RECORDS(
        "GET",
        "/{id}",
        "getRecord",
        "One record: its text, its fields, and what booking it would do now",
        RecordDetail,
        get_record,
        errors=(NotFound, StateConflict),
    ),
    _RECORDS(
        "POST",
        "/{id}",
        "editRecord",
        "Another text for the record, or the one it came with; nothing is booked by it",
        RecordDetail,
        edit_record,
        body=Edit,
        errors=(NotFound, StateConflict, InvalidBody),
        example=Edit(version=0, text="TH;001;000002;S;…"),
    ),
    _RECORDS(
        "POST",
        "/{id}/book",
        "bookRecord",
        "Book the record as it stands, with its stock and events",
        RecordView,
        book_record,
        body=Booking,
        errors=(NotFound, StateConflict, InvalidBody),
        example=Booking(version=1, reason="The store confirmed the article"),
    ),
    _RECORDS(
        "POST",
        "/{id}/dismiss",
        "dismissRecord",
        "The record will never be booked",
        RecordView,
        dismiss_record,
        body=Dismissal,
        errors=(NotFound, StateConflict),
        example=Dismissal(version=0, reason="Rung again by hand"),
    ),
)
