"""Somebody with a password, and a browser before a server."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select
from starlette.applications import Starlette

from api.auth import SignIn
from api.settings import Settings
from domain import people
from domain.kernel import SYSTEM, Actor, Database, Role, load
from domain.people import SignInSession, User
from tests.factories import add_colleague

PASSWORD = "正确的长密码 2026 年"
EMAIL = "lei.zhang@example.com"
ZH, EN = {"accept-language": "zh-CN"}, {"accept-language": "en"}
HOST = "http://sales.example.com"


@pytest.fixture(scope="module")
async def hash() -> str:
    """The hash of the password: a tenth of a second's work, done once."""
    return await people.hashed(people.normal_password(PASSWORD))


@pytest.fixture
async def lei(database: Database, hash: str) -> Actor:
    """张磊, who sells and has a password."""
    actor = await add_colleague(database, "张磊", Role.REP, email=EMAIL)
    async with database.open_uow(SYSTEM) as uow:
        await people.set_password(uow, await load(uow.session, SYSTEM, User, actor.user_id), hash)
    return actor


def served(database: Database, settings: Settings, place: str = "10.0.0.1") -> httpx2.AsyncClient:
    """A browser, or a program, before the server of some settings."""
    app = Starlette(routes=SignIn(database, settings, home="/graphql").routes())
    transport = httpx2.ASGITransport(app, client=(place, 40_000))
    return httpx2.AsyncClient(transport=transport, base_url=HOST, headers=ZH)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
async def browser(database: Database, lei: Actor, settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    async with served(database, settings) as client:
        yield client


async def login(client: httpx2.AsyncClient, email: str = EMAIL, password: str = PASSWORD, **headers: str) -> Any:
    return await client.post("/auth/login", json={"email": email, "password": password}, headers=headers)


def code(answer: httpx2.Response) -> str:
    return str(answer.json()["errors"][0]["extensions"]["code"])


async def sessions(database: Database) -> int:
    async with database.read() as connection:
        return (await connection.execute(select(func.count()).select_from(SignInSession))).scalar_one()
