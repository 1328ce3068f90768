"""Custom fields: declared by those who may, holding what they say, read in the reader's language."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from domain import accounts, custom_fields
from domain.accounts import Account, Contact
from domain.custom_fields import Choice, CustomField, CustomFieldEntity, CustomFieldKind, FieldFact
from domain.kernel import (
    PERSONAL,
    SYSTEM,
    Actor,
    Conflict,
    Database,
    Forbidden,
    Invalid,
    KeyReused,
    Language,
    Role,
    SalesError,
    StaleVersion,
    Text,
)
from domain.ledger import AuditEvent
from tests.factories import START, add_colleague

LEVELS = (
    Choice("a", "战略客户", "Strategic"),
    Choice("b", "重点客户", "Key"),
    Choice("c", "老客户", "Old", retired=True),
)


def fact(kind: CustomFieldKind, **more: Any) -> FieldFact:
    choices = LEVELS if kind is CustomFieldKind.CHOICE else ()
    return FieldFact("等级", Text("客户等级", "Customer level"), kind, choices, **more)


# ---- values ----------------------------------------------------------------------------------------------------------

K = CustomFieldKind
TAKEN: list[tuple[CustomFieldKind, Any, Any, str, str]] = [
    (K.TEXT, " 院长亲自定 ", "院长亲自定", "院长亲自定", "院长亲自定"),
    (K.NUMBER, 1250000, 1250000, "1,250,000", "1,250,000"),
    (K.NUMBER, -0.125, -0.125, "-0.125", "-0.125"),
    (K.DATE, "2026-03-02", "2026-03-02", "2026年3月2日", "Mar 2, 2026"),
    (K.BOOLEAN, True, True, "是", "Yes"),
    (K.BOOLEAN, False, False, "否", "No"),
    (K.CHOICE, "a", "a", "战略客户", "Strategic"),
    (K.MONEY, {"amount": "1250000.50", "currency": "cny"}, {"amount": "1250000.50", "currency": "CNY"}, "¥1,250,000.50", "CN¥1,250,000.50"),
    (K.MONEY, {"amount": 300, "currency": "CNY"}, {"amount": "300.00", "currency": "CNY"}, "¥300", "CN¥300"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "stored", "zh", "en"), TAKEN)
def test_a_value_is_stored_in_one_form_and_read_in_both_languages(
    kind: CustomFieldKind, value: Any, stored: Any, zh: str, en: str
) -> None:
    field = fact(kind)
    assert custom_fields.read_value(field, value) == stored
    assert custom_fields.words_of(field, stored, Language.ZH) == zh
    assert custom_fields.words_of(field, stored, Language.EN) == en


REFUSED: list[tuple[CustomFieldKind, Any]] = [
    (K.TEXT, ""), (K.TEXT, "　"), (K.TEXT, 5), (K.TEXT, "长" * 2001), (K.TEXT, "有\0零"), (K.TEXT, ["列表"]),
    (K.NUMBER, "12"), (K.NUMBER, True), (K.NUMBER, float("nan")), (K.NUMBER, float("inf")), (K.NUMBER, 10**15),
    (K.DATE, "2026-02-30"), (K.DATE, "2026/03/02"), (K.DATE, "20260302"), (K.DATE, 20260302),
    (K.BOOLEAN, 1), (K.BOOLEAN, "是"), (K.CHOICE, "战略客户"), (K.CHOICE, "c"), (K.CHOICE, 1),
    (K.MONEY, "100"), (K.MONEY, {"amount": "100"}), (K.MONEY, {"amount": 1.5, "currency": "CNY"}), (K.MONEY, {"amount": "1.234", "currency": "CNY"}),
    (K.MONEY, {"amount": "1", "currency": "元"}), (K.MONEY, {"amount": "1", "currency": "CNY", "tax": 1}), (K.MONEY, {"amount": True, "currency": "CNY"}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), REFUSED)
def test_what_a_field_does_not_hold_is_refused_where_it_stands(kind: CustomFieldKind, value: Any) -> None:
    with pytest.raises(Invalid) as refused:
        custom_fields.read_value(fact(kind), value, ("custom", "等级"))
    assert refused.value.path[:2] == ("custom", "等级")
    if kind is not K.MONEY:
        assert "客户等级" in refused.value.text.zh
        assert "Customer level" in refused.value.text.en


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(st.sampled_from(CustomFieldKind), JSON)
def test_any_json_is_taken_in_a_form_that_is_its_own_or_refused(kind: CustomFieldKind, value: Any) -> None:
    field = fact(kind)
    try:
        stored = custom_fields.read_value(field, value)
    except Invalid:
        return
    assert custom_fields.read_value(field, stored) == stored
    assert custom_fields.words_of(field, stored, Language.ZH)
    assert custom_fields.words_of(field, stored, Language.EN)


FIELDS = {
    "level": FieldFact("level", Text("客户等级", "Level"), K.CHOICE, LEVELS, is_required=True),
    "beds": FieldFact("beds", Text("床位数", "Beds"), K.NUMBER),
}


def test_null_clears_and_what_is_left_out_stays() -> None:
    current = {"level": "a", "beds": 900, "retired": "旧值"}
    given_values = {"beds": None}
    values = custom_fields.changed_values(FIELDS, current, given_values, complete=False)
    assert values == {"level": "a", "retired": "旧值"}
    assert current == {"level": "a", "beds": 900, "retired": "旧值"}
    assert custom_fields.changed_values({"beds": FIELDS["beds"]}, {"beds": 1}, given_values, complete=True) is None


@pytest.mark.parametrize(
    ("given_values", "key"), [({"leve1": "a"}, "leve1"), ({"level": None}, "level"), ({"beds": 3}, "level")]
)
def test_an_unknown_a_cleared_and_a_missing_field_are_named(given_values: dict[str, Any], key: str) -> None:
    with pytest.raises(Invalid) as refused:
        custom_fields.changed_values(FIELDS, None, given_values, complete=True)
    assert refused.value.path == ("custom", key)
    assert key in refused.value.text.zh + refused.value.text.en


# ---- declaration -----------------------------------------------------------------------------------------------------


async def define(database: Database, actor: Actor = SYSTEM, key: str = "level", **more: Any) -> CustomField:
    values: dict[str, Any] = {
        "entity": CustomFieldEntity.ACCOUNT, "label": Text("客户等级", "Level"), "kind": K.CHOICE, "choices": LEVELS[:2],
    }  # fmt: skip
    async with database.open_uow(actor) as uow:
        return await custom_fields.define(uow, key=key, **values | more)


async def events(database: Database) -> list[str]:
    async with database.read() as connection:
        return list((await connection.execute(select(AuditEvent.action).order_by(AuditEvent.seq))).scalars())


async def refusal(database: Database, what: Any) -> SalesError:
    before = await events(database)
    with pytest.raises(SalesError) as refused:
        await what
    assert await events(database) == before
    return refused.value


@pytest.mark.parametrize("role", [Role.SALES_OPS, Role.ADMIN])
async def test_sales_operations_and_administrators_declare_fields(database: Database, role: Role) -> None:
    field = await define(database, await add_colleague(database, "高锐", role))
    assert (field.key, field.label_zh, field.is_required, field.version) == ("level", "客户等级", False, 1)
    async with database.read() as connection:
        known = await custom_fields.fields_of(connection, "Account")
        assert await custom_fields.fields_of(connection, "Contact") == {}
    assert known["level"].choices == LEVELS[:2]
    assert (await events(database))[-1] == "custom_field.defined"


@pytest.mark.parametrize("role", [role for role in Role if role not in custom_fields.DEFINERS])
async def test_nobody_else_declares_or_changes_them(database: Database, role: Role) -> None:
    field = await define(database)
    actor = await add_colleague(database, "张磊", role)
    assert isinstance(await refusal(database, define(database, actor, "beds")), Forbidden)

    async def retire() -> None:
        async with database.open_uow(actor) as uow:
            await custom_fields.retire(uow, field.id, expected_version=1)

    assert isinstance(await refusal(database, retire()), Forbidden)


BAD: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"key": "等级"}, ("key",)), ({"key": "Level"}, ("key",)), ({"key": "l" * 61}, ("key",)), ({"key": "2nd"}, ("key",)),
    ({"label": Text(" ", "Level")}, ("labelZh",)), ({"label": Text("等级", "l" * 101)}, ("labelEn",)),
    ({"choices": ()}, ("choices",)), ({"kind": K.NUMBER}, ("choices",)), ({"choices": (LEVELS[0], LEVELS[0])}, ("choices",)),
    ({"choices": (Choice("a", "甲", ""),)}, ("choices", "0", "labelEn")), ({"choices": (Choice("甲", "甲", "A"),)}, ("choices", "0", "key")),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "path"), BAD)
async def test_a_declaration_that_cannot_be_taken_says_where(
    database: Database, wrong: dict[str, Any], path: tuple[str, ...]
) -> None:
    refused = await refusal(database, define(database, **wrong))
    assert (type(refused), refused.path) == (Invalid, path)


async def test_a_key_is_used_once_for_good(database: Database) -> None:
    field = await define(database)
    assert isinstance(await refusal(database, define(database)), Conflict)
    async with database.open_uow(SYSTEM) as uow:
        retired = await custom_fields.retire(uow, field.id, expected_version=1)
    assert retired.retired_at == START
    assert isinstance(await refusal(database, define(database)), Conflict)
    assert (await define(database, entity=CustomFieldEntity.CONTACT)).key == "level"


async def test_a_client_key_declares_once(database: Database) -> None:
    first = await define(database, client_key="声明-1")
    assert (await define(database, client_key="声明-1")).id == first.id
    assert isinstance(await refusal(database, define(database, key="other", client_key="声明-1")), KeyReused)


async def test_a_change_keeps_choices_that_records_may_hold(database: Database) -> None:
    field = await define(database)
    async with database.open_uow(SYSTEM) as uow:
        changed = await custom_fields.update(
            uow, field.id, expected_version=1,
            changes={"label_zh": "客户级别", "choices": [Choice("b", "重点", "Key"), Choice("d", "潜力客户", "Promising")], "is_required": True},
        )  # fmt: skip
    assert (changed.label_zh, changed.label_en, changed.is_required) == ("客户级别", "Level", True)
    assert [(one["key"], one["retired"]) for one in changed.choices] == [("b", False), ("d", False), ("a", True)]
    async with database.read() as connection:
        known = (await custom_fields.fields_of(connection, "Account"))["level"]
    assert custom_fields.words_of(known, "a", Language.ZH) == "战略客户"
    with pytest.raises(Invalid):
        custom_fields.read_value(known, "a")
    before = await events(database)
    async with database.open_uow(SYSTEM) as uow:
        await custom_fields.update(uow, field.id, expected_version=2, changes={"label_zh": "客户级别"})
    assert await events(database) == before


async def test_a_change_of_an_older_version_or_of_a_retired_field_is_refused(database: Database) -> None:
    field = await define(database)

    async def change(version: int, **changes: Any) -> None:
        async with database.open_uow(SYSTEM) as uow:
            await custom_fields.update(uow, field.id, expected_version=version, changes=changes)

    assert isinstance(await refusal(database, change(7, label_zh="级别")), StaleVersion)
    assert isinstance(await refusal(database, change(1, label_zh=" ")), Invalid)
    assert isinstance(await refusal(database, change(1, label_en=None)), Invalid)
    assert isinstance(await refusal(database, change(1, choices=None)), Invalid)
    async with database.open_uow(SYSTEM) as uow:
        await custom_fields.retire(uow, field.id, expected_version=1)
    assert isinstance(await refusal(database, change(2, label_zh="级别")), Conflict)


# ---- on records ------------------------------------------------------------------------------------------------------


async def test_a_record_takes_and_loses_values(database: Database) -> None:
    await define(database)
    await define(database, key="beds", kind=K.NUMBER, choices=())
    async with database.open_uow(SYSTEM) as uow:
        account = await accounts.create_account(uow, name="华山医院", custom={"level": "a", "beds": 900})
    assert account.custom == {"level": "a", "beds": 900}
    async with database.open_uow(SYSTEM) as uow:
        changes = {"custom": {"beds": 1200}}
        changed = await accounts.update_account(uow, account.id, expected_version=1, changes=changes)
        assert changed.custom == {"level": "a", "beds": 1200}
        changed = await accounts.update_account(
            uow, account.id, expected_version=2, changes={"custom": {"beds": None, "level": None}}
        )
    assert changed.custom is None
    assert (await events(database))[-1] == "account.updated"


async def test_a_bad_value_leaves_nothing(database: Database) -> None:
    await define(database)

    async def create() -> None:
        async with database.open_uow(SYSTEM) as uow:
            await accounts.create_account(uow, name="华山医院", custom={"level": "钻石"})

    refused = await refusal(database, create())
    assert refused.path == ("custom", "level")
    assert "战略客户（a）" in refused.text.zh
    async with database.read() as connection:
        assert (await connection.execute(select(Account.id))).all() == []


async def test_people_give_what_is_required_and_machines_need_not(database: Database) -> None:
    await define(database, is_required=True)
    lei = await add_colleague(database, "张磊", Role.REP)

    async def create(actor: Actor, **more: Any) -> Account:
        async with database.open_uow(actor) as uow:
            return await accounts.create_account(uow, name="华山医院", **more)

    assert (await refusal(database, create(lei, custom={}))).path == ("custom", "level")
    assert (await create(lei, custom={"level": "b"})).custom == {"level": "b"}
    assert (await create(SYSTEM, custom={})).custom is None
    assert (await create(lei)).custom is None


async def test_values_on_people_enter_the_ledger_only_enciphered_and_go_with_them(database: Database) -> None:
    assert Contact.__table__.c.custom.info == PERSONAL
    await define(database, key="hobby", entity=CustomFieldEntity.CONTACT, kind=K.TEXT, choices=())
    async with database.open_uow(SYSTEM) as uow:
        contact = await accounts.create_contact(uow, name="陈芳", custom={"hobby": "攀岩"})
    async with database.read() as connection:
        told = str((await connection.execute(select(AuditEvent.detail))).all())
    assert "攀岩" not in told
    async with database.open_uow(SYSTEM) as uow:
        erased = await uow.session.get_one(Contact, contact.id)
        await accounts.erase_contact(uow, erased)
    assert erased.custom is None
