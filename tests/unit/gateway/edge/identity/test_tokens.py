"""Access tokens: what a good one grants, and that whatever else comes is 401 with a reason and without a secret."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk, jwt
from joserfc.jws import JWSRegistry

from adapters.store.driver import open_store
from adapters.store.spec import StoreOptions
from contracts.books import Books, Client
from contracts.errors import Forbidden, KeysUnavailable, TillgateError, Unauthenticated, UpstreamFault
from gateway.edge.identity.authenticator import Authenticator
from gateway.edge.identity.certificates import thumbprint
from gateway.edge.identity.issuer import KeyRing
from gateway.edge.identity.lookups import Lookups
from gateway.edge.identity.principal import Principal
from gateway.edge.identity.scopes import require
from gateway.edge.identity.tokens import Tokens
from gateway.estate import ClaimNames, Issuer
from tests.servers import issuer as servers

SHOP = Client(name="shop", channel="web", scopes=("orders:read", "orders:write"), api_version="2026-10-01")
ISSUER = servers.Issuer(url="https://login.example.test/")
for kid, kind in (("k1", "EC"), ("rsa", "RSA"), ("ed", "OKP"), ("k2", "EC")):
    ISSUER.rotate(kid, kind=kind)  # type: ignore[arg-type]  # its words
TERMS = Issuer(url=ISSUER.url, audiences=(servers.AUDIENCE,), algorithms=("ES256", "RS256", "Ed25519"))
CERTIFICATE, OTHER = b"certificate in DER", b"another"


@dataclass
class Bench:
    books: Books
    shown: list[dict[str, Any]] = field(default_factory=ISSUER.jwks)
    """What the issuer publishes; None for nothing at all."""
    away: bool = False
    seconds: float = 0.0
    fetches: int = 0
    ring: KeyRing | None = None

    async def fetch(self) -> list[dict[str, Any]]:
        self.fetches += 1
        if self.away:
            raise UpstreamFault(system="issuer", operation="keys", reason="HTTP 500")
        return self.shown

    def accepting(self, terms: Issuer = TERMS) -> Authenticator:
        self.ring = KeyRing(terms.url, terms.algorithms, self.fetch, 600, lambda: self.seconds)

        def now() -> datetime:
            return datetime.fromtimestamp(time.time() + self.seconds, UTC)

        clients = Lookups(self.books.clients.get, lambda: self.seconds)
        tokens = Tokens([(terms, self.ring)], clients, channels=["web", "store"], newest="2026-10-01", now=now, clock=lambda: self.seconds)
        return Authenticator(self.books, b"p" * 32, tokens=tokens, now=now, clock=lambda: self.seconds)


async def ask(authenticator: Authenticator, token: str, certificate: bytes | None = None) -> Principal:
    return await authenticator.principal({"authorization": f"Bearer {token}"}, certificate)


async def refused(authenticator: Authenticator, token: str, certificate: bytes | None = None) -> str:
    """The public words of the refusal, which hold nothing of the token."""
    with pytest.raises(Unauthenticated) as caught:
        await ask(authenticator, token, certificate)
    public = caught.value.public
    assert caught.value.presented
    assert not any(len(part) >= 12 and part in public for part in token.split("."))
    return public


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Bench]:
    books = open_store(StoreOptions(url=f"sqlite:///{tmp_path}/books.db", source="/test"))
    await books.start()
    await books.clients.put(SHOP)
    yield Bench(books)
    await books.close()


@pytest.mark.parametrize("kid", ["k1", "rsa", "ed"])
async def test_a_good_token_is_its_registered_client_with_no_more_scopes_than_both_have(it: Bench, kid: str) -> None:
    who = await ask(it.accepting(), ISSUER.token(kid, scope="orders:read admin:write sales:read nonsense"))
    assert (who.name, who.channel, who.credential, who.scopes) == ("shop", "web", "token", {"orders:read"})


async def test_without_a_scope_claim_nothing_is_granted(it: Bench) -> None:
    assert (await ask(it.accepting(), ISSUER.token(scope=None))).scopes == frozenset()


async def test_the_issuer_s_words_are_translated_and_ours_then_count_for_nothing(it: Bench) -> None:
    terms = msgspec.structs.replace(
        TERMS, client="azp", scope="roles", scopes={"buyer": ("orders:read", "orders:write"), "boss": ("admin:write",)}
    )
    token = ISSUER.token(client_id=None, azp="shop", scope=None, roles=["buyer", "boss", "orders:read", "else"])
    assert (await ask(it.accepting(terms), token)).scopes == {"orders:read", "orders:write"}
    assert (await ask(it.accepting(terms), ISSUER.token(azp="shop", roles=["orders:read"]))).scopes == frozenset()


async def test_a_token_is_verified_once_and_its_client_looked_up_every_two_seconds(it: Bench) -> None:
    authenticator, token = it.accepting(), ISSUER.token()
    await ask(authenticator, token)
    assert authenticator.known(f"Bearer {token}") is not None
    await it.books.clients.put(msgspec.structs.replace(SHOP, suspended=True))
    it.seconds = 1.9
    assert await ask(authenticator, token)
    it.seconds = 2.0
    assert authenticator.known(f"Bearer {token}") is None
    with pytest.raises(Forbidden, match="suspended"):
        await ask(authenticator, token)
    await it.books.clients.put(msgspec.structs.replace(SHOP, scopes=()))
    it.seconds = 4.0
    assert (await ask(authenticator, token)).scopes == frozenset()
    assert it.fetches == 1


async def test_a_remembered_token_ends_with_its_time_and_with_its_key(it: Bench) -> None:
    authenticator = it.accepting()
    short, long = ISSUER.token(exp=int(time.time()) + 1), ISSUER.token("k1")
    await ask(authenticator, short)
    await ask(authenticator, long)
    it.seconds = 31.5  # leeway included
    assert "expired" in await refused(authenticator, short)
    assert await ask(authenticator, long)
    it.shown = [k for k in it.shown if k["kid"] != "k1"]
    it.seconds = 70
    await refused(authenticator, ISSUER.token(header={"kid": "unknown"}))  # makes it read the keys again
    assert "does not publish" in await refused(authenticator, long)


async def test_a_token_that_was_refused_is_refused_again_without_looking_and_is_looked_at_anew_after_two_seconds(it: Bench) -> None:
    authenticator, early = it.accepting(), ISSUER.token(nbf=time.time() + 40)
    for seconds in (0.0, 1.99):
        it.seconds = seconds
        assert "not valid yet" in await refused(authenticator, early)
    it.seconds = 15  # leeway included
    assert await ask(authenticator, early)


async def test_without_any_key_the_answer_is_that_we_cannot_know(it: Bench) -> None:
    it.away = True
    authenticator = it.accepting()
    for _ in range(20):
        with pytest.raises(KeysUnavailable):
            await ask(authenticator, ISSUER.token())
    assert it.fetches == 1
    it.away, it.seconds = False, 1.0
    assert await ask(authenticator, ISSUER.token())
    it.away, it.seconds = True, 100.0
    assert await ask(authenticator, ISSUER.token()), "an outage later changes nothing"


async def test_a_client_that_is_not_registered_is_nobody_unless_claims_may_describe_it(it: Bench) -> None:
    claims = {"client_id": "app", "channel": "store", "stores": "0001 0002", "scope": "orders:read admin:write"}
    assert "its client 'app' is not registered" in await refused(it.accepting(), ISSUER.token(**claims))
    described = msgspec.structs.replace(TERMS, claims=ClaimNames(channel="channel", stores="stores", quota="tier"))
    who = await ask(it.accepting(described), ISSUER.token(**claims, tier="gold"))
    assert (who.name, who.channel, who.stores, who.quota) == ("app", "store", {"0001", "0002"}, "gold")
    assert who.scopes == {"orders:read"}, "no administration for whom only a token describes"
    assert "not registered" in await refused(it.accepting(described), ISSUER.token(**{**claims, "channel": "nonsense"}, tier="gold"))
    assert "stores" in await refused(it.accepting(described), ISSUER.token(**{**claims, "stores": []}, tier="gold"))
    assert "stores" in await refused(it.accepting(described), ISSUER.token(**{**claims, "stores": None}, tier="gold"))


async def test_stores_of_a_token_narrow_those_of_its_client_and_never_become_all(it: Bench) -> None:
    await it.books.clients.put(msgspec.structs.replace(SHOP, stores=("0001", "0002")))
    authenticator = it.accepting(msgspec.structs.replace(TERMS, claims=ClaimNames(stores="shops")))
    assert (await ask(authenticator, ISSUER.token(shops=["0002", "0003"]))).stores == {"0002"}
    with pytest.raises(Forbidden, match="stores"):
        await ask(authenticator, ISSUER.token(shops=["0003"]))


async def test_an_issuer_speaks_for_the_clients_it_is_declared_for(it: Bench) -> None:
    authenticator = it.accepting(msgspec.structs.replace(TERMS, clients=("partner-*",)))
    assert "speak for this client" in await refused(authenticator, ISSUER.token())
    await it.books.clients.put(msgspec.structs.replace(SHOP, name="partner-1"))
    assert (await ask(authenticator, ISSUER.token(client_id="partner-1"))).name == "partner-1"


async def test_a_bound_token_is_good_with_its_certificate_only_and_is_never_remembered_without(it: Bench) -> None:
    authenticator, token = it.accepting(), ISSUER.token(cnf={"x5t#S256": thumbprint(CERTIFICATE)})
    assert "bound" in await refused(authenticator, token)
    for _ in range(2):
        assert (await ask(authenticator, token, CERTIFICATE)).name == "shop"
    assert authenticator.known(f"Bearer {token}") is None
    for certificate in (None, OTHER, b""):
        assert "bound" in await refused(authenticator, token, certificate)
    strict = it.accepting(msgspec.structs.replace(TERMS, bound=True))
    assert "bound" in await refused(strict, ISSUER.token(), CERTIFICATE)
    assert (await ask(strict, token, CERTIFICATE)).name == "shop"


@pytest.mark.parametrize("cnf", [{"jkt": "x"}, {}, {"x5t#S256": ""}, {"x5t#S256": 5}, {"x5t#S256": thumbprint(CERTIFICATE), "jkt": "x"}])
async def test_a_binding_that_is_not_understood_is_no_binding_at_all(it: Bench, cnf: dict[str, Any]) -> None:
    assert "cnf" in await refused(it.accepting(), ISSUER.token(cnf=cnf), CERTIFICATE)


async def test_a_certificate_names_its_client_where_no_other_credentials_are_sent(it: Bench) -> None:
    authenticator = it.accepting()
    with pytest.raises(Unauthenticated, match="no client here"):
        await authenticator.principal({}, CERTIFICATE)
    await it.books.clients.put(msgspec.structs.replace(SHOP, certificates=(thumbprint(CERTIFICATE),)))
    it.seconds = 2.0
    who = await authenticator.principal({}, CERTIFICATE)
    assert (who.name, who.credential, who.scopes) == ("shop", "certificate", set(SHOP.scopes))
    for site in ("cross-site", "same-site"):
        with pytest.raises(Forbidden, match="another site"):
            await authenticator.principal({"sec-fetch-site": site}, CERTIFICATE)
    assert await authenticator.principal({"sec-fetch-site": "same-origin"}, CERTIFICATE)
    with pytest.raises(Unauthenticated):
        await authenticator.principal({}, OTHER)
    with pytest.raises(Unauthenticated):  # wrong credentials are wrong, whatever comes along
        await authenticator.principal({"authorization": "Bearer x"}, CERTIFICATE)
    await it.books.clients.put(msgspec.structs.replace(SHOP, suspended=True, certificates=(thumbprint(CERTIFICATE),)))
    it.seconds = 4.0
    with pytest.raises(Forbidden) as refused:
        await authenticator.principal({}, CERTIFICATE)
    assert refused.value.client == "shop", "who it is, the audit log shall know"


# ---- what is no good token ----------------------------------------------------------------------------------------

NOW = int(time.time())
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": NOW - 60}, "expired"),
    "no end": ({"exp": None}, "claims cannot be read"),
    "end as text": ({"exp": str(NOW + 60)}, "claims cannot be read"),
    "end as list": ({"exp": [NOW + 60]}, "claims cannot be read"),
    "end true": ({"exp": True}, "claims cannot be read"),
    "not yet": ({"nbf": NOW + 86_400}, "not valid yet"),
    "issued tomorrow": ({"iat": NOW + 86_400}, "not valid yet"),
    "another issuer": ({"iss": "https://login.example.test"}, "not accepted"),
    "no issuer": ({"iss": None}, "claims cannot be read"),
    "issuers": ({"iss": [ISSUER.url]}, "claims cannot be read"),
    "another audience": ({"aud": "https://other.example.test"}, "audience"),
    "audience with more": ({"aud": servers.AUDIENCE + "/"}, "audience"),
    "no audience": ({"aud": None}, "audience"),
    "no audiences": ({"aud": []}, "audience"),
    "odd audience": ({"aud": {"a": 1}}, "claims cannot be read"),
    "no client": ({"client_id": None}, "which client"),
    "odd client": ({"client_id": {"name": "shop"}}, "which client"),
    "long client": ({"client_id": "s" * 300}, "which client"),
    "client with a break": ({"client_id": "shop\nadmin"}, "which client"),
    "unknown client": ({"client_id": "shop2"}, "not registered"),
    "odd scope": ({"scope": 7}, "scope cannot be read"),
    "scopes of all kinds": ({"scope": ["orders:read", 7]}, "scope cannot be read"),
    "too many scopes": ({"scope": " ".join(map(str, range(300)))}, "scope cannot be read"),
    "odd binding": ({"cnf": "x"}, "claims cannot be read"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_claim_that_is_wrong_is_401_and_named(it: Bench, name: str) -> None:
    claims, reason = WRONG[name]
    assert reason in await refused(it.accepting(), ISSUER.token(**claims))


EVIL = jwk.generate_key("EC", "P-256", {"kid": "k1"})
HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "id token": ({"typ": "JWT"}, "at+jwt"),
    "no type": ({"typ": None}, "at+jwt"),
    "logout token": ({"typ": "logout+jwt"}, "at+jwt"),
    "unknown key": ({"kid": "k9"}, "does not publish"),
    "path": ({"kid": "../../../../dev/null"}, "does not publish"),
    "query": ({"kid": "k1' or '1'='1"}, "does not publish"),
    "no key named": ({"kid": None}, "does not publish"),
    "another's key": ({"kid": "k2"}, "signature"),
    "key of another kind": ({"kid": "rsa"}, "signature"),
    "critical": ({"crit": ["b64"], "b64": True}, "crit"),
}


@pytest.mark.parametrize("name", HEADERS)
async def test_a_header_that_is_wrong_is_401_though_its_signature_is_right(it: Bench, name: str) -> None:
    header, reason = HEADERS[name]
    assert reason in await refused(it.accepting(), ISSUER.token("k1", header))


def encoded(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def signed(header: dict[str, Any], key: Any, algorithm: str) -> str:
    registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    return jwt.encode({"typ": "at+jwt", "alg": algorithm, **header}, ISSUER.claims(), key, registry=registry)


def forged() -> dict[str, str]:
    good = ISSUER.token("k1")
    head, claims, signature = good.split(".")
    header = {"alg": "ES256", "kid": "k1", "typ": "at+jwt"}
    public = ISSUER.keys["rsa"].as_pem(private=False)
    symmetric = f"{encoded({**header, 'alg': 'HS256', 'kid': 'rsa'})}.{claims}"
    mac = encoded(hmac.digest(public, symmetric.encode(), "sha256"))
    evil = dict(EVIL.as_dict(private=False))
    twice = b'{"alg":"ES256","alg":"none","typ":"at+jwt","kid":"k1"}'
    return {
        "none": f"{encoded({**header, 'alg': 'none'})}.{claims}.",
        "none with signature": f"{encoded({**header, 'alg': 'none'})}.{claims}.{signature}",
        "None": f"{encoded({**header, 'alg': 'None'})}.{claims}.{signature}",
        "public key as secret": f"{symmetric}.{mac}",
        "another algorithm of the key": signed({"kid": "rsa"}, ISSUER.keys["rsa"], "PS256"),
        "own key": signed({"kid": "k1"}, EVIL, "ES256"),
        "own key in jwk": signed({"kid": "k1", "jwk": evil}, EVIL, "ES256"),
        "own key in jwk without kid": signed({"jwk": evil}, EVIL, "ES256"),
        "own key at jku": signed({"kid": "k1", "jku": "https://evil.example.test/jwks"}, EVIL, "ES256"),
        "own key at x5u": signed({"kid": "k1", "x5u": "https://evil.example.test/x"}, EVIL, "ES256"),
        "signature cut": good[:-4],
        "signature gone": f"{head}.{claims}.",
        "two parts": f"{head}.{claims}",
        "four parts": f"{good}.x",
        "five parts": f"{head}.{claims}.{signature}.{claims}.{signature}",
        "null signature": f"{head}.{claims}.{encoded(bytes(64))}",
        "nested": f"{encoded({**header, 'cty': 'JWT'})}.{encoded(good.encode())}.{signature}",
        "claims of another": f"{head}.{encoded(ISSUER.claims(client_id='admin'))}.{signature}",
        "hundred thousand bytes": f"{head}.{'A' * 100_000}.{signature}",
        "deep header": f"{encoded(b'[' * 3000)}.{claims}.{signature}",
        "deep claims": f"{head}.{encoded(b'[' * 12_000)}.{signature}",
        "header no object": f"{encoded([1])}.{claims}.{signature}",
        "header no JSON": f"{encoded(b'{')}.{claims}.{signature}",
        "header no text": f"{encoded(bytes([255, 254]))}.{claims}.{signature}",
        "odd algorithm": f"{encoded({**header, 'alg': ['ES256']})}.{claims}.{signature}",
        "odd key name": f"{encoded({**header, 'kid': {'$ne': ''}})}.{claims}.{signature}",
        "twice the algorithm": f"{encoded(twice)}.{claims}.{signature}",
        "padding": f"{head}=.{claims}.{signature}",
        "blank": good.replace(".", " .", 1),
        "break": good + "\n",
        "JSON form": json.dumps({"payload": claims, "protected": head, "signature": signature}),
        "one part": encoded(b"x" * 60),
        "nothing": "",
    }


@pytest.mark.parametrize("name", forged())
async def test_a_forged_token_is_401(it: Bench, name: str) -> None:
    authenticator = it.accepting()
    if name == "break":  # blanks around a token are no part of it (RFC 9110 §5.5)
        assert await ask(authenticator, ISSUER.token("k1") + "\n")
        return
    await refused(authenticator, forged()[name])


async def test_any_character_of_a_token_counts(it: Bench) -> None:
    authenticator, good = it.accepting(), ISSUER.token("k1")
    assert await ask(authenticator, good)
    for at in range(0, len(good) - 1, 3):  # the last one may hold spare bits
        if good[at] != ".":
            await refused(authenticator, good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :])


@given(noise=st.text(max_size=400) | st.builds(".".join, st.lists(st.text("AZaz09-_=", max_size=80), max_size=5)))
async def test_noise_is_refused_and_nothing_else_happens(noise: str) -> None:
    nobody: Any = SimpleNamespace(clients=SimpleNamespace(get=None, list=None, find_key=None))  # it never comes to asking the books
    authenticator = Bench(nobody).accepting()
    with pytest.raises(TillgateError):
        await ask(authenticator, noise)


async def test_an_issuer_may_be_declared_to_send_plain_jwts(it: Bench) -> None:
    authenticator = it.accepting(msgspec.structs.replace(TERMS, type="JWT"))
    for kind in ("JWT", "jwt", "application/jwt", None):
        assert await ask(authenticator, ISSUER.token(header={"typ": kind}))
    assert "type JWT" in await refused(authenticator, ISSUER.token(header={"typ": "logout+jwt"}))


async def test_a_scope_that_the_token_does_not_grant_is_said_to_be_missing_from_it(it: Bench) -> None:
    who = await ask(it.accepting(), ISSUER.token(scope="orders:read"))
    with pytest.raises(Forbidden, match=r"^the token of client 'shop' lacks the scope catalogue:read$"):
        require(who, "catalogue:read")
