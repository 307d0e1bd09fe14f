"""What pika's exceptions mean: the table that translates them into the error tree, once."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any

from pika import exceptions as pika
from pika.adapters.utils import connection_workflow as workflow

from adapters.wire import ConnectTimeout, NameNotResolved, TlsFailed
from contracts.errors import ConnectFailed, ConnectionLost, ContractViolation, UpstreamBusy, UpstreamError, UpstreamFault, UpstreamTimeout

SYSTEM = "broker"


def translated(error: BaseException, operation: str, *, sent: bool) -> UpstreamError:
    """`sent`: whether the broker may have acted. Before a connection stands everything is a failure to connect."""
    cause = innermost(error)
    if isinstance(cause, UpstreamError):
        return cause
    reason = _reason(cause)
    if operation == "connect":
        kind = next((made for kinds, made in _CONNECTING if isinstance(cause, kinds)), ConnectFailed)
        return kind(system=SYSTEM, operation=operation, reason=reason, sent=False)
    for kinds, make in _OPEN:
        if isinstance(cause, kinds):
            return make(cause, operation, reason, sent)
    return ConnectionLost(system=SYSTEM, operation=operation, reason=reason, sent=sent)


def innermost(error: BaseException) -> BaseException:
    """pika wraps what happened up to three times while it connects."""
    for _ in range(8):
        match error:
            case workflow.AMQPConnectionWorkflowFailed(exceptions=(*_, last)):
                error = last
            case workflow.AMQPConnectorPhaseErrorBase(exception=BaseException() as inner):
                error = inner
            case pika.AMQPConnectionError(args=(BaseException() as inner, *_)):
                error = inner
            case _:
                break
    return error


_CONNECTING: tuple[tuple[tuple[type[BaseException], ...], type[UpstreamError]], ...] = (
    ((socket.gaierror,), NameNotResolved),
    ((ssl.SSLError, ssl.CertificateError), TlsFailed),
    ((TimeoutError, workflow.AMQPConnectorStackTimeout), ConnectTimeout),
)
"""All others are `ConnectFailed`: refused, unreachable, credentials or vhost not accepted."""


def _fault(error: Any, operation: str, reason: str, sent: bool) -> UpstreamError:
    return UpstreamFault(system=SYSTEM, operation=operation, fault_code=str(error.reply_code), reason=reason, sent=sent)


def _forced(error: Any, operation: str, reason: str, sent: bool) -> UpstreamError:
    """320: the broker shuts down, or an operator closed the connection."""
    if error.reply_code == 320:
        return ConnectionLost(system=SYSTEM, operation=operation, reason=reason, sent=sent)
    return _fault(error, operation, reason, sent)


def _timeout(error: Any, operation: str, reason: str, sent: bool) -> UpstreamError:
    return UpstreamTimeout(system=SYSTEM, operation=operation, reason=reason, sent=sent)


def _unsendable(error: Any, operation: str, reason: str, sent: bool) -> UpstreamError:
    return ContractViolation(
        system=SYSTEM, operation=operation, where="properties", expected="what AMQP 0-9-1 can carry", got=reason, reason=reason, sent=False
    )


_OPEN: tuple[tuple[tuple[type[BaseException], ...], Callable[[Any, str, str, bool], UpstreamError]], ...] = (
    ((pika.ChannelClosedByBroker,), _fault),
    ((pika.ConnectionClosedByBroker,), _forced),
    ((TimeoutError,), _timeout),
    ((pika.ShortStringTooLong, pika.UnsupportedAMQPFieldException, pika.InvalidFieldTypeException), _unsendable),
)
"""All others end the connection: `ConnectionLost`."""


def refused(operation: str, reason: str, *, sent: bool) -> UpstreamBusy:
    return UpstreamBusy(system=SYSTEM, operation=operation, reason=reason, sent=sent)


def unroutable(key: str, exchange: str) -> UpstreamFault:
    """312 is AMQP's own code for it."""
    return UpstreamFault(system=SYSTEM, operation="publish", fault_code="312", reason=f"no queue of {exchange} asks for {key}", sent=False)


def _reason(error: BaseException) -> str:
    match error:
        case pika.ProbableAuthenticationError() | pika.AuthenticationError():
            return "user or password not accepted"
        case pika.ProbableAccessDeniedError():
            return f"no access to the vhost: {_words(error)}"
        case pika.IncompatibleProtocolError():
            return "this is no AMQP 0-9-1 broker"
        case pika.ChannelClosed() | pika.ConnectionClosed():
            return f"{error.reply_text} ({error.reply_code})"[:300]
        case TimeoutError():
            return "no answer in time"
        case _:
            return _words(error)


def _words(error: BaseException) -> str:
    text = " ".join(str(a) for a in error.args) or type(error).__name__
    return " ".join(text.split())[:300]
