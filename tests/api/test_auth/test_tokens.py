"""Who gets in: tokens of the local key and of an issuer, and every way in which one may be bad."""

import base64
import hmac
import json
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from pytest_httpserver import HTTPServer

from api.auth import KEYS_SECONDS, Door, IssuerVerifier, LocalVerifier, issue, verifier_for
from api.secret_files import read_key
from api.settings import Environment, Settings
from domain import people
from domain.kernel import (
    SYSTEM,
    Actor,
    Conflict,
    Database,
    Invalid,
    Role,
    SalesError,
    Text,
    Unauthenticated,
    Unavailable,
)
from tests.factories import Clock, add_colleague, add_territories

ISSUER, AUDIENCE = "https://login.example.com", "sortie-api"
KEY = LocalVerifier(bytes(range(32)))


@pytest.fixture
async def lei(database: Database) -> Actor:
    """张磊, who sells in East China."""
    territories = await add_territories(database)
    return await add_colleague(
        database, "张磊", Role.REP, territories=[territories["east-china"]], email="lei.zhang@example.com"
    )


def local_token(actor: Actor, clock: Clock, **lifetime: float) -> str:
    assert actor.user_id is not None
    return KEY.sign(actor.user_id, clock(), timedelta(**lifetime or {"hours": 1}))


async def refused(door: Door, authorization: str) -> Text:
    with pytest.raises(SalesError) as error:
        await door.admit(authorization)
    assert isinstance(error.value, Unauthenticated)
    return error.value.text


async def test_a_local_token_brings_the_grants_that_hold_now(database: Database, lei: Actor, clock: Clock) -> None:
    door = Door(database, KEY)
    admission = await door.admit(f"Bearer {local_token(lei, clock)}")
    assert admission is not None
    assert admission.actor == lei
    assert admission.actor.display_name == "张磊"
    assert admission.expires_at == (clock() + timedelta(hours=1)).timestamp()


@pytest.mark.parametrize("authorization", [None, "", "   "])
async def test_without_a_token_nobody_asks(database: Database, authorization: str | None) -> None:
    assert await Door(database, KEY).admit(authorization) is None


def forged(token: str, **header: str) -> str:
    """The same claims under another header, its signature kept or (for `none`) left out."""
    _, claims, signature = token.split(".")
    head = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    return f"{head}.{claims}.{'' if header['alg'] == 'none' else signature}"


async def test_a_bad_token_is_refused(database: Database, lei: Actor, clock: Clock) -> None:
    door, good = Door(database, KEY), local_token(lei, clock)
    assert lei.user_id is not None
    other = LocalVerifier(bytes(32)).sign(lei.user_id, clock(), timedelta(hours=1))
    middle = good.split(".")[1]
    for bad in (
        "Basic bGVpOng=", "Bearer", f"Token {good}", "Bearer 令牌", f"Bearer {'a' * 9_000}", "Bearer a.b.c", f"Bearer {good}x",
        f"Bearer {other}", f"Bearer {good.replace(middle, middle[::-1])}", f"Bearer {forged(good, alg='none')}",
        f"Bearer {forged(good, alg='HS512')}", f"Bearer {forged(good, alg='HS256', kid='../../etc/passwd')}",
    ):  # fmt: skip
        assert (await refused(door, bad)).zh


async def test_a_token_ends_when_it_says(database: Database, lei: Actor, clock: Clock) -> None:
    door, token = Door(database, KEY), local_token(lei, clock, seconds=5)
    assert await door.admit(f"Bearer {token}") is not None
    clock.advance(seconds=4.9)
    assert await door.admit(f"Bearer {token}") is not None
    clock.advance(seconds=0.1)
    assert "过期" in (await refused(door, f"Bearer {token}")).zh


async def test_a_token_from_the_future_is_refused(database: Database, lei: Actor, clock: Clock) -> None:
    token = local_token(lei, clock)
    clock.advance(hours=-2)
    await refused(Door(database, KEY), f"Bearer {token}")


async def test_an_unknown_user_is_refused(database: Database, clock: Clock) -> None:
    token = KEY.sign(database.new_id(), clock(), timedelta(hours=1))
    assert "不存在" in (await refused(Door(database, KEY), f"Bearer {token}")).zh


async def test_a_grant_that_ends_is_not_remembered_beyond_its_end(database: Database, clock: Clock) -> None:
    async with database.open_uow(SYSTEM) as uow:
        user = await people.add_user(uow, name="王敏", email="min.wang@example.com")
        await uow.session.flush()
        await people.grant_role(uow, user, Role.MANAGER, valid_to=uow.now + timedelta(seconds=3))
        user_id = user.id
    door, token = Door(database, KEY), KEY.sign(user_id, clock(), timedelta(hours=1))
    before = await door.admit(f"Bearer {token}")
    clock.advance(seconds=3)
    after = await door.admit(f"Bearer {token}")
    assert before is not None
    assert after is not None
    assert (before.actor.roles, after.actor.roles) == (frozenset({Role.MANAGER}), frozenset())


# ---- an issuer ---------------------------------------------------------------------------------------------------------

RSA, OTHER_RSA = (RSAKey.generate_key(2048, {"kid": kid}, auto_kid=False) for kid in ("first", "second"))
EC = ECKey.generate_key("P-256", {"kid": "curve"})


def public(*keys: Any) -> dict[str, Any]:
    return {"keys": [key.as_dict(private=False) | {"use": "sig"} for key in keys]}


@pytest.fixture
def settings(httpserver: HTTPServer, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path, token_issuer=ISSUER, token_audience=AUDIENCE, token_jwks_url=httpserver.url_for("/keys.json")
    )


def signed(clock: Clock, key: Any = RSA, alg: str = "RS256", **changes: Any) -> str:
    now = int(clock().timestamp())
    claims = {
        "iss": ISSUER,
        "aud": [AUDIENCE, "other"],
        "sub": "u-1",
        "email": "Lei.Zhang@example.com",
        "iat": now,
        "nbf": now,
        "exp": now + 600,
    }
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return f"Bearer {jwt.encode({'alg': alg, 'kid': key.kid}, claims, key, [alg])}"


def confused(authorization: str) -> str:
    """The same claims, signed by the issuer's public key as if it were a shared secret."""
    claims = authorization.split(".")[1]
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"first"}').rstrip(b"=").decode()
    signature = hmac.digest(RSA.as_pem(private=False), f"{head}.{claims}".encode(), "sha256")
    return f"Bearer {head}.{claims}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


async def test_an_issuers_token_is_known_by_its_email(
    database: Database, lei: Actor, clock: Clock, settings: Settings, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/keys.json").respond_with_json(public(RSA, EC))
    door = Door(database, verifier_for(settings))
    for token in (signed(clock), signed(clock, EC, "ES256"), signed(clock, aud=AUDIENCE)):
        admission = await door.admit(token)
        assert admission is not None
        assert admission.actor == lei
    assert len(httpserver.log) == 1


async def test_an_issuers_bad_tokens_are_refused(
    database: Database, lei: Actor, clock: Clock, settings: Settings, httpserver: HTTPServer
) -> None:
    shared: dict[str, str | list[str]] = {
        "kty": "oct",
        "kid": "shared",
        "k": base64.urlsafe_b64encode(bytes(32)).decode().rstrip("="),
    }
    keys = public(RSA)
    keys["keys"] += [shared, {"kty": "RSA"}, "nonsense"]
    httpserver.expect_request("/keys.json").respond_with_json(keys)
    door = Door(database, verifier_for(settings))
    past = int(clock().timestamp()) - 60
    for bad in (
        signed(clock, iss="https://evil.example.com"), signed(clock, iss=None), signed(clock, aud="other"), signed(clock, aud=None),
        signed(clock, exp=past), signed(clock, exp=None), signed(clock, exp="tomorrow"), signed(clock, nbf=past + 600),
        signed(clock, OTHER_RSA), confused(signed(clock)), signed(clock, OctKey.import_key(shared), "HS256"),
        signed(clock, RSA, "RS512"), signed(clock, email=None), signed(clock, email=["lei.zhang@example.com"]),
        signed(clock, email_verified=False), signed(clock, email="nobody@example.com"),
    ):  # fmt: skip
        await refused(door, bad)


async def test_new_keys_are_fetched_when_a_token_names_one_and_not_more_often(
    database: Database, lei: Actor, clock: Clock, settings: Settings, httpserver: HTTPServer
) -> None:
    timer = Timer()
    door = Door(database, IssuerVerifier(settings, timer))
    httpserver.expect_oneshot_request("/keys.json").respond_with_json(public(RSA))
    httpserver.expect_request("/keys.json").respond_with_json(public(OTHER_RSA))
    assert await door.admit(signed(clock)) is not None
    for _ in range(20):
        await refused(door, signed(clock, OTHER_RSA))
    assert len(httpserver.log) == 1
    timer.seconds += 20
    assert await door.admit(signed(clock, OTHER_RSA)) is not None
    assert len(httpserver.log) == 2


class Timer:
    """A monotonic clock that a test moves."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


async def test_keys_that_were_fetched_outlive_their_issuers_outage(
    database: Database, lei: Actor, clock: Clock, settings: Settings, httpserver: HTTPServer
) -> None:
    timer = Timer()
    door = Door(database, IssuerVerifier(settings, timer))
    httpserver.expect_oneshot_request("/keys.json").respond_with_json(public(RSA))
    httpserver.expect_request("/keys.json").respond_with_data("down", status=503)
    assert await door.admit(signed(clock)) is not None
    timer.seconds += KEYS_SECONDS
    assert await door.admit(signed(clock, jti="again")) is not None
    assert len(httpserver.log) == 2


async def test_an_issuer_without_keys_is_unavailable_not_open(
    database: Database, lei: Actor, clock: Clock, settings: Settings, httpserver: HTTPServer
) -> None:
    for answer in ("not json", "[]", '{"keys": 1}', '{"keys": []}'):
        httpserver.clear()
        httpserver.expect_request("/keys.json").respond_with_data(answer, content_type="application/json")
        with pytest.raises(Unavailable) as error:
            await Door(database, verifier_for(settings)).admit(signed(clock))
        assert "公钥" in error.value.text.zh


async def test_a_local_token_does_not_pass_where_an_issuer_is_set(
    database: Database, lei: Actor, clock: Clock, settings: Settings, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/keys.json").respond_with_json(public(RSA))
    own = LocalVerifier(read_key(settings.token_key)).sign(database.new_id(), clock(), timedelta(hours=1))
    await refused(Door(database, verifier_for(settings)), f"Bearer {own}")
    with pytest.raises(Conflict):
        await issue(database, settings, "lei.zhang@example.com")


# ---- keys and settings -------------------------------------------------------------------------------------------------


async def test_sortie_token_makes_a_token_that_the_server_takes(database: Database, lei: Actor, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "new", token_hours=2)
    token = await issue(database, settings, " Lei.Zhang@example.com ")
    admission = await Door(database, verifier_for(settings)).admit(f"Bearer {token}")
    assert admission is not None
    assert admission.actor == lei
    assert stat.S_IMODE((tmp_path / "new" / "token.key").stat().st_mode) == 0o600
    with pytest.raises(Unauthenticated):
        await issue(database, settings, "nobody@example.com")


def test_a_key_is_made_once_and_kept(tmp_path: Path) -> None:
    first = read_key(tmp_path / "a" / "token.key")
    assert read_key(tmp_path / "a" / "token.key") == first
    assert read_key(tmp_path / "b" / "token.key") != first
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["token.key"]


def test_a_key_file_that_is_open_to_others_or_broken_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    read_key(path)
    path.chmod(0o644)
    with pytest.raises(Unavailable) as error:
        read_key(path)
    assert str(path) in error.value.text.zh
    path.chmod(0o600)
    for content in ("not hex", "abcd", ""):
        path.write_text(content)
        with pytest.raises(Unavailable) as error:
            read_key(path)
        assert str(path) in error.value.text.en


def test_production_does_not_start_with_a_generated_key(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as error:
        verifier_for(Settings(home=tmp_path, env=Environment.PRODUCTION))
    assert "SORTIE_TOKEN_KEY_FILE" in error.value.text.zh
    assert not (tmp_path / "token.key").exists()
    own = tmp_path / "own.key"
    read_key(own)
    assert verifier_for(Settings(home=tmp_path, env=Environment.PRODUCTION, token_key_file=own))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"token_issuer": ISSUER}, "come together"),
        ({"token_algorithms": "RS256,HS256"}, "must be some of"),
        ({"token_algorithms": "none"}, "must be some of"),
        ({"database_url": "mysql://host/x"}, "must begin with"),
        (
            {"token_jwks_url": "file:///etc/passwd", "token_issuer": ISSUER, "token_audience": AUDIENCE},
            "must begin with",
        ),
        ({"port": 70_000}, "65535"),
    ],
)
def test_settings_that_make_no_sense_are_told(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Settings(**given)
