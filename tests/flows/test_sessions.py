"""Sessions of the console: who gets in, what ends them, and that no form works without the token of its session."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import msgspec
import pytest

from contracts.policy import Duration
from gateway.edge.sessions import IDLE, LIFETIME, MOST
from gateway.estate import Estate, Quota, QuotaPolicy
from tests.products import Live, running

pytestmark = pytest.mark.slow

OPERATOR = ("admin:read", "admin:write")


@dataclass
class Clock:
    ahead: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def live(tmp_path: Path, clock: Clock) -> AsyncIterator[Live]:
    async with running(tmp_path, now=clock) as live:
        await live.client("ops", OPERATOR)
        await live.client("reader", ("admin:read",))
        yield live


def browser(live: Live) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=live.base)


async def signed_in(http: httpx.AsyncClient, path: str = "/console/systems") -> bool:
    answer = await http.get(path)
    to = f"/console/login?to={quote(path, safe='')}"
    assert (answer.status_code, answer.headers.get("location", "")) in ((200, ""), (303, to))
    return answer.status_code == 200


async def form(http: httpx.AsyncClient, page: str = "/console/clients") -> dict[str, str]:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', (await http.get(page)).text)
    assert found
    return {"csrf": found[1]}


async def log(live: Live, client: str) -> list[tuple[str, str]]:
    found = await live.product.current.services.audit.read(100, client=client)
    return [(e.what, e.detail.get("code", "")) for e in found]


async def test_signing_in_and_out_is_in_the_audit_log_and_an_old_cookie_is_of_no_use(live: Live, tmp_path: Path) -> None:
    async with browser(live) as http:
        answer = await live.sign_in("ops", http)
        assert (answer.status_code, answer.headers["location"]) == (303, "/console")
        cookie = answer.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict", "Path=/console"} <= {part.strip() for part in cookie.split(";")}
        assert live.keys["ops"].split("_", 2)[2] not in cookie
        assert await signed_in(http)
        kept = dict(http.cookies)
        left = await http.post("/console/logout", data=await form(http))
        assert left.headers["location"] == "/console/login"
        assert not await signed_in(http)
        http.cookies.update(kept)
        assert not await signed_in(http)
    assert [what for what, _ in await log(live, "ops")] == ["session.ended", "session.opened"]
    assert kept["tillgate_session"].encode() not in b"".join(p.read_bytes() for p in (tmp_path / "data").rglob("*") if p.is_file())


async def test_whoever_signs_in_goes_on_to_the_page_they_came_for_and_never_to_another_site(live: Live) -> None:
    wanted = "/console/flights?outcome=bad&since=2026-03-11T10:42:02Z"
    async with browser(live) as http:
        asked = await http.get(wanted)
        assert asked.headers["location"] == f"/console/login?to={quote(wanted, safe='')}"
        page = await http.get(asked.headers["location"])
        assert f'name="to" value="{wanted.replace("&", "&amp;")}"' in page.text
        token = re.search(r'name="csrf" value="([0-9a-f]{64})"', page.text)
        assert token
        for to, there in (("//evil.example/console/x", "/console"), ("https://evil.example/", "/console"), (wanted, wanted)):
            answer = await http.post("/console/login", data={"key": live.keys["ops"], "csrf": token[1], "to": to})
            assert answer.headers["location"] == there


async def test_a_link_on_another_site_finds_whoever_is_signed_in(live: Live) -> None:
    from_chat = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    async with browser(live) as http:  # a strict cookie does not come along
        answer = await http.get("/console/incidents/INC-20260311-0007?a=1&b=2", headers=from_chat)
        assert '<meta http-equiv="refresh" content="0; url=/console/incidents/INC-20260311-0007?a=1&amp;b=2">' in answer.text
        assert "set-cookie" not in answer.headers


async def test_every_form_wants_the_token_of_its_own_session(live: Live) -> None:
    async with browser(live) as mine, browser(live) as theirs:
        await live.sign_in("ops", mine)
        await live.sign_in("ops", theirs)
        stolen = await form(theirs)
        for data in ({"other": "1"}, {"csrf": ""}, {"csrf": "0" * 64}, {"csrf": "é"}, stolen):
            for path in ("/console/clients/demo-web/suspend", "/console/logout"):
                refused = await mine.post(path, data=data)
                assert refused.status_code == 403
                assert "not given to this session" in refused.text
        from_elsewhere = await mine.post("/console/logout", data=await form(mine), headers={"Sec-Fetch-Site": "cross-site"})
        assert from_elsewhere.status_code == 403
        assert await signed_in(mine)
        assert not (await live.product.books.clients.get("demo-web")).suspended  # type: ignore[union-attr]  # the demo has made it
    assert ("denied", "forbidden") in await log(live, "ops")


async def test_signing_in_wants_the_form_that_it_was_given(live: Live) -> None:
    async with browser(live) as http, browser(live) as other:
        foreign = await form(other, "/console/login")
        await http.get("/console/login")
        for data in ({}, foreign):
            refused = await http.post("/console/login", data={"key": live.keys["ops"], **data})
            assert refused.status_code == 403
        assert "tillgate_session" not in http.cookies


async def test_keys_that_do_not_open_the_console_are_denied_and_attempts_are_limited_by_address(tmp_path: Path) -> None:
    def narrow(estate: Estate) -> Estate:
        few = Quota(policies=(QuotaPolicy(name="few", requests=4, window=Duration(3600)),))
        return msgspec.structs.replace(estate, quota={**estate.quota, "anonymous": few})

    async with running(tmp_path, change=narrow) as live, browser(live) as http:
        assert (await live.sign_in("web", http)).status_code == 403
        assert (await live.sign_in(f"tg_{'a' * 8}_{'x' * 43}", http)).status_code == 401
        assert [(await live.sign_in("nonsense", http)).status_code for _ in range(3)] == [401, 401, 429]
        refused = await live.sign_in("operator", http)
        assert refused.status_code == 429, "the right key too: who guesses learns nothing"
        assert refused.headers["retry-after"]
        codes = {code for what, code in await log(live, "127.0.0.1") if what == "denied"}
        assert codes == {"forbidden", "unauthenticated", "abnormal_usage"}


async def test_session_ends_with_the_rights_that_opened_it(live: Live, clock: Clock) -> None:
    books = live.product.books.clients
    ends = ("suspended", "scope", "key", "removed", "expired")
    async with AsyncExitStack() as stack:
        sessions = {end: await stack.enter_async_context(browser(live)) for end in ends}
        for end, http in sessions.items():
            await live.client(f"g-{end}", OPERATOR, expires_at=clock() + timedelta(minutes=30))
            await live.sign_in(f"g-{end}", http)
            assert await signed_in(http)
        guests = {end: found for end in ends if (found := await books.get(f"g-{end}"))}
        await books.put(msgspec.structs.replace(guests["suspended"], suspended=True))
        await books.put(msgspec.structs.replace(guests["scope"], scopes=("admin:read",)))
        await books.end_key("g-key", live.keys["g-key"].split("_")[1], clock(), [])
        await books.remove("g-removed", [])
        assert {end: await signed_in(http) for end, http in sessions.items()} == {end: end == "expired" for end in ends}
        await books.put(guests["suspended"])
        assert not await signed_in(sessions["suspended"]), "what has ended stays ended"
        clock.ahead = timedelta(minutes=31)
        assert not await signed_in(sessions["expired"])


async def test_session_ends_when_nobody_looks_and_in_any_case_after_a_working_day(live: Live, clock: Clock) -> None:
    async with browser(live) as idle, browser(live) as busy:
        await live.sign_in("ops", idle)
        await live.sign_in("ops", busy)
        for _ in range(4):
            clock.ahead += IDLE / 2
            assert await signed_in(busy)
            refreshed = await idle.get("/console/systems", headers={"X-Refresh": "1"})
            assert refreshed.status_code == (200 if clock.ahead < IDLE else 303)
        clock.ahead = LIFETIME
        assert not await signed_in(busy)


async def test_client_has_so_many_sessions_and_no_more(live: Live) -> None:
    async with browser(live) as first:
        await live.sign_in("ops", first)
        for _ in range(MOST):
            async with browser(live) as http:
                assert (await live.sign_in("ops", http)).status_code == 303
        assert not await signed_in(first)


async def test_operator_suspends_resumes_and_ends_a_key_and_a_reader_cannot(live: Live) -> None:
    prefix = live.keys["web"].split("_")[1]
    async with browser(live) as http:
        await live.sign_in("ops", http)
        page = await http.get("/console/clients/demo-web")
        assert f"tg_{prefix}_…" in page.text
        assert live.keys["web"] not in page.text
        done = await http.post("/console/clients/demo-web/suspend", data=await form(http))
        assert (done.status_code, done.headers["location"]) == (303, "/console/clients/demo-web")
        assert "suspended" in (await http.get("/console/clients/demo-web")).text
        assert (await http.post("/console/clients/demo-web/resume", data=await form(http))).status_code == 303
        assert (await http.post(f"/console/clients/demo-web/keys/{prefix}/end", data=await form(http))).status_code == 303
        assert (await http.post(f"/console/clients/demo-web/keys/{prefix}/end", data=await form(http))).status_code == 409
        assert (await http.post("/console/clients/nobody/suspend", data=await form(http))).status_code == 404
        assert (await http.post("/console/clients/ops/suspend", data=await form(http))).status_code == 409
        audit = (await http.get("/console/audit?client=demo-web")).text
        assert audit.index("key ended") < audit.index("client resumed") < audit.index("client suspended")
        assert (await http.get("/console/audit?cursor=nonsense")).status_code == 400
    async with browser(live) as http:
        await live.sign_in("reader", http)
        assert "/suspend" not in (await http.get("/console/clients/demo-web")).text
        refused = await http.post("/console/clients/demo-web/suspend", data=await form(http))
        assert refused.status_code == 403
        assert "admin:write" in refused.text


async def test_forms_are_bounded_and_plain(live: Live) -> None:
    async with browser(live) as http:
        await live.sign_in("ops", http)
        token = await form(http)
        many = "&".join(f"a{n}=1" for n in range(50))
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        assert (await http.post("/console/logout", content=many, headers=kind)).status_code == 400
        assert (await http.post("/console/logout", content="a=" + "x" * 10_000, headers=kind)).status_code == 413
        assert (await http.post("/console/logout", json=token)).status_code == 415
        assert await signed_in(http)


async def test_over_tls_the_cookie_belongs_to_this_host_alone(tmp_path: Path) -> None:
    def https(estate: Estate) -> Estate:
        return msgspec.structs.replace(estate, edge=msgspec.structs.replace(estate.edge, https=True))

    async with running(tmp_path, change=https) as live:
        form = await live.http.get("/console/login")
        value = form.headers["set-cookie"].partition(";")[0]
        assert value.startswith("__Host-tillgate_sign_in=")
        token = re.search(r'name="csrf" value="([0-9a-f]+)"', form.text)
        assert token
        data = {"key": live.keys["operator"], "csrf": token[1]}
        answer = await live.http.post("/console/login", data=data, headers={"Cookie": value})
        parts = {part.strip() for part in answer.headers["set-cookie"].split(";")}
        assert any(part.startswith("__Host-tillgate_session=") for part in parts)
        assert {"Secure", "HttpOnly", "SameSite=strict", "Path=/"} <= parts
