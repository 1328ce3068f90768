"""Accounts, their people and addresses: made with names, found by equal addresses, shown masked, erased once."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from domain import accounts
from domain.accounts import Account, BuyingRole, Channel, Contact, ContactPoint, LifecycleStage
from domain.kernel import (
    SYSTEM,
    Base,
    Conflict,
    Database,
    Invalid,
    NotFound,
    Role,
    UnledgeredChangeError,
    load,
)
from domain.ledger import AuditEvent
from tests.factories import START, add_colleague, add_territories


async def count(database: Database, model: type[Base]) -> int:
    async with database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(model))).scalar_one())


async def actions(database: Database) -> list[str]:
    async with database.read() as connection:
        return list((await connection.execute(select(AuditEvent.action).order_by(AuditEvent.seq))).scalars())


async def add_contact(database: Database, name: str = "陈芳", *points: tuple[Channel, str]) -> Contact:
    async with database.open_uow(SYSTEM) as uow:
        contact = await accounts.create_contact(uow, name=name)
        await uow.session.flush()
        for channel, value in points:
            await accounts.add_contact_point(uow, contact, channel, value)
    return contact


# ---- equal addresses -------------------------------------------------------------------------------------------------

EQUAL = [
    (Channel.PHONE, "138 0013 8000", "+8613800138000"),
    (Channel.PHONE, "１３８００１３８０００", "+8613800138000"),
    (Channel.SMS, "0086-138-0013-8000", "+8613800138000"),
    (Channel.PHONE, "（021）6135-8888", "+862161358888"),
    (Channel.PHONE, "+49 30 901820", "+4930901820"),
    (Channel.EMAIL, " Fang.Chen＠Example.COM ", "fang.chen@example.com"),
    (Channel.EMAIL, "陈芳@例子.中国", "陈芳@例子.中国"),
    (Channel.WECHAT, " ChenFang_88", "chenfang_88"),
    (Channel.MAIL, "上海市静安区乌鲁木齐中路12号", "上海市静安区乌鲁木齐中路12号"),
]


@pytest.mark.parametrize(("channel", "given_value", "key"), EQUAL)
def test_equal_addresses_have_one_key(channel: Channel, given_value: str, key: str) -> None:
    assert accounts.match_key(channel, given_value) == key


@given(st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True))
def test_a_mobile_number_has_one_key_however_it_is_written(number: str) -> None:
    ways = [
        number,
        f"+86{number}",
        f"0086 {number}",
        f"{number[:3]} {number[3:7]} {number[7:]}",
        f"{number[:3]}-{number[3:]}",
    ]
    assert {accounts.match_key(Channel.PHONE, way) for way in ways} == {f"+86{number}"}


@given(st.sampled_from(Channel), st.text(max_size=60) | st.from_regex(r"[+0-9 ()-]{1,20}|\S+@\S+\.\S+", fullmatch=True))
def test_a_key_is_its_own_key_or_the_address_is_refused_where_it_stands(channel: Channel, value: str) -> None:
    try:
        key = accounts.match_key(channel, value)
    except Invalid:
        with pytest.raises(Invalid) as refused:
            accounts.match_key(channel, value, ("contact", "value"))
        assert refused.value.path == ("contact", "value")
    else:
        assert accounts.match_key(channel, key) == key


REFUSED = [
    (Channel.PHONE, "没有电话"), (Channel.PHONE, "12"), (Channel.PHONE, ""), (Channel.SMS, "1" * 40),
    (Channel.EMAIL, "陈芳"), (Channel.EMAIL, "a@b"), (Channel.EMAIL, "a b@example.com"), (Channel.EMAIL, "a@@example.com"),
    (Channel.WECHAT, "  "),
]  # fmt: skip


@pytest.mark.parametrize(("channel", "value"), REFUSED)
def test_what_cannot_be_an_address_is_refused(channel: Channel, value: str) -> None:
    with pytest.raises(Invalid) as refused:
        accounts.match_key(channel, value, ("contact", "value"))
    assert refused.value.path == ("contact", "value")


# ---- masked ----------------------------------------------------------------------------------------------------------

MASKED = [
    (Channel.PHONE, "13800138000", "138****8000"),
    (Channel.PHONE, "+86 138 0013 8000", "861****8000"),
    (Channel.PHONE, "021-61358", "****58"),
    (Channel.PHONE, "6135888812", "****12"),
    (Channel.EMAIL, "fang.chen@example.com", "f***@example.com"),
    (Channel.EMAIL, "陈@example.com", "***@example.com"),
    (Channel.WECHAT, "chenfang_88", "c***8"),
    (Channel.WECHAT, "陈芳", "***"),
]


@pytest.mark.parametrize(("channel", "value", "shown"), MASKED)
def test_an_address_is_shown_with_its_middle_hidden(channel: Channel, value: str, shown: str) -> None:
    assert accounts.masked(channel, value) == shown


@given(st.sampled_from([Channel.PHONE, Channel.SMS]), st.from_regex(r"[0-9]{3,15}", fullmatch=True))
def test_a_masked_number_hides_at_least_four_digits_or_all_but_two(channel: Channel, digits: str) -> None:
    shown = accounts.masked(channel, digits).replace("*", "")
    assert len(digits) - len(shown) >= min(4, len(digits) - 2)


@given(st.from_regex(r"[a-z.]{1,20}@[a-z]{1,10}\.com", fullmatch=True))
def test_a_masked_address_never_says_who(address: str) -> None:
    local, _, domain = address.partition("@")
    shown = accounts.masked(Channel.EMAIL, address)
    assert shown.endswith(f"***@{domain}")
    assert shown.removesuffix(f"***@{domain}") == (local[0] if len(local) > 1 else "")


# ---- companies and web sites -----------------------------------------------------------------------------------------

SAME_COMPANY = [
    ("上海华山医疗集团有限公司", "上海华山医疗集团"), ("上海华山医疗集团有限公司", "上海华山医疗 股份有限公司"), ("华山医疗（上海）有限公司", "华山医疗(上海)"),
    ("ＡＢＣ科技", "abc科技有限责任公司"), ("Acme Co., Ltd.", "ACME"), ("Acme, Inc.", "acme inc"), ("Acme Medical Limited", "Acme Medical Ltd"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME_COMPANY)
def test_a_legal_form_does_not_make_another_company(one: str, other: str) -> None:
    assert accounts.company_key(one) == accounts.company_key(other) != ""


OTHER_COMPANY = [
    ("华山医院", "华东医院"),
    ("上海华山医疗", "北京华山医疗"),
    ("Zinc", "Z Inc."),
    ("Costco", "Cost Co., Ltd."),
]


@pytest.mark.parametrize(("one", "other"), OTHER_COMPANY)
def test_another_company_has_another_key(one: str, other: str) -> None:
    assert accounts.company_key(one) != accounts.company_key(other)


@pytest.mark.parametrize("nothing", [None, "", "  ", "有限公司", "Co., Ltd."])
def test_no_company_has_no_key(nothing: str | None) -> None:
    assert accounts.company_key(nothing) == ""


parts = st.sampled_from(
    ["华山", "集团", "公司", "有限", "股份", "Acme", "Inc", "co", "ltd", "GmbH", " ", ".", ",", "（", "）", "-", "&"]
)


@given(st.lists(parts, max_size=8).map("".join))
def test_a_company_key_is_its_own_key(name: str) -> None:
    key = accounts.company_key(name)
    assert accounts.company_key(key) == key
    assert accounts.company_key(f" {name}\u3000") == key


DOMAINS = [
    ("https://www.Huashan.Example.CN/about?x=1", "huashan.example.cn"),
    ("huashan.example.cn", "huashan.example.cn"),
    ("http://huashan.example.cn:8080", "huashan.example.cn"),
    ("医院.中国", "医院.中国"),
    ("ＨＵＡＳＨＡＮ．example．com.", "huashan.example.com"),
]


@pytest.mark.parametrize(("address", "domain"), DOMAINS)
def test_a_web_site_has_one_domain_however_it_is_written(address: str, domain: str) -> None:
    assert accounts.normal_domain(address) == domain == accounts.normal_domain(domain)


@pytest.mark.parametrize(
    "address", ["", "华山医院", "http://", "a b.cn", "-a.cn", "a..cn", "1.2.3.4", "x" * 300 + ".cn"]
)
def test_what_names_no_web_site_is_refused(address: str) -> None:
    with pytest.raises(Invalid) as refused:
        accounts.normal_domain(address)
    assert refused.value.path == ("domain",)


ids = st.integers(1, 6).map(lambda number: UUID(int=number))


@given(st.dictionaries(ids, st.none() | ids), ids, ids)
def test_a_circle_is_found_before_it_closes(parents: dict[UUID, UUID | None], account: UUID, parent: UUID) -> None:
    above, found = [parent], False
    for _ in range(10):
        found = found or above[-1] == account
        if (higher := parents.get(above[-1])) is None:
            break
        above.append(higher)
    assert accounts.closes_circle(parents, account, parent) == found


async def test_possible_duplicates_of_names_without_a_key_are_found_by_the_name(database: Database) -> None:
    """Accounts from before names had keys, and imported ones."""
    async with database.open_uow(SYSTEM) as uow:
        one = await accounts.create_account(uow, name="上海华山医疗集团")
        two = await accounts.create_account(uow, name="上海华山医疗集团")
        three = await accounts.create_account(uow, name="上海华山医疗集团有限公司")
        two.name_key = None
        uow.note("account.updated", two)
    async with database.read() as connection:
        alike = accounts.same_accounts(SYSTEM, lambda column: column.in_([one.id, two.id, three.id]))
        found = {(row.parent, row.other) for row in await connection.execute(alike)}
    assert found == {(one.id, two.id), (one.id, three.id), (two.id, one.id), (three.id, one.id)}


# ---- accounts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("region", ["华东", "East China", " EAST-CHINA "])
async def test_an_account_lies_in_the_territory_that_its_region_names(database: Database, region: str) -> None:
    made = await add_territories(database)
    async with database.open_uow(SYSTEM) as uow:
        account = await accounts.create_account(uow, name=" 上海华山医疗集团 ", region=region, industry="hospital")
    assert (account.name, account.region, account.territory_id) == (
        "上海华山医疗集团",
        "east-china",
        made["east-china"].id,
    )
    assert (account.lifecycle_stage, account.version, account.created_at) == (LifecycleStage.PROSPECT, 1, START)
    assert (await actions(database))[-1] == "account.created"


async def test_an_unknown_region_stays_as_it_was_given(database: Database) -> None:
    async with database.open_uow(SYSTEM) as uow:
        account = await accounts.create_account(uow, name="火星医院", region="火星")
    assert (account.region, account.territory_id) == ("火星", None)


@pytest.mark.parametrize("name", ["", " ", "\u3000\n"])
async def test_nothing_without_a_name(database: Database, name: str) -> None:
    with pytest.raises(Invalid) as refused:
        async with database.open_uow(SYSTEM) as uow:
            await accounts.create_account(uow, name=name)
    assert refused.value.path == ("name",)
    with pytest.raises(Invalid) as refused:
        async with database.open_uow(SYSTEM) as uow:
            await accounts.create_contact(uow, name=name)
    assert refused.value.path == ("name",)
    assert (await count(database, Account), await count(database, Contact), await actions(database)) == (0, 0, [])


async def test_a_colleague_on_the_team_sees_the_account(database: Database) -> None:
    lei = await add_colleague(database, "张磊", Role.REP)
    csm = await add_colleague(database, "周敏", Role.CSM)
    async with database.open_uow(SYSTEM) as uow:
        account = await accounts.create_account(uow, name="上海华山医疗集团", owner_id=lei.user_id)
        await uow.session.flush()
    for actor, adds in ((lei, False), (csm, True)):
        if adds:
            async with database.open_uow(lei) as uow:
                with pytest.raises(NotFound):
                    await load(uow.session, csm, Account, account.id)
                assert csm.user_id is not None
                await accounts.add_team_member(uow, account, csm.user_id, Role.CSM)
        async with database.open_uow(actor) as uow:
            assert (await load(uow.session, actor, Account, account.id)).id == account.id


async def test_a_contact_comes_to_an_account_that_its_maker_sees(database: Database) -> None:
    lei, na = await add_colleague(database, "张磊", Role.REP), await add_colleague(database, "李娜", Role.REP)
    async with database.open_uow(SYSTEM) as uow:
        account = await accounts.create_account(uow, name="上海华山医疗集团", owner_id=lei.user_id)
    with pytest.raises(NotFound) as refused:
        async with database.open_uow(na) as uow:
            await accounts.create_contact(uow, name="陈芳", account_id=account.id)
    assert refused.value.path == ("accountId",)
    async with database.open_uow(lei) as uow:
        contact = await accounts.create_contact(
            uow, name=" 陈芳 ", account_id=account.id, title="设备科主任", buying_role=BuyingRole.TECHNICAL_EVALUATOR
        )
    assert (contact.name, contact.account_id) == ("陈芳", account.id)
    assert await count(database, Contact) == 1


# ---- addresses -------------------------------------------------------------------------------------------------------


async def test_an_equal_address_is_added_once(database: Database) -> None:
    contact = await add_contact(database, "陈芳", (Channel.PHONE, "138 0013 8000"))
    before = await actions(database)
    async with database.open_uow(SYSTEM) as uow:
        again = await accounts.add_contact_point(uow, contact, Channel.PHONE, "+86-13800138000")
    assert (again.value, again.match_key) == ("138 0013 8000", "+8613800138000")
    assert (await count(database, ContactPoint), await actions(database)) == (1, before)


async def test_an_address_that_cannot_be_one_leaves_nothing(database: Database) -> None:
    contact = await add_contact(database)
    before = await actions(database)
    with pytest.raises(Invalid, match="telephone number") as refused:
        async with database.open_uow(SYSTEM) as uow:
            await accounts.add_contact_point(uow, contact, Channel.PHONE, "改天再给", path=("phone",))
    assert refused.value.path == ("phone",)
    assert (await count(database, ContactPoint), await actions(database)) == (0, before)


async def test_two_who_add_the_same_address_at_once_add_one(database: Database) -> None:
    contact = await add_contact(database)

    async def add() -> Any:
        async with database.open_uow(SYSTEM) as uow:
            return (await accounts.add_contact_point(uow, contact, Channel.WECHAT, "chenfang_88")).id

    first, second = await asyncio.gather(add(), add())
    assert first == second
    assert await count(database, ContactPoint) == 1


async def test_addresses_enter_the_ledger_only_enciphered(database: Database) -> None:
    await add_contact(database, "陈芳", (Channel.EMAIL, "fang.chen@huashan.example.com"))
    async with database.read() as connection:
        events = (await connection.execute(select(AuditEvent.__table__))).all()
    assert events
    assert "fang.chen" not in str(events)
    assert "陈芳" not in str([event.detail for event in events])


async def test_the_oldest_person_with_an_address_is_found(database: Database) -> None:
    first = await add_contact(database, "陈芳", (Channel.PHONE, "13800138000"))
    await add_contact(database, "陈小芳", (Channel.SMS, "13800138000"), (Channel.EMAIL, "fang@example.com"))
    async with database.open_uow(SYSTEM) as uow:
        for points in (
            [(Channel.PHONE, "+8613800138000")],
            [(Channel.SMS, "+8613800138000")],
            [(Channel.EMAIL, "fang@example.com"), (Channel.PHONE, "+8613800138000")],
        ):
            found = await accounts.find_contact(uow, points)
            assert found is not None
            assert found.id == first.id
        assert await accounts.find_contact(uow, []) is None
        assert await accounts.find_contact(uow, [(Channel.PHONE, "+8613900000000")]) is None


async def test_the_same_name_on_two_channels_is_not_the_same_person(database: Database) -> None:
    await add_contact(database, "陈芳", (Channel.APP, "chenfang"))
    async with database.open_uow(SYSTEM) as uow:
        assert await accounts.find_contact(uow, [(Channel.WECHAT, "chenfang")]) is None
        assert await accounts.find_contact(uow, [(Channel.APP, "chenfang")]) is not None


# ---- erasure ---------------------------------------------------------------------------------------------------------


async def test_an_erased_person_has_neither_name_nor_address(database: Database) -> None:
    contact = await add_contact(database, "陈芳", (Channel.PHONE, "13800138000"), (Channel.WECHAT, "chenfang_88"))
    async with database.open_uow(SYSTEM) as uow:
        erased = await uow.session.get_one(Contact, contact.id)
        await accounts.erase_contact(uow, erased)
    assert (erased.title, erased.erased_at) == (None, START)
    assert "陈芳" not in erased.name
    assert await count(database, ContactPoint) == 0
    async with database.open_uow(SYSTEM) as uow:
        assert await accounts.find_contact(uow, [(Channel.PHONE, "+8613800138000")]) is None


async def test_nobody_is_erased_twice_or_gets_an_address_afterwards(database: Database) -> None:
    contact = await add_contact(database)
    async with database.open_uow(SYSTEM) as uow:
        await accounts.erase_contact(uow, await uow.session.get_one(Contact, contact.id))
    before = await actions(database)
    with pytest.raises(Conflict) as refused:
        async with database.open_uow(SYSTEM) as uow:
            await accounts.erase_contact(uow, await uow.session.get_one(Contact, contact.id))
    assert refused.value.path == ("contactId",)
    with pytest.raises(Conflict) as refused:
        async with database.open_uow(SYSTEM) as uow:
            await accounts.add_contact_point(
                uow, await uow.session.get_one(Contact, contact.id), Channel.PHONE, "13800138000"
            )
    assert refused.value.path == ("value",)
    assert (await count(database, ContactPoint), await actions(database)) == (0, before)


async def test_a_change_that_no_note_covers_is_refused(database: Database) -> None:
    contact = await add_contact(database)
    with pytest.raises(UnledgeredChangeError):
        async with database.open_uow(SYSTEM) as uow:
            (await uow.session.get_one(Contact, contact.id)).name = "改了名"
    async with database.read() as connection:
        assert (await connection.execute(select(Contact.name))).scalar_one() == "陈芳"
