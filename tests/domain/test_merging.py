"""Two records of one organisation or person become one: nothing that hangs on either is lost, and nothing becomes wider."""

import asyncio
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Uuid, func, inspect, select

from domain import accounts, activities, commerce, consent, deals, leads, merging, people, signals
from domain.accounts import Account, AccountTeamMember, BuyingRole, Channel, Contact, ContactPoint
from domain.activities import Activity, ActivityKind
from domain.consent import ConsentDecision, ConsentGrant, ConsentStatus, GrantFact, LawfulBasis, PurposeFact
from domain.deals import OpportunityContactRole, StagePlan, Stance
from domain.erasure import erase_person
from domain.kernel import (
    SYSTEM,
    Actor,
    Base,
    ClientKey,
    Conflict,
    Database,
    Forbidden,
    Invalid,
    NotFound,
    Ref,
    Role,
    SalesError,
    StaleVersion,
    Text,
    UnitOfWork,
    load,
    rows_visible,
)
from domain.ledger import AuditEvent
from domain.merging import Pair, references
from domain.signals import Fact
from migrations import import_models
from tests.factories import START, add_colleague, add_territories, sign_in, verify_ledger

# ---- nothing is forgotten --------------------------------------------------------------------------------------------

NO_REFERENCE = {
    "id", "created_by_id", "updated_by_id", "import_batch_id", "actor_id", "recorded_by_id", "on_behalf_of_id", "user_id",
}  # fmt: skip
"""Ids of rows themselves, of batches, and of colleagues."""
ELSEWHERE = {
    "KnowledgeItem.owner_id",
    "KnowledgeVersion.author_id",
    "KnowledgeVersion.published_by_id",
    "ContentRequest.key_id",
}
"""Ids of colleagues where knowledge stands on the kernel alone."""
OTHERS = ("opportunity_id", "lead_id", "item_id", "generation_id", "signal_id", "event_id")
"""Ids of deals, leads, knowledge and answers in rooms that stand below those, of signals and of events."""


def test_every_reference_to_an_account_or_contact_goes_along_or_says_why_not() -> None:
    import_models()
    found = {(one.model, one.attribute) for target in (Account, Contact) for one in references(target)}
    forgotten = []
    for mapper in Base.registry.mappers:
        for prop in mapper.column_attrs:
            column, name = prop.columns[0], f"{mapper.class_.__name__}.{prop.key}"
            is_id = isinstance(column.type, Uuid) and prop.key not in NO_REFERENCE and name not in ELSEWHERE
            is_id = is_id and not prop.key.endswith(OTHERS)
            leads_elsewhere = column.foreign_keys and not any(
                key.column.table in {Account.__table__, Contact.__table__} for key in column.foreign_keys
            )
            if not is_id or leads_elsewhere or mapper.class_.__stays__ is not None:
                continue
            if (mapper.class_, prop.key) not in found:
                forgotten.append(name)
    assert forgotten == []


def test_what_stays_says_why() -> None:
    import_models()
    stays = {mapper.class_.__name__: mapper.class_.__stays__ for mapper in Base.registry.mappers}
    kept = {name for name, reason in stays.items() if reason is not None}
    assert kept >= {"AuditEvent", "ConsentReceipt", "Generation", "Citation", "KeyHolder", "GenerationPerson"}
    assert all(stays[name].strip() for name in kept)
    assert {(one.model.__name__, one.attribute) for one in references(Account)} >= {
        ("Contact", "account_id"), ("Opportunity", "account_id"), ("Activity", "account_id"), ("Activity", "related_id"), ("Signal", "subject_id"),
        ("Signal", "account_id"), ("Quote", "account_id"), ("Order", "account_id"), ("AccountTeamMember", "account_id"), ("Account", "parent_id"),
        ("Account", "merged_into_id"), ("ClientKey", "record_id"),
    }  # fmt: skip


def test_every_kind_that_names_a_class_has_its_id() -> None:
    """A column called `…_kind` of text stands beside one called `…_id`: another form of reference would be forgotten."""
    import_models()
    for mapper in Base.registry.mappers:
        for prop in mapper.column_attrs:
            column = prop.columns[0]
            if prop.key.endswith("_kind") and type(column.type).__name__ == "Text":
                assert merging.kind_of(mapper.class_, prop.key.removesuffix("_kind") + "_id") == prop.key


# ---- accounts --------------------------------------------------------------------------------------------------------


class Pairing:
    """Two accounts of one hospital with everything that can hang on an account, and who works on them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.people: dict[str, Actor] = {}
        self.ids: dict[str, UUID] = {}

    async def fill(self) -> "Pairing":
        territories = await add_territories(self.database)
        east, south = territories["east-china"], territories["south-china"]
        self.people = {
            "lei": await add_colleague(self.database, "张磊", Role.REP, territories=[east]),
            "na": await add_colleague(self.database, "李娜", Role.REP, territories=[east]),
            "min": await add_colleague(self.database, "王敏", Role.MANAGER, territories=[east]),
            "gang": await add_colleague(self.database, "吴刚", Role.MANAGER, territories=[south]),
            "ops": await add_colleague(self.database, "高锐", Role.SALES_OPS),
        }
        async with self.database.open_uow(SYSTEM) as uow:
            await self._account(uow, "one", "上海华山医疗集团", "lei", employees=1200)
            await self._account(uow, "two", "上海华山医疗集团有限公司", "na", industry="hospital")
        return self

    async def _account(self, uow: UnitOfWork, key: str, name: str, owner: str, **more: Any) -> None:
        new = await deals.ensure_pipeline(
            uow, "new", Text("新签", "New"), [StagePlan("qualify", Text("资格", "Qualify"))]
        )
        account = await accounts.create_account(
            uow, name=name, region="华东", owner_id=self.people[owner].user_id, client_key=f"账户-{key}", **more
        )
        contact = await accounts.create_contact(uow, name=f"陈芳{key}", account_id=account.id)
        await accounts.add_contact_point(uow, contact, Channel.PHONE, "13800138000")
        await accounts.add_contact_point(uow, contact, Channel.EMAIL, f"{key}@huashan.example.com")
        deal = await deals.open_opportunity(uow, name=f"{name}一期", stage=new["qualify"], account_id=account.id)
        await activities.log(
            uow, related_to=account.ref(), kind=ActivityKind.CALL, subject="谈预算", owner_id=account.owner_id
        )
        fact = Fact("page_viewed", account.ref(), "web", f"看-{key}", START, {"title": "价格页"})
        await signals.record_many(uow, [fact], source="web")
        await accounts.add_team_member(uow, account, self._user("ops"), Role.CSM)
        self.ids |= {key: account.id, f"contact {key}": contact.id, f"deal {key}": deal.id}

    def _user(self, who: str) -> UUID:
        user_id = self.people[who].user_id
        assert user_id is not None
        return user_id

    async def pair(self, model: type[Base] = Account, prefix: str = "", **more: Any) -> Pair:
        """The pair as it stands in the database now."""
        async with self.database.read() as connection:
            table = model.__table__
            rows = {row.id: row.version for row in await connection.execute(select(table.c.id, table.c.version))}
        one, two = self.ids[f"{prefix}one"], self.ids[f"{prefix}two"]
        return Pair(one, rows[one], two, rows[two], **more)

    async def merge(self, who: str = "min", **more: Any) -> Account:
        pair = await self.pair(**more)
        async with self.database.open_uow(self.people[who]) as uow:
            return await merging.merge_accounts(uow, pair)

    async def merge_contacts(self, who: str = "min", **more: Any) -> Contact:
        pair = await self.pair(Contact, "contact ", **more)
        async with self.database.open_uow(self.people[who]) as uow:
            return await merging.merge_contacts(uow, pair)


@pytest.fixture
async def pairing(database: Database) -> Pairing:
    return await Pairing(database).fill()


async def values(database: Database, column: Any, *where: Any) -> list[Any]:
    async with database.read() as connection:
        return list((await connection.execute(select(column).where(*where).order_by(column))).scalars())


async def state(database: Database) -> dict[str, list[Any]]:
    """Every row of every table that a merge could touch."""
    async with database.read() as connection:
        tables = {one.model.__table__ for target in (Account, Contact) for one in references(target)}
        found = {}
        for table in sorted(tables, key=lambda table: str(table.name)):  # type: ignore[attr-defined]
            rows = await connection.execute(select(table))
            found[str(table)] = sorted(map(str, rows))
        found["events"] = list((await connection.execute(select(AuditEvent.digest).order_by(AuditEvent.seq))).scalars())
        return found


async def test_everything_goes_over_to_the_survivor(database: Database, pairing: Pairing) -> None:
    survivor = await pairing.merge()
    one, two = pairing.ids["one"], pairing.ids["two"]
    assert survivor.id == one
    for reference in references(Account):
        column = getattr(reference.model, reference.attribute)
        assert two not in await values(database, column), reference
    assert len(await values(database, Contact.id, Contact.account_id == one)) == 2
    assert len(await values(database, deals.Opportunity.id, deals.Opportunity.account_id == one)) == 2
    assert len(await values(database, Activity.id, Activity.account_id == one, Activity.related_id == one)) == 2
    assert len(await values(database, signals.Signal.id, signals.Signal.subject_id == one)) == 2
    assert await values(database, ClientKey.key, ClientKey.record_id == one) == ["账户-one", "账户-two"]
    assert await values(database, Account.merged_into_id, Account.id == two) == [one]


async def test_a_member_of_both_teams_is_on_the_team_once_and_a_former_owner_comes_onto_it(
    database: Database, pairing: Pairing
) -> None:
    survivor = await pairing.merge()
    async with database.read() as connection:
        team = select(AccountTeamMember.user_id, AccountTeamMember.role).where(
            AccountTeamMember.account_id == survivor.id
        )
        found = {(row.user_id, row.role) for row in await connection.execute(team)}
        count = await connection.scalar(select(func.count()).select_from(AccountTeamMember))
    assert found == {(pairing.people["ops"].user_id, Role.CSM), (pairing.people["na"].user_id, Role.REP)}
    assert count == 2
    async with database.open_uow(pairing.people["na"]) as uow:
        assert (await load(uow.session, uow.actor, Account, survivor.id)).name == "上海华山医疗集团"


async def test_the_survivor_keeps_its_own_takes_what_it_lacks_and_what_is_asked_for(
    database: Database, pairing: Pairing
) -> None:
    survivor = await pairing.merge(keep=["name", "owner"])
    assert (survivor.name, survivor.employees, survivor.industry) == ("上海华山医疗集团有限公司", 1200, "hospital")
    assert survivor.owner_id == pairing.people["na"].user_id
    assert survivor.name_key == "上海华山医疗"


async def test_a_grant_on_the_duplicate_holds_on_the_survivor_at_once(database: Database, pairing: Pairing) -> None:
    fang = await add_colleague(database, "周芳", email="fang.zhou@example.com")
    async with database.open_uow(SYSTEM) as uow:
        user = await uow.session.get_one(people.User, fang.user_id)
        await people.grant_role(uow, user, Role.CSM, account_id=pairing.ids["two"])
    epochs = await values(database, people.User.auth_epoch, people.User.id == fang.user_id)
    survivor = await pairing.merge()
    assert await values(database, people.RoleGrant.account_id, people.RoleGrant.user_id == fang.user_id) == [
        survivor.id
    ]
    assert await values(database, people.User.auth_epoch, people.User.id == fang.user_id) > epochs
    actor = await sign_in(database, "fang.zhou@example.com")
    async with database.open_uow(actor) as uow:
        assert (await load(uow.session, actor, Account, survivor.id)).id == survivor.id


async def test_open_deals_come_into_the_territory_of_the_survivor(database: Database, pairing: Pairing) -> None:
    one, two = pairing.ids["one"], pairing.ids["two"]
    async with database.open_uow(pairing.people["min"]) as uow:
        row = await load(uow.session, uow.actor, Account, two)
        await accounts.update_account(uow, two, expected_version=row.version, changes={"region": "华南"})
        await deals.follow_account(uow, row)
    (east,) = await values(database, Account.territory_id, Account.id == one)
    assert await values(database, deals.Opportunity.territory_id, deals.Opportunity.account_id == two) != [east]
    await pairing.merge("ops")
    assert set(await values(database, deals.Opportunity.territory_id)) == {east}


async def test_a_merge_is_noted_once_with_counts_and_on_every_aggregate(database: Database, pairing: Pairing) -> None:
    before = len(await values(database, AuditEvent.seq))
    await pairing.merge()
    async with database.read() as connection:
        events = (await connection.execute(select(AuditEvent.__table__).order_by(AuditEvent.seq).offset(before))).all()
    notes = {event.action: event for event in events}
    told = notes["account.merged"].detail["detail"]
    assert told["duplicate"] == str(Ref("Account", pairing.ids["two"]))
    assert told["carried"] == {
        "Activity": 1, "ClientKey": 1, "Contact": 1, "Opportunity": 1, "Signal": 1,
    }  # fmt: skip
    assert told["equal"] == {"AccountTeamMember": 1}
    assert [event.action for event in events].count("account.merged") == 1
    subjects = {(event.action, event.subject_id) for event in events}
    assert ("contact.carried_over", pairing.ids["contact two"]) in subjects
    assert ("opportunity.carried_over", pairing.ids["deal two"]) in subjects
    assert ("account.merged_away", pairing.ids["two"]) in subjects
    assert len(subjects) == len(events)
    assert (await verify_ledger(database)).problem is None


async def test_a_merged_account_is_in_no_list_and_no_longer_changed(database: Database, pairing: Pairing) -> None:
    await pairing.merge()
    for who in (SYSTEM, *pairing.people.values()):
        async with database.read() as connection:
            seen = list((await connection.execute(select(Account.id).where(rows_visible(Account, who)))).scalars())
        assert pairing.ids["two"] not in seen
    pair = await pairing.pair()
    before = await state(database)
    for again in (pair, Pair(pair.duplicate_id, pair.duplicate_version, pair.survivor_id, pair.survivor_version)):
        with pytest.raises(NotFound):
            async with database.open_uow(pairing.people["min"]) as uow:
                await merging.merge_accounts(uow, again)
    assert await state(database) == before


async def test_of_two_merges_at_once_one_holds(database: Database, pairing: Pairing) -> None:
    """One takes the second into the first, the other the first into the second: nothing may point in a circle."""
    pair = await pairing.pair()
    turned = Pair(pair.duplicate_id, pair.duplicate_version, pair.survivor_id, pair.survivor_version)

    async def merge(wanted: Pair) -> UUID:
        async with database.open_uow(pairing.people["min"]) as uow:
            return (await merging.merge_accounts(uow, wanted)).id

    found = await asyncio.gather(merge(pair), merge(turned), return_exceptions=True)
    (kept,) = [one for one in found if isinstance(one, UUID)]
    (refused,) = [one for one in found if isinstance(one, BaseException)]
    assert isinstance(refused, NotFound | StaleVersion)
    assert await values(database, Account.merged_into_id, Account.merged_into_id.is_not(None)) == [kept]


async def test_an_older_merge_leads_to_the_last_survivor(database: Database, pairing: Pairing) -> None:
    await pairing.merge()
    async with database.open_uow(SYSTEM) as uow:
        third = await accounts.create_account(uow, name="华山医院", region="华东")
    async with database.open_uow(pairing.people["min"]) as uow:
        one = await load(uow.session, uow.actor, Account, pairing.ids["one"])
        await merging.merge_accounts(uow, Pair(third.id, third.version, one.id, one.version))
    assert set(await values(database, Account.merged_into_id, Account.merged_into_id.is_not(None))) == {third.id}


@pytest.mark.parametrize(("who", "allowed"), [("min", True), ("ops", True), ("lei", False), ("gang", False)])
async def test_who_answers_for_both_merges_them(database: Database, pairing: Pairing, who: str, allowed: bool) -> None:
    before = await state(database)
    if allowed:
        await pairing.merge(who)
        return
    with pytest.raises((Forbidden, NotFound)):
        await pairing.merge(who)
    assert await state(database) == before


async def test_a_rep_who_owns_both_merges_them(database: Database, pairing: Pairing) -> None:
    async with database.open_uow(pairing.people["min"]) as uow:
        two = await load(uow.session, uow.actor, Account, pairing.ids["two"])
        changes = {"owner_id": pairing.people["lei"].user_id}
        await accounts.update_account(uow, two.id, expected_version=two.version, changes=changes)
    assert (await pairing.merge("lei")).owner_id == pairing.people["lei"].user_id


async def _refused(database: Database, actor: Actor, pair: Pair) -> SalesError:
    before = await state(database)
    with pytest.raises(SalesError) as refused:
        async with database.open_uow(actor) as uow:
            await merging.merge_accounts(uow, pair)
    assert await state(database) == before
    return refused.value


async def test_what_cannot_be_merged_is_refused_and_nothing_changes(database: Database, pairing: Pairing) -> None:
    min_, pair = pairing.people["min"], await pairing.pair()
    one, two = pair.survivor_id, pair.duplicate_id
    stale = await _refused(database, min_, Pair(one, pair.survivor_version, two, 99))
    assert (type(stale), stale.path) == (StaleVersion, ("duplicateVersion",))
    stale = await _refused(database, min_, Pair(one, 99, two, pair.duplicate_version))
    assert (type(stale), stale.path) == (StaleVersion, ("survivorVersion",))
    itself = await _refused(database, min_, Pair(one, 1, one, 1))
    assert (type(itself), itself.path) == (Invalid, ("duplicateId",))
    absent = await _refused(database, min_, Pair(one, pair.survivor_version, UUID(int=5), 1))
    assert (type(absent), absent.path) == (NotFound, ("duplicateId",))
    unknown = await _refused(
        database, min_, Pair(one, pair.survivor_version, two, pair.duplicate_version, keep=["电话"])
    )
    assert (type(unknown), unknown.path) == (Invalid, ("keep",))
    assert "电话" in unknown.text.zh
    assert "lifecycleStage" in unknown.text.en


@pytest.mark.parametrize("chain", ["duplicate above survivor", "one between", "survivor above duplicate"])
async def test_no_family_becomes_a_circle(database: Database, pairing: Pairing, chain: str) -> None:
    one, two = pairing.ids["one"], pairing.ids["two"]
    async with database.open_uow(SYSTEM) as uow:
        top = await accounts.create_account(uow, name="华山集团总部")
        middle = await accounts.create_account(uow, name="华山东院", parent_id=two)
        child = await accounts.create_account(uow, name="华山门诊", parent_id=two)
        parents = {
            "duplicate above survivor": {one: two, two: top.id},
            "one between": {one: middle.id, two: top.id},
            "survivor above duplicate": {one: top.id, two: one},
        }[chain]
        for id, parent in parents.items():
            version = (await uow.session.get_one(Account, id)).version
            await accounts.update_account(uow, id, expected_version=version, changes={"parent_id": parent})
    survivor = await pairing.merge("ops")
    async with database.read() as connection:
        family = {row.id: row.parent_id for row in await connection.execute(select(Account.id, Account.parent_id))}
        above = await accounts.parents_above(connection, survivor.id)
    assert above[list(above)[-1]] is None
    assert list(above) == ([one, middle.id, top.id] if chain == "one between" else [one, top.id])
    assert family[child.id] == one


async def _move(database: Database, quote_id: UUID, account_id: UUID) -> None:
    async with database.open_uow(SYSTEM) as uow:
        row = await uow.session.get_one(commerce.Quote, quote_id)
        row.account_id = account_id
        uow.note("quote.moved", row)


async def test_an_issued_quote_goes_along_and_is_not_changed_otherwise(database: Database, pairing: Pairing) -> None:
    async with database.open_uow(SYSTEM) as uow:
        quote = commerce.Quote(
            id=uow.new_id(), number="Q-2026-1", account_id=pairing.ids["two"], opportunity_id=pairing.ids["deal two"], status=commerce.QuoteStatus.ISSUED,
            total_minor=100, currency="CNY", payment_terms_days=30, issued_at=START, valid_until=date(2026, 6, 1),
        )  # fmt: skip
        uow.session.add(quote)
        uow.note("quote.issued", quote)
    with pytest.raises(Conflict):
        await _move(database, quote.id, pairing.ids["one"])
    await pairing.merge()
    assert await values(database, commerce.Quote.account_id) == [pairing.ids["one"]]


# ---- contacts --------------------------------------------------------------------------------------------------------


async def test_a_contact_takes_over_addresses_roles_and_leads_once_each(database: Database, pairing: Pairing) -> None:
    one, two = pairing.ids["contact one"], pairing.ids["contact two"]
    async with database.open_uow(SYSTEM) as uow:
        deal = await uow.session.get_one(deals.Opportunity, pairing.ids["deal one"])
        mine, theirs = [await uow.session.get_one(Contact, id) for id in (one, two)]
        await deals.set_contact_role(uow, deal, mine, BuyingRole.DECISION_MAKER)
        await deals.set_contact_role(
            uow, deal, theirs, BuyingRole.DECISION_MAKER, stance=Stance.SUPPORTS, covered_at=START
        )
        await deals.set_contact_role(uow, deal, theirs, BuyingRole.USER)
        point = await uow.session.scalar(
            select(ContactPoint).where(ContactPoint.contact_id == two, ContactPoint.channel == Channel.PHONE)
        )
        assert point is not None
        await accounts.update_point(uow, point.id, expected_version=point.version, changes={"verified": True})
        lead = await leads.capture(uow, source="官网", external_id="1", name="陈芳", email="two@huashan.example.com")
        assert lead.contact_id == two
    survivor = await pairing.merge_contacts()
    assert survivor.id == one
    for reference in references(Contact):
        assert two not in await values(database, getattr(reference.model, reference.attribute)), reference
    async with database.read() as connection:
        points = select(ContactPoint.match_key, ContactPoint.verified_at).where(ContactPoint.contact_id == one)
        found = {row.match_key: row.verified_at for row in await connection.execute(points)}
        seats = (await connection.execute(select(OpportunityContactRole.__table__))).all()
    assert found == {"+8613800138000": START, "one@huashan.example.com": None, "two@huashan.example.com": None}
    assert {(seat.role, seat.stance, seat.covered_at) for seat in seats} == {
        (BuyingRole.DECISION_MAKER, Stance.SUPPORTS, START),
        (BuyingRole.USER, Stance.UNKNOWN, None),
    }
    assert {seat.contact_id for seat in seats} == {one}
    assert await values(database, Contact.merged_into_id, Contact.id == two) == [one]
    async with database.open_uow(SYSTEM) as uow:
        found_again = await accounts.find_contact(uow, [(Channel.EMAIL, "two@huashan.example.com")])
        assert found_again is not None
        assert found_again.id == one
    assert (await verify_ledger(database)).problem is None


async def _say(database: Database, contact_id: UUID, status: ConsentStatus, days: int, channel: Channel) -> None:
    async with database.open_uow(SYSTEM) as uow:
        await consent.record(
            uow, contact_id=contact_id, purpose="marketing", channel=channel, status=status, source="展会", evidence="签名",
            occurred_at=START - timedelta(days=days),
        )  # fmt: skip


async def test_what_either_refused_stays_refused(database: Database, pairing: Pairing) -> None:
    one, two = pairing.ids["contact one"], pairing.ids["contact two"]
    async with database.open_uow(SYSTEM) as uow:
        await consent.ensure_purposes(uow)
    await _say(database, one, ConsentStatus.OPT_IN, 1, Channel.PHONE)
    await _say(database, two, ConsentStatus.OPT_OUT, 9, Channel.PHONE)
    await _say(database, one, ConsentStatus.OPT_IN, 1, Channel.EMAIL)
    await _say(database, two, ConsentStatus.OPT_IN, 3, Channel.EMAIL)
    await _say(database, one, ConsentStatus.OPT_IN, 2, Channel.SMS)
    await pairing.merge_contacts()
    async with database.read() as connection:
        decided = await consent.contactability_of(connection, [one], "marketing", START)
        grants = (await connection.execute(select(ConsentGrant.__table__).where(ConsentGrant.source == "merge"))).all()
    found = {one.channel: one.decision for one in decided[one]}
    assert found[Channel.PHONE] is not ConsentDecision.ALLOW
    assert found[Channel.EMAIL] is ConsentDecision.ALLOW
    assert {(grant.channel, grant.status) for grant in grants} == {
        (Channel.PHONE, ConsentStatus.OPT_OUT),
        (Channel.SMS, ConsentStatus.NOT_ASKED),
    }
    assert set(await values(database, ConsentGrant.contact_id)) == {one}


async def test_a_receipt_stays_as_it_was_decided(database: Database, pairing: Pairing) -> None:
    two = pairing.ids["contact two"]
    async with database.open_uow(SYSTEM) as uow:
        await consent.ensure_purposes(uow)
    async with database.open_uow(pairing.people["na"]) as uow:
        await consent.receipt(uow, contact_id=two, purpose="marketing", channel=Channel.PHONE)
    before = await values(database, consent.ConsentReceipt.contact_id)
    await pairing.merge_contacts()
    assert await values(database, consent.ConsentReceipt.contact_id) == before == [two]


async def test_an_erased_contact_is_not_merged(database: Database, pairing: Pairing) -> None:
    dpo = await add_colleague(database, "林静", Role.DPO)
    async with database.open_uow(dpo) as uow:
        await erase_person(uow, pairing.ids["contact two"])
    before = await state(database)
    with pytest.raises(Conflict) as refused:
        await pairing.merge_contacts()
    assert refused.value.path == ("duplicateId",)
    assert await state(database) == before


async def test_whoever_is_erased_is_erased_with_what_was_merged_into_them(database: Database, pairing: Pairing) -> None:
    await pairing.merge_contacts()
    dpo = await add_colleague(database, "林静", Role.DPO)
    async with database.open_uow(dpo) as uow:
        await erase_person(uow, pairing.ids["contact one"])
    names = await values(database, Contact.name)
    assert [name for name in names if "陈芳" in name] == []
    assert await values(database, ContactPoint.id) == []
    assert (await verify_ledger(database)).problem is None


async def test_another_rep_does_not_merge_contacts(database: Database, pairing: Pairing) -> None:
    before = await state(database)
    with pytest.raises((Forbidden, NotFound)):
        await pairing.merge_contacts("lei")
    assert await state(database) == before
    assert inspect(Contact).columns.name.info["personal"]


# ---- consent never grows wider ---------------------------------------------------------------------------------------

PHONE_LIKE = (Channel.PHONE, Channel.WECHAT, Channel.EMAIL)
WIDTH = {ConsentDecision.ALLOW: 2, ConsentDecision.UNKNOWN: 1, ConsentDecision.ALLOW_VIA: 0, ConsentDecision.DENY: 0}


def grants() -> st.SearchStrategy[list[GrantFact]]:
    instants = st.integers(-5, 3).map(lambda days: START + timedelta(days=days))
    return st.lists(
        st.builds(
            GrantFact, id=st.uuids(), purpose=st.sampled_from(["marketing", "service"]), channel=st.sampled_from(PHONE_LIKE),
            status=st.sampled_from(ConsentStatus), occurred_at=instants, effective_to=st.none() | instants,
        ),
        max_size=6,
    )  # fmt: skip


@given(grants(), grants(), st.sampled_from(LawfulBasis), st.sampled_from(["marketing", "service"]))
def test_no_channel_is_wider_than_with_either(
    one: list[GrantFact], other: list[GrantFact], basis: LawfulBasis, code: str
) -> None:
    purpose = PurposeFact(code, basis, Text("用途", "purpose"))
    stated = [
        GrantFact(UUID(int=number), said.purpose, said.channel, said.status, said.occurred_at, said.effective_to)
        for number, said in enumerate(consent.narrowed(one, other, START))
    ]

    def decided(grants: list[GrantFact]) -> dict[Channel, consent.Decision]:
        return {found.channel: found for found in consent.contactability(grants, PHONE_LIKE, purpose, START)}

    mine, theirs, merged = decided(one), decided(other), decided([*one, *other, *stated])
    for channel, found in merged.items():
        assert WIDTH[found.decision] <= min(WIDTH[mine[channel].decision], WIDTH[theirs[channel].decision])
        if found.via is not None:
            assert mine[found.via].decision is theirs[found.via].decision is ConsentDecision.ALLOW
    assert consent.narrowed([*one, *stated], [*other, *stated], START) == []


def test_a_yes_of_both_ends_when_the_first_of_them_ends() -> None:
    soon, late = START + timedelta(days=2), START + timedelta(days=90)

    def yes(days: int, end: datetime | None) -> GrantFact:
        said = START - timedelta(days=days)
        return GrantFact(UUID(int=days), "marketing", Channel.PHONE, ConsentStatus.OPT_IN, said, end)

    (stated,) = consent.narrowed([yes(1, None)], [yes(3, soon)], START)
    assert (stated.status, stated.effective_to) == (ConsentStatus.OPT_IN, soon)
    assert consent.narrowed([yes(1, soon)], [yes(3, late)], START) == []
