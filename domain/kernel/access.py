"""The one access mechanism: which rows somebody sees, which fields of them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, and_, false, or_, select, true

from domain.kernel.actors import Actor, Reach, Role
from domain.kernel.conditions import DatabaseNow, among, leads
from domain.kernel.errors import NotFound, StaleVersion, Text
from domain.kernel.reader import lookup, sees
from domain.kernel.rows import as_row
from domain.kernel.statements import Statement, Transaction, given

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from domain.kernel.orm import Base

T = TypeVar("T", bound="Base")


class Rule(Protocol):
    """Which rows of a table one reach sees."""

    def __hash__(self) -> int:
        """Equal rules say the same."""
        ...

    def clause(self, table: FromClause, reach: Reach, actor: Actor) -> ColumnElement[bool]:
        """Return the SQL condition over the table."""
        ...


SUBJECTS = ("Account", "Contact", "Lead", "Opportunity")
"""The records of which a `subject_kind` and `subject_id` may speak that hang on an account or are one."""


CONTEXT = ("id", "account_id", "brand_id", "contact_id", "subject_kind", "subject_id", "merged_into_id")
"""The columns by which rows hang on an account."""


def in_context(table: FromClause, reach: Reach) -> ColumnElement[bool] | None:
    """The rows that hang on the reach's accounts and are of its brands, whatever it names of them.

    None where it names neither, or where rows of this table hang on no account: definitions, knowledge, colleagues.
    """
    found = [
        _hanging(table, column, ids)
        for column, ids in (("id", reach.account_ids), ("brand_id", reach.brand_ids))
        if ids
    ]
    parts = [part for part in found if part is not None]
    return and_(*parts) if parts else None


def _hanging(table: FromClause, of: str, ids: frozenset[UUID]) -> ColumnElement[bool] | None:
    """Rows whose account has one of the ids in its column `of`; a row's own brand comes before its account's."""
    columns = table.c
    if of in columns and (of == "brand_id" or _source(table).name == "accounts"):
        return among(columns[of], ids)
    if of == "id" and "account_id" in columns:
        return among(columns.account_id, ids)
    for column, parent in (("account_id", "Account"), ("contact_id", "Contact")):
        if column in columns:
            return _parent_hangs(table, columns[column], parent, of, ids)
    if "subject_kind" not in columns:
        return None
    return or_(
        *(
            and_(columns.subject_kind == kind, _parent_hangs(table, columns.subject_id, kind, of, ids))
            for kind in SUBJECTS
        )
    )


def _parent_hangs(
    table: FromClause, column: ColumnElement[Any], parent: str, of: str, ids: frozenset[UUID]
) -> ColumnElement[bool]:
    alias = _beside(entity(parent))
    hangs = _hanging(alias, of, ids)
    return leads(table, column, alias.c.id, true() if hangs is None else hangs)


def _source(table: FromClause) -> Any:
    """The table from which the rows come, through aliases and subqueries."""
    (column,) = table.c.id.base_columns
    return column.table


def _beside(model: "type[Base]") -> FromClause:
    """The rows of another class for a lookup: beyond the wall, which would ask there once more what the lookup itself asks."""
    return (lookup(model) if _is_product(model) else model.__table__).alias()


def _named(rule: object) -> set[str]:
    """What a rule says of its own table's columns, and other words."""
    parts = [one for part in vars(rule).values() for one in (part if isinstance(part, tuple) else (part,))]
    words = {part for part in parts if isinstance(part, str)}
    return words.union(*(_named(part) for part in parts if hasattr(part, "clause")))


def _narrowed(table: FromClause, reach: Reach, rows: ColumnElement[bool]) -> ColumnElement[bool]:
    """The rows, within the reach's context."""
    context = in_context(table, reach)
    return rows if context is None else and_(rows, context)


def _held(table: FromClause, reach: Reach, rows: ColumnElement[bool]) -> ColumnElement[bool]:
    """The rows within the reach's context, or all within it where a grant on an account stands for holding them."""
    context = in_context(table, reach)
    if context is None:
        return rows
    return context if reach.account_ids else and_(rows, context)


class _Combinable:
    def __or__(self, other: Rule) -> "AnyOf":
        return AnyOf((self, other))  # type: ignore[arg-type]


@dataclass(frozen=True)
class AnyOf(_Combinable):
    """Rows that at least one of the rules admits."""

    rules: tuple[Rule, ...]

    def clause(self, table: FromClause, reach: Reach, actor: Actor) -> ColumnElement[bool]:
        """Join the rules by OR."""
        return or_(*(rule.clause(table, reach, actor) for rule in self.rules))


@dataclass(frozen=True)
class Everyone(_Combinable):
    """Every row, within the reach's context."""

    def clause(self, table: FromClause, reach: Reach, actor: Actor) -> ColumnElement[bool]:
        """Admit all of the context."""
        return _narrowed(table, reach, true())


@dataclass(frozen=True)
class Owned(_Combinable):
    """Rows whose column holds the actor's user id."""

    column: str = "owner_id"

    def clause(self, table: FromClause, reach: Reach, actor: Actor) -> ColumnElement[bool]:
        """Compare with the actor's user; a grant on an account stands for owning, never for having made something."""
        mine = table.c[self.column] == actor.user_id
        return (_held if self.column == "owner_id" else _narrowed)(table, reach, mine)


@dataclass(frozen=True)
class InTerritory(_Combinable):
    """Rows of the reach's territories; `unowned` narrows to rows without an owner."""

    column: str = "territory_id"
    unowned: str | None = None

    def clause(self, table: FromClause, reach: Reach, actor: Actor) -> ColumnElement[bool]:
        """Compare with the territory ids, descendants included."""
        inside: ColumnElement[bool] = false()
        if reach.territory_ids:
            inside = among(table.c[self.column], reach.territory_ids)
        return _held(table, reach, inside if self.unowned is None else and_(inside, table.c[self.unowned].is_(None)))


@dataclass(frozen=True)
class Member(_Combinable):
    """Rows on whose team the actor's user is."""

    team: str
    column: str

    def clause(self, table: FromClause, reach: Reach, actor: Actor) -> ColumnElement[bool]:
        """Look the user up among the team's rows."""
        team = _beside(entity(self.team))
        return _held(table, reach, leads(table, table.c.id, team.c[self.column], team.c.user_id == actor.user_id))


@dataclass(frozen=True)
class Through(_Combinable):
    """Rows whose parent the same reach sees, or whose parent meets `rule` where one is given."""

    column: str
    parent: str
    rule: Rule | None = None

    def clause(self, table: FromClause, reach: Reach, actor: Actor) -> ColumnElement[bool]:
        """Ask the parent's own rule for this role, or the rule given."""
        parent = entity(self.parent)
        rule = self.rule or declared(parent).rule(reach.role)
        if rule is None:
            return false()
        alias = _beside(parent)
        return leads(table, table.c[self.column], alias.c.id, rule.clause(alias, reach, actor))


@dataclass(frozen=True)
class HasChild(_Combinable):
    """Rows that a row of another class points to, which the same reach sees, or which meets `rule` where one is given."""

    child: str
    column: str
    rule: Rule | None = None

    def clause(self, table: FromClause, reach: Reach, actor: Actor) -> ColumnElement[bool]:
        """Look for such a child."""
        child = entity(self.child)
        rule = self.rule or declared(child).rule(reach.role)
        if rule is None:
            return false()
        alias = _beside(child)
        return leads(table, table.c.id, alias.c[self.column], rule.clause(alias, reach, actor))


@dataclass(frozen=True)
class ThroughSubject(_Combinable):
    """Rows whose subject, of any of the named classes, the same reach sees."""

    kinds: tuple[str, ...]
    kind_column: str = "subject_kind"
    id_column: str = "subject_id"

    def clause(self, table: FromClause, reach: Reach, actor: Actor) -> ColumnElement[bool]:
        """Ask each class in its turn."""
        parts = [
            and_(table.c[self.kind_column] == kind, Through(self.id_column, kind).clause(table, reach, actor))
            for kind in self.kinds
        ]
        return or_(false(), *parts)


@dataclass(frozen=True)
class Matching(_Combinable):
    """Rows whose column holds one of the values (None: holds nothing), and which `rule` admits as well."""

    column: str
    values: tuple[Any, ...]
    rule: Rule = field(default_factory=Everyone)

    def clause(self, table: FromClause, reach: Reach, actor: Actor) -> ColumnElement[bool]:
        """Compare with the values."""
        column = table.c[self.column]
        matches = column.is_(None) if self.values == (None,) else column.in_(self.values)
        return and_(matches, self.rule.clause(table, reach, actor))


@dataclass(frozen=True)
class InDate(_Combinable):
    """Rows that have begun to hold and have not ended to, by the database's clock; an open end holds for ever."""

    begins: str
    ends: str

    def clause(self, table: FromClause, reach: Reach, actor: Actor) -> ColumnElement[bool]:
        """Compare with the time."""
        begins, ends = table.c[self.begins], table.c[self.ends]
        return and_(or_(begins.is_(None), begins <= DatabaseNow()), or_(ends.is_(None), ends > DatabaseNow()))


@dataclass(frozen=True)
class AtOrAbove(_Combinable):
    """Rows of a territory in which the reach holds, or in a part of which it does."""

    column: str = "territory_id"

    def clause(self, table: FromClause, reach: Reach, actor: Actor) -> ColumnElement[bool]:
        """Look the territory up among the reach's and all above them."""
        if not reach.territory_ids:
            return false()
        territories = entity("Territory").__table__
        id, parent = territories.c.id, territories.c.parent_id
        above = select(id, parent).where(among(id, reach.territory_ids)).cte(recursive=True)
        return table.c[self.column].in_(
            select(above.union(select(id, parent).join(above, id == above.c.parent_id)).c.id)
        )


@dataclass(frozen=True)
class Addressed(_Combinable):
    """Rows that `rule` admits and that are addressed to a role in the reach's territories and brands, or to nobody in particular.

    A row of the audience names role, territory or brand; what it leaves open holds for all. A territory is meant with all
    within it, and whoever leads it; who works `everywhere` is in every territory.
    """

    audience: str
    column: str
    role: Role
    rule: Rule = field(default_factory=Everyone)
    everywhere: bool = False

    def clause(self, table: FromClause, reach: Reach, actor: Actor) -> ColumnElement[bool]:
        """Look the audience up."""
        named, fits = (_beside(entity(self.audience)) for _ in range(2))
        columns = fits.c
        place: ColumnElement[bool] = columns.territory_id.is_(None)
        if reach.territory_ids:
            place = or_(place, AtOrAbove().clause(fits, reach, actor))
        parts = [or_(columns.role.is_(None), columns.role == self.role)]
        parts += [] if self.everywhere else [place]
        parts += [or_(columns.brand_id.is_(None), among(columns.brand_id, reach.brand_ids))] if reach.brand_ids else []
        nobody = ~leads(table, table.c.id, named.c[self.column], true())
        return and_(
            self.rule.clause(table, reach, actor),
            or_(nobody, leads(table, table.c.id, columns[self.column], and_(*parts))),
        )


@dataclass(frozen=True)
class Sight:
    """What one role has of a class: which rows, and which of the fields that may be withheld."""

    rows: Rule
    fields: frozenset[str] = frozenset()


class Access:
    """A class's declaration: a sight for each role that has one. Fields not listed for a role are withheld from it.

    Fields that may never be null (id, version, name …) are not listed: who sees the row sees them.
    """

    def __init__(self, sights: Mapping[Role, Sight], totals: Mapping[Role, Rule] | None = None) -> None:
        self._sights = dict(sights)
        self._totals = dict(totals or {})

    def __iter__(self) -> Iterator[Role]:
        return iter(self._sights)

    def rule(self, role: Role) -> Rule | None:
        """The row rule of a role; None when it has no sight of the class."""
        sight = self._sights.get(role)
        return None if sight is None else sight.rows

    def totals_rule(self, role: Role) -> Rule | None:
        """The rows that count in totals for a role: those declared for totals, else those that it sees."""
        return self._totals.get(role) or self.rule(role)

    def fields(self, role: Role) -> frozenset[str]:
        """The fields that a role sees on rows which it sees."""
        sight = self._sights.get(role)
        return frozenset() if sight is None else sight.fields

    def columns(self, table: FromClause) -> frozenset[str]:
        """The columns of the class's own table that its rules name."""
        rules = [*(sight.rows for sight in self._sights.values()), *self._totals.values()]
        return frozenset(CONTEXT).union(*map(_named, rules)) & frozenset(table.c.keys())

    def all_fields(self) -> frozenset[str]:
        """Every field that any role sees."""
        return frozenset().union(*(sight.fields for sight in self._sights.values()))


def sights(roles: tuple[Role, ...], rows: Rule, fields: frozenset[str] = frozenset()) -> dict[Role, Sight]:
    """The same sight for several roles."""
    return {role: Sight(rows, fields) for role in roles}


def entity(name: str) -> "type[Base]":
    """The mapped class of a name."""
    from domain.kernel.orm import Base

    for mapper in Base.registry.mappers:
        if mapper.class_.__name__ == name:
            return mapper.class_
    raise LookupError(f"no mapped class is called {name}")


def declared(model: "type[Base]") -> Access:
    """The access declaration of a class that readers may reach."""
    if model.__access__ is None:
        raise LookupError(f"{model.__name__} declares no access: no reader may reach it")
    return model.__access__


def may_read(model: "type[Base]", actor: Actor) -> bool:
    """Whether any role of the actor has a sight of the class at all."""
    return actor.unrestricted or any(declared(model).rule(role) is not None for role in actor.roles)


def rows_visible(model: "type[Base]", actor: Actor, table: FromClause | None = None) -> ColumnElement[bool]:
    """The SQL condition for the rows of a class (or of an alias of its table) that the actor sees."""
    return _rows_of_class(model, actor) if table is None else _joined(model, actor, table, declared(model).rule)


@lru_cache(maxsize=4096)
def _rows_of_class(model: "type[Base]", actor: Actor) -> ColumnElement[bool]:
    # Building the condition costs milliseconds where rules lead through other classes; it depends on nothing else.
    return _joined(model, actor, model.__table__, declared(model).rule)


def totals_visible(model: "type[Base]", actor: Actor, table: FromClause | None = None) -> ColumnElement[bool]:
    """The SQL condition for the rows that count in the totals which the actor sees."""
    return _joined(model, actor, model.__table__ if table is None else table, declared(model).totals_rule)


def _joined(
    model: "type[Base]", actor: Actor, source: FromClause, rule_of: Callable[[Role], Rule | None]
) -> ColumnElement[bool]:
    visible: ColumnElement[bool] = true()
    if not actor.unrestricted:
        found = [(rule_of(reach.role), reach) for reach in actor.reaches]
        parts = [rule.clause(source, reach, actor) for rule, reach in found if rule is not None]
        visible = or_(*parts) if parts else false()
    # What is left of a merged record is its id, which leads to the other: it is no record any more.
    return and_(source.c.merged_into_id.is_(None), visible) if "merged_into_id" in source.c else visible


def below_visible(
    model: "type[Base]", column: str, parent: "type[Base]", actor: Actor, table: FromClause
) -> ColumnElement[bool]:
    """The SQL condition for rows whose column leads to a row of `parent` that the actor is known to see.

    Where every role that sees the parent sees what hangs on it, that is all there is to ask.
    """
    sighted = [reach.role for reach in actor.reaches if declared(parent).rule(reach.role) is not None]
    if actor.unrestricted or not all(_admits(declared(model).rule(role), column, parent) for role in sighted):
        return rows_visible(model, actor, table)
    return table.c.merged_into_id.is_(None) if "merged_into_id" in table.c else true()


def _admits(rule: Rule | None, column: str, parent: "type[Base]") -> bool:
    """Whether a rule admits every row whose column leads to a row of the parent that the same reach sees."""
    if isinstance(rule, AnyOf):
        return any(_admits(part, column, parent) for part in rule.rules)
    return isinstance(rule, Through) and rule.rule is None and (rule.column, rule.parent) == (column, parent.__name__)


def field_visible(model: "type[Base]", name: str, actor: Actor, table: FromClause | None = None) -> ColumnElement[bool]:
    """The SQL condition under which the actor sees a withheld-able field of a row that they see.

    The literal `true()` when every one of the actor's sights shows it, so that callers can leave the condition out.
    """
    source = model.__table__ if table is None else table
    if actor.unrestricted:
        return true()
    access = declared(model)
    seeing = [reach for reach in actor.reaches if access.rule(reach.role) is not None]
    showing = [reach for reach in seeing if name in access.fields(reach.role)]
    if len(showing) == len(seeing):
        return true()
    rules = [(reach, access.rule(reach.role)) for reach in showing]
    parts = [rule.clause(source, reach, actor) for reach, rule in rules if rule is not None]
    return or_(*parts) if parts else false()


def not_found(kind: str, path: tuple[str, ...]) -> NotFound:
    """The error for an absent record and a foreign one alike."""
    return NotFound(Text("找不到这条记录，或您无权查看", f"no such {kind}, or it is not yours to see"), path)


def _is_product(model: "type[Base]") -> bool:
    """Whether the database's policies speak of the class: not of one that a test maps for itself."""
    from domain.kernel.orm import Base

    return issubclass(model, Base)


async def load(
    session: "AsyncSession",
    actor: Actor,
    model: "type[T]",
    id: UUID | None,
    *,
    path: tuple[str, ...] = ("id",),
    expected_version: int | None = None,
    lock: bool = False,
) -> "T":
    """The row, if the actor sees it and nobody changed it since `expected_version`.

    Raises NotFound alike for absent and foreign rows, StaleVersion for an edit of an older version.
    """
    row = await _found(session, model, _lookup(model, actor, lock, session.get_bind().dialect.name == "postgresql"), id)
    if row is None:
        raise not_found(model.__name__, path)
    current = getattr(row, "version", None)
    if expected_version is not None and current != expected_version:
        raise StaleVersion(
            Text(
                f"记录已被更改：您的版本是 {expected_version}，当前是 {current}",
                f"the record has changed: you hold version {expected_version}, the current one is {current}",
            ),
            (*path[:-1], "expectedVersion"),
        )
    return row


@lru_cache(maxsize=4096)
def _lookup(model: "type[Base]", actor: Actor, lock: bool, walled: bool) -> Statement:
    """The statement that finds a row by its id, if the actor sees it."""
    table = model.__table__
    id: Any = given("id", table.c.id.type)
    statement = select(*table.c).where(table.c.id == id, rows_visible(model, actor))
    if walled and not actor.unrestricted and _is_product(model):
        statement = statement.where(sees(table, actor, id))
    return Statement(statement.with_for_update() if lock else statement, locks=lock)


async def _found(session: "AsyncSession", model: "type[T]", by_id: Statement, id: UUID | None) -> "T | None":
    transaction: Transaction | None = session.info.get("transaction")
    if transaction is None:
        wanted: Any = by_id.statement
        statement = select(model).from_statement(wanted)
        return (await session.execute(statement, {"id": id})).scalar_one_or_none()
    found = await transaction.fetch(by_id, id=id)
    return as_row(session.sync_session, model, found[0]) if found else None
