"""Each case can fail: connections, mappings and declarations that are wrong on purpose."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace as changed
from typing import Any

import pytest
from msgspec.structs import replace

from adapters.driver import Connection, Reply
from adapters.rest.contract import RestContract
from adapters.rest.driver import RestConnection
from adapters.soap.contract import SoapContract
from adapters.soap.driver import SoapConnection
from contracts.call import Call
from contracts.errors import UpstreamBusy, UpstreamError, UpstreamFault
from contracts.policy import Breaker, Duration
from gateway.bootstrap import Checked, types
from gateway.proof import catalogue
from gateway.proof.lab import Lab
from gateway.proof.run import Result, prove
from mappings.language import load

pytestmark = [pytest.mark.slow, pytest.mark.alone]


class Real:
    """The driver's own connection, and where a bad one begins."""

    def __init__(self, cut: Checked, system: str) -> None:
        self.cut, self.system = cut, system
        self.real = self.made()

    def made(self) -> Connection:
        contract, options, endpoint = (
            self.cut.contracts[self.system],
            self.cut.options[self.system],
            self.cut.estate.system[self.system].endpoint,
        )
        if isinstance(contract, SoapContract):
            return SoapConnection(self.system, contract, endpoint, options, connections=200)
        assert isinstance(contract, RestContract)
        return RestConnection(self.system, endpoint, contract, options, connections=200)

    async def start(self) -> None:
        await self.real.start()

    async def close(self) -> None:
        await self.real.close()

    async def call(self, operation: str, request: Mapping[str, Any], call: Call, seconds: float, *more: Any) -> Reply:
        return await self.real.call(operation, request, call, seconds, *more)


class Insistent(Real):
    async def call(self, operation: str, request: Mapping[str, Any], call: Call, seconds: float, *more: Any) -> Reply:
        try:
            return await super().call(operation, request, call, seconds, *more)
        except UpstreamError:
            return await super().call(operation, request, call, seconds, *more)


class Swallowing(Real):
    async def call(self, operation: str, request: Mapping[str, Any], call: Call, seconds: float, *more: Any) -> Reply:
        try:
            return await super().call(operation, request, call, seconds, *more)
        except UpstreamError:
            return Reply(())


class Leaking(Real):
    async def call(self, operation: str, request: Mapping[str, Any], call: Call, seconds: float, *more: Any) -> Reply:
        try:
            return await super().call(operation, request, call, seconds, *more)
        except UpstreamError as error:
            raise RuntimeError("a foreign exception") from error


class Deaf(Real):
    calling: asyncio.Future[Reply] | None = None

    async def call(self, operation: str, request: Mapping[str, Any], call: Call, seconds: float, *more: Any) -> Reply:
        self.calling = asyncio.ensure_future(super().call(operation, request, call, 3.0, *more))
        return await asyncio.shield(self.calling)

    async def close(self) -> None:
        if self.calling is not None:
            self.calling.cancel()
            await asyncio.wait([self.calling])
        await super().close()


class Blocking(Real):
    async def call(self, operation: str, request: Mapping[str, Any], call: Call, seconds: float, *more: Any) -> Reply:
        time.sleep(1.2)  # noqa: ASYNC251 - this is what it does wrong
        return await super().call(operation, request, call, seconds, *more)


class Forgetful(Real):
    async def call(self, operation: str, request: Mapping[str, Any], call: Call, seconds: float, *more: Any) -> Reply:
        one = self.made()
        await one.start()
        try:
            return await one.call(operation, request, call, seconds, *more)
        finally:
            await one.close()


class Hasty(Real):
    async def call(self, operation: str, request: Mapping[str, Any], call: Call, seconds: float, *more: Any) -> Reply:
        try:
            return await super().call(operation, request, call, seconds, *more)
        except UpstreamBusy as error:
            raise UpstreamFault(system=error.system, operation=error.operation) from error


class Doubling(Real):
    async def call(self, operation: str, request: Mapping[str, Any], call: Call, seconds: float, *more: Any) -> Reply:
        both = [self.real.call(operation, request, call, seconds, *more) for _ in range(2)]
        return (await asyncio.gather(*both))[0]


class Remembering(Real):
    """Answers what it was answered first."""

    first: Reply | None = None

    async def call(self, operation: str, request: Mapping[str, Any], call: Call, seconds: float, *more: Any) -> Reply:
        reply = await super().call(operation, request, call, seconds, *more)
        self.first = self.first or reply
        return self.first


class Picky(Remembering):
    async def call(self, operation: str, request: Mapping[str, Any], call: Call, seconds: float, *more: Any) -> Reply:
        known = self.first is not None
        reply = await super().call(operation, request, call, seconds, *more)
        if known:
            raise UpstreamFault(system=self.system, operation=operation)
        return reply


class Repeating(Real):
    """Every page comes twice."""

    async def call(self, operation: str, request: Mapping[str, Any], call: Call, seconds: float, *more: Any) -> Reply:
        reply = await super().call(operation, request, call, seconds, *more)
        return Reply(reply.documents * 2) if operation == "findOrders" else reply


async def case(checked: Checked, system: str, name: str, bad: type[Real] | None = None) -> Result:
    lab = Lab(checked, system, {}, connections=(lambda cut: {system: bad(cut, system)}) if bad else (lambda _: {}))
    [result] = (await prove(checked, system, environment={}, only=[name], lab=lab)).results
    return result


def policies(checked: Checked, change: Callable[[Any], Any]) -> Checked:
    operations = {name: replace(o, policy=change(o.policy)) for name, o in checked.estate.operation.items()}
    return changed(checked, estate=replace(checked.estate, operation=operations))


def quick(checked: Checked) -> Checked:
    return policies(checked, lambda p: replace(p, deadline=Duration(0.3), breaker=replace(p.breaker, open_for=Duration(0.3))))


def mapped(checked: Checked, path: str, old: str, new: str) -> Checked:
    """The estate with one mapping changed."""
    text = (checked.root / path).read_text(encoding="utf-8")
    assert old in text

    def exchange(reference: str) -> Any:
        system, _, operation = reference.partition(".")
        return checked.contracts[system].exchange(operation)

    return changed(checked, mappings={**checked.mappings, path: load(text.replace(old, new), path, exchange, types())})


BAD: list[tuple[type[Real], str, dict[str, str]]] = [
    (
        Swallowing,
        "oms",
        {
            "refuse": "expected ConnectFailed, got 0 rows",
            "hang": "expected OutcomeUnknown, got 0 rows",
            "error": "expected UpstreamFault, got 0 rows",
            "refusal": "expected UpstreamRejected, got 0 rows",
            "truncate": "expected ContractViolation, got 0 rows",
            "garbage": "expected ContractViolation, got 0 rows",
            "wrong_type": "expected ContractViolation, got 0 rows",
            "drop": "expected ConnectionLost, got 0 rows",
            "reset": "expected ConnectionLost, got 0 rows",
            "trickle": "expected OutcomeUnknown, got 0 rows",
            "oversized": "expected ContractViolation, got 0 rows",
            "statuses": "HTTP 400: 0 rows",
            "breaker": "the breaker is still closed",
            "half_open": "the breaker is still closed",
            "stale": "the rows are not those",
            "not_sent": "nothing could be sent, so nothing is in doubt; got 0 rows",
            "credentials": "expected CredentialsRefused, got 0 rows",
        },
    ),
    (Swallowing, "erp", {"empty": "expected ContractViolation, got 0 rows", "fault_in_200": "expected UpstreamFault, got 0 rows"}),
    (Leaking, "oms", {"statuses": "RuntimeError escaped", "repeat": "RuntimeError escaped"}),
    (Deaf, "oms", {"cancel": "goes on at the system"}),
    (Blocking, "oms", {"deadline": "expected within 0.4 s, it took"}),
    (Forgetful, "oms", {"reuse": "connections for 10 calls"}),
    (Forgetful, "erp", {"session": "20 callers at once caused 20 logins"}),
    (Hasty, "oms", {"429": "asked to wait for 1 s, the next call came after"}),
    (Doubling, "oms", {"load": "calls at once, declared are", "repeat": "expected one repetition, the system saw"}),
    (
        Insistent,
        "oms",
        {
            "written_once": "the system carried it out 2 times",
            "asked_back": "expected OutcomeUnknown, got 1 row",
            "refusal": "a refusal was asked again",
            "credentials": "knocked 6 times",
        },
    ),
    (
        Remembering,
        "oms",
        {
            "missing_required": "expected a refusal with the place, got",
            "wrong_value": "expected a refusal with the place, got",
            "unknown_enum": "without a word",
            "extra": "nobody counted it",
        },
    ),
    (
        Picky,
        "oms",
        {
            "missing_optional": "expected rows, or a refusal",
            "nothing_in_it": "expected rows, or a refusal",
            "duplicate": "expected rows or a refusal",
            "reorder": "rows, got",
        },
    ),
    (Repeating, "oms", {"answers": "the rows are not those that the mapping reads"}),
]


@pytest.mark.parametrize(
    ("bad", "system", "name", "said"), [(bad, system, name, said) for bad, system, cases in BAD for name, said in cases.items()]
)
async def test_a_case_fails_in_front_of_a_connection_that_does_this_wrong(
    reference: Checked, bad: type[Real], system: str, name: str, said: str
) -> None:
    result = await case(quick(reference) if name in ("hang", "trickle") else reference, system, name, bad)
    assert result.verdict == "fail"
    assert said in result.came


@pytest.mark.slow
@pytest.mark.parametrize("system", ["oms", "erp"])
async def test_every_case_holds_in_front_of_the_drivers_own_connection(reference: Checked, system: str) -> None:
    """What fails above fails because of what is wrong there."""
    lab = Lab(reference, system, {}, connections=lambda cut: {system: Real(cut, system)})
    proof = await prove(lab.checked, system, environment={}, lab=lab)
    assert [(r.case, r.came) for r in proof.failed] == []


def test_every_case_is_shown_to_be_able_to_fail() -> None:
    shown = {name for _, _, cases in BAD for name in cases}
    assert {c.name for c in catalogue.CASES} <= shown


async def test_an_operation_whose_deadline_nobody_waits_for_fails(reference: Checked) -> None:
    patient = policies(reference, lambda p: replace(p, deadline=Duration(600)))
    result = await case(patient, "oms", "hang")
    assert result.verdict == "fail"
    assert "declares a deadline of 600 s" in result.came


async def test_a_write_that_is_declared_idempotent_and_is_not_fails(reference: Checked) -> None:
    repeated = policies(reference, lambda p: replace(p, idempotent=True))
    result = await case(repeated, "oms", "written_once")
    assert (result.verdict, "carried it out 2 times" in result.came or "3 times" in result.came) == ("fail", True)


async def test_a_create_without_a_find_beside_it_fails(reference: Checked) -> None:
    operations = {name: o for name, o in reference.estate.operation.items() if name != "oms.findOrders"}
    result = await case(changed(reference, estate=replace(reference.estate, operation=operations)), "oms", "asked_back")
    assert result.verdict == "fail"
    assert "no operation of this system provides order.find" in result.came


SWALLOWED = """state = "'cancelled' if state == 'CANCELLED' else 'open'\""""


async def test_codes_that_are_swallowed_fail(reference: Checked) -> None:
    old = (reference.root / "mappings/oms/create_order.answer.toml").read_text(encoding="utf-8")
    line = next(each for each in old.splitlines() if each.startswith("state "))
    swallowing = mapped(
        reference, "mappings/oms/create_order.answer.toml", line, "state = \"'cancelled' if state == 'CANCELLED' else 'open'\""
    )
    result = await case(swallowing, "oms", "unknown_enum")
    assert result.verdict == "fail"
    assert "without a word" in result.came


async def test_a_login_whose_end_nobody_declares_fails(reference: Checked) -> None:
    options = {**reference.options, "erp": replace(reference.options["erp"], meanings=())}
    result = await case(changed(reference, options=options), "erp", "session")
    assert result.verdict == "fail"
    assert "which answers mean that it has ended" in result.came


async def test_a_breaker_that_never_opens_fails(reference: Checked) -> None:
    never = policies(quick(reference), lambda p: replace(p, breaker=Breaker(minimum_calls=100_000)))
    result = await case(never, "oms", "breaker")
    assert result.verdict == "fail"
    assert "still closed (minimum_calls = 100000)" in result.came


async def test_an_operation_that_nothing_can_be_known_of_fails_and_says_what_to_add(reference: Checked) -> None:
    path = "mappings/oms/get_order.answer.toml"
    text = (reference.root / path).read_text(encoding="utf-8")
    bare = mapped(reference, path, text[text.index("[[example]]") :], "")
    assert (await case(bare, "oms", "answers")).verdict == "pass", "made from the contract and from what the mapping's functions can read"
    refusing = mapped(reference, path, text[text.index("[[example]]") :], "[[refuse]]\nwhen = 'orderNo is not None'\n")
    result = await case(refusing, "oms", "answers")
    assert result.verdict == "fail"
    assert "oms.getOrder: no answer is known that the mapping reads into a row; give it an example" in result.came


async def test_what_the_estate_does_not_have_is_not_applicable_with_the_reason(reference: Checked) -> None:
    result = await case(reference, "oms", "session")
    assert (result.verdict, result.came) == ("not applicable", "the estate declares no session")
    result = await case(
        policies(reference, lambda p: replace(p, freshness=replace(p.freshness, stale_if_error=Duration(0)))), "oms", "stale"
    )
    assert (result.verdict, result.came) == ("not applicable", "no operation declares stale_if_error")


async def test_a_system_without_credentials_cannot_have_them_refused(reference: Checked) -> None:
    options = {**reference.options, "oms": replace(reference.options["oms"], auth=None)}
    result = await case(changed(reference, options=options), "oms", "credentials")
    assert (result.verdict, result.came) == ("not applicable", "the estate declares no credentials")


async def test_retries_that_are_declared_away_are_not_missed(reference: Checked) -> None:
    once = policies(reference, lambda p: replace(p, retry=replace(p.retry, attempts=1)))
    for name in ("repeat", "429"):
        assert (await case(once, "oms", name)).verdict == "pass"
