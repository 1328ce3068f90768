"""Making one record of two: everything that hangs on the duplicate goes over to the survivor, and old links lead there."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Text as SqlText
from sqlalchemy import UniqueConstraint, Uuid, inspect, select

from domain import accounts, consent, deals
from domain.accounts import LEADERS, WRITERS, Account, Contact
from domain.kernel import (
    Base,
    Conflict,
    Forbidden,
    Invalid,
    Record,
    Ref,
    Role,
    StaleVersion,
    Text,
    UnitOfWork,
    load,
)
from domain.leads import Lead
from domain.people import User

R = TypeVar("R", Account, Contact)

ACCOUNT_FIELDS: Mapping[str, tuple[str, ...]] = {
    "name": ("name", "name_key"), "industry": ("industry",), "region": ("region", "territory_id"), "owner": ("owner_id",), "brand": ("brand_id",),
    "parent": ("parent_id",), "lifecycleStage": ("lifecycle_stage",), "creditGrade": ("credit_grade",), "employees": ("employees",),
    "annualRevenue": ("annual_revenue_minor", "currency"), "domain": ("domain",), "customFields": ("custom",),
}  # fmt: skip
CONTACT_FIELDS: Mapping[str, tuple[str, ...]] = {
    "name": ("name",), "title": ("title",), "buyingRole": ("buying_role",), "account": ("account_id",), "customFields": ("custom",),
}  # fmt: skip
"""The fields that can be taken from the duplicate, with their columns."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The two records, each with the version that its reader holds, and the fields to take from the duplicate."""

    survivor_id: UUID | None
    survivor_version: int
    duplicate_id: UUID | None
    duplicate_version: int
    keep: Collection[str] = ()


# ---- what refers to a record -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reference:
    """An attribute that holds the id of a record: by a foreign key, or of the class that `kind` holds the name of."""

    model: type[Base]
    attribute: str
    kind: str | None = None


def references(target: type[Base]) -> Iterator[Reference]:
    """Every reference to rows of a class, on every mapped class whose rows go along with what is merged."""
    for mapper in Base.registry.mappers:
        if mapper.class_.__stays__ is not None:
            continue
        for prop in mapper.column_attrs:
            column = prop.columns[0]
            if any(key.column.table is target.__table__ for key in column.foreign_keys):
                yield Reference(mapper.class_, prop.key)
            elif kind := kind_of(mapper.class_, prop.key):
                yield Reference(mapper.class_, prop.key, kind)


def kind_of(model: type[Base], attribute: str) -> str | None:
    """The attribute that names the class of the record whose id another holds; None where the other is no such id."""
    columns = inspect(model).columns
    stem, _, last = attribute.rpartition("_")
    pair = columns.get(f"{stem}_kind")
    is_pair = last == "id" and isinstance(columns[attribute].type, Uuid) and not columns[attribute].foreign_keys
    # An actor's kind is an enum of its own; the name of a class is text.
    return pair.key if is_pair and pair is not None and isinstance(pair.type, SqlText) else None


# ---- carrying over ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Carrying:
    """One merge on its way: how many rows of each class it moved, and which aggregates that touched."""

    uow: UnitOfWork
    moved: set[tuple[str, Any]] = field(default_factory=set)
    dropped: Counter[str] = field(default_factory=Counter)
    touched: Counter[Ref] = field(default_factory=Counter)

    async def carry(self, model: type[Base], gone: UUID, kept: UUID) -> None:
        """Have every row that names one record name the other; of rows that become equal one stays."""
        for reference in list(references(model)):
            wanted = [getattr(reference.model, reference.attribute) == gone]
            if reference.kind is not None:
                wanted.append(getattr(reference.model, reference.kind) == model.entity())
            uniques = list(_uniques(reference.model, reference.attribute))
            for row in await self.uow.session.scalars(select(reference.model).where(*wanted)):
                await self._move(row, reference.attribute, kept, uniques)
            await self.uow.session.flush()

    async def _move(self, row: Any, attribute: str, kept: UUID, uniques: list[list[str]]) -> None:
        self._touch(row)
        twin = await self._twin(row, attribute, kept, uniques)
        if twin is None:
            setattr(row, attribute, kept)
            self.moved.add((row.entity(), inspect(row).identity))
            self._touch(row)
        else:
            await self._absorb(twin, row)
        if uniques:
            # The next row may be equal to this one.
            await self.uow.session.flush()

    def _touch(self, row: Base) -> None:
        if row.__unledgered__ is None:
            self.touched[row.root()] += 1

    async def _twin(self, row: Any, attribute: str, kept: UUID, uniques: list[list[str]]) -> Any:
        """The row that this one would repeat under a unique key."""
        for unique in uniques:
            values = {name: kept if name == attribute else getattr(row, name) for name in unique}
            if None not in values.values():
                same = select(type(row)).filter_by(**values)
                if (twin := await self.uow.session.scalar(same)) is not None:
                    return twin
        return None

    async def _absorb(self, twin: Any, row: Any) -> None:
        """Let the row that stays learn what only the other knows, and take over what refers to that."""
        columns = [prop.key for prop in inspect(type(row)).column_attrs]
        for name in columns:
            if _says_nothing(getattr(twin, name)) and not _says_nothing(getattr(row, name)):
                setattr(twin, name, getattr(row, name))
        self._touch(twin)
        if "id" in columns:
            await self.carry(type(row), row.id, twin.id)
        await self.uow.session.delete(row)
        self.dropped[row.entity()] += 1

    def tell(self, action: str, survivor: Record, duplicate: Record, detail: dict[str, Any]) -> None:
        """Note the merge with its counts, and each aggregate that it touched."""
        names = {"survivor": str(survivor.ref()), "duplicate": str(duplicate.ref())}
        carried = Counter(entity for entity, _ in self.moved)
        counts = {"carried": dict(sorted(carried.items())), "equal": dict(sorted(self.dropped.items()))}
        self.uow.note(action, survivor, names | counts | detail)
        self.uow.note(f"{action}_away", duplicate, names)
        for ref, rows in self.touched.items():
            if ref not in {survivor.ref(), duplicate.ref()}:
                self.uow.note(f"{ref.kind.lower()}.carried_over", ref, names | {"rows": rows})


def _uniques(model: type[Base], attribute: str) -> Iterator[list[str]]:
    """The attributes of each unique key of a class of which this one is a part."""
    names = {prop.columns[0].name: prop.key for prop in inspect(model).column_attrs}
    table: Any = model.__table__
    keys = [key.columns for key in table.constraints if isinstance(key, UniqueConstraint)]
    keys += [index.columns for index in table.indexes if index.unique]
    for key in (*keys, table.primary_key.columns):
        attributes = [names[column.name] for column in key]
        if attribute in attributes:
            yield attributes


def _says_nothing(value: Any) -> bool:
    return value is None or value == "UNKNOWN"


# ---- the two that are merged -----------------------------------------------------------------------------------------


async def _both(uow: UnitOfWork, model: type[R], pair: Pair) -> tuple[R, R]:
    if pair.survivor_id is not None and pair.survivor_id == pair.duplicate_id:
        raise Invalid(Text("不能把记录合并到它自己", "a record cannot be merged into itself"), ("duplicateId",))
    await uow.wait_turn("merge")
    survivor = await _one(uow, model, pair.survivor_id, pair.survivor_version, "survivor")
    return survivor, await _one(uow, model, pair.duplicate_id, pair.duplicate_version, "duplicate")


async def _one(uow: UnitOfWork, model: type[R], id: UUID | None, version: int, which: str) -> R:
    try:
        actor = uow.actor.only(*WRITERS)
        return await load(uow.session, actor, model, id, path=(f"{which}Id",), expected_version=version, lock=True)
    except StaleVersion as error:
        raise StaleVersion(error.text, (f"{which}Version",)) from error


def _taken(
    fields: Mapping[str, tuple[str, ...]], keep: Collection[str], survivor: Record, duplicate: Record
) -> dict[str, Any]:
    """The columns that the survivor takes from the duplicate: those of the fields asked for, and what it lacks."""
    for name in keep:
        if name not in fields:
            known = "、".join(fields), ", ".join(fields)
            words = f"没有可保留的字段“{name}”；可选：{known[0]}", f"no field “{name}” to keep; there are: {known[1]}"
            raise Invalid(Text(*words), ("keep",))
    taken: dict[str, Any] = {}
    for name, columns in fields.items():
        mine, theirs = ({column: getattr(row, column) for column in columns} for row in (survivor, duplicate))
        if columns == ("custom",):
            first, second = (mine, theirs) if name in keep else (theirs, mine)
            taken["custom"] = (first["custom"] or {}) | (second["custom"] or {}) or None
        elif name in keep or all(value is None for value in mine.values()):
            taken |= theirs
    return taken


_FORBIDDEN = Text(
    "只有两条记录的负责人、辖区经理或销售运营可以合并",
    "only who owns both, manages both or works for sales operations merges two records",
)


async def _merge(uow: UnitOfWork, survivor: R, duplicate: R, taken: dict[str, Any], detail: dict[str, Any]) -> R:
    """Mark the duplicate, carry over what hangs on it, take its values, and note all of it."""
    duplicate.merged_into_id = survivor.id
    # What is guarded against any other change goes along with a record that is merged already.
    await uow.session.flush()
    carrying = Carrying(uow)
    await carrying.carry(type(survivor), duplicate.id, survivor.id)
    for ref in list(carrying.touched):
        if ref.kind == User.entity():
            # A grant of theirs names another record now: whoever remembers what they may do asks again.
            (await uow.session.get_one(User, ref.id)).auth_epoch += 1
    survivor.change(taken)
    # Its parts have changed: whoever read it before reads it again.
    survivor.touch()
    carrying.tell(f"{survivor.entity().lower()}.merged", survivor, duplicate, detail)
    await uow.session.flush()
    return survivor


# ---- operations ------------------------------------------------------------------------------------------------------


async def merge_accounts(uow: UnitOfWork, pair: Pair) -> Account:
    """Make one account of two, and return the survivor.

    It takes the fields in `pair.keep` from the duplicate, and what it lacks itself; who owned either and does not own the
    survivor comes onto its team. Raises NotFound, StaleVersion at the record that changed, Forbidden for whoever does not
    answer for both, Invalid for equal ids, an unknown field, or a parent that would close a circle.
    """
    survivor, duplicate = await _both(uow, Account, pair)
    if not (await accounts.answers_for(uow, survivor) and await accounts.answers_for(uow, duplicate)):
        raise Forbidden(_FORBIDDEN)
    taken = _taken(ACCOUNT_FIELDS, pair.keep, survivor, duplicate)
    await uow.wait_turn("account family")
    await _lift(uow, survivor, duplicate)
    if (parent := taken.get("parent_id")) is not None:
        above = await accounts.parents_above(uow.session, parent)
        if accounts.closes_circle(above, survivor.id, parent):
            if "parent" in pair.keep:
                words = Text("上级客户不能是该客户自己或其下级", "an account cannot be above itself")
                raise Invalid(words, ("keep",))
            del taken["parent_id"]
    owners = {survivor.owner_id, duplicate.owner_id} - {taken.get("owner_id", survivor.owner_id)}
    await _merge(uow, survivor, duplicate, taken, {"kept": sorted(pair.keep)})
    for former in sorted(id for id in owners if id is not None):
        await accounts.add_team_member(uow, survivor, former, Role.REP)
    await deals.follow_account(uow, survivor)
    return survivor


async def _lift(uow: UnitOfWork, survivor: Account, duplicate: Account) -> None:
    """Put what stands between the duplicate and the survivor below it under the duplicate's parent: no circle closes."""
    for child, parent in (await accounts.parents_above(uow.session, survivor.id)).items():
        if parent == duplicate.id:
            row = await uow.session.get_one(Account, child)
            row.parent_id = duplicate.parent_id
            uow.note("account.lifted", row, {"survivor": str(survivor.ref()), "duplicate": str(duplicate.ref())})
    await uow.session.flush()


async def merge_contacts(uow: UnitOfWork, pair: Pair) -> Contact:
    """Make one contact of two, and return the survivor; of what either allowed, only what both allowed still holds.

    It takes the fields in `pair.keep` from the duplicate, and what it lacks itself. Raises NotFound, StaleVersion at the
    record that changed, Forbidden for whoever does not answer for both, Conflict for an erased one, Invalid for equal ids
    or an unknown field.
    """
    survivor, duplicate = await _both(uow, Contact, pair)
    for contact, path in ((survivor, "survivorId"), (duplicate, "duplicateId")):
        if contact.erased_at is not None:
            raise Conflict(Text("该联系人的个人信息已被删除", "this contact has been erased"), (path,))
        if not await _answers_for(uow, contact):
            raise Forbidden(_FORBIDDEN)
    taken = _taken(CONTACT_FIELDS, pair.keep, survivor, duplicate)
    stated = await consent.narrow(uow, survivor.id, duplicate.id)
    detail = {"kept": sorted(pair.keep), "consents_narrowed": stated}
    return await _merge(uow, survivor, duplicate, taken, detail)


async def _answers_for(uow: UnitOfWork, contact: Contact) -> bool:
    """Whether the actor owns the contact's account, or a lead of a contact without one, or decides over it."""
    if await accounts.is_seen(uow, Contact, contact.id, *LEADERS):
        return True
    if contact.account_id is not None:
        return await accounts.answers_for(uow, await uow.session.get_one(Account, contact.account_id))
    owned = select(Lead.id).where(Lead.contact_id == contact.id, Lead.owner_id == uow.actor.user_id)
    return uow.actor.has(Role.REP) and (await uow.session.execute(owned)).first() is not None
