"""Passwords: what one has to be, how it is kept, and signing in with one against those who guess."""

import asyncio
import hashlib
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise
from uuid import UUID

from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import delete, select

from domain.kernel import (
    SYSTEM,
    ActorKind,
    Conflict,
    Database,
    Invalid,
    RateLimited,
    Text,
    Unauthenticated,
    UnitOfWork,
)
from domain.people.model import Password, SignInAttempts, User
from domain.people.users import end_sessions, normal_email

LEAST_LENGTH, MOST_LENGTH, LEAST_DISTINCT = 12, 200, 5
LEAST_STEPS = 3
"""Different distances from one character to the next: a row of the keyboard's digits, or two letters in turn, has two."""
WRONG = Text("邮箱或密码不正确", "the address or the password is wrong")

PAIR_LIMIT, USER_LIMIT, PLACE_LIMIT = 5, 20, 50
"""Attempts without success that are free: of one name from one place, of one name from anywhere, of one place for any name."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 30, 900
FORGET = timedelta(hours=1)

_HASHER = Argon2Hasher()
# Each hash takes a tenth of a second of a core and 64 MiB: two at a time, the others wait.
_HASHING = ThreadPoolExecutor(2, thread_name_prefix="sortie-passwords")


@cache
def _nobodys() -> str:
    """What an unknown user's password is compared with, so that the answer takes as long as for a known one."""
    return _HASHER.hash("nobody's password")


def normal_password(password: str, about: str = "", path: tuple[str, ...] = ("password",)) -> str:
    """The password in the one form in which it is hashed.

    Raises Invalid for one that is too short, too uniform, or the user's own address (`about`).
    """
    words = unicodedata.normalize("NFKC", password)
    if not LEAST_LENGTH <= len(words) <= MOST_LENGTH:
        zh = f"密码须为 {LEAST_LENGTH} 到 {MOST_LENGTH} 个字符"
        raise Invalid(Text(zh, f"a password has {LEAST_LENGTH} to {MOST_LENGTH} characters"), path)
    steps = {ord(after) - ord(before) for before, after in pairwise(words)}
    if len(steps) < LEAST_STEPS:
        raise Invalid(Text("密码过于规律，例如 123456789012", "the password is too regular, like 123456789012"), path)
    if len(set(words)) < LEAST_DISTINCT:
        zh = f"密码至少要有 {LEAST_DISTINCT} 个不同的字符"
        raise Invalid(Text(zh, f"a password has at least {LEAST_DISTINCT} different characters"), path)
    if about and words.casefold() in {about.casefold(), about.partition("@")[0].casefold()}:
        raise Invalid(Text("密码不能是自己的邮箱", "a password is not one's own address"), path)
    return words


async def hashed(password: str) -> str:
    """The hash of a normal password, made in a thread of its own."""
    return await asyncio.get_running_loop().run_in_executor(_HASHING, _HASHER.hash, password)


async def _matches(password: str, hash: str | None) -> bool:
    def compare() -> bool:
        nobodys = _nobodys()
        return _HASHER.verify(password, nobodys if hash is None else hash)

    return await asyncio.get_running_loop().run_in_executor(_HASHING, compare)


async def set_password(uow: UnitOfWork, user: User, hash: str) -> None:
    """Give a user a password by its hash; whoever is signed in as them has to do so again.

    Raises Conflict for another system, which comes with keys.
    """
    if user.kind is not ActorKind.USER:
        raise Conflict(Text("服务账号使用密钥，不用密码", "a service account has keys, not a password"), ("email",))
    kept = await uow.session.get(Password, user.id)
    if kept is None:
        uow.session.add(Password(user_id=user.id, hash=hash, set_at=uow.now))
    else:
        kept.hash, kept.set_at = hash, uow.now
    user.auth_epoch += 1
    await end_sessions(uow, user.id)
    uow.note("user.password_set", user)


async def check_password(database: Database, email: str, password: str, place: str) -> UUID:
    """The id of the enabled user whose address and password these are; `place` is the network address they come from.

    Every attempt counts before its password is looked at, so that many at once are as slow as one after the other.

    Raises RateLimited after too many without success, Unauthenticated alike for a wrong password and an unknown,
    disabled or passwordless user.
    """
    address = normal_email(email)
    pair, user, anybody = (
        hashlib.sha256(words.encode("utf-8", "replace")).hexdigest()
        for words in (f"pair\0{address}\0{place}", f"user\0{address}", f"place\0{place}")
    )
    await _count(database, {pair: PAIR_LIMIT, user: USER_LIMIT, anybody: PLACE_LIMIT})
    kept = select(User.id, Password.hash).join(Password, Password.user_id == User.id)
    known = kept.where(User.email == address, User.disabled_at.is_(None), User.kind == ActorKind.USER)
    async with database.read(SYSTEM) as connection:
        found = (await connection.execute(known)).first()
    right = await _matches(unicodedata.normalize("NFKC", password[:MOST_LENGTH]), found.hash if found else None)
    if found is None or not right:
        raise Unauthenticated(WRONG)
    async with database.open_uow(SYSTEM) as uow:
        await uow.wait_turn(pair, user, anybody)
        await uow.session.execute(delete(SignInAttempts).where(SignInAttempts.name.in_([pair, user])))
        of_place = await uow.session.get(SignInAttempts, anybody)
        if of_place is not None:
            of_place.count -= 1
    id: UUID = found.id
    return id


async def _count(database: Database, limits: dict[str, int]) -> None:
    """Count an attempt under each name; one beyond a limit has to wait, twice as long each time.

    Raises RateLimited, and then counts nothing.
    """
    async with database.open_uow(SYSTEM) as uow:
        await uow.wait_turn(*limits)
        await uow.session.execute(delete(SignInAttempts).where(SignInAttempts.last_at < uow.now - FORGET))
        rows = (await uow.session.execute(select(SignInAttempts).where(SignInAttempts.name.in_(limits)))).scalars()
        known = {row.name: row for row in rows}
        until = max((_free_at(row, limits[row.name]) for row in known.values()), default=uow.now)
        if until > uow.now:
            seconds = int((until - uow.now).total_seconds()) + 1
            zh, en = f"尝试次数过多，请 {seconds} 秒后再试", f"too many attempts: try again in {seconds} seconds"
            raise RateLimited(Text(zh, en), seconds)
        for name in limits:
            row = known.get(name)
            if row is None:
                uow.session.add(SignInAttempts(name=name, count=1, last_at=uow.now))
            else:
                row.count, row.last_at = row.count + 1, uow.now


def _free_at(row: SignInAttempts, limit: int) -> datetime:
    over = row.count - limit
    if over < 0:
        return row.last_at
    return row.last_at + timedelta(seconds=min(FIRST_PAUSE_SECONDS * 2 ** min(over, 10), LONGEST_PAUSE_SECONDS))
