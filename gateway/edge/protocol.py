"""uvicorn's protocol with what it leaves open: heads are bounded in size and time, connections in number, each refusal is a problem, and
reading ends when nobody waits for the answer.
"""

from __future__ import annotations

import asyncio
import http
import re
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar, cast

import uvicorn
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from contracts import errors
from contracts.errors import CallerError, TillgateError
from gateway.edge import problems
from gateway.edge.peer import CERTIFICATE, CRITICAL
from gateway.edge.pressure import Paced
from gateway.edge.reading import RequestTooSlow
from gateway.edge.stored import Fields
from observability import get_logger

MAX_HEAD_BYTES = 32_768
READS = ("GET", "HEAD")
GONE = "the caller went away"
"""Why a request's task was cancelled."""
PIPELINE = 16
"""Requests that may wait behind the one at work on their connection; after those the connection is closed. Of what came in one piece, as
many are answered before others have their turn.
"""
MOMENT = 0.0005
"""Seconds; the loop's timers know nothing shorter."""
LONGEST_REST = 2_048
"""Bytes of a head behind its target that a connection remembers."""
_TARGET = re.compile(rb"/[!-~]*")
log = get_logger(__name__)

AtOnce = Callable[[bool, bytes, Fields, str, bytes], bytes | None]
"""See gateway.app.Flights."""


class HeadTooLarge(CallerError):
    status: ClassVar[int] = 431
    code: ClassVar[str] = "head_too_large"
    title: ClassVar[str] = "The request's head is too large"
    text: ClassVar[str] = f"target and fields are larger than {MAX_HEAD_BYTES} bytes"


class EdgeConfig(uvicorn.Config):
    """With what uvicorn has no word for."""

    per_address: int | None = None
    """Most connections from one address."""
    exempt: Callable[[str], bool] = staticmethod(lambda address: False)
    """Addresses that stand for many: declared proxies."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.open = Counter[str]()
        """Connections by address."""


class BoundedProtocol(HttpToolsProtocol):
    """For `uvicorn.Config(http=BoundedProtocol)`. `limit_concurrency` counts connections here; requests are counted by the application."""

    write_seconds: ClassVar[float] = 20.0
    """How long what was written may wait for a caller to read it."""
    head_seconds: ClassVar[float] = 10.0
    """From the first byte of a head (or the connection) to its end; idle connections between requests are uvicorn's to close."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._most, self.limit_concurrency = self.limit_concurrency, None
        self._in_head = self._completed = self._deaf = False
        self._at_once: AtOnce | None = getattr(self.config.app, "at_once", None)
        self._until_read: Callable[[], float] | None = getattr(self.config.app, "until_read", None)
        self._critical = False
        """Its last request was: it is read from whatever others want."""
        self._idle_since: float | None = None
        """No request is under way since then (the loop's clock)."""
        self._answered = 0
        """Of the piece that is being read: how many requests were answered at once."""
        self._whole = False
        """The request that is being read has its answer."""
        self._between = True
        """Nothing of another request was read yet."""
        self._rest = b""
        """Of the last head that came in one piece and was answered at once: all behind its target; `_fields` is what it says."""
        self._fields = Fields(())
        self._calm = 0.0
        """Until then (the loop's clock) this caller's reads are left, so that others are listened to."""
        self._left = b""
        """What came meanwhile, to be read when `_holding` rings."""
        self._holding: asyncio.TimerHandle | None = None
        self._dated: list[tuple[bytes, bytes]] | None = None
        self._date = b""
        self._head = 0
        """Bytes of the head that is on its way, as far as it came in earlier pieces."""
        self._timer: asyncio.TimerHandle | None = None
        self._refusal: TillgateError | None = None
        self._unread: asyncio.TimerHandle | None = None
        """Ends the connection of a caller who does not read what was sent."""
        self._working: tuple[RequestResponseCycle, asyncio.Task[None]] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        if connection := transport.get_extra_info("ssl_object"):
            self.app_state = {**self.app_state, CERTIFICATE: connection.getpeercert(binary_form=True)}
        if isinstance(self.config, EdgeConfig) and self.client is not None:
            self.config.open[self.client[0]] += 1
        self._begin()
        if (self._most is not None and len(self.connections) > self._most) or self._too_many_from_there():
            self._refuse(errors.Overloaded(policy="connections"))

    def _too_many_from_there(self) -> bool:
        config = self.config
        if not isinstance(config, EdgeConfig) or not config.per_address or self.client is None or config.exempt(self.client[0]):
            return False
        return config.open[self.client[0]] > config.per_address

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        if isinstance(self.config, EdgeConfig) and self.client is not None:
            self.config.open[self.client[0]] -= 1
            if not self.config.open[self.client[0]]:
                del self.config.open[self.client[0]]
        if self._holding is not None:
            self._holding.cancel()
        self.resume_writing()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        super().connection_lost(exc)
        if self._working is not None:
            cycle, task = self._working
            if not cycle.response_complete:
                cycle.disconnected = True  # uvicorn tells only the newest of a pipeline
                if cycle.scope["method"] in READS:  # a change goes on: its outcome is kept for the repeat
                    task.cancel(GONE)
            self._working = None

    @property
    def _accepting(self) -> bool:
        """Whether the process is to go on; while it drains, each answer is the last of its connection."""
        return getattr(self.config.app, "accepting", True)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """As uvicorn's, and remembers what is being worked on."""
        if not self._accepting:
            cycle.keep_alive = False
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
        self._working = cycle, task

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing() or self._deaf:
            return
        if self._holding is not None:
            self._left += data
            self.flow.pause_reading()
            return
        left = 0.0
        if self._calm:
            left, self._calm = self._calm - self.loop.time(), 0.0
            if not data.startswith((b"GET ", b"HEAD ")):  # a change on the same connection does not wait
                left = 0.0
        elif self._until_read is not None and not self._critical:
            left = self._until_read()
        if left > MOMENT:
            self._left, self._holding, self._idle_since = data, self.loop.call_later(left, self._listen), None
        else:
            self._read(data)

    def _read(self, data: bytes) -> None:
        if self._rest and data.endswith(self._rest) and self._read_again(data):
            return
        self._completed = False
        self._answered = 0
        alone = self._between
        super().data_received(data)
        if alone and self._answered == 1:
            self._remember(data)
        if self._in_head and self._timer is None and not self.transport.is_closing():  # most heads come whole, and need no timer
            self._begin()
        if self._in_head and not self._completed:  # a piece in which another request ends is not counted: it is one read at most
            self._head += len(data)
            if self._head > MAX_HEAD_BYTES:
                self._refuse(HeadTooLarge())

    def _remember(self, data: bytes) -> None:
        """What was read of a piece that began with a request, if that one is all there is of it."""
        rest = data[4 + len(self.url) :]
        if len(rest) <= LONGEST_REST and rest.startswith(b" HTTP/1.1\r\n") and rest.find(b"\r\n\r\n") == len(rest) - 4:
            self._rest = rest if data.startswith(b"GET " + self.url) else b""

    def _read_again(self, data: bytes) -> bool:
        """Callers send the same fields again and again: of a GET that differs from the last one in nothing but its target, only that is
        read. Byte for byte equal to what the parser has taken for one whole head, nobody can read it otherwise.
        """
        target = data[4 : -len(self._rest)]
        if not (self._between and data.startswith(b"GET ") and _TARGET.fullmatch(target)):
            return False
        if not self._ready() or not self._write_at_once(False, target):
            return False
        self.on_response_complete()
        return True

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._between = False
        self._in_head, self._head, self._idle_since = True, 0, None

    def on_header(self, name: bytes, value: bytes) -> None:
        """As uvicorn's, without another call. A trailer is read by nobody."""
        if self._in_head:
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._end()
        self._in_head, self._idle_since = False, None
        if len(self.url) + sum(len(k) + len(v) + 4 for k, v in self.headers) > MAX_HEAD_BYTES:
            self._refusal = HeadTooLarge()
            raise self._refusal
        names = [name for name, _ in self.headers]
        old = self.parser.get_http_version() == "1.0"
        if (
            names.count(b"host") != 1 if not old else b"transfer-encoding" in names
        ):  # RFC 9112 §3.2 and §6.1: whose request it is, where it ends
            raise RuntimeError("a head that others may read in another way")
        if b"content-length" not in names and b"transfer-encoding" not in names and self._answer_at_once():
            return
        if len(self.pipeline) >= PIPELINE:
            raise RuntimeError("a longer pipeline than is served")
        super().on_headers_complete()
        if self.pipeline and self.scope["method"] in READS:
            self.flow.resume_reading()  # else nobody would see the connection end while its requests wait

    def _answer_at_once(self) -> bool:
        """Where nothing is under way before it, a read without a body is answered here, if the application can say what without waiting."""
        method = self.parser.get_method()
        if (
            not self._ready()
            or method not in (b"GET", b"HEAD")
            or self._answered >= PIPELINE
            or self.parser.get_http_version() != "1.1"
            or not self.parser.should_keep_alive()
            or self.parser.should_upgrade()
        ):
            return False
        self._fields, self._rest = Fields(self.headers), b""
        if not self._write_at_once(method == b"HEAD", self.url):
            return False
        self._answered += 1
        self._whole = True
        return True

    def _ready(self) -> bool:
        before = cast("RequestResponseCycle | None", self.cycle)
        return self._at_once is not None and self._accepting and (before is None or before.response_complete) and not self.flow.write_paused

    def _write_at_once(self, head: bool, target: bytes) -> bool:
        if self._at_once is None:
            return False
        dated = self.server_state.default_headers
        if dated is not self._dated:
            self._dated, self._date = dated, b"".join([b"%s: %s\r\n" % each for each in dated])
        peer = self.client[0] if self.client else ""
        answer = self._at_once(head, target, self._fields, peer, self._date)
        if answer is None:
            return False
        if isinstance(answer, Paced) and not (isinstance(self.config, EdgeConfig) and self.config.exempt(peer)):
            self._calm = self.loop.time() + answer.hold  # a proxy's connection carries what others ask, too
        self.transport.write(answer)
        return True

    def _listen(self) -> None:
        data, self._left, self._holding = self._left, b"", None
        if not self.transport.is_closing() and not self._deaf:
            self.flow.resume_reading()
            self._read(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self._unread or self.loop.call_later(self.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def on_message_complete(self) -> None:
        self._completed = self._between = True
        if self._whole:
            self._whole = False
            self.on_response_complete()
            return
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn's, but for the timer of an idle connection: it outlives requests, and looks itself how long there was none."""
        self.server_state.total_requests += 1
        if self._working is not None:
            self._critical = CRITICAL in self._working[0].scope["state"]
        if self.transport.is_closing():
            self._flush()
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._idle_since = self.loop.time()
            if self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        """Only another request ends that time: the rest of an answered one's body, or empty lines, could come for ever."""

    def _should_upgrade(self) -> bool:
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """Whoever asks for another protocol is answered in this one (RFC 9110 §7.8): some clients do so each time."""

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return  # the end of what is under way begins anew
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        elif not self.transport.is_closing():
            self.transport.close()
            self._flush()

    def _flush(self) -> None:
        """A closed connection ends when all is sent; of a caller who does not read, after `write_seconds`."""
        if self._unread is None and self.transport.get_write_buffer_size():
            self._unread = self.loop.call_later(self.write_seconds, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        self._refuse(
            self._refusal or errors.InvalidRequest(where="request", expected="a well-formed HTTP/1.1 request", got="something else")
        )

    def _begin(self) -> None:
        self._timer = self.loop.call_later(self.head_seconds, self._late)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self._refuse(RequestTooSlow())

    def _refuse(self, error: TillgateError) -> None:
        """No flight is open yet: the trace id leads to the log line. Requests before it that wait get their answers instead."""
        self._end()
        if self._working is not None and not self.cycle.response_complete and (self.pipeline or not self.cycle.more_body):
            self._deaf = True
            self.cycle.keep_alive = False
            return
        trace_id = secrets.token_hex(16)
        log.info("request_refused", trace_id=trace_id, code=error.code, peer=self.client[0] if self.client else "")
        status, body = problems.status_of(error), problems.encode(error, trace_id)
        fields = {
            **problems.headers(error),
            "content-type": problems.MEDIA_TYPE,
            "content-length": str(len(body)),
            "cache-control": "no-store",
            "connection": "close",
        }
        head = [f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}", *(f"{k}: {v}" for k, v in fields.items())]
        self.transport.write("\r\n".join([*head, "", ""]).encode("latin-1") + body)
        self.transport.close()
        self._flush()
