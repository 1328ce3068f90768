"""Operations on custom fields: declare, change, retire, and take a record's values in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from domain.custom_fields.model import CustomField, CustomFieldEntity, CustomFieldKind
from domain.custom_fields.policy import (
    Choice,
    FieldFact,
    Values,
    changed_values,
    check_choices,
    check_key,
    check_label,
    read_choices,
)
from domain.kernel import ActorKind, Conflict, Forbidden, Invalid, Role, Text, UnitOfWork, load, once

DEFINERS = (Role.SALES_OPS, Role.ADMIN)
"""The roles that declare custom fields."""
FIELD_LIMIT = 100


async def fields_of(
    executor: AsyncSession | AsyncConnection, entity: str, *, retired: bool = False
) -> dict[str, FieldFact]:
    """The declared fields of a class of records by key, in the order of their declaration."""
    return facts(await executor.execute(declared_fields(entity, retired=retired)))


def declared_fields(entity: str, *, retired: bool = False) -> Select[Any]:
    """The statement with the declared fields of a class of records, in the order of their declaration; `facts` reads it."""
    field = CustomField
    columns = (field.key, field.label_zh, field.label_en, field.kind, field.choices, field.is_required)
    statement = select(*columns).where(field.entity_name == CustomFieldEntity(entity)).order_by(field.id)
    return statement if retired else statement.where(field.retired_at.is_(None))


def facts(rows: Iterable[Any]) -> dict[str, FieldFact]:
    """The fields that a statement found, by key."""
    return {
        key: FieldFact(key, Text(label_zh, label_en), kind, read_choices(choices), is_required)
        for key, label_zh, label_en, kind, choices, is_required in rows
    }


async def apply(
    uow: UnitOfWork,
    entity: str,
    current: Mapping[str, Any] | None,
    given: Mapping[str, Any] | None,
    *,
    new: bool = False,
) -> Values | None:
    """What the `custom` column of a record holds once the given values are in: null clears one, those left out stay.

    A `new` record that a person fills in needs every required field; those that come of an import, a form or another record
    need not have them. Raises Invalid at `custom` and the key for whatever cannot be taken.
    """
    complete = new and uow.actor.kind is ActorKind.USER
    if not given and not complete:
        return dict(current) if current else None
    return changed_values(await fields_of(uow.session, entity), current, given or {}, complete=complete)


def _may_define(uow: UnitOfWork) -> None:
    if not uow.actor.has(*DEFINERS):
        raise Forbidden(
            Text("只有销售运营或管理员可以定义自定义字段", "only sales operations and administrators declare fields")
        )


async def define(
    uow: UnitOfWork, *, entity: CustomFieldEntity, key: str, label: Text, kind: CustomFieldKind, description: str | None = None,
    choices: Sequence[Choice] = (), is_required: bool = False, client_key: str | None = None,
) -> CustomField:  # fmt: skip
    """Declare a field of a class of records; the same client key gives the one that is there.

    Raises Forbidden for other roles, Conflict for a key that the class has or had, Invalid for a key, label or choices that
    cannot be ones, or for too many fields.
    """
    _may_define(uow)
    given = {
        "entity": entity, "key": key, "label": [label.zh, label.en], "kind": kind, "description": description,
        "choices": [asdict(choice) for choice in choices], "required": is_required,
    }  # fmt: skip

    async def make() -> CustomField:
        check_key(key, ("key",))
        check_label(label)
        check_choices(kind, choices)
        await _check_room(uow, entity, key)
        field = CustomField(
            id=uow.new_id(), entity_name=entity, key=key, label_zh=label.zh.strip(), label_en=label.en.strip(), description=description, kind=kind,
            choices=[asdict(choice) for choice in choices], is_required=is_required,
        )  # fmt: skip
        uow.session.add(field)
        uow.note("custom_field.defined", field, {"entity": entity.value, "key": key, "kind": kind.value})
        await uow.session.flush()
        return field

    return await once(uow, client_key, "defineCustomField", given, CustomField, make)


async def _check_room(uow: UnitOfWork, entity: CustomFieldEntity, key: str) -> None:
    await uow.wait_turn(f"custom field\0{entity}")
    known = await fields_of(uow.session, entity, retired=True)
    if key in known:
        words = Text(f"字段“{key}”已存在或曾被使用", f"the field “{key}” exists or existed")
        raise Conflict(words, ("key",))
    if len(known) >= FIELD_LIMIT:
        raise Invalid(Text(f"最多 {FIELD_LIMIT} 个自定义字段", f"there are {FIELD_LIMIT} fields at most"), ("key",))


async def _found(uow: UnitOfWork, id: UUID, expected_version: int) -> CustomField:
    _may_define(uow)
    field = await load(uow.session, uow.actor, CustomField, id, expected_version=expected_version, lock=True)
    if field.retired_at is not None:
        raise Conflict(Text("该自定义字段已停用", "this custom field is retired"), ("id",))
    return field


async def update(uow: UnitOfWork, id: UUID, *, expected_version: int, changes: Mapping[str, Any]) -> CustomField:
    """Change a field's labels, description, choices or whether it is required; choices left out are retired, never lost.

    Raises Forbidden, NotFound, StaleVersion, Conflict for a retired field, Invalid for what cannot be taken.
    """
    field = await _found(uow, id, expected_version)
    given = dict(changes)
    if "choices" in given:
        given["choices"] = _kept_choices(field, given["choices"] or ())
    for name, value in given.items():
        if value is None and name != "description":
            raise Invalid(Text("该项不能为空", "this cannot be cleared"), (_INPUTS.get(name, name),))
        if getattr(field, name) != value:
            setattr(field, name, value)
    check_label(Text(field.label_zh, field.label_en))
    if uow.session.is_modified(field):
        uow.note("custom_field.updated", field, {"entity": field.entity_name.value, "key": field.key})
        await uow.session.flush()
    return field


_INPUTS = {"label_zh": "labelZh", "label_en": "labelEn", "is_required": "required"}


def _kept_choices(field: CustomField, given: Sequence[Choice]) -> list[dict[str, Any]]:
    check_choices(field.kind, given)
    kept = {choice.key for choice in given}
    gone = [choice | {"retired": True} for choice in field.choices if choice["key"] not in kept]
    return [*(asdict(choice) for choice in given), *gone]


async def retire(uow: UnitOfWork, id: UUID, *, expected_version: int) -> CustomField:
    """Take a field out of use: its values stay stored, and nobody is shown or asked for them any more.

    Raises Forbidden, NotFound, StaleVersion, Conflict for one that is retired.
    """
    field = await _found(uow, id, expected_version)
    field.retired_at = uow.now
    uow.note("custom_field.retired", field, {"entity": field.entity_name.value, "key": field.key})
    await uow.session.flush()
    return field
