"""People in the schema: users with their roles, who is asking, and whoever did something."""

from collections.abc import Mapping
from uuid import UUID

import strawberry

from api.context import Context, Info
from api.reads import STAMPS, Node, batched, column, computed, load_one, load_self, node, roots, shape_of
from api.scalars import enum
from domain import kernel, people
from domain.kernel import ActorKind, Language, Role, Text

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
    async with context.database.read() as connection:
        return await people.role_codes(connection, ids, context.now)


@node(people.User, hidden=STAMPS | {"disabled_at", "source", "external_id"})
class User(Node):
    """A person who signs in."""

    name: str = column("The person's name.")
    email: str = column("The address under which the person signs in.")
    roles: list[Role] = batched(_roles, "The roles that the person holds now, in any context.")
    language: Language | None = column("The language that the person reads.")
    time_zone: str | None = column("The person's time zone, by its IANA name.")


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
