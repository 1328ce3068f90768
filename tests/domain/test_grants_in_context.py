"""Grants in a brand or on one account: every class of records, every role, compared with where the test itself put each row."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Enum as EnumColumn
from sqlalchemy import TypeDecorator, insert, select

import migrations
from domain import accounts, leads, people
from domain.kernel import (
    SYSTEM,
    Actor,
    ActorKind,
    Base,
    Database,
    Forbidden,
    Reach,
    Role,
    entity,
    field_visible,
    rows_visible,
    totals_visible,
)
from domain.people import BY_ACCOUNT
from domain.people.sign_in import reaches_of
from tests.factories import START, Clock, add_colleague, add_territories, sign_in

migrations.import_models()
READ = sorted(
    (m.class_ for m in Base.registry.mappers if m.class_.__access__ is not None), key=lambda one: one.__name__
)
"""Every class that readers reach, whatever room it is of."""
PLAIN: dict[type, Any] = {str: "x", int: 1, bool: False, datetime: START, date: START.date(), dict: {}, list: []}


class World:
    """Four accounts with everything that hangs on them: two of the brand `med`, one of `ind`, one without a brand."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.of: dict[tuple[str, UUID], str] = {}
        self.accounts: dict[str, UUID] = {}

    def put(self, kind: str, account: str | None = None, **given: Any) -> UUID:
        """A row of a class, every column that needs a value filled; `account` says on which one it hangs."""
        table, id = entity(kind).__table__, self.database.new_id()
        values: dict[str, Any] = {}
        for column in table.columns:
            if column.nullable or column.primary_key:
                continue
            if isinstance(column.type, EnumColumn):
                values[column.name] = next(iter(column.type.enum_class or ()))
                continue
            kind_of = column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type
            plain = kind_of.python_type
            values[column.name] = PLAIN.get(plain, {})
            if plain is str and getattr(kind_of, "length", None) is None:
                values[column.name] = f"{column.name} {id.hex}"
        self.rows.setdefault(kind, []).append(values | {"id": id} | given)
        if account is not None:
            self.of[kind, id] = account
        return id

    async def store(self) -> None:
        """Put every row into the database, parents first."""
        async with self.database.writer.begin() as connection:
            for table in Base.metadata.sorted_tables:
                for row in self.rows.get(
                    next((m.class_.__name__ for m in Base.registry.mappers if m.local_table is table), ""), []
                ):
                    await connection.execute(insert(table), row)

    async def seen(self, model: type[Base], actor: Actor, condition: Any = None) -> set[UUID]:
        """The ids of the rows of a class that somebody sees."""
        shown = rows_visible(model, actor) if condition is None else condition
        async with self.database.read() as connection:
            return set((await connection.execute(select(model.__table__.c.id).where(shown))).scalars())

    def hangs(self, model: type[Base], *accounts: str) -> set[UUID]:
        """The rows of a class that hang on one of the accounts."""
        return {id for (kind, id), account in self.of.items() if kind == model.__name__ and account in accounts}


BRANDS = {"parts": "med", "device": "ind", "clinic": "med", "plain": None}


@pytest.fixture
async def world(database: Database) -> World:
    made = World(database)
    territories = await add_territories(database)
    async with database.open_uow(SYSTEM) as uow:
        brands = {key: (await people.add_brand(uow, key=key, label=_both(key))).id for key in ("med", "ind")}
    users = {name: (await add_colleague(database, name)).user_id for name in ("张磊", "李娜")}
    lei, na = users["张磊"], users["李娜"]
    put = made.put
    pipeline = put("Pipeline", key="new", territory_id=None)
    stage = put("Stage", pipeline_id=pipeline)
    sold = put("Product")
    put("PriceBookEntry", product_id=sold)
    purpose = "service"
    put("Purpose", code=purpose)
    for place, owner, key in (
        ("shanghai", lei, "parts"),
        ("east-china", na, "device"),
        ("south-china", na, "clinic"),
        ("shanghai", lei, "plain"),
    ):
        brand, territory = BRANDS[key], territories[place].id
        brand_id = brands[brand] if brand else None
        account = made.accounts[key] = put(
            "Account", key, name=f"客户{key}", owner_id=owner, territory_id=territory, brand_id=brand_id
        )
        made.of["Account", account] = key
        put("AccountTeamMember", key, account_id=account, user_id=na, role=Role.CSM)
        contact = put("Contact", key, account_id=account, name="陈芳")
        put("ContactPoint", key, contact_id=contact)
        lead = put("Lead", key, contact_id=contact, owner_id=lei, brand_id=brand_id, territory_id=territory)
        deal = put(
            "Opportunity",
            key,
            account_id=account,
            owner_id=lei,
            territory_id=territory,
            pipeline_id=pipeline,
            stage_id=stage,
        )
        put("StageTransition", key, opportunity_id=deal, to_stage_id=stage)
        put("OpportunityContactRole", key, opportunity_id=deal, contact_id=contact)
        quote = put("Quote", key, opportunity_id=deal, account_id=account)
        put("QuoteLine", key, quote_id=quote, product_id=sold)
        order = put("Order", key, account_id=account, opportunity_id=deal)
        put("OrderLine", key, order_id=order, product_id=sold)
        put("Invoice", key, order_id=order, account_id=account)
        put("Payment", key, order_id=order, account_id=account)
        put(
            "Activity",
            key,
            owner_id=lei,
            related_kind="Opportunity",
            related_id=deal,
            opportunity_id=deal,
            account_id=account,
        )
        put("Activity", key, owner_id=lei, related_kind="Lead", related_id=lead, lead_id=lead, contact_id=contact)
        put("Signal", key, subject_kind="Opportunity", subject_id=deal, account_id=account, occurred_at=START)
        put("Signal", key, subject_kind="Lead", subject_id=lead, contact_id=contact)
        put("ConsentGrant", key, contact_id=contact, purpose=purpose)
        put("ConsentReceipt", key, contact_id=contact, purpose=purpose)
        for asking in (lei, na):
            generation = put(
                "Generation", key, requested_by_id=asking, territory_id=territory, subject_kind="Account", subject_id=account,
                client_key=database.new_id().hex, in_legal_queue=True, in_finance_queue=True,
            )  # fmt: skip
            put("GenerationSection", key, generation_id=generation)
    # Somebody of one account sits in the committee of another's deal: the seat hangs on the deal.
    put(
        "OpportunityContactRole",
        "device",
        opportunity_id=made.rows["Opportunity"][1]["id"],
        contact_id=made.rows["Contact"][0]["id"],
    )
    await made.store()
    made.lei, made.na, made.brands, made.territories = lei, na, brands, territories  # type: ignore[attr-defined]
    return made


def _both(key: str) -> Any:
    from domain.kernel import Text

    return Text(f"品牌{key}", key)


def actor(world: Any, *reaches: Reach, user: str = "lei") -> Actor:
    return Actor(ActorKind.USER, getattr(world, user), "", reaches)


def everywhere(world: Any, role: Role, **context: Any) -> Reach:
    return Reach(role, frozenset(one.id for one in world.territories.values()), **context)


def on(world: World, role: Role, *accounts: str) -> Reach:
    return Reach(role, account_ids=frozenset(world.accounts[key] for key in accounts))


CUSTOMERS = (
    "Account", "Contact", "ContactPoint", "Lead", "Opportunity", "StageTransition", "OpportunityContactRole", "Quote", "QuoteLine", "Order",
    "OrderLine", "Invoice", "Payment", "Activity", "Signal", "ConsentGrant", "ConsentReceipt", "Generation", "GenerationSection",
)  # fmt: skip


# ---- on one account --------------------------------------------------------------------------------------------------


async def test_a_grant_on_an_account_shows_that_account_and_what_hangs_on_it(world: World) -> None:
    """张磊 owns other accounts and is asked for deals everywhere: as somebody's lead on one account he sees that one."""
    for role in Role:
        for user in ("lei", "na"):
            who = actor(world, on(world, role, "device"), user=user)
            for model in READ:
                foreign = world.hangs(model, "parts", "clinic", "plain")
                assert not await world.seen(model, who) & foreign, (role, model)


@pytest.mark.parametrize("role", sorted(BY_ACCOUNT))
async def test_it_shows_all_that_the_role_has_a_sight_of(world: World, role: Role) -> None:
    """A REP's own answers alone are theirs; everything else on the account is seen whoever owns it, by the role's classes."""
    who = actor(world, on(world, role, "device"), user="na")
    for name in CUSTOMERS:
        model = entity(name)
        mine = world.hangs(model, "device")
        if role not in set(model.__access__ or ()):
            mine = set()
        elif role is Role.REP and name in {"Generation", "GenerationSection"}:
            mine = {row["id"] for row in world.rows["Generation"] if row["requested_by_id"] == who.user_id} & mine
            if name == "GenerationSection":
                continue
        assert await world.seen(model, who) & set(world_ids(world, name)) == mine, name


def world_ids(world: World, name: str) -> Iterator[UUID]:
    return (row["id"] for row in world.rows[name])


async def test_lead_on_one_customer_and_support_on_another(world: World) -> None:
    """REP on the parts maker, CSM on the device maker: both accounts, but leads and activities of the first alone."""
    who = actor(world, on(world, Role.REP, "parts"), on(world, Role.CSM, "device"))
    for name, keys in (
        ("Account", {"parts", "device"}), ("Opportunity", {"parts", "device"}), ("Order", {"parts", "device"}),
        ("Lead", {"parts"}), ("Activity", {"parts"}), ("Signal", {"parts"}), ("Quote", {"parts"}), ("ConsentGrant", {"parts"}),
    ):  # fmt: skip
        assert await world.seen(entity(name), who) == world.hangs(entity(name), *keys), name
    account = entity("Account")
    shown = rows_visible(account, who) & field_visible(account, "activities", who)
    assert await world.seen(account, who, shown) == {world.accounts["parts"]}, "a CSM sees no activities"


async def test_what_hangs_on_no_account_is_as_for_everybody(world: World) -> None:
    who = actor(world, on(world, Role.REP, "device"))
    for name in ("Pipeline", "Stage", "Product", "PriceBookEntry", "Purpose"):
        assert await world.seen(entity(name), who) == set(world_ids(world, name)), name


async def test_it_adds_to_what_one_sees_anyway_and_ends_with_the_grant(world: World, clock: Clock) -> None:
    account = entity("Account")
    async with world.database.open_uow(SYSTEM) as uow:
        user = await people.add_user(uow, name="王敏", email="min.wang@example.com")
        await uow.session.flush()
        await people.give_role(uow, user, Role.MANAGER, territory="上海")
        end = uow.now + timedelta(days=3)
        await people.give_role(uow, user, Role.CSM, account_id=world.accounts["clinic"], valid_to=end)
    before = await sign_in(world.database, "min.wang@example.com")
    assert await world.seen(account, before) == world.hangs(account, "parts", "plain", "clinic")
    assert before.valid_until == end
    clock.advance(days=3)
    after = await sign_in(world.database, "min.wang@example.com")
    assert await world.seen(account, after) == world.hangs(account, "parts", "plain")


# ---- in a brand ------------------------------------------------------------------------------------------------------


async def test_a_brand_narrows_exactly_to_what_hangs_on_it(world: Any) -> None:
    med = frozenset({world.brands["med"]})
    both = med | {world.brands["ind"]}
    for role, user in product(Role, ("lei", "na")):
        whole = actor(world, everywhere(world, role), user=user)
        of_med = actor(world, everywhere(world, role, brand_ids=med), user=user)
        of_both = actor(world, everywhere(world, role, brand_ids=frozenset(both)), user=user)
        for name in CUSTOMERS:
            model = entity(name)
            seen = await world.seen(model, whole)
            assert await world.seen(model, of_med) == seen & world.hangs(model, "parts", "clinic"), (role, name, user)
            assert await world.seen(model, of_both) == seen & world.hangs(model, "parts", "clinic", "device"), (
                name,
                user,
            )
        for model in READ:
            assert await world.seen(model, of_med) <= await world.seen(model, whole), (role, model)


async def test_a_brand_narrows_totals_too(world: Any) -> None:
    deal, med = entity("Opportunity"), frozenset({world.brands["med"]})
    whole, narrow = (actor(world, Reach(Role.EXECUTIVE, brand_ids=ids)) for ids in (frozenset[UUID](), med))
    assert await world.seen(deal, whole, totals_visible(deal, whole)) == world.hangs(deal, *BRANDS)
    assert await world.seen(deal, narrow, totals_visible(deal, narrow)) == world.hangs(deal, "parts", "clinic")


async def test_a_brand_and_an_account_hold_together(world: Any) -> None:
    account, med = entity("Account"), frozenset({world.brands["med"]})
    ids = frozenset(world.accounts.values())
    who = actor(world, Reach(Role.REP, brand_ids=med, account_ids=ids))
    assert await world.seen(account, who) == world.hangs(account, "parts", "clinic")


# ---- what grants add up to -------------------------------------------------------------------------------------------

IDS = [UUID(int=number) for number in range(1, 4)]
GRANT = st.fixed_dictionaries(
    {
        "role": st.sampled_from([Role.REP, Role.MANAGER]), "territory_id": st.none() | st.sampled_from(IDS),
        "brand_id": st.none() | st.sampled_from(IDS), "account_id": st.none() | st.sampled_from(IDS),
    }
)  # fmt: skip


class _Grant:
    def __init__(self, **given: Any) -> None:
        self.__dict__.update(given)


def reached(reach: Reach, role: Role, territory: UUID, brand: UUID, account: UUID) -> bool:
    """Whether a reach holds at a point: in its territories and brands, or on its accounts."""
    place = account in reach.account_ids if reach.account_ids else territory in reach.territory_ids
    return reach.role is role and place and (not reach.brand_ids or brand in reach.brand_ids)


def given_at(grant: dict[str, Any], role: Role, territory: UUID, brand: UUID, account: UUID) -> bool:
    """Whether one grant holds at a point."""
    place = grant["account_id"] == account if grant["account_id"] else grant["territory_id"] == territory
    return grant["role"] is role and place and grant["brand_id"] in {None, brand}


@given(st.lists(GRANT, max_size=6))
def test_reaches_are_as_wide_as_the_grants_and_no_wider(grants: list[dict[str, Any]]) -> None:
    reaches = reaches_of([_Grant(**one) for one in grants], dict.fromkeys(IDS))
    assert len(set(reaches)) == len(reaches)
    for role in (Role.REP, Role.MANAGER, Role.ADMIN):
        for place in IDS:
            for brand in IDS:
                for account in IDS:
                    point = (role, place, brand, account)
                    assert any(reached(one, *point) for one in reaches) == any(given_at(one, *point) for one in grants)
    assert {reach.role for reach in reaches} == {one["role"] for one in grants}


# ---- what is made within a brand -------------------------------------------------------------------------------------


async def test_who_works_for_one_brand_alone_makes_records_of_it(database: Database) -> None:
    made = await add_territories(database)
    async with database.open_uow(SYSTEM) as uow:
        med, ind = [await people.add_brand(uow, key=key, label=_both(key)) for key in ("med", "ind")]
    east = [made["east-china"]]
    one = await add_colleague(database, "张磊", Role.REP, territories=east, brands=[med])
    both = await add_colleague(database, "李娜", Role.REP, territories=east, brands=[med, ind])
    free = await add_colleague(database, "王敏", Role.REP, territories=east)
    for who, brand in ((one, med.id), (free, None)):
        async with database.open_uow(who) as uow:
            account = await accounts.create_account(uow, name="宁波电子", region="华东")
            lead = await leads.capture(
                uow, source="官网", external_id=who.display_name, name="钱伟", region="华东", owner_id=who.user_id
            )
        assert (account.brand_id, lead.brand_id) == (brand, brand)
    assert both.home_brand(Role.REP) is None
    with pytest.raises(Forbidden):
        async with database.open_uow(both) as uow:
            await accounts.create_account(uow, name="两个品牌，没说哪个", region="华东")
    async with database.open_uow(both) as uow:
        assert (await accounts.create_account(uow, name="说了哪个", region="华东", brand_id=ind.id)).brand_id == ind.id
