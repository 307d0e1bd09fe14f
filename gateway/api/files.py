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
from gateway.edge.endpoint import AnyEndpoint, Ask, Endpoint, Outcome
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


_FILES: dict[str, Any] = {"tag": "Files", "scope": "admin:read"}
_FILE: dict[str, Any] = {**_FILES, "path_parameters": {"digest": Digest}}
_RECORD: dict[str, Any] = {"tag": "Quarantine", "scope": "admin:read", "path_parameters": {"id": RecordId}}
_CHANGE: dict[str, Any] = {"scope": "admin:write", "parameters": NoParameters, "idempotent_key": True}

ENDPOINTS: tuple[AnyEndpoint, ...] = (
    Endpoint(
        method="GET",
        path="/admin/files",
        name="listFiles",
        summary="Files that were taken, newest first, with the progress of those that are read now",
        answer=Files,
        handle=list_files,
        parameters=FilesParameters,
        **_FILES,
    ),
    Endpoint(
        method="GET",
        path="/admin/files/{digest}",
        name="getFile",
        summary="One file: what happened to it in sentences, and the records that were set aside",
        answer=FileDetail,
        handle=get_file,
        parameters=NoParameters,
        errors=(NotFound, StateConflict),
        **_FILE,
    ),
    Endpoint(
        method="GET",
        path="/admin/explanations",
        name="explainFile",
        summary="Why a file of this name is where it is, or is not there",
        answer=Explanation,
        handle=explain_file,
        parameters=ExplainParameters,
        **_FILES,
    ),
    Endpoint(
        method="GET",
        path="/admin/findings",
        name="listFindings",
        summary="What is late, missing, early or left out, without being an error",
        answer=Findings,
        handle=list_findings,
        parameters=FindingsParameters,
        **_FILES,
    ),
    Endpoint(
        method="POST",
        path="/admin/files/{digest}/retry",
        name="retryFile",
        summary="A refused file goes back to the inbox, a claim is taken from a dead worker, open records of a done file are read again",
        answer=Retried,
        handle=retry_file,
        body=FileRetry,
        errors=(NotFound, StateConflict, UpstreamError),
        example=FileRetry(fence=1),
        **{**_FILE, **_CHANGE},
    ),
    Endpoint(
        method="POST",
        path="/admin/files/{digest}/give-up",
        name="giveUpFile",
        summary="A refused file will not be needed any more, and may be removed when its time is over",
        answer=FileView,
        handle=give_up_file,
        body=GivingUp,
        errors=(NotFound, StateConflict),
        example=GivingUp(reason="The till was broken; the store rang the sales again"),
        **{**_FILE, **_CHANGE},
    ),
    Endpoint(
        method="GET",
        path="/admin/records",
        name="listRecords",
        summary="Records that were set aside, in the order in which they came",
        answer=Records,
        handle=list_records,
        parameters=RecordsParameters,
        tag="Quarantine",
        scope="admin:read",
    ),
    Endpoint(
        method="GET",
        path="/admin/records/{id}",
        name="getRecord",
        summary="One record: its text, its fields, and what booking it would do now",
        answer=RecordDetail,
        handle=get_record,
        parameters=NoParameters,
        errors=(NotFound, StateConflict),
        **_RECORD,
    ),
    Endpoint(
        method="POST",
        path="/admin/records/{id}",
        name="editRecord",
        summary="Another text for the record, or the one it came with; nothing is booked by it",
        answer=RecordDetail,
        handle=edit_record,
        body=Edit,
        errors=(NotFound, StateConflict, InvalidBody),
        example=Edit(version=0, text="TH;001;000002;S;…"),
        **{**_RECORD, **_CHANGE},
    ),
    Endpoint(
        method="POST",
        path="/admin/records/{id}/book",
        name="bookRecord",
        summary="Book the record as it stands, with its stock and events",
        answer=RecordView,
        handle=book_record,
        body=Booking,
        errors=(NotFound, StateConflict, InvalidBody),
        example=Booking(version=1, reason="The store confirmed the article"),
        **{**_RECORD, **_CHANGE},
    ),
    Endpoint(
        method="POST",
        path="/admin/records/{id}/dismiss",
        name="dismissRecord",
        summary="The record will never be booked",
        answer=RecordView,
        handle=dismiss_record,
        body=Dismissal,
        errors=(NotFound, StateConflict),
        example=Dismissal(version=0, reason="Rung again by hand"),
        **{**_RECORD, **_CHANGE},
    ),
)
