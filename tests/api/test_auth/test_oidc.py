"""Signing in at another provider: who is let in by one that is sound, and nobody by one that is not."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from joserfc.jwk import RSAKey
from pydantic import SecretStr
from pytest_httpserver import HTTPServer

from api.auth import Door, verifier_for
from api.auth.routes import COOKIE
from api.settings import Environment, Settings
from domain import people
from domain.kernel import SYSTEM, Actor, Database, Unauthenticated
from tests.api.test_auth.conftest import EMAIL, HOST, PASSWORD, code, served, sessions
from tests.api.test_auth.oidc_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider
from tests.factories import Clock

# ---- another provider ------------------------------------------------------------------------------------------------


@pytest.fixture
def provider(httpserver: HTTPServer, clock: Clock) -> OidcProvider:
    return OidcProvider(httpserver, lambda: clock().timestamp())


@pytest.fixture
async def guest(
    database: Database, lei: Actor, provider: OidcProvider, tmp_path: Path
) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser before a server that trusts the provider."""
    settings = Settings(
        home=tmp_path, oidc_issuer=provider.issuer, oidc_client_id=CLIENT_ID, oidc_client_secret=SecretStr(CLIENT_SECRET), public_url=HOST
    )  # fmt: skip
    async with served(database, settings) as client:
        yield client


async def to_provider_and_back(client: httpx2.AsyncClient) -> str:
    """Begin, prove who one is at the provider over the loopback, and return the address to which it sends back."""
    begun = await client.get("/auth/oidc/start", params={"next": "/graphql?x=1"})
    assert begun.status_code == 302, begun.text
    async with httpx2.AsyncClient() as web:
        answer = await web.get(begun.headers["location"])
    return str(answer.headers["location"])


async def test_the_provider_names_a_known_person(
    database: Database, lei: Actor, guest: httpx2.AsyncClient, provider: OidcProvider, tmp_path: Path
) -> None:
    assert "用公司账号登录" in (await guest.get("/auth/sign-in")).text
    back = await to_provider_and_back(guest)
    assert back.startswith(f"{HOST}/auth/oidc/callback?")
    answer = await guest.get(back)
    assert (answer.status_code, answer.headers["location"]) == (303, "/graphql?x=1")
    token = (await guest.post("/auth/token")).json()["accessToken"]
    settings = Settings(home=tmp_path, oidc_issuer=provider.issuer, oidc_client_id=CLIENT_ID)
    admission = await Door(database, verifier_for(settings)).admit(f"Bearer {token}")
    assert admission is not None
    assert admission.actor == lei
    assert provider.asked == ["given"]


BAD_PROVIDERS: dict[str, tuple[dict[str, Any], int]] = {
    "another nonce": ({"claims": {"nonce": "x"}}, 401),
    "no nonce": ({"claims": {"nonce": None}}, 401),
    "another issuer in the token": ({"claims": {"iss": "https://evil.example.com"}}, 401),
    "another audience": ({"claims": {"aud": "somebody-else"}}, 401),
    "another authorized party": ({"claims": {"aud": [CLIENT_ID, "x"], "azp": "x"}}, 401),
    "an old token": ({"claims": {"exp": 1_000_000_000}}, 401),
    "no end": ({"claims": {"exp": None}}, 401),
    "a key of nobody's": ({"key": RSAKey.generate_key(2048)}, 401),
    "an algorithm that is not allowed": ({"algorithm": "RS512"}, 401),
    "an unverified address": ({"email_verified": False}, 401),
    "an address of which it does not say": ({"email_verified": None}, 401),
    "a verified address as words": ({"email_verified": "false"}, 401),
    "no address": ({"claims": {"email": None}}, 401),
    "an unknown person": ({"email": "nobody@example.com"}, 401),
    "an expired code": ({"code_seconds": 0}, 401),
    "another state": ({"answer": {"state": "x"}}, 401),
    "another issuer in the answer": ({"answer": {"iss": "https://evil.example.com"}}, 401),
    "an error": ({"answer": {"error": "access_denied"}}, 401),
    "no code": ({"answer": {"code": ""}}, 401),
}


@pytest.mark.parametrize("what", BAD_PROVIDERS)
async def test_a_provider_that_is_not_sound_brings_nobody_in(
    database: Database, guest: httpx2.AsyncClient, provider: OidcProvider, what: str
) -> None:
    changed, status = BAD_PROVIDERS[what]
    for name, value in changed.items():
        setattr(provider, name, value)
    answer = await guest.get(await to_provider_and_back(guest))
    assert answer.status_code == status
    assert 'role="alert"' in answer.text
    assert await sessions(database) == 0
    assert COOKIE not in guest.cookies


async def test_the_provider_has_to_be_the_one_that_is_set(guest: httpx2.AsyncClient, provider: OidcProvider) -> None:
    for changed in (
        {"issuer": "https://evil.example.com"},
        {"token_endpoint": "file:///etc/passwd"},
        {"jwks_uri": None},
    ):
        provider.discovery = changed
        answer = await guest.get("/auth/oidc/start")
        assert (answer.status_code, code(answer)) == (503, "UNAVAILABLE")


async def test_a_code_is_good_once_and_for_the_browser_that_began(
    database: Database, guest: httpx2.AsyncClient, provider: OidcProvider, clock: Clock
) -> None:
    back = await to_provider_and_back(guest)
    stranger = await guest.get(back, headers={"cookie": ""})
    assert stranger.status_code == 401
    assert "重新登录" in stranger.text
    begun = await guest.get("/auth/oidc/start")
    assert begun.status_code == 302
    mixed = await guest.get(back)
    assert mixed.status_code == 401, "the state of another sign-in"
    back = await to_provider_and_back(guest)
    clock.advance(minutes=11)
    assert (await guest.get(back)).status_code == 401, "begun too long ago"
    clock.advance(minutes=-11)
    back = await to_provider_and_back(guest)
    kept = guest.cookies["sortie_oidc"]
    assert (await guest.get(back)).status_code == 303
    again = await guest.get(back, headers={"cookie": f"sortie_oidc={kept}"})
    assert again.status_code == 401
    assert provider.asked == ["given", "refused"]


async def test_what_goes_to_the_provider_hides_the_verifier(guest: httpx2.AsyncClient) -> None:
    begun = await guest.get("/auth/oidc/start", params={"next": "//evil.example.com"})
    sent = {name: values[0] for name, values in parse_qs(urlsplit(begun.headers["location"]).query).items()}
    assert sent["redirect_uri"] == f"{HOST}/auth/oidc/callback"
    assert sent["code_challenge_method"] == "S256"
    assert len({sent["state"], sent["nonce"], sent["code_challenge"]}) == 3
    cookie = begun.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=lax", "path=/auth/oidc"))


async def test_a_provider_that_is_down_is_told(guest: httpx2.AsyncClient, provider: OidcProvider) -> None:
    back = await to_provider_and_back(guest)
    provider.server.clear()
    provider.server.expect_request("/.well-known/openid-configuration").respond_with_data("down", status=503)
    answer = await guest.get(back)
    assert answer.status_code == 503
    assert "稍后重试" in answer.text


async def test_disabled_people_and_service_accounts_come_in_no_way(
    database: Database, lei: Actor, guest: httpx2.AsyncClient, provider: OidcProvider
) -> None:
    async with database.open_uow(SYSTEM) as uow:
        await people.disable_user(uow, lei.user_id)
    assert (await guest.get(await to_provider_and_back(guest))).status_code == 401
    with pytest.raises(Unauthenticated):
        await people.check_password(database, EMAIL, PASSWORD, "10.0.0.1")
    assert await sessions(database) == 0


def test_what_does_not_fit_together_is_told() -> None:
    good: dict[str, Any] = {
        "env": "production",
        "oidc_issuer": "https://login.example.com",
        "oidc_client_id": "x",
        "public_url": HOST.replace("http:", "https:"),
    }
    assert Settings(**good).oidc_issuer
    changes: tuple[tuple[dict[str, Any], str], ...] = (
        ({"oidc_client_id": None}, "come together"), ({"oidc_issuer": "http://login.example.com"}, "https"), ({"public_url": HOST}, "https"),
        ({"public_url": None}, "SORTIE_PUBLIC_URL"),
    )  # fmt: skip
    for change, complaint in changes:
        with pytest.raises(ValueError, match=complaint):
            Settings(**(good | change))
    keys: dict[str, Any] = {"token_issuer": "https://x", "token_audience": "y", "token_jwks_url": "http://x/keys"}
    with pytest.raises(ValueError, match="https"):
        Settings(**keys, env=Environment.PRODUCTION)
    assert Settings(**keys).token_jwks_url
    assert timedelta(hours=Settings().session_hours) == timedelta(hours=12)
