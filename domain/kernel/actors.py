"""Who acts: the kinds of actors, the roles that they hold, and in what context and for how long."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Role(StrEnum):
    """What a person does here; a grant gives one, in a context, for a time."""

    REP = "REP"
    MANAGER = "MANAGER"
    EXECUTIVE = "EXECUTIVE"
    CURATOR = "CURATOR"
    SALES_OPS = "SALES_OPS"
    LEGAL = "LEGAL"
    FINANCE = "FINANCE"
    CSM = "CSM"
    AUDITOR = "AUDITOR"
    DPO = "DPO"
    ADMIN = "ADMIN"


class ActorKind(StrEnum):
    """What kind of somebody acts."""

    USER = "USER"
    ASSISTANT = "ASSISTANT"
    RULE = "RULE"
    IMPORT = "IMPORT"
    INTEGRATION = "INTEGRATION"
    SYSTEM = "SYSTEM"


class Scope(StrEnum):
    """What a service account's key may be used for."""

    READ = "READ"
    WRITE = "WRITE"
    DRAFT = "DRAFT"
    IMPORT = "IMPORT"
    CONTENT = "CONTENT"


@dataclass(frozen=True, slots=True)
class Reach:
    """One role with the territories (descendants included), brands and accounts in which it holds; no brands: all.

    Where it names accounts it is theirs alone: it stands for the ownership, team and territory of what hangs on them.
    """

    role: Role
    territory_ids: frozenset[UUID] = frozenset()
    brand_ids: frozenset[UUID] = frozenset()
    account_ids: frozenset[UUID] = frozenset()


@dataclass(frozen=True, slots=True)
class Actor:
    """Who is asking, frozen for one request."""

    kind: ActorKind
    user_id: UUID | None = None
    display_name: str = ""
    reaches: tuple[Reach, ...] = ()
    on_behalf_of_id: UUID | None = None
    valid_until: datetime | None = None
    scopes: frozenset[Scope] | None = None
    """What the key of a service account allows of what its roles do; None: all of it."""

    @property
    def roles(self) -> frozenset[Role]:
        """The roles held in any context."""
        return frozenset(reach.role for reach in self.reaches)

    @property
    def unrestricted(self) -> bool:
        """Whether access rules do not apply: the system itself, an import, a rule; never who signs in or the assistant."""
        return self.kind in {ActorKind.SYSTEM, ActorKind.IMPORT, ActorKind.RULE}

    def has(self, *roles: Role) -> bool:
        """Whether the actor holds any of the roles, or is above them."""
        return self.unrestricted or not self.roles.isdisjoint(roles)

    def manages(self, territory_id: UUID | None) -> bool:
        """Whether the actor is a manager of a territory, or above roles."""
        return self.unrestricted or any(
            reach.role is Role.MANAGER and territory_id in reach.territory_ids for reach in self.reaches
        )

    def home_brand(self, *roles: Role) -> UUID | None:
        """The one brand to which the actor's grants of these roles are bound; None where there are several or none."""
        bounds = {reach.brand_ids for reach in self.reaches if reach.role in roles and not reach.account_ids}
        brands = frozenset[UUID]().union(*bounds)
        return next(iter(brands)) if len(brands) == 1 and frozenset() not in bounds else None

    def only(self, *roles: Role) -> "Actor":
        """The actor with these roles alone: a row loaded as them is one on which one of these roles holds."""
        return replace(self, reaches=tuple(reach for reach in self.reaches if reach.role in roles))

    def may(self, scope: Scope) -> bool:
        """Whether the key by which the actor came allows this; a person's token allows everything."""
        return self.scopes is None or scope in self.scopes


SYSTEM = Actor(ActorKind.SYSTEM)
