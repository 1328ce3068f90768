"""Signals: a fact is taken in once, whoever delivers it again and in whatever order."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select

from domain import accounts, consent, deals, leads, ledger, signals
from domain.deals import StagePlan
from domain.kernel import SYSTEM, Actor, ActorKind, Database, ErrorCode, Ref, Role, SalesError, Text, rows_visible
from domain.ledger import AuditEvent, ImportBatch
from domain.signals import EvidenceGrade, Fact, Signal, SignalKey
from tests.factories import START, Clock, add_colleague, add_territories


@dataclass
class Company:
    """One account of Lei's in East China with a person, a deal and a lead."""

    database: Database
    lei: Actor
    na: Actor
    others: dict[Role, Actor]
    account: Ref
    contact: Ref
    deal: Ref
    lead: Ref
    lead_contact_id: UUID

    def fact(self, **changes: Any) -> Fact:
        """A page view of the person's."""
        fact = Fact(
            "page_viewed", self.contact, "官网", "访问-1", START - timedelta(hours=2), {"title": "便携彩超 US6 价格"}
        )
        return replace(fact, **changes)

    async def record(self, actor: Actor = SYSTEM, **changes: Any) -> Signal:
        """Record one fact."""
        async with self.database.open_uow(actor) as uow:
            return await signals.record(uow, **_fields(self.fact(**changes)))

    async def record_many(self, facts: Sequence[Fact], actor: Actor = SYSTEM) -> int:
        """Record many."""
        async with self.database.open_uow(actor) as uow:
            return await signals.record_many(uow, facts, source="官网日志")

    async def rows(self, actor: Actor = SYSTEM) -> list[Any]:
        """The signals that somebody sees, by key."""
        seen = select(Signal.__table__).where(rows_visible(Signal, actor)).order_by(Signal.source, Signal.dedupe_key)
        async with self.database.read() as connection:
            return list((await connection.execute(seen)).all())

    async def events(self) -> int:
        """How many events the ledger has."""
        async with self.database.read() as connection:
            return (await connection.execute(select(func.count()).select_from(AuditEvent))).scalar_one()


def _fields(fact: Fact) -> dict[str, Any]:
    return asdict(fact) | {"subject": fact.subject}


@pytest.fixture
async def company(database: Database) -> Company:
    territories = await add_territories(database)
    lei = await add_colleague(database, "张磊", Role.REP, territories=[territories["east-china"]])
    na = await add_colleague(database, "李娜", Role.REP, territories=[territories["south-china"]])
    others: dict[Role, Actor] = {
        role: await add_colleague(database, role.value, role) for role in Role if role not in {Role.REP, Role.MANAGER}
    }
    others[Role.MANAGER] = await add_colleague(database, "王敏", Role.MANAGER, territories=[territories["china"]])
    async with database.open_uow(SYSTEM) as uow:
        account = await accounts.create_account(uow, name="杭州第一医院", region="华东", owner_id=lei.user_id)
        await uow.session.flush()
        contact = await accounts.create_contact(uow, name="陈主任", account_id=account.id)
        stages = await deals.ensure_pipeline(
            uow, "new_business", Text("新签", "New business"), [StagePlan("qualify", Text("资格确认", "Qualify"))]
        )
        deal = await deals.open_opportunity(uow, name="彩超三台", stage=stages["qualify"], account_id=account.id)
        lead = await leads.capture(
            uow, source="官网", external_id="1", name="赵工", phone="13900001234", region="华东", owner_id=lei.user_id
        )
    return Company(database, lei, na, others, account.ref(), contact.ref(), deal.ref(), lead.ref(), lead.contact_id)


async def test_a_fact_keeps_both_clocks_and_names_account_and_person(company: Company) -> None:
    signal = await company.record(company.lei)
    assert (signal.occurred_at, signal.recorded_at) == (START - timedelta(hours=2), START)
    assert (signal.account_id, signal.contact_id) == (company.account.id, company.contact.id)
    assert (signal.actor_kind, signal.actor_id, signal.evidence_grade) == (
        ActorKind.USER,
        company.lei.user_id,
        EvidenceGrade.CLAIMED,
    )
    [row] = await company.rows()
    assert row.payload == {"title": "便携彩超 US6 价格"}


async def test_account_and_person_come_from_the_subject(company: Company) -> None:
    subjects = {"contact": company.contact, "account": company.account, "deal": company.deal, "lead": company.lead}
    links = {}
    for key, subject in subjects.items():
        signal = await company.record(subject=subject, dedupe_key=key, account_id=company.account.id)
        links[key] = (signal.account_id, signal.contact_id)
    account_id = company.account.id
    assert links == {
        "contact": (account_id, company.contact.id), "account": (account_id, None), "deal": (account_id, None), "lead": (account_id, company.lead_contact_id),
    }  # fmt: skip


async def test_a_wrong_account_gives_way_to_the_subjects_own(company: Company) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        other = await accounts.create_account(uow, name="苏州精密零部件", region="华东")
    assert (await company.record(subject=company.deal, account_id=other.id)).account_id == company.account.id


async def test_what_people_did_enters_the_ledger_only_enciphered(company: Company) -> None:
    signal = await company.record()
    async with company.database.read() as connection:
        event = (await connection.execute(select(AuditEvent.__table__).where(AuditEvent.subject_id == signal.id))).one()
    assert (event.action, event.detail["detail"]) == ("signal.recorded", {"type": "page_viewed"})
    assert event.detail["changes"][0]["personal"] == ["payload"]
    assert "彩超" not in str(event.detail)


async def test_a_redelivery_gives_the_first_and_changes_nothing(company: Company, clock: Clock) -> None:
    first = await company.record()
    before, events = await company.rows(), await company.events()
    clock.advance(days=1)
    again = await company.record()
    late = await company.record(payload={"title": "又来一次"}, occurred_at=START)
    assert (again.id, late.id, late.payload) == (first.id, first.id, first.payload)
    assert (await company.rows(), await company.events()) == (before, events)


async def test_the_same_key_of_another_source_is_another_fact(company: Company) -> None:
    assert (await company.record()).id != (await company.record(source="小程序")).id


async def test_a_delivery_waits_for_one_that_is_being_recorded(company: Company) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        first = await signals.record(uow, **_fields(company.fact()))
        second = asyncio.create_task(company.record())
        await asyncio.sleep(0.2)
        assert not second.done()
    assert (await second).id == first.id
    assert len(await company.rows()) == 1


async def test_a_fact_names_the_consent_that_covers_it(company: Company) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        await consent.ensure_purposes(uow)
        receipt = await consent.receipt(uow, company.contact.id, "profiling")
    signal = await company.record(consent_receipt_id=receipt.id, evidence_grade=EvidenceGrade.VERIFIED)
    assert (signal.consent_receipt_id, signal.evidence_grade) == (receipt.id, EvidenceGrade.VERIFIED)


GOOD: dict[str, dict[str, Any]] = {
    "page_viewed": {"title": "价格", "url": "/us6", "seconds": 42.5},
    "document_downloaded": {"title": "ROI 模型"},
    "enquiry_sent": {"text": "三台多少钱？"},
    "demo_requested": {"title": "便携彩超 US6"},
    "event_attended": {"title": "上海医疗器械展"},
    "email_opened": {"title": "报价说明"},
    "quote_sent": {"number": "Q-2026-001"},
    "quote_opened": {"number": "Q-2026-001"},
    "payment_received": {"order": "O-1", "share": 0.3},
    "usage_reported": {"module": "设备台账", "hours": 12},
    "concern_raised": {"category": "price_too_high", "words": "价格太高了"},
    "concern_resolved": {"category": "price_too_high"},
    "competitor_mentioned": {"competitor": "yuanbai", "words": "远柏报得更低"},
    "generation_outcome": {"verdict": "USED"},
    "outreach_answered": {"outcome": "REPLIED", "words": "周五可以"},
}


async def test_every_registered_type_can_be_recorded(company: Company) -> None:
    assert GOOD.keys() == signals.TYPES.keys()
    for type, payload in GOOD.items():
        await company.record(type=type, payload=payload, dedupe_key=type)
    assert {row.type: row.payload for row in await company.rows()} == GOOD


@pytest.mark.parametrize(
    ("changes", "path", "zh"),
    [
        ({"type": "看网页"}, ("type",), "未登记的信号类型“看网页”"),
        ({"subject": Ref("Quote", UUID(int=1))}, ("subject",), "信号不能记在 Quote 上"),
        ({"source": " "}, ("source",), "source 不能为空"),
        ({"dedupe_key": ""}, ("dedupeKey",), "dedupeKey 不能为空"),
        (
            {"payload": {}},
            ("payload",),
            "payload 不符合 page_viewed 的格式：缺少必填项（'title' is a required property）",
        ),
        ({"payload": {"title": ""}}, ("payload", "title"), "payload/title 不符合 page_viewed 的格式：不能为空"),
        (
            {"payload": {"title": 7}},
            ("payload", "title"),
            "payload/title 不符合 page_viewed 的格式：类型不对（7 is not of type 'string'）",
        ),
        ({"payload": {"title": "长" * 4001}}, ("payload", "title"), "payload/title 不符合 page_viewed 的格式：过长"),
        (
            {"payload": {"title": "价\0格"}},
            ("payload", "title"),
            "payload/title 不符合 page_viewed 的格式：含有不允许的字符",
        ),
        (
            {"payload": {"title": "价格", "seconds": -1}},
            ("payload", "seconds"),
            "payload/seconds 不符合 page_viewed 的格式：不能为负",
        ),
        ({"payload": {"title": "价格", "价": 1}}, ("payload",), "payload 不符合 page_viewed 的格式：含有未登记的项"),
        ({"occurred_at": START + timedelta(days=1, seconds=1)}, ("occurredAt",), "发生时间不能晚于一天之后"),
    ],
)
async def test_what_cannot_be_taken_is_refused_with_its_place(
    company: Company, changes: dict[str, Any], path: tuple[str, ...], zh: str
) -> None:
    events = await company.events()
    with pytest.raises(SalesError) as caught:
        await company.record(**changes)
    assert (caught.value.code, caught.value.path) == (ErrorCode.INVALID, path)
    assert caught.value.text.zh.startswith(zh)
    with pytest.raises(SalesError) as many:
        await company.record_many(
            [company.fact(), company.fact(dedupe_key="2") if changes.get("dedupe_key") else company.fact(**changes)]
        )
    assert many.value.path == ("1", *path)
    assert (await company.rows(), await company.events()) == ([], events)


def test_every_keyword_of_the_schemas_has_chinese_words() -> None:
    used = {"required", "additionalProperties", "type"} | {
        word for schema in signals.TYPES.values() for rule in schema["properties"].values() for word in rule
    }
    assert used == signals.CHINESE.keys()


async def test_a_foreign_subject_and_an_absent_one_look_alike(company: Company) -> None:
    errors = []
    for actor, subject in ((company.na, company.account), (company.lei, Ref("Account", UUID(int=1)))):
        with pytest.raises(SalesError) as caught:
            await company.record(actor, subject=subject)
        errors.append((caught.value.code, caught.value.path, caught.value.text))
    assert errors[0] == errors[1]
    assert errors[0][:2] == (ErrorCode.NOT_FOUND, ("subject",))
    with pytest.raises(SalesError) as caught:
        await company.record_many([company.fact(), company.fact(dedupe_key="2", subject=Ref("Account", UUID(int=1)))])
    assert caught.value.path == ("1", "subject")
    assert await company.rows() == []


async def test_who_reads(company: Company) -> None:
    for key, subject in (("1", company.account), ("2", company.contact), ("3", company.deal), ("4", company.lead)):
        await company.record(subject=subject, dedupe_key=key)
    seen = {role: len(await company.rows(actor)) for role, actor in company.others.items()}
    assert seen == {role: 4 if role is Role.MANAGER else 0 for role in seen}
    assert (len(await company.rows(company.lei)), len(await company.rows(company.na))) == (4, 0)


async def test_a_batch_is_one_event_with_the_digest_of_its_rows(company: Company) -> None:
    events = await company.events()
    assert await company.record_many([company.fact(dedupe_key=str(number)) for number in range(1200)]) == 1200
    rows = await company.rows()
    assert len(rows) == 1200
    assert await company.events() == events + 1
    async with company.database.open_uow(SYSTEM) as uow:
        batch = (await uow.session.execute(select(ImportBatch))).scalar_one()
        event = (await uow.session.execute(select(AuditEvent).where(AuditEvent.subject_id == batch.id))).scalar_one()
    assert {row.import_batch_id for row in rows} == {batch.id}
    assert event.detail["detail"]["source"] == "官网日志"
    stored = sorted((dict(row._mapping) for row in rows), key=lambda row: row["id"])
    assert event.detail["detail"]["tables"]["Signal"] == {
        "rows": 1200,
        "digest": ledger.rows_digest(batch.salt, stored),
    }


async def test_a_batch_leaves_out_what_is_there(company: Company) -> None:
    await company.record(dedupe_key="2")
    facts = [company.fact(dedupe_key=key) for key in ("1", "2", "3", "3")]
    assert await company.record_many(facts) == 2
    before, events = await company.rows(), await company.events()
    assert await company.record_many(list(reversed(facts))) == 0
    assert await company.record_many([]) == 0
    assert (await company.rows(), await company.events()) == (before, events)


HOURS = {"甲": 0, "乙": 1, "丙": 2, "丁": 3}


async def deliver(company: Company, wave: Sequence[tuple[str, str, bool]]) -> set[tuple[Any, ...]]:
    """Start from nothing, deliver one by one or in bulk, and return what stands."""
    async with company.database.open_uow(SYSTEM) as uow:
        await uow.session.execute(delete(Signal))
        await uow.session.execute(delete(SignalKey))
        uow.note("signal.all_removed", company.account, covers=(Signal,))
    for source, key, bulk in wave:
        fact = company.fact(
            source=source,
            dedupe_key=key,
            payload={"title": f"{source}{key}"},
            occurred_at=START - timedelta(hours=HOURS[key]),
        )
        await (company.record_many([fact]) if bulk else company.record(**_fields(fact)))
    return {
        (row.source, row.dedupe_key, row.type, row.subject_id, row.account_id, row.occurred_at, row.payload["title"])
        for row in await company.rows()
    }


deliveries = st.lists(
    st.tuples(st.sampled_from(["官网", "小程序"]), st.sampled_from(sorted(HOURS)), st.booleans()),
    min_size=1,
    max_size=8,
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wave=deliveries, again=st.lists(st.integers(0, 7), max_size=5), chance=st.randoms(use_true_random=False))
async def test_redelivery_and_reordering_change_nothing(
    company: Company, wave: list[tuple[str, str, bool]], again: list[int], chance: Any
) -> None:
    once = await deliver(company, wave)
    other = [*wave, *(wave[number % len(wave)] for number in again)]
    chance.shuffle(other)
    assert await deliver(company, other) == once
    assert len(once) == len({(source, key) for source, key, _ in wave})
