"""People in the schema: users with their roles and keys, who is asking, and whoever did something."""

from collections.abc import Collection
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from sqlalchemy import ColumnElement, Text, Uuid, case, cast, func, literal, null, select
from sqlalchemy import Enum as SqlEnum
from sqlalchemy.types import TypeEngine

from api.reads import (
    NOW,
    STAMPS,
    Connection,
    Expression,
    Node,
    View,
    by,
    column,
    contains,
    derived,
    embedded,
    equals,
    expressed,
    gathered,
    global_id,
    listing,
    localized,
    many,
    node,
    own_record,
    packed,
    roots,
    rows,
    to_one,
    unpacked,
)
from api.scalars import enum
from domain import people
from domain.kernel import ActorKind, Language, Role, Scope, beyond, rows_visible
from domain.kernel import Text as Words

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
    CONTENT="The content API for customers' own systems, whatever the account's grants.",
)
enum(Language, "The languages that people read here.", ZH="Chinese.", EN="English.")

KINDS = {
    ActorKind.USER: Words("用户", "user"),
    ActorKind.ASSISTANT: Words("智能助手", "assistant"),
    ActorKind.RULE: Words("规则", "rule"),
    ActorKind.IMPORT: Words("数据导入", "import"),
    ActorKind.INTEGRATION: Words("系统集成", "integration"),
    ActorKind.SYSTEM: Words("系统", "system"),
}


def _grants(view: View) -> ColumnElement[str]:
    """The roles of a user that hold now, whoever sees the grants."""
    grant = beyond(people.RoleGrant).alias()
    holds = (grant.c.valid_from <= NOW) & (grant.c.valid_to.is_(None) | (grant.c.valid_to > NOW))
    return packed(select(grant.c.role).distinct().where(grant.c.user_id == view.key, holds).correlate_except(grant))


def _roles(packed_roles: str) -> list[Role]:
    return sorted(role for (role,) in unpacked(packed_roles, (people.RoleGrant.role.type,)))


def _last_used(view: View) -> ColumnElement[date]:
    secret = beyond(people.KeySecret).alias()
    return select(secret.c.last_used_on).where(secret.c.key_id == view.key).correlate_except(secret).scalar_subquery()


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
    last_used_on: date | None = expressed(_last_used, "The last day (UTC) on which somebody came with it.")


@node(people.User, order=by("name", "id"), hidden=STAMPS - {"version"} | {"auth_epoch", "source", "external_id"})
class User(Node):
    """A person who signs in, or a service account."""

    version: int = column("What an edit's `expectedVersion` compares.")
    kind: ActorKind = column("USER for a person, INTEGRATION for a service account.")
    name: str = column("The person's name.")
    email: str = column("The address under which the person signs in.")
    roles: list[Role] = gathered((_grants,), _roles, "The roles that the person holds now, in any context.")
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


ACTOR_KIND = SqlEnum(ActorKind, native_enum=False)


def _display_name(view: View) -> ColumnElement[str]:
    """The name kept with the deed, else the person's present one, else what machines of this kind are called."""
    user = people.User.__table__.alias()
    seen = (user.c.id == view.column("user_id"), rows_visible(people.User, view.actor, user))
    present = select(user.c.name).where(*seen).correlate_except(user).scalar_subquery()
    kinds = [(view.column("kind") == kind, words.words(view.language)) for kind, words in KINDS.items()]
    return func.coalesce(func.nullif(view.column("name"), ""), present, case(*kinds))


@rows
class Actor:
    """Who did something: a person, the assistant for one, or a machine."""

    kind: ActorKind = column("What kind of somebody.")
    display_name: str = expressed(
        _display_name, "A name to show: the person's, or the kind's in the reader's language."
    )
    user: User | None = to_one("user_id", "The person, where one acted.")
    on_behalf_of: User | None = to_one("on_behalf_of_id", "The person for whom a machine acted.")


def nothing(kind: TypeEngine[Any]) -> Expression:
    """A slot that holds nothing."""
    return lambda _view: cast(null(), kind)


def actor(
    description: str,
    *,
    kind: str | Expression,
    user_id: str | Expression,
    name: str | None = None,
    on_behalf_of_id: str | None = None,
    columns: Collection[str] = (),
) -> Any:
    """A field that shows who did something, by what the row keeps of them."""
    return embedded(
        description, columns, kind=kind, user_id=user_id, name=name or nothing(Text()), on_behalf_of_id=on_behalf_of_id or nothing(Uuid()),
    )  # fmt: skip


def person(description: str, user_id: str) -> Any:
    """A field that shows the person who did something."""
    return actor(description, kind=lambda _view: literal(ActorKind.USER, ACTOR_KIND), user_id=user_id)


@roots
class PeopleQueries:
    """The roots of this room."""

    viewer: User | None = own_record("Who is asking; null without a token.")
    users: Connection[User] = listing("Everybody who works here, by name.", filter=UserFilter)
    territories: Connection[Territory] = listing("The sales regions.")
    brands: Connection[Brand] = listing("The brands.")
