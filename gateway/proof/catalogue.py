"""The catalogue for systems that are called: what is done to them, and what is expected."""

from __future__ import annotations

from typing import Final

from contracts.errors import (
    ConnectFailed,
    ConnectionLost,
    ContractViolation,
    DeadlineExceeded,
    OutcomeUnknown,
    UpstreamFault,
    UpstreamTimeout,
)
from gateway.proof import spoil
from gateway.proof.case import Case
from gateway.proof.cases import altered, failing, sessions, waiting, writing
from gateway.proof.cases.altered import changed
from gateway.proof.cases.failing import broken

_DOUBT: Final = (OutcomeUnknown,)

CASES: Final[tuple[Case, ...]] = (
    Case("answers", "bronze", "every operation is asked, and answered as its contract says", "the rows of its mapping", failing.answers),
    Case("refuse", "bronze", "nothing listens", "unreachable, in time; a write is not in doubt",
         broken("refuse", (ConnectFailed,), (ConnectFailed,))),
    Case("hang", "bronze", "the request is read and never answered", "a timeout at the declared deadline; a write is in doubt",
         broken("hang", (UpstreamTimeout, DeadlineExceeded), _DOUBT)),
    Case("error", "bronze", "the system's own error", "the system failed; a write is in doubt", broken("error", (UpstreamFault,), _DOUBT)),
    Case("refusal", "bronze", "a business refusal in the system's form", "refused, and not asked again", failing.refusal),
    Case("truncate", "bronze", "the body ends in the middle", "not half-read", broken("truncate", (ContractViolation,), _DOUBT)),
    Case("garbage", "bronze", "bytes that are nothing", "unusable", broken("garbage", (ContractViolation,), _DOUBT)),
    Case("wrong_type", "bronze", "a proxy's page under HTTP 200", "unusable", broken("wrong_type", (ContractViolation,), _DOUBT)),
    Case("empty", "bronze", "HTTP 200 without a body", "unusable", broken("empty", (ContractViolation,), _DOUBT)),
    Case("missing_required", "bronze", "required fields are left out, one at a time", "refused with the place, or as declared",
         changed(lambda s: s.field.required and s.leaf is not None and s.uses is not None, altered.removals, altered.stops,
                 "no mapped field of an answer is required")),
    Case("wrong_value", "bronze", "numbers, dates and truth values hold a word", "refused with the place",
         changed(lambda s: s.converted, lambda s: [spoil.value("a word")], altered.stops, "no mapped field of an answer has a form")),
    Case("drop", "silver", "the connection is reset before an answer", "lost; a write is in doubt",
         broken("drop", (ConnectionLost,), _DOUBT)),
    Case("reset", "silver", "the connection is reset in the middle of the answer", "lost; a write is in doubt",
         broken("reset", (ConnectionLost,), _DOUBT)),
    Case("trickle", "silver", "the answer comes in drops, for longer than the deadline", "a timeout at the declared deadline",
         broken("trickle", (UpstreamTimeout, DeadlineExceeded), _DOUBT, seconds=failing.longer)),
    Case("oversized", "silver", "an answer without end", "stopped at the limit", broken("oversized", (ContractViolation,), _DOUBT)),
    Case("fault_in_200", "silver", "the protocol's fault under HTTP 200", "the system failed",
         broken("fault_in_200", (UpstreamFault,), _DOUBT)),
    Case("statuses", "silver", "HTTP 400 to 504, one after the other", "an error of ours for each; 404 may mean: no such thing",
         failing.statuses),
    Case("missing_optional", "silver", "optional fields are left out, one at a time", "read without them",
         changed(lambda s: not s.field.required, altered.removals, altered.reads_on, "no field of an answer is optional")),
    Case("nothing_in_it", "silver", "optional fields are missing, empty and nil", "three kinds of nothing, none of them a crash",
         changed(lambda s: not s.field.required and s.leaf is not None and s.uses is not None, altered.not_there, altered.reads_on,
                 "no mapped field of an answer is optional")),
    Case("duplicate", "silver", "a field or row comes twice", "refused, or nothing vanishes without a word",
         changed(lambda s: s.doubles, lambda s: [spoil.twice], altered.once, "no field can come twice")),
    Case("reorder", "silver", "fields come in another order", "the same rows", altered.reorder),
    Case("repeat", "silver", "one connection is lost while reading", "asked a second time, once", waiting.repeats),
    Case("429", "silver", "too many requests, wait for a second", "waited as asked", waiting.retry_after),
    Case("deadline", "silver", "the caller has 0.4 s, the system takes 5 s", "an error when the caller's time is up", waiting.deadline),
    Case("cancel", "silver", "the caller goes away", "the call ends, its place is free, nobody is blamed", waiting.cancel),
    Case("breaker", "silver", "the system fails again and again", "the breaker opens, nothing more is sent", waiting.breaker),
    Case("half_open", "silver", "the system is well again", "trials one by one, then everybody", waiting.half_open),
    Case("stale", "silver", "the system fails after it has answered", "the last answer stands in and says so", waiting.stale),
    Case("reuse", "silver", "calls one after the other; a kept connection is closed", "one connection; no call is lost", waiting.reuse),
    Case("not_sent", "silver", "a write, while nothing listens", "not in doubt, and done once", writing.not_sent),
    Case("unknown_enum", "gold", "codes that nobody knows, one at a time", "refused, or read and counted as drift",
         changed(lambda s: s.coded, lambda s: [spoil.value(spoil.unknown_code(s))], altered.told,
                 "no mapped field of an answer holds codes")),
    Case("extra", "gold", "every record has one more field", "the same rows, and drift is counted", altered.extra),
    Case("session", "gold", "20 callers at once; then the session ends", "one login each time, nothing done twice", sessions.session),
    Case("credentials", "gold", "our credentials are not known", "said so, not tried again", sessions.credentials),
    Case("load", "gold", "four times as many callers as places", "never more calls than declared, all served, other channels in between",
         waiting.load, alone=True),
    Case("written_once", "gold", "a write is done and its answer lost", "in doubt, never sent again", writing.written_once),
    Case("asked_back", "gold", "a write is in doubt", "the system can be asked whether it has it", writing.asked_back),
)  # fmt: skip
