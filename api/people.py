"""People in the schema: users with their roles and keys, who is asking, and whoever did something."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import strawberry

from api.context import Context, Info
from api.reads import (
    STAMPS,
    Connection,
    Node,
    batched,
    by,
    column,
    computed,
    contains,
    derived,
    equals,
    global_id,
    listing,
    load_one,
    load_self,
    localized,
    many,
    node,
    roots,
    shape_of,
    to_one,
)
from api.scalars import enum
from domain import kernel, people
from domain.kernel import ActorKind, Language, Role, Scope, Text

if TYPE_CHECKING:
    from api.accounts import Account

enum(
    Role,
    "What a person does here.",
    REP="Sells: own accounts, leads and opportunities.",
    MANAGER="Leads the sellers of a territory.",
    EXECUTIVE="Sees totals.",
    CURATOR="Keeps the knowledge.",
    SALES_OPS="Keeps definitions and records, without notes.",
    LEGAL="Reviews what is said and allowed.",
    FINANCE="Sees amounts, quotes, orders and payments.",
    CSM="Looks after assigned accounts.",
    AUDITOR="Checks what was done, and on what ground.",
    DPO="Watches over personal data.",
    ADMIN="Keeps people and settings.",
)
enum(
    ActorKind,
    "What kind of somebody acts.",
    USER="A person.",
    ASSISTANT="The assistant, for a person.",
    RULE="A rule that somebody published.",
    IMPORT="An import of records.",
    INTEGRATION="Another system.",
    SYSTEM="The system itself.",
)
enum(
    Scope,
    "What a service account's key may be used for, within its grants.",
    READ="Queries and subscriptions.",
    WRITE="Mutations.",
    DRAFT="Having the assistant write.",
    IMPORT="Imports.",
)
enum(Language, "The languages that people read here.", ZH="Chinese.", EN="English.")

KINDS = {
    ActorKind.USER: Text("用户", "user"),
    ActorKind.ASSISTANT: Text("智能助手", "assistant"),
    ActorKind.RULE: Text("规则", "rule"),
    ActorKind.IMPORT: Text("数据导入", "import"),
    ActorKind.INTEGRATION: Text("系统集成", "integration"),
    ActorKind.SYSTEM: Text("系统", "system"),
}


async def _roles(context: Context, ids: list[UUID]) -> Mapping[UUID, list[Role]]:
    async with context.database.read(kernel.SYSTEM) as connection:
        return await people.role_codes(connection, ids, context.now)


async def _last_used(context: Context, ids: list[UUID]) -> Mapping[UUID, date | None]:
    async with context.database.read(kernel.SYSTEM) as connection:
        return await people.days_of_use(connection, ids)


@node(people.Territory, order=by("key"), hidden=STAMPS)
class Territory(Node):
    """A sales region, part of a larger one or not."""

    key: str = column("By what records call it.")
    label: str = localized("label", "Its name in the reader's language.")
    parent: Annotated["Territory", strawberry.lazy("api.people")] | None = to_one("parent_id", "The larger one.")


@node(people.Brand, order=by("key"), hidden=STAMPS)
class Brand(Node):
    """A brand under which the company sells."""

    key: str = column("By what records call it.")
    label: str = localized("label", "Its name in the reader's language.")


@node(people.RoleGrant, order=by("valid_from", "id"), hidden=STAMPS - {"version", "created_at"})
class RoleGrant(Node):
    """A role of a user: in a territory and brand, on one account, or everywhere, from one instant to another."""

    version: int = column("What an edit's `expectedVersion` compares.")
    user: Annotated["User", strawberry.lazy("api.people")] | None = to_one("user_id", "Who holds it.")
    role: Role = column("The role.")
    territory: Territory | None = to_one("territory_id", "The territory in which it holds, with all below it.")
    brand: Brand | None = to_one("brand_id", "The brand for which it holds; all of them without one.")
    account: Annotated["Account", strawberry.lazy("api.accounts")] | None = to_one(
        "account_id", "The one account for which it holds, as far as the reader sees that."
    )
    account_id: strawberry.ID | None = derived(
        ("account_id",),
        lambda account: strawberry.ID(global_id("Account", account)),
        "That account's id, whoever sees it.",
    )
    valid_from: datetime = column("When it begins or began.")
    valid_to: datetime | None = column("When it ends or ended; open without it.")
    created_at: datetime = column("When it was granted.")


@node(people.ServiceKey, hidden=STAMPS - {"version", "created_at"} | {"user_id"})
class ServiceKey(Node):
    """A key with which another system comes as its service account."""

    version: int = column("What an edit's `expectedVersion` compares.")
    label: str = column("What it is for.")
    scopes: list[Scope] = column("What it may be used for.")
    expires_at: datetime = column("When it ends.")
    revoked_at: datetime | None = column("When it was revoked.")
    created_at: datetime = column("When it was made.")
    last_used_on: date | None = batched(_last_used, "The last day (UTC) on which somebody came with it.")


@node(people.User, order=by("name", "id"), hidden=STAMPS - {"version"} | {"auth_epoch", "source", "external_id"})
class User(Node):
    """A person who signs in, or a service account."""

    version: int = column("What an edit's `expectedVersion` compares.")
    kind: ActorKind = column("USER for a person, INTEGRATION for a service account.")
    name: str = column("The person's name.")
    email: str = column("The address under which the person signs in.")
    roles: list[Role] = batched(_roles, "The roles that the person holds now, in any context.")
    language: Language | None = column("The language that the person reads.")
    time_zone: str | None = column("The person's time zone, by its IANA name.")
    disabled_at: datetime | None = column("Since when the person is let in no more.")
    grants: list[RoleGrant] = many("user_id", "The roles with their contexts and times, ended ones included.")
    service_keys: list[ServiceKey] = many("user_id", "The keys of a service account, revoked ones included.")


@strawberry.input(description="Which users; all conditions hold together.")
class UserFilter:
    """Conditions on users."""

    name: str | None = contains("name", "Part of the name.")
    email: str | None = equals("email", "The address, in lower case.")
    kind: ActorKind | None = equals("kind", "A person or a service account.")


@strawberry.type(description="Who did something: a person, the assistant for one, or a machine.")
class Actor:
    """What is stored of an actor; names are looked up when they are asked for."""

    kind: ActorKind = strawberry.field(description="What kind of somebody.")
    user_id: strawberry.Private[UUID | None] = None
    on_behalf_of_id: strawberry.Private[UUID | None] = None
    name: strawberry.Private[str | None] = None

    @computed("A name to show: the person's, or the kind's in the reader's language.")
    async def display_name(self, info: Info) -> str:
        """Prefer the name kept with the deed, then the person's present one."""
        if self.name:
            return self.name
        user = await _user(info.context, self.user_id)
        return user.name if user is not None else KINDS[self.kind].words(info.context.language)

    @computed("The person, where one acted.")
    async def user(self, info: Info) -> User | None:
        """Load the person."""
        return await _user(info.context, self.user_id)

    @computed("The person for whom a machine acted.")
    async def on_behalf_of(self, info: Info) -> User | None:
        """Load the person."""
        return await _user(info.context, self.on_behalf_of_id)


async def _user(context: Context, id: UUID | None) -> User | None:
    found: User | None = None if id is None else await load_one(context, shape_of(User), id)
    return found


@roots
class PeopleQueries:
    """The roots of this room."""

    @computed("Who is asking; null without a token.")
    async def viewer(self, info: Info) -> User | None:
        """Read the person's own record, whatever roles they hold."""
        actor: kernel.Actor | None = info.context.actor
        if actor is None or actor.user_id is None:
            return None
        viewer: User | None = await load_self(info.context, shape_of(User), actor.user_id)
        return viewer

    users: Connection[User] = listing("Everybody who works here, by name.", filter=UserFilter)
    territories: Connection[Territory] = listing("The sales regions.")
    brands: Connection[Brand] = listing("The brands.")
