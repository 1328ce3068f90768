"""Consent on real databases: what people said is kept once, decisions become receipts, and who sees them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, func, select

from domain import accounts, consent, leads
from domain.accounts import Channel, Contact
from domain.consent import (
    ConsentDecision,
    ConsentGrant,
    ConsentReceipt,
    ConsentStatus,
    LawfulBasis,
    TrafficLight,
)
from domain.kernel import SYSTEM, Actor, Database, ErrorCode, Role, SalesError, Text, rows_visible
from domain.ledger import AuditEvent
from tests.factories import START, Clock, add_colleague, add_territories

ALLOW, ALLOW_VIA, DENY, UNKNOWN = ConsentDecision
OPT_IN, OPT_OUT, PENDING, EXPIRED, NOT_ASKED = ConsentStatus
PHONE, WECHAT, EMAIL = Channel.PHONE, Channel.WECHAT, Channel.EMAIL


@dataclass
class Company:
    """An account in East China with one person whom Lei owns, and colleagues."""

    database: Database
    contact_id: UUID
    lei: Actor
    na: Actor
    others: dict[Role, Actor]

    async def record(self, actor: Actor = SYSTEM, **changes: Any) -> UUID:
        """Record what the person said."""
        words: dict[str, Any] = {"purpose": "marketing", "channel": PHONE, "status": OPT_IN, "source": "官网勾选"}
        async with self.database.open_uow(actor) as uow:
            return (await consent.record(uow, contact_id=self.contact_id, **words | changes)).id

    async def receipt(
        self, actor: Actor = SYSTEM, channel: Channel | None = PHONE, purpose: str = "marketing"
    ) -> ConsentReceipt:
        """Decide and keep the decision."""
        async with self.database.open_uow(actor) as uow:
            return await consent.receipt(uow, self.contact_id, purpose, channel)

    async def count(self, model: type[ConsentGrant | ConsentReceipt | AuditEvent]) -> int:
        """How many rows there are."""
        async with self.database.read() as connection:
            return (await connection.execute(select(func.count()).select_from(model))).scalar_one()


@pytest.fixture
async def company(database: Database) -> Company:
    territories = await add_territories(database)
    lei = await add_colleague(database, "张磊", Role.REP, territories=[territories["east-china"]])
    na = await add_colleague(database, "李娜", Role.REP, territories=[territories["south-china"]])
    manager = {Role.MANAGER: await add_colleague(database, "王敏", Role.MANAGER, territories=[territories["china"]])}
    others = {
        role: await add_colleague(database, role.value, role) for role in Role if role not in {Role.REP, Role.MANAGER}
    }
    async with database.open_uow(SYSTEM) as uow:
        await consent.ensure_purposes(uow)
        account = await accounts.create_account(uow, name="杭州第一医院", region="华东", owner_id=lei.user_id)
        await uow.session.flush()
        contact = await accounts.create_contact(uow, name="陈主任", account_id=account.id)
        await uow.session.flush()
        await accounts.add_contact_point(uow, contact, PHONE, "13800001234")
        await accounts.add_contact_point(uow, contact, WECHAT, "chen_zr")
    return Company(database, contact.id, lei, na, others | manager)


Refused = Callable[[Awaitable[object]], Awaitable[SalesError]]


@pytest.fixture
def refused(company: Company) -> Refused:
    """The error of an operation that must change nothing."""

    async def run(operation: Awaitable[object]) -> SalesError:
        before = [await company.count(model) for model in (ConsentGrant, ConsentReceipt, AuditEvent)]
        with pytest.raises(SalesError) as caught:
            await operation
        assert [await company.count(model) for model in (ConsentGrant, ConsentReceipt, AuditEvent)] == before
        return caught.value

    return run


async def test_purposes_are_seeded_once(company: Company) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        purposes = await consent.ensure_purposes(uow)
    assert {code: purpose.lawful_basis for code, purpose in purposes.items()} == {
        "marketing": LawfulBasis.CONSENT, "sales_follow_up": LawfulBasis.CONSENT, "service": LawfulBasis.CONTRACT, "profiling": LawfulBasis.CONSENT,
    }  # fmt: skip
    assert purposes["sales_follow_up"].label == Text("销售跟进", "Sales follow-up")
    assert uow.notes == []


async def test_what_a_person_said_is_kept_with_both_clocks_and_noted(company: Company, clock: Clock) -> None:
    clock.advance(days=3)
    grant_id = await company.record(
        company.lei,
        status=OPT_OUT,
        evidence="在电话里说不要再打来",
        notice_version="2026-01",
        occurred_at=START + timedelta(days=1),
    )
    async with company.database.open_uow(SYSTEM) as uow:
        grant = (await uow.session.execute(select(ConsentGrant))).scalar_one()
        event = (
            await uow.session.execute(select(AuditEvent).where(AuditEvent.action == "consent.recorded"))
        ).scalar_one()
    assert (grant.id, grant.status, grant.occurred_at, grant.recorded_at) == (
        grant_id,
        OPT_OUT,
        START + timedelta(days=1),
        START + timedelta(days=3),
    )
    assert (grant.source, grant.notice_version, grant.recorded_by_id) == ("官网勾选", "2026-01", company.lei.user_id)
    assert (event.subject_kind, event.subject_id, event.actor_id) == (
        "Contact",
        company.contact_id,
        company.lei.user_id,
    )
    assert event.detail["detail"]["status"] == "OPT_OUT"
    assert "不要再打来" not in str(event.detail)


async def test_a_withdrawal_changes_the_next_receipt(company: Company) -> None:
    await company.record(channel=PHONE)
    await company.record(channel=WECHAT)
    assert (await company.receipt()).decision is ALLOW
    withdrawn = await company.record(status=OPT_OUT, source="小程序", evidence="在“隐私设置”中关闭电话")
    after = await company.receipt(company.lei)
    assert (after.decision, after.via, after.light) == (ALLOW_VIA, WECHAT, TrafficLight.AMBER)
    assert after.deciding_grant_ids[0] == withdrawn.hex
    assert after.reason == Text(
        "用途“营销推广”：电话已拒绝，微信已同意；请改用微信",
        "Purpose “Marketing”: telephone: refused, WeChat: agreed; use WeChat instead",
    )
    assert after.evidence == (
        "PHONE · OPT_OUT · 2026-03-02T01:30:00+00:00 · 小程序 · 在“隐私设置”中关闭电话\nWECHAT · OPT_IN · 2026-03-02T01:30:00+00:00 · 官网勾选"
    )


async def test_a_receipt_is_stored_and_noted(company: Company) -> None:
    kept = await company.receipt(channel=None)
    async with company.database.open_uow(SYSTEM) as uow:
        stored = (await uow.session.execute(select(ConsentReceipt))).scalar_one()
        event = (await uow.session.execute(select(AuditEvent).where(AuditEvent.subject_id == kept.id))).scalar_one()
    assert (stored.id, stored.decision, stored.at, stored.evidence) == (kept.id, UNKNOWN, START, None)
    assert stored.reason.zh == "没有可用的渠道。用途“营销推广”：微信尚未征得同意，电话尚未征得同意"
    assert (event.action, event.subject_kind, event.detail["detail"]["decision"]) == (
        "consent.decided",
        "ConsentReceipt",
        "UNKNOWN",
    )


async def test_the_same_key_records_once_per_actor(company: Company, refused: Refused) -> None:
    first = await company.record(company.lei, client_key="表单-1")
    assert await company.record(company.lei, client_key="表单-1") == first
    assert await company.count(ConsentGrant) == 1
    error = await refused(company.record(company.lei, client_key="表单-1", status=OPT_OUT))
    assert (error.code, error.path) == (ErrorCode.KEY_REUSED, ("clientKey",))
    assert await company.record(company.others[Role.MANAGER], client_key="表单-1") != first


async def test_without_a_key_each_statement_is_kept(company: Company) -> None:
    assert await company.record() != await company.record()


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"purpose": "推销"}, ("purpose",), "未知用途“推销”，可用的有：marketing、profiling、sales_follow_up、service"),
        ({"source": "  "}, ("source",), "授权来源不能为空"),
        ({"evidence": "长" * 10_001}, ("evidence",), "凭证不能超过 10000 个字符"),
        ({"occurred_at": START + timedelta(microseconds=1)}, ("occurredAt",), "发生时间不能晚于现在"),
        ({"expires_at": START}, ("expiresAt",), "到期时间必须晚于发生时间"),
        ({"status": OPT_OUT, "expires_at": START + timedelta(days=9)}, ("expiresAt",), "拒绝没有到期时间"),
    ],
)
async def test_what_cannot_be_taken_is_refused_with_its_place(
    company: Company, refused: Refused, changes: dict[str, Any], path: tuple[str, ...], words: str
) -> None:
    error = await refused(company.record(company.lei, **changes))
    assert (error.code, error.path, error.text.zh) == (ErrorCode.INVALID, path, words)


async def test_a_receipt_for_an_unknown_purpose_names_the_known_ones(company: Company, refused: Refused) -> None:
    error = await refused(company.receipt(purpose="spam"))
    assert error.text.en == "unknown purpose “spam”; known ones: marketing, profiling, sales_follow_up, service"


async def test_a_foreign_contact_and_an_absent_one_look_alike(company: Company, refused: Refused) -> None:
    foreign = await refused(company.record(company.na))
    company.contact_id, known = UUID(int=1), company.contact_id
    absent = await refused(company.record(company.lei))
    assert (
        (foreign.code, foreign.path, foreign.text)
        == (absent.code, absent.path, absent.text)
        == (ErrorCode.NOT_FOUND, ("contactId",), absent.text)
    )
    company.contact_id = known
    assert (await refused(company.receipt(company.na))).code is ErrorCode.NOT_FOUND


KEEPERS = {Role.REP, Role.MANAGER, Role.LEGAL, Role.DPO}


async def test_who_reads(company: Company) -> None:
    await company.record()
    await company.receipt()
    for role, actor in {**company.others, Role.REP: company.lei}.items():
        grants = select(ConsentGrant.id).where(rows_visible(ConsentGrant, actor))
        receipts = select(ConsentReceipt.id).where(rows_visible(ConsentReceipt, actor))
        async with company.database.read() as connection:
            seen = [bool((await connection.execute(statement)).all()) for statement in (grants, receipts)]
        assert seen == [role in KEEPERS, role in KEEPERS | {Role.AUDITOR}], role


async def test_who_records_and_decides(company: Company, refused: Refused) -> None:
    for role, actor in {**company.others, Role.REP: company.lei}.items():
        if role in KEEPERS:
            await company.record(actor)
        else:
            assert (await refused(company.record(actor))).code is ErrorCode.FORBIDDEN, role
            assert (await refused(company.receipt(actor))).code is ErrorCode.FORBIDDEN, role


async def test_a_second_role_that_sees_more_people_does_not_widen_consent(company: Company, refused: Refused) -> None:
    both = replace(company.na, reaches=company.na.reaches + company.others[Role.SALES_OPS].reaches)
    assert (await refused(company.record(both))).code is ErrorCode.NOT_FOUND


async def test_the_person_behind_a_lead_is_covered(company: Company) -> None:
    async with company.database.open_uow(company.lei) as uow:
        lead = await leads.capture(uow, source="展会", external_id="1", name="赵工", phone="13900001234", region="华东")
    company.contact_id = lead.contact_id
    await company.record(company.lei, purpose="sales_follow_up")
    assert (await company.receipt(company.lei, None, "sales_follow_up")).channel is PHONE


async def test_many_people_are_judged_in_two_statements(company: Company) -> None:
    await company.record(channel=PHONE, status=OPT_OUT)
    await company.record(channel=WECHAT)
    async with company.database.open_uow(SYSTEM) as uow:
        strangers = [(await accounts.create_contact(uow, name=f"访客{number}")).id for number in range(60)]
    counted: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.startswith("SELECT"):
            counted.append(statement)

    async with company.database.read() as connection:
        event.listen(company.database.reader.sync_engine, "before_cursor_execute", count)
        found = await consent.contactability_of(connection, [company.contact_id, *strangers], "marketing", START)
        event.remove(company.database.reader.sync_engine, "before_cursor_execute", count)
    assert len(counted) == 2
    decisions = {decision.channel: (decision.decision, decision.via) for decision in found[company.contact_id]}
    assert (decisions[PHONE], decisions[WECHAT], decisions[EMAIL]) == (
        (ALLOW_VIA, WECHAT),
        (ALLOW, None),
        (UNKNOWN, None),
    )
    assert all(decision.decision is UNKNOWN for stranger in strangers for decision in found[stranger])


async def test_contactability_and_receipt_agree(company: Company) -> None:
    await company.record(channel=PHONE, status=OPT_OUT)
    await company.record(channel=WECHAT, expires_at=START + timedelta(days=1))
    async with company.database.read() as connection:
        found = (await consent.contactability_of(connection, [company.contact_id], "marketing", START))[
            company.contact_id
        ]
    for decision in found:
        kept = await company.receipt(channel=decision.channel)
        assert (kept.decision, kept.via, kept.reason, kept.light) == (
            decision.decision,
            decision.via,
            decision.reason,
            decision.light,
        )


async def test_nobody_asked_for_is_nobody_judged(company: Company) -> None:
    async with company.database.read() as connection:
        assert await consent.contactability_of(connection, [], "marketing", START) == {}


async def test_an_erased_person_can_no_longer_be_reached(company: Company) -> None:
    await company.record()
    async with company.database.open_uow(SYSTEM) as uow:
        contact = (await uow.session.execute(select(Contact).where(Contact.id == company.contact_id))).scalar_one()
        await accounts.erase_contact(uow, contact)
    assert (await company.receipt()).decision is DENY


async def test_a_delivery_waits_for_one_of_the_same_key(company: Company) -> None:
    words: dict[str, Any] = {"purpose": "marketing", "channel": PHONE, "status": OPT_IN, "source": "官网勾选"}
    async with company.database.open_uow(company.lei) as uow:
        first = await consent.record(uow, contact_id=company.contact_id, client_key="小程序-7", **words)
        second = asyncio.create_task(company.record(company.lei, client_key="小程序-7"))
        await asyncio.sleep(0.2)
        assert not second.done()
    assert await second == first.id
    assert await company.count(ConsentGrant) == 1
