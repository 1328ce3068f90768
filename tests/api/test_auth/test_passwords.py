"""Signing in over HTTP: passwords against guessing, sessions, the page in two languages."""

import asyncio
import re
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import select

from api.auth import Door, verifier_for
from api.auth.routes import COOKIE
from api.secret_files import read_key
from api.settings import Environment, Settings
from domain import people
from domain.kernel import SYSTEM, Actor, Database, SalesError, Unauthenticated, load
from domain.ledger import AuditEvent
from domain.people import Password, SignInSession, User
from domain.people.passwords import FIRST_PAUSE_SECONDS, PAIR_LIMIT, USER_LIMIT
from tests.api.test_auth.conftest import EMAIL, EN, HOST, PASSWORD, code, login, served, sessions
from tests.api.test_auth.oidc_provider import CLIENT_ID
from tests.factories import Clock, add_colleague

# ---- passwords -------------------------------------------------------------------------------------------------------


async def test_a_password_brings_a_short_token_and_a_session_that_scripts_cannot_read(
    database: Database, lei: Actor, settings: Settings, browser: httpx2.AsyncClient, clock: Clock
) -> None:
    answer = await login(browser, " Lei.Zhang@Example.com ")
    told = answer.json()
    assert (answer.status_code, told["tokenType"], told["expiresIn"]) == (200, "Bearer", 900)
    assert answer.headers["cache-control"] == "no-store"
    cookie = answer.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=strict", "path=/auth", "max-age=43200"))
    door = Door(database, verifier_for(settings))
    admission = await door.admit(f"Bearer {told['accessToken']}")
    assert admission is not None
    assert admission.actor == lei
    clock.advance(minutes=15)
    with pytest.raises(Unauthenticated):
        await door.admit(f"Bearer {told['accessToken']}")
    fresh = (await browser.post("/auth/token")).json()["accessToken"]
    assert await door.admit(f"Bearer {fresh}") is not None


async def test_in_production_the_cookie_travels_encrypted_alone(database: Database, lei: Actor, tmp_path: Path) -> None:
    read_key(tmp_path / "own.key")
    settings = Settings(home=tmp_path, env=Environment.PRODUCTION, token_key_file=tmp_path / "own.key")
    async with served(database, settings) as client:
        assert "secure" in (await login(client)).headers["set-cookie"].lower()
    with pytest.raises(SalesError) as error:
        served(database, Settings(home=tmp_path, env=Environment.PRODUCTION))
    assert "SORTIE_TOKEN_KEY_FILE" in error.value.text.zh


async def test_nothing_secret_is_stored_or_written_down(database: Database, browser: httpx2.AsyncClient) -> None:
    assert (await login(browser)).status_code == 200
    secret = browser.cookies[COOKIE].partition(".")[2]
    async with database.read() as connection:
        events = (await connection.execute(select(AuditEvent.action, AuditEvent.detail))).all()
        hash = (await connection.execute(select(Password.hash))).scalar_one()
        kept = (await connection.execute(select(SignInSession.secret_hash))).scalar_one()
    assert {"user.password_set", "user.signed_in"} <= {event.action for event in events}
    assert hash.startswith("$argon2id$")
    assert secret not in kept
    for hidden in (PASSWORD, hash, secret, kept):
        assert hidden not in repr(events)


async def test_a_wrong_password_and_an_unknown_user_look_alike(
    database: Database, lei: Actor, settings: Settings
) -> None:
    await add_colleague(database, "李娜", email="na.li@example.com")
    async with served(database, settings) as client:
        answers = [
            await login(client, EMAIL, "错误的密码，也很长的"), await login(client, "nobody@example.com"), await login(client, "na.li@example.com"),
            await login(client, "", ""),
        ]  # fmt: skip
    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
    assert answers[0].json()["errors"][0]["message"] == "邮箱或密码不正确"
    assert "set-cookie" not in answers[0].headers
    assert await sessions(database) == 0


async def test_guessing_is_slowed_down_and_the_right_password_does_not_help_meanwhile(
    database: Database, browser: httpx2.AsyncClient, clock: Clock
) -> None:
    for _ in range(PAIR_LIMIT):
        assert (await login(browser, EMAIL, "错误的密码，也很长的")).status_code == 401
    for _ in range(2):
        blocked = await login(browser)
        assert (blocked.status_code, code(blocked)) == (429, "RATE_LIMITED")
        assert int(blocked.headers["retry-after"]) == FIRST_PAUSE_SECONDS + 1
    clock.advance(seconds=FIRST_PAUSE_SECONDS)
    assert (await login(browser, EMAIL, "错误的密码，也很长的")).status_code == 401
    again = await login(browser)
    assert int(again.headers["retry-after"]) == 2 * FIRST_PAUSE_SECONDS + 1
    clock.advance(seconds=2 * FIRST_PAUSE_SECONDS)
    assert (await login(browser)).status_code == 200
    assert (await login(browser, EMAIL, "错误的密码，也很长的")).status_code == 401, "counted from nothing again"


async def test_guesses_at_once_count_each(database: Database, lei: Actor) -> None:
    async def guess() -> type[SalesError] | None:
        try:
            await people.check_password(database, EMAIL, "错误的密码，也很长的", "10.0.0.9")
        except SalesError as error:
            return type(error)
        return None

    found = [kind.__name__ for kind in await asyncio.gather(*(guess() for _ in range(PAIR_LIMIT + 4))) if kind]
    assert sorted(found) == ["RateLimited"] * 4 + ["Unauthenticated"] * PAIR_LIMIT


async def test_one_user_is_not_guessed_from_many_places(database: Database, lei: Actor) -> None:
    refused = []
    for number in range(USER_LIMIT + 1):
        with pytest.raises(SalesError) as error:
            await people.check_password(database, EMAIL, "错误的密码，也很长的", f"10.0.1.{number}")
        refused.append(error.value.code.value)
    assert refused == ["UNAUTHENTICATED"] * USER_LIMIT + ["RATE_LIMITED"]


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("太短的密码", "12 到 200"),
        ("a" * 201, "12 到 200"),
        ("abababababab", "过于规律"),
        ("123456789012", "过于规律"),
        ("一一一一二二二二三三三三", "5 个不同"),
        ("lei.zhang@example.com", "自己的邮箱"),
        ("LEI.ZHANG@EXAMPLE.COM", "自己的邮箱"),
    ],
)
def test_a_poor_password_is_refused(password: str, words: str) -> None:
    with pytest.raises(SalesError) as error:
        people.normal_password(password, EMAIL)
    assert words in error.value.text.zh


async def test_full_width_and_half_width_are_the_same_password(database: Database, lei: Actor) -> None:
    wide = PASSWORD.replace("2026", "２０２６")
    assert await people.check_password(database, EMAIL, wide, "10.0.0.1") == lei.user_id


# ---- sessions --------------------------------------------------------------------------------------------------------


async def test_signing_out_ends_the_session_and_its_tokens_at_once(
    database: Database, settings: Settings, browser: httpx2.AsyncClient
) -> None:
    token = (await login(browser)).json()["accessToken"]
    cookie = browser.cookies[COOKIE]
    door = Door(database, verifier_for(settings))
    assert await door.admit(f"Bearer {token}") is not None
    assert (await browser.post("/auth/sign-out")).status_code == 204
    with pytest.raises(Unauthenticated):
        await door.admit(f"Bearer {token}")
    stolen = await browser.post("/auth/token", headers={"cookie": f"{COOKIE}={cookie}"})
    assert (stolen.status_code, code(stolen)) == (401, "UNAUTHENTICATED")
    assert await sessions(database) == 0


@pytest.mark.parametrize("what", ["disabled", "password set", "ended"])
async def test_a_session_ends_with_its_ground(
    database: Database, lei: Actor, settings: Settings, browser: httpx2.AsyncClient, clock: Clock, what: str
) -> None:
    token = (await login(browser)).json()["accessToken"]
    door = Door(database, verifier_for(settings))
    assert await door.admit(f"Bearer {token}") is not None
    if what == "ended":
        clock.advance(hours=12)
    else:
        async with database.open_uow(SYSTEM) as uow:
            user = await load(uow.session, SYSTEM, User, lei.user_id)
            if what == "disabled":
                await people.disable_user(uow, user.id)
            else:
                await people.set_password(uow, user, await people.hashed("另一个很长的密码啊 2027"))
    with pytest.raises(Unauthenticated):
        await door.admit(f"Bearer {token}")
    assert (await browser.post("/auth/token")).status_code == 401


@pytest.mark.parametrize("cookie", ["", "nonsense", "x.y", f"{'0' * 32}.{'a' * 43}", "令牌".encode().decode("latin-1")])
async def test_a_cookie_that_is_none_is_refused(browser: httpx2.AsyncClient, cookie: str) -> None:
    answer = await browser.post("/auth/token", headers=[(b"cookie", f"{COOKIE}={cookie}".encode("latin-1"))])
    assert (answer.status_code, code(answer)) == (401, "UNAUTHENTICATED")


async def test_an_access_token_never_outlasts_its_session(browser: httpx2.AsyncClient, clock: Clock) -> None:
    await login(browser)
    clock.advance(hours=11, minutes=50)
    assert (await browser.post("/auth/token")).json()["expiresIn"] == 600


@pytest.mark.parametrize("path", ["/auth/login", "/auth/token", "/auth/sign-out", "/auth/sign-in"])
async def test_another_sites_page_achieves_nothing(browser: httpx2.AsyncClient, path: str) -> None:
    await login(browser)
    for origin in ("https://evil.example.com", "null", f"{HOST}.evil.example.com"):
        answer = await browser.post(path, headers={"origin": origin}, json={"email": EMAIL, "password": PASSWORD})
        assert (answer.status_code, code(answer)) == (403, "FORBIDDEN")
    assert (await browser.post("/auth/token", headers={"origin": HOST})).status_code == 200


async def test_a_screen_of_a_listed_site_signs_people_in_but_posts_no_form(
    database: Database, lei: Actor, tmp_path: Path
) -> None:
    screen = {"origin": "http://localhost:5173"}
    async with served(database, Settings(home=tmp_path, cors_origins=(screen["origin"],))) as client:
        assert (await login(client, **screen)).status_code == 200
        assert (await client.post("/auth/token", headers=screen)).status_code == 200
        form = {"email": EMAIL, "password": PASSWORD}
        assert (await client.post("/auth/sign-in", data=form, headers=screen)).status_code == 403


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'{"email": 1}', b'{"email": "a", "password": null}', b"\xff", b"x" * 20_000]
)
async def test_a_login_that_is_none_is_told(browser: httpx2.AsyncClient, body: bytes) -> None:
    answer = await browser.post("/auth/login", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, code(answer)) == (400, "INVALID")
    form = await browser.post("/auth/login", data={"email": EMAIL, "password": PASSWORD})
    assert form.status_code == 400, "a form of another site can send no JSON"


# ---- the page --------------------------------------------------------------------------------------------------------


async def test_the_page_speaks_the_readers_language_and_runs_nothing(browser: httpx2.AsyncClient) -> None:
    chinese, english = await browser.get("/auth/sign-in"), await browser.get("/auth/sign-in", headers=EN)
    assert "登录 Sortie" in chinese.text
    assert 'lang="zh-CN"' in chinese.text
    assert "Sign in to Sortie" in english.text
    assert "<script" not in chinese.text
    policy = chinese.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert re.findall(r'(?:src|href)="([^"]+)"', chinese.text) == ["data:,", "/auth/sign-in.css"]
    assert (await browser.get("/auth/sign-in.css")).headers["content-type"].startswith("text/css")


async def test_the_form_signs_in_and_leads_back(browser: httpx2.AsyncClient) -> None:
    form = {"email": EMAIL, "password": PASSWORD, "next": "/graphql?query=1"}
    answer = await browser.post("/auth/sign-in", data=form, headers={"origin": HOST})
    assert (answer.status_code, answer.headers["location"]) == (303, "/graphql?query=1")
    assert "张磊" in (await browser.get("/auth/sign-in")).text
    out = await browser.post("/auth/sign-out", headers={"origin": HOST, "accept": "text/html"})
    assert (out.status_code, out.headers["location"]) == (303, "/auth/sign-in")
    assert "张磊" not in (await browser.get("/auth/sign-in")).text


@pytest.mark.parametrize(
    "goal",
    ["https://evil.example.com", "//evil.example.com", "/\\evil.example.com", "javascript:alert(1)", "/a\r\nb", ""],
)
async def test_it_leads_nowhere_else(browser: httpx2.AsyncClient, goal: str) -> None:
    form = {"email": EMAIL, "password": PASSWORD, "next": goal}
    answer = await browser.post("/auth/sign-in", data=form, headers={"origin": HOST})
    assert answer.headers["location"] == "/graphql"


async def test_a_refused_form_says_why_and_repeats_nothing_dangerous(browser: httpx2.AsyncClient) -> None:
    form = {"email": '"><script>alert(1)</script>', "password": "错误的密码，也很长的", "next": '/"><script>'}
    answer = await browser.post("/auth/sign-in", data=form, headers={"origin": HOST})
    assert answer.status_code == 401
    assert "邮箱或密码不正确" in answer.text
    assert "<script" not in answer.text
    assert "错误的密码" not in answer.text


async def test_where_others_say_who_people_are_no_password_is_taken(
    database: Database, lei: Actor, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path, oidc_issuer="https://login.example.com", oidc_client_id=CLIENT_ID)
    async with served(database, settings) as client:
        assert 'type="password"' not in (await client.get("/auth/sign-in")).text
        assert (await login(client)).status_code == 400
    assert Settings(home=tmp_path, oidc_issuer="https://x", oidc_client_id="y", passwords=True).takes_passwords


async def test_many_who_sign_in_at_once_all_come_in(database: Database, lei: Actor) -> None:
    found = await asyncio.gather(*(people.check_password(database, EMAIL, PASSWORD, "10.0.0.1") for _ in range(4)))
    assert set(found) == {lei.user_id}
