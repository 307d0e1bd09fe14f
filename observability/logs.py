"""Log lines: one JSON object each, with the ids of the current flight, without secrets; coloured text on a terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from observability.flight import current_hop
from observability.redaction import redact, redacted

_ENCODE: Final = msgspec.json.Encoder(enc_hook=str).encode
_TRACEBACK_LIMIT: Final = 6_000


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger for one module: `get_logger(__name__).info("file claimed", file=name)`: few plain words, facts as fields."""
    logger: FilteringBoundLogger = structlog.get_logger(module=name)
    return logger


def configure(*, level: str = "info", stream: TextIO | None = None, console: bool | None = None) -> None:
    """Called once by the composition root. `console` None: friendly text if the stream (stderr by default) is a terminal."""
    stream = stream or sys.stderr
    threshold = logging.getLevelNamesMapping()[level.upper()]
    friendly = stream.isatty() if console is None else console
    renderer: structlog.typing.Processor = _text() if friendly else _json
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.format_exc_info, _ids, _clean, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(stream) if friendly else structlog.BytesLoggerFactory(stream.buffer),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_Forward()]
    root.setLevel(max(threshold, logging.WARNING))
    for chatty in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(chatty).handlers = []


class _Forward(logging.Handler):
    """Lines of libraries that use the standard library's logging join ours."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = get_logger(record.name)
        try:
            logger.log(
                min(record.levelno, logging.CRITICAL) // 10 * 10 or logging.DEBUG,
                "library",
                message=record.getMessage(),
                exc_info=record.exc_info,
            )
        except Exception:  # noqa: BLE001  # the contract of a handler: report, never raise
            self.handleError(record)


def _ids(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event["time"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    hop = current_hop()
    if hop is not None and hop.record is not None:
        event["trace_id"], event["span_id"] = hop.trace_id, hop.span_id
    return event


def _clean(logger: WrappedLogger, method: str, event: EventDict) -> MutableMapping[str, Any]:
    out: dict[str, Any] = {}
    for key in ("time", "level", "event", "module", "trace_id", "span_id"):
        if key in event:
            value = event.pop(key)
            out[key] = redact(str(value), 200) if key == "event" else value
    trace = event.pop("exception", None)
    for key, value in event.items():
        out[str(key)[:64]] = redacted(value, str(key))
    if trace is not None:
        out["exception"] = "\n".join(redact(line, 400) for line in trace[-_TRACEBACK_LIMIT:].splitlines())
    return out


def _json(logger: WrappedLogger, method: str, event: EventDict) -> bytes:
    return _ENCODE(event)


def _text() -> structlog.typing.Processor:
    return structlog.dev.ConsoleRenderer(timestamp_key="time", exception_formatter=structlog.dev.plain_traceback, sort_keys=False)
