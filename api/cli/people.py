"""The commands `sortie user …`: people and service accounts, their roles, passwords and keys."""

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

import typer

from api.cli.terminal import fail, pick, readable_errors, say, settings_of, with_database

if TYPE_CHECKING:
    from uuid import UUID

    from domain.kernel import Database, Text, UnitOfWork
    from domain.people import Entry, Held, KeyEntry

T = TypeVar("T")

users = typer.Typer(
    help=pick("管理用户、角色、密码和服务账号密钥。", "Keep users, roles, passwords and the keys of service accounts."),
    no_args_is_help=True,
)
keys = typer.Typer(help=pick("服务账号的密钥。", "The keys of service accounts."), no_args_is_help=True)
users.add_typer(keys, name="key")

Email = Annotated[str, typer.Argument(help=pick("用户邮箱", "The user's email address"))]
RoleName = Annotated[
    str, typer.Argument(help=pick("角色，例如 REP、MANAGER、ADMIN", "The role, such as REP, MANAGER, ADMIN"))
]
TerritoryName = Annotated[
    str | None, typer.Option("--territory", help=pick("区域的 key 或名称", "A territory, by key or label"))
]
BrandName = Annotated[str | None, typer.Option("--brand", help=pick("品牌的 key 或名称", "A brand, by key or label"))]
AccountName = Annotated[
    str | None,
    typer.Option("--account", help=pick("只对这一个客户有效：名称或 ID", "For this one account alone: its name or id")),
]


def add_commands(app: typer.Typer) -> None:
    """Put the commands in their place."""
    app.add_typer(users, name="user")


def _result(work: "Callable[[Database], Coroutine[Any, Any, T]]") -> T:
    """What work with the database comes to, every mapped class known: a grant may name a record of any room."""
    from migrations import import_models

    settings = settings_of()
    with readable_errors():
        import_models()
        return asyncio.run(with_database(settings, work))


def _in_one_go(work: "Callable[[UnitOfWork], Awaitable[Text]]") -> None:
    """Work in one unit of work and say what was done."""
    from domain.kernel import SYSTEM

    async def go(database: "Database") -> "Text":
        async with database.open_uow(SYSTEM) as uow:
            return await work(uow)

    say(_result(go))


@users.command("add", help=pick("添加用户或服务账号。", "Add a user or a service account."))
def add(
    email: Email,
    name: Annotated[str, typer.Option("--name", help=pick("姓名", "The person's name"))],
    language: Annotated[str, typer.Option("--language", help="zh | en")] = "zh",
    time_zone: Annotated[str, typer.Option("--time-zone", help=pick("时区", "The time zone"))] = "Asia/Shanghai",
    password: Annotated[
        bool, typer.Option("--password", help=pick("设置密码（在终端输入）", "Ask for a password at the terminal"))
    ] = False,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help=pick("从标准输入读取密码", "Read a password from stdin"))
    ] = False,
    service: Annotated[
        bool, typer.Option("--service", help=pick("服务账号：用密钥，不用密码", "A service account, which has keys"))
    ] = False,
) -> None:
    """Add."""
    from domain import people
    from domain.kernel import ActorKind, Language, Text

    if language.upper() not in set(Language):
        fail(pick("--language 只能是 zh 或 en", "--language is zh or en"))
    asked = _password(ask=password, from_stdin=password_stdin)

    async def work(uow: "UnitOfWork") -> "Text":
        kind = ActorKind.INTEGRATION if service else ActorKind.USER
        user = await people.add_user(
            uow, name=name, email=email, language=Language(language.upper()), time_zone=time_zone, kind=kind
        )
        await uow.session.flush()
        if asked is not None:
            await people.set_password(uow, user, await people.hashed(people.normal_password(asked, user.email)))
        return Text(f"已添加 {user.email}", f"added {user.email}")

    _in_one_go(work)


@users.command("list", help=pick("列出用户及其有效的角色。", "List the users with the roles that they hold now."))
def show() -> None:
    """List, one user a line: address, name, kind, state, roles with their contexts."""
    from domain import people
    from domain.kernel import SYSTEM

    async def go(database: "Database") -> "list[Entry]":
        async with database.read(SYSTEM) as connection:
            return await people.directory(connection, database.clock())

    for user in _result(go):
        state = pick("已停用", "disabled") if user.disabled_at else pick("启用", "enabled")
        roles = ", ".join(map(_held, user.held)) or "-"
        typer.echo(f"{user.email}\t{user.name}\t{user.kind.value}\t{state}\t{roles}")


@users.command("grant", help=pick("授予角色。", "Give a role."))
def grant(
    email: Email,
    role: RoleName,
    territory: TerritoryName = None,
    brand: BrandName = None,
    account: AccountName = None,
    since: Annotated[
        str | None,
        typer.Option("--from", help=pick("从此日开始：2026-12-01", "The first day on which it holds: 2026-12-01")),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until", help=pick("有效到此日（含）：2026-12-31", "The last day on which it holds: 2026-12-31")
        ),
    ] = None,
) -> None:
    """Grant."""
    from domain import people
    from domain.kernel import Text

    async def work(uow: "UnitOfWork") -> "Text":
        user = await people.user_of(uow, email)
        begin = None if since is None else _day(since, user.time_zone, "from")
        end = None if until is None else _day(until, user.time_zone, "until") + timedelta(days=1)
        if begin is not None and begin <= uow.now < begin + timedelta(days=1):
            begin = None
        account_id = None if account is None else await _account(uow, account)
        made = await people.give_role(
            uow,
            user,
            _role(role),
            territory=territory,
            brand=brand,
            account_id=account_id,
            valid_from=begin,
            valid_to=end,
        )
        return Text(f"已授予 {user.email} 角色 {made.role.value}", f"{user.email} holds {made.role.value} now")

    _in_one_go(work)


@users.command("revoke", help=pick("收回角色。", "Take a role back."))
def revoke(
    email: Email,
    role: RoleName,
    territory: TerritoryName = None,
    brand: BrandName = None,
    account: AccountName = None,
) -> None:
    """Revoke the grant of exactly this context."""
    from domain import people
    from domain.kernel import NotFound, Text

    async def work(uow: "UnitOfWork") -> "Text":
        user = await people.user_of(uow, email)
        account_id = None if account is None else await _account(uow, account)
        named = await people.grants_in(uow, user, _role(role), territory=territory, brand=brand, account_id=account_id)
        if not named:
            raise NotFound(Text("该用户没有这样的授权", "the user holds no such grant"), ("role",))
        for one in named:
            await people.revoke_role(uow, one.id)
        return Text(f"已收回 {user.email} 的角色 {role}", f"{user.email} no longer holds {role}")

    _in_one_go(work)


@users.command("disable", help=pick("停用用户（立即生效）。", "Let a user in no more, from the next request on."))
def disable(email: Email) -> None:
    """Disable."""
    from domain import people
    from domain.kernel import Text

    async def work(uow: "UnitOfWork") -> "Text":
        user = await people.disable_user(uow, (await people.user_of(uow, email)).id)
        return Text(f"已停用 {user.email}", f"{user.email} is disabled")

    _in_one_go(work)


@users.command("enable", help=pick("重新启用用户。", "Let a disabled user in again."))
def enable(email: Email) -> None:
    """Enable."""
    from domain import people
    from domain.kernel import Text

    async def work(uow: "UnitOfWork") -> "Text":
        user = await people.enable_user(uow, (await people.user_of(uow, email)).id)
        return Text(f"已启用 {user.email}", f"{user.email} is enabled")

    _in_one_go(work)


@users.command("password", help=pick("设置用户的密码。", "Set a user's password."))
def password(
    email: Email,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help=pick("从标准输入读取密码", "Read the password from stdin"))
    ] = False,
) -> None:
    """Set a password."""
    from domain import people
    from domain.kernel import Text

    asked = _password(ask=not password_stdin, from_stdin=password_stdin) or ""

    async def work(uow: "UnitOfWork") -> "Text":
        user = await people.user_of(uow, email)
        await people.set_password(uow, user, await people.hashed(people.normal_password(asked, user.email)))
        return Text(f"已设置 {user.email} 的密码", f"the password of {user.email} is set")

    _in_one_go(work)


@keys.command("add", help=pick("新建密钥（标准输出仅含密钥，只显示这一次）。", "Make a key; stdout is the key alone."))
def add_key(
    email: Email,
    label: Annotated[str, typer.Option("--label", help=pick("用途说明", "What it is for"))],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope", help=pick("用途，可多次：", "May be given again: ") + "read, write, draft, import, content"
        ),
    ] = None,
    days: Annotated[int, typer.Option("--days", help=pick("有效天数", "How many days it holds"), min=1)] = 365,
) -> None:
    """Make a key."""
    from domain import people
    from domain.kernel import SYSTEM, Scope

    chosen = [one.upper() for one in scope or ["read"]]
    if not set(chosen) <= set(Scope):
        fail(pick("--scope 只能是 read、write、draft、import", "--scope is read, write, draft or import"))

    async def go(database: "Database") -> str | None:
        async with database.open_uow(SYSTEM) as uow:
            user = await people.user_of(uow, email)
            ends = uow.now + timedelta(days=days)
            _, secret = await people.add_service_key(uow, user, label=label, scopes=map(Scope, chosen), expires_at=ends)
            return secret

    typer.echo(_result(go))


@keys.command("list", help=pick("列出服务账号的密钥。", "List a service account's keys."))
def show_keys(email: Email) -> None:
    """List, one key a line: id, label, scopes, end, state, last day of use."""
    from domain import people
    from domain.kernel import SYSTEM

    async def go(database: "Database") -> "list[KeyEntry]":
        async with database.read(SYSTEM) as connection:
            return await people.keys_of(connection, await people.user_id_of(connection, email, any_kind=True))

    for key in _result(go):
        state = pick("已吊销", "revoked") if key.revoked_at else pick("有效", "good")
        used = key.last_used_on.isoformat() if key.last_used_on else "-"
        end = key.expires_at.date().isoformat()
        typer.echo("\t".join((key.id.hex, key.label, ",".join(key.scopes), end, state, used)))


@keys.command("revoke", help=pick("吊销密钥（立即生效）。", "Take a key back, from the next request on."))
def revoke_key(
    key: Annotated[str, typer.Argument(help=pick("密钥的 ID（见 list）", "The key's id, as `list` shows it"))],
) -> None:
    """Revoke."""
    from domain import people
    from domain.kernel import Text

    async def work(uow: "UnitOfWork") -> "Text":
        await people.revoke_service_key(uow, _uuid(key))
        return Text("已吊销", "revoked")

    _in_one_go(work)


def _password(*, ask: bool, from_stdin: bool) -> str | None:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not ask:
        return None
    first = getpass.getpass(pick("密码：", "Password: "))
    if getpass.getpass(pick("再输一次：", "Once more: ")) != first:
        fail(pick("两次输入不一致", "the two differ"))
    return first


def _held(held: "Held") -> str:
    """A role with its context in one word: REP@east_china#med, CSM@“华山医院”<2026-12-31."""
    account = f"@“{held.account}”" if held.account else ""
    territory, brand = f"@{held.territory}" if held.territory else "", f"#{held.brand}" if held.brand else ""
    end = f"<{held.valid_to.date().isoformat()}" if held.valid_to else ""
    return f"{held.role.value}{territory}{account}{brand}{end}"


def _role(name: str) -> Any:
    from domain.kernel import Invalid, Role, Text

    try:
        return Role(name.upper())
    except ValueError as error:
        known = "、".join(Role), ", ".join(Role)
        raise Invalid(
            Text(f"没有角色“{name}”，可用：{known[0]}", f"there is no role “{name}”: {known[1]}"), ("role",)
        ) from error


def _uuid(words: str) -> "UUID | None":
    from uuid import UUID

    try:
        return UUID(hex=words.partition("_")[2] or words)
    except ValueError:
        return None


async def _account(uow: "UnitOfWork", words: str) -> "UUID":
    """The account that a name or an id means.

    Raises NotFound for none, Conflict where several have the name.
    """
    from domain import people
    from domain.kernel import Conflict, NotFound, Text

    found = await people.accounts_named(uow, words) or [id for id in (_uuid(words),) if id is not None]
    if not found:
        raise NotFound(Text(f"没有客户“{words}”", f"there is no account “{words}”"), ("account",))
    if len(found) > 1:
        zh, en = f"有多个客户叫“{words}”，请用 ID", f"several accounts are called “{words}”: name one by its id"
        raise Conflict(Text(zh, en), ("account",))
    return found[0]


def _day(day: str, time_zone: str, field: str) -> datetime:
    """The instant at which a day begins in a place."""
    from domain.kernel import Invalid, Text

    try:
        begins = datetime.combine(datetime.fromisoformat(day).date(), time(), ZoneInfo(time_zone))
    except ValueError as error:
        raise Invalid(Text("日期须写成 2026-12-31 的形式", "write a day as 2026-12-31"), (field,)) from error
    return begins.astimezone(UTC)
