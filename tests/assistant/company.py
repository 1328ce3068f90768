"""A small company built through the real operations, its answers read back whole, and a model that rewords drafts."""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from sqlalchemy import select

import knowledge
from assistant import pipeline
from assistant.draft import Section
from assistant.language_model import LanguageModel, Prompt, ScriptedModel
from assistant.model import (
    Citation,
    Disposition,
    Generation,
    GenerationCheck,
    GenerationFigure,
    GenerationKind,
    GenerationSection,
)
from assistant.pipeline import Desk
from assistant.skills.base import Ask
from demo import records
from domain import accounts, activities, commerce, consent, deals, leads, ledger, people, signals
from domain.accounts import Account, BuyingRole, Channel, Contact
from domain.activities import ActivityKind
from domain.commerce import Item, Product
from domain.consent import ConsentStatus
from domain.deals import Opportunity, Stage, StagePlan, Stance
from domain.kernel import SYSTEM, Actor, Database, Language, Money, Role, Text, money
from domain.leads import Lead
from knowledge import Content, Facets, KnowledgeItem, KnowledgeKind, Library
from tests.factories import START, add_colleague

DEMO = Path(__file__).parents[2] / "demo" / "knowledge"
MODELS = {path: entry.whole_body for path, entry in records.entries().items() if entry.model}
"""The bodies that hold a ROI model."""
ENTRIES = (
    "battlecard-yuanbai-monitor-zh", "battlecard-yuanbai-en", "case-yunting-hospital-dr9-queue-zh", "case-hanlu-hospital-monitors-en", "case-ruohu-hospital-pm8-two-steps-zh",
    "objection-price-too-high-hospital", "objection-price-too-high-hospital-en", "objection-delivery-time-new-campus", "objection-delivery-time-en",
    "objection-switching-cost-ward-training", "objection-using-competitor-general-en", "objection-budget-not-approved-hospital-dr",
    "policy-trade-in-old-equipment-zh", "policy-price-book-and-renewal-terms-zh", "policy-discount-approval-en", "product-us6-portable-ultrasound-zh",
    "roi-monitor-five-year-cost-zh", "roi-equipment-cloud-device-year-en", "talk-proposal-hospital-chief-accountant-zh", "talk-qualify-hospital-equipment-dept-zh",
    "talk-proposal-present-in-person-en", "talk-qualify-first-call-en", "talk-reactivate-wechat-hospital-budget-window-zh", "talk-dormant-message-en",
)  # fmt: skip
STAGES = (
    StagePlan("qualify", Text("资格确认", "Qualification"), expected_days=10),
    StagePlan("proposal", Text("方案报价", "Proposal"), expected_days=14),
    StagePlan("won", Text("赢单", "Won"), is_closed=True, is_won=True),
)
HOSPITAL, CLINIC, FOREIGN = "澜溪市人民医院", "云汀口腔门诊部", "岭南中心医院"


def yuan(amount: int | str) -> Money:
    return money(Decimal(amount), "CNY")


def ago(days: float) -> Any:
    return START - timedelta(days=days)


@dataclass
class Answer:
    """One generation with everything that is stored of it."""

    row: Generation
    sections: list[GenerationSection]
    figures: list[GenerationFigure]
    citations: list[Citation]
    checks: list[GenerationCheck]

    @property
    def bodies(self) -> dict[str, str]:
        """The written sections."""
        return {section.key: section.body for section in self.sections if not section.missing}

    @property
    def missing(self) -> set[str]:
        return {section.key for section in self.sections if section.missing}

    @property
    def text(self) -> str:
        return pipeline.render_text(self.row, self.sections)

    @property
    def failed(self) -> set[str]:
        """The checks that removed something."""
        return {check.key for check in self.checks if not check.passed}

    def figure(self, key: str) -> Decimal:
        """The value of the one figure that has the key."""
        (found,) = [figure for figure in self.figures if figure.key == key]
        return Decimal(found.value)


Say = Callable[[Section], Awaitable[None]]


@dataclass
class Company:
    """A seller in East China and one in South China, those who watch over them, and what they work on."""

    database: Database
    library: Library
    people: dict[str, Actor] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    contacts: dict[str, Contact] = field(default_factory=dict)
    deals: dict[str, Opportunity] = field(default_factory=dict)
    leads: dict[str, Lead] = field(default_factory=dict)
    products: dict[str, Product] = field(default_factory=dict)
    stages: dict[str, Stage] = field(default_factory=dict)
    items: dict[str, KnowledgeItem] = field(default_factory=dict)
    asked: int = 0

    def ask(self, kind: GenerationKind, subject_id: UUID, **more: Any) -> Ask:
        """An ask with a key of its own."""
        self.asked += 1
        return Ask(kind, subject_id, more.pop("key", f"ask-{self.asked}"), **more)

    async def run(
        self, ask: Ask, who: str = "lei", model: LanguageModel | None = None, hand_on: Say | None = None
    ) -> Answer:
        desk = Desk(self.database, self.library, model, "scripted" if model else None)
        return await self.read(await pipeline.run(desk, self.people[who], ask, hand_on))

    async def brief(
        self, account: str = "hospital", who: str = "lei", model: LanguageModel | None = None, **more: Any
    ) -> Answer:
        return await self.run(self.ask(GenerationKind.VISIT_BRIEF, self.accounts[account].id, **more), who, model)

    async def reply(
        self, words: str, deal: str = "hospital", who: str = "lei", model: LanguageModel | None = None, **more: Any
    ) -> Answer:
        return await self.run(
            self.ask(GenerationKind.OBJECTION_REPLY, self.deals[deal].id, words=words, **more), who, model
        )

    async def script(
        self, lead: str = "zhou", who: str = "lei", model: LanguageModel | None = None, **more: Any
    ) -> Answer:
        return await self.run(self.ask(GenerationKind.REACTIVATION_SCRIPT, self.leads[lead].id, **more), who, model)

    async def read(self, generation_id: UUID) -> Answer:
        """A generation as it is stored now."""
        async with self.database.open_uow(SYSTEM) as uow:
            row = (await uow.session.execute(select(Generation).where(Generation.id == generation_id))).scalar_one()

            async def parts(model: Any, by: Any) -> list[Any]:
                rows = await uow.session.execute(select(model).where(model.generation_id == generation_id).order_by(by))
                return list(rows.scalars())

            return Answer(
                row, await parts(GenerationSection, GenerationSection.position), await parts(GenerationFigure, GenerationFigure.position),
                await parts(Citation, Citation.number), await parts(GenerationCheck, GenerationCheck.position),
            )  # fmt: skip

    async def generations(self) -> list[Disposition]:
        """The dispositions of everything that was asked."""
        async with self.database.read() as connection:
            return list((await connection.execute(select(Generation.disposition).order_by(Generation.id))).scalars())

    async def actions(self, generation_id: UUID) -> list[str]:
        """What the ledger holds of a generation, in order."""
        mine = ledger.AuditEvent.subject_id == generation_id
        async with self.database.read() as connection:
            return list(
                (
                    await connection.execute(
                        select(ledger.AuditEvent.action).where(mine).order_by(ledger.AuditEvent.seq)
                    )
                ).scalars()
            )

    async def publish(self, keys: Iterable[str]) -> None:
        """Put entries of the demo folder through draft, review and publication."""
        async with self.database.open_uow(SYSTEM) as uow:
            for key in keys:
                path = next(DEMO.glob(f"*/{key}.md"))
                _, front, body = path.read_text(encoding="utf-8").split("---\n", 2)
                given = yaml.safe_load(front)
                facets = Facets(**{name: tuple(given.get(name) or ()) for name in Facets().lists()})
                effective = ago(given["effective_days_ago"]) if "effective_days_ago" in given else None
                content = Content(given["title"], MODELS.get(path, body.strip()), facets, effective_from=effective)
                kind, language = KnowledgeKind(given["kind"]), Language(given["language"])
                item = await knowledge.draft(
                    uow, kind=kind, language=language, content=content, owner_id=self.people["yu"].user_id
                )
                await knowledge.submit(uow, item.id, None)
                self.items[key] = await knowledge.publish(uow, item.id, None)


async def build(database: Database) -> Company:
    company = Company(database, Library(database))
    await _people(company)
    await _catalogue(company)
    await _customers(company)
    await _history(company)
    await _leads(company)
    await company.publish(ENTRIES)
    return company


async def _people(company: Company) -> None:
    database = company.database
    async with database.open_uow(SYSTEM) as uow:
        east = await people.add_territory(uow, key="east_china", label=Text("华东", "East China"))
        south = await people.add_territory(uow, key="south_china", label=Text("华南", "South China"))
    company.people = {
        "lei": await add_colleague(database, "张磊", Role.REP, territories=[east]),
        "na": await add_colleague(database, "李娜", Role.REP, territories=[south]),
        "min": await add_colleague(database, "王敏", Role.MANAGER, territories=[east, south]),
        "yu": await add_colleague(database, "赵宇", Role.CURATOR),
        "jun": await add_colleague(database, "何军", Role.LEGAL),
        "fang": await add_colleague(database, "陈芳", Role.FINANCE),
        "ke": await add_colleague(database, "孙科", Role.AUDITOR),
        "dpo": await add_colleague(database, "郑平", Role.DPO),
        "boss": await add_colleague(database, "钱总", Role.EXECUTIVE),
    }


async def _catalogue(company: Company) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        await consent.ensure_purposes(uow)
        company.stages = await deals.ensure_pipeline(uow, "new_business", Text("新签", "New business"), STAGES)
        await deals.ensure_competitor(uow, "yuanbai", Text("远柏医疗", "Yuanbai Medical"))
        for code, name, list_price, floor in (
            ("CM-PM8", Text("病人监护仪 PM8", "Patient Monitor PM8"), "38000", "31500"),
            ("CM-US6", Text("便携彩超 US6", "Portable Ultrasound US6"), "285000", "238000"),
        ):
            company.products[code] = await commerce.add_product(
                uow, code=code, name=name, list_price=yuan(list_price), floor_price=yuan(floor)
            )


async def _customers(company: Company) -> None:
    lei, na = company.people["lei"].user_id, company.people["na"].user_id
    async with company.database.open_uow(SYSTEM) as uow:
        for key, name, industry, region, owner in (
            ("hospital", HOSPITAL, "hospital", "华东", lei), ("clinic", CLINIC, "clinic", "华东", lei), ("foreign", FOREIGN, "hospital", "华南", na),
        ):  # fmt: skip
            company.accounts[key] = await accounts.create_account(
                uow, name=name, industry=industry, region=region, owner_id=owner, employees=1200, credit_grade="B"
            )
            await uow.session.flush()
        for key, account, name, title, role in (
            ("lin", "hospital", "林秀英", "设备科主任", BuyingRole.TECHNICAL_EVALUATOR), ("gu", "hospital", "顾长山", "分管副院长", BuyingRole.DECISION_MAKER),
            ("su", "clinic", "苏婉", "院长", BuyingRole.ECONOMIC_BUYER),
        ):  # fmt: skip
            contact = await accounts.create_contact(
                uow, name=name, account_id=company.accounts[account].id, title=title, buying_role=role
            )
            await uow.session.flush()
            await accounts.add_contact_point(uow, contact, Channel.PHONE, f"1380000123{len(company.contacts)}")
            await accounts.add_contact_point(uow, contact, Channel.WECHAT, f"wx_{key}")
            company.contacts[key] = contact
        for key, stage, name, amount in (
            ("hospital", "proposal", "ICU 监护仪更新 80 台", "2900000"), ("clinic", "qualify", "便携彩超两台", "540000"), ("foreign", "proposal", "重症二期", "1900000"),
        ):  # fmt: skip
            company.deals[key] = await deals.open_opportunity(
                uow, name=name, stage=company.stages[stage], account_id=company.accounts[key].id, amount=yuan(amount), close_date=ago(-20).date(), opened_at=ago(30),
                primary_competitor="yuanbai" if key == "hospital" else None,
            )  # fmt: skip
        hospital = company.deals["hospital"]
        await deals.set_contact_role(
            uow,
            hospital,
            company.contacts["lin"],
            BuyingRole.TECHNICAL_EVALUATOR,
            stance=Stance.SUPPORTS,
            covered_at=ago(10),
        )
        await deals.set_contact_role(
            uow, hospital, company.contacts["gu"], BuyingRole.DECISION_MAKER, stance=Stance.OPPOSES
        )


async def _history(company: Company) -> None:
    hospital, clinic, monitor = company.accounts["hospital"], company.accounts["clinic"], company.products["CM-PM8"].id
    deal, lin = company.deals["hospital"].ref(), company.contacts["lin"]
    async with company.database.open_uow(SYSTEM) as uow:
        for account, days, quantity in ((hospital, (400, 300, 190), 10), (clinic, (130, 90, 40), 2)):
            for number, day in enumerate(days):
                items = [Item(monitor, quantity + number, yuan("36000"))]
                await commerce.place_order(
                    uow,
                    number=f"SO-{account.industry}-{number}",
                    account_id=account.id,
                    ordered_at=ago(day),
                    items=items,
                )
        await commerce.record_quote(
            uow, number="Q-2026-001", opportunity_id=company.deals["hospital"].id, items=[Item(monitor, 80, yuan("36000"))], payment_terms_days=60, issued_at=ago(12),
            valid_until=ago(-18).date(),
        )  # fmt: skip
        await signals.record(
            uow,
            type="concern_raised",
            subject=deal,
            source="rep",
            dedupe_key="c1",
            occurred_at=ago(8),
            payload={"category": "price_too_high", "words": "你们比远柏贵不少"},
        )
        await activities.log(
            uow, related_to=deal, kind=ActivityKind.VISIT, subject="拜访设备科，确认台数", body="林秀英确认 80 台，分两批，先 ICU 后普通病房。", occurred_at=ago(10),
            owner_id=company.people["lei"].user_id,
        )  # fmt: skip
        for channel, status, evidence in (
            (Channel.WECHAT, ConsentStatus.OPT_IN, None),
            (Channel.PHONE, ConsentStatus.OPT_OUT, "客户要求不要再打电话"),
        ):
            await consent.record(
                uow,
                contact_id=lin.id,
                purpose="sales_follow_up",
                channel=channel,
                status=status,
                source="微信菜单",
                evidence=evidence,
                occurred_at=ago(5),
            )


async def _leads(company: Company) -> None:
    async with company.database.open_uow(SYSTEM) as uow:
        for key, name, firm, phone, region in (
            ("zhou", "周敏", "云杉口腔", "13900002222", "华东"),
            ("feng", "冯涛", "南浦门诊", "13900003333", "华南"),
        ):
            lead = await leads.capture(
                uow, source="官网", external_id=key, name=name, company=firm, phone=phone, email=f"{key}@example.cn", wechat=f"wx_{key}", region=region, industry="clinic",
                interest="想了解便携彩超 US6 的价格", captured_at=ago(9), owner_id=company.people["lei" if key == "zhou" else "na"].user_id,
            )  # fmt: skip
            await signals.record(
                uow,
                type="page_viewed",
                subject=lead.ref(),
                source="官网",
                dedupe_key=f"p-{key}",
                occurred_at=ago(8),
                payload={"title": "便携彩超 US6 规格书"},
            )
            company.leads[key] = lead
        for channel in (Channel.WECHAT, Channel.EMAIL):
            await allow(uow, company.leads["zhou"].contact_id, channel)


async def allow(
    uow: Any,
    contact_id: UUID,
    channel: Channel,
    status: ConsentStatus = ConsentStatus.OPT_IN,
    evidence: str | None = None,
) -> Any:
    """Record what a person says about a channel for follow-up, now."""
    return await consent.record(
        uow,
        contact_id=contact_id,
        purpose="sales_follow_up",
        channel=channel,
        status=status,
        source="网站勾选",
        evidence=evidence,
    )


def drafted(prompt: Prompt) -> list[dict[str, str]]:
    """The drafted sections as the prompt shows them to the model."""
    return drafted_in(prompt.user)


def drafted_in(user: str) -> list[dict[str, str]]:
    """The drafted sections in the words of a prompt."""
    found: list[dict[str, str]] = json.loads(user.split("<draft>\n")[1].split("\n</draft>", maxsplit=1)[0])
    return found


def rewording(**changes: Callable[[str], str]) -> ScriptedModel:
    """A model that says every section as it was drafted, but for those that it changes."""

    def say(prompt: Prompt) -> Mapping[str, Any]:
        return {
            "sections": [
                {"key": part["key"], "body": changes.get(part["key"], str)(part["draft"])} for part in drafted(prompt)
            ]
        }

    return ScriptedModel(say)
