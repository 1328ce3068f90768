"""Users: added, changed, disabled and enabled again."""

import re
import zoneinfo
from collections.abc import Mapping
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select

from domain.kernel import (
    ActorKind,
    Conflict,
    Invalid,
    Language,
    NotFound,
    Role,
    Text,
    UnitOfWork,
    load,
    once,
)
from domain.people.model import RoleGrant, SignInSession, User

LAST_ADMIN = Text(
    "这是最后一位系统管理员：请先把 ADMIN 授予他人（不设截止日）",
    "this is the last ADMIN: grant that role to somebody else first, without an end",
)
NAME_LENGTH, EMAIL_LENGTH = 200, 254
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")


def normal_email(email: str) -> str:
    """The form in which an address is stored and looked up."""
    return email.strip().lower()


async def add_user(
    uow: UnitOfWork, *, name: str, email: str, language: Language = Language.ZH, time_zone: str = "Asia/Shanghai",
    kind: ActorKind = ActorKind.USER, client_key: str | None = None,
) -> User:  # fmt: skip
    """Add a person who may sign in, or with the kind INTEGRATION another system that comes with keys of its own.

    Raises Invalid for a name, address or time zone that cannot be one, Conflict when the address is taken.
    """
    given = {
        "name": name,
        "email": normal_email(email),
        "language": language.value,
        "time_zone": time_zone,
        "kind": kind.value,
    }

    async def make() -> User:
        user = User(
            id=uow.new_id(), name=_name(name), email=await _free_address(uow, email), language=language, kind=kind,
            time_zone=_time_zone(time_zone), auth_epoch=0,
        )  # fmt: skip
        uow.session.add(user)
        uow.note("user.added", user, {} if kind is ActorKind.USER else {"kind": kind.value})
        return user

    return await once(uow, client_key, "addUser", given, User, make)


async def update_user(uow: UnitOfWork, id: UUID | None, *, expected_version: int, changes: Mapping[str, Any]) -> User:
    """Change a user's name, address, language or time zone.

    Raises NotFound, StaleVersion, Invalid for a value that cannot be one, Conflict for an address that is taken.
    """
    user = await load(uow.session, uow.actor, User, id, expected_version=expected_version, lock=True)
    checked = dict(changes)
    for field, required in (("name", _name), ("language", _given_language), ("time_zone", _time_zone)):
        if field in checked:
            checked[field] = required(checked[field])
    if "email" in checked and normal_email(checked["email"] or "") != user.email:
        checked["email"] = await _free_address(uow, checked["email"] or "")
        user.auth_epoch += 1
    else:
        checked.pop("email", None)
    if any(getattr(user, field) != value for field, value in checked.items()):
        for field, value in checked.items():
            setattr(user, field, value)
        uow.note("user.updated", user)
    return user


async def disable_user(uow: UnitOfWork, id: UUID | None, *, expected_version: int | None = None) -> User:
    """Let a user in no more: every session ends, every token and key of theirs is refused from now on.

    Raises NotFound, StaleVersion, and Conflict for the last ADMIN.
    """
    user = await load(uow.session, uow.actor, User, id, expected_version=expected_version, lock=True)
    if user.disabled_at is None:
        await keep_an_admin(uow, RoleGrant.user_id == user.id)
        user.disabled_at = uow.now
        user.auth_epoch += 1
        await end_sessions(uow, user.id)
        uow.note("user.disabled", user)
    return user


async def enable_user(uow: UnitOfWork, id: UUID | None, *, expected_version: int | None = None) -> User:
    """Let a disabled user in again, with the grants that still hold.

    Raises NotFound and StaleVersion.
    """
    user = await load(uow.session, uow.actor, User, id, expected_version=expected_version, lock=True)
    if user.disabled_at is not None:
        user.disabled_at = None
        user.auth_epoch += 1
        uow.note("user.enabled", user)
    return user


async def end_sessions(uow: UnitOfWork, user_id: UUID) -> None:
    """End every session of a user in any browser."""
    await uow.session.execute(delete(SignInSession).where(SignInSession.user_id == user_id))


async def keep_an_admin(uow: UnitOfWork, leaving: Any) -> None:
    """Let the grants go that the condition names, as long as somebody who signs in stays ADMIN without an end.

    Raises Conflict otherwise, unless none of them is such a grant; two who go at once do so one after the other.
    """
    await uow.wait_turn("administrators")
    lasting = (
        select(RoleGrant.id)
        .join(User, User.id == RoleGrant.user_id)
        .where(
            RoleGrant.role == Role.ADMIN, RoleGrant.valid_from <= uow.now, RoleGrant.valid_to.is_(None),
            User.disabled_at.is_(None), User.kind == ActorKind.USER,
        )
    )  # fmt: skip
    some_go = (await uow.session.execute(lasting.where(leaving).limit(1))).first()
    if some_go and not (await uow.session.execute(lasting.where(~leaving).limit(1))).first():
        raise Conflict(LAST_ADMIN, ("id",))


async def user_of(uow: UnitOfWork, email: str) -> User:
    """The user with an address, disabled or not.

    Raises NotFound.
    """
    found = (await uow.session.execute(select(User).where(User.email == normal_email(email)))).scalar_one_or_none()
    if found is None:
        raise NotFound(Text(f"没有邮箱为 {email} 的用户", f"there is no user with the address {email}"), ("email",))
    return found


async def _free_address(uow: UnitOfWork, email: str) -> str:
    """The address, of which nobody else makes a user before this transaction ends."""
    address = normal_email(email)
    if not _EMAIL.fullmatch(address) or len(address) > EMAIL_LENGTH:
        raise Invalid(Text(f"“{email}”不是邮箱地址", f"“{email}” is not an e-mail address"), ("email",))
    await uow.wait_turn(f"user\0{address}")
    if (await uow.session.execute(select(User.id).where(User.email == address))).first():
        raise Conflict(Text(f"邮箱 {address} 已有用户", f"there is a user with {address} already"), ("email",))
    return address


def _name(name: str | None) -> str:
    words = (name or "").strip()
    if not words or len(words) > NAME_LENGTH:
        raise Invalid(
            Text(f"姓名须为 1 到 {NAME_LENGTH} 个字符", f"a name has 1 to {NAME_LENGTH} characters"), ("name",)
        )
    return words


def _given_language(language: Language | None) -> Language:
    if language is None:
        raise Invalid(Text("语言不能为空", "the language cannot be empty"), ("language",))
    return language


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _time_zone(name: str | None) -> str:
    if name not in _zones():
        zh, en = f"“{name}”不是 IANA 时区名，例如 Asia/Shanghai", f"“{name}” is no IANA time zone such as Asia/Shanghai"
        raise Invalid(Text(zh, en), ("timeZone",))
    return str(name)
