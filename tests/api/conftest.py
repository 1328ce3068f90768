"""A small company on each database, and questions put to the schema by its people."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from api.context import Context
from api.notary import Notary
from api.reads import global_id
from api.schema import schema
from assistant.pipeline import Desk
from domain import accounts, activities, consent, deals, leads
from domain.accounts import Account, BuyingRole, Channel, Contact
from domain.activities import ActivityKind
from domain.deals import ForecastCategory, Opportunity, StagePlan
from domain.kernel import SYSTEM, Actor, Base, Database, Language, Money, Role, Text
from domain.leads import Lead
from domain.ledger import HeadFile, Signer
from knowledge import Library
from tests.factories import START, add_colleague, add_territories

STAGES = (
    StagePlan("qualify", Text("资格确认", "Qualification")),
    StagePlan("proposal", Text("方案报价", "Proposal"), category=ForecastCategory.BEST_CASE),
    StagePlan("won", Text("赢单", "Won"), is_closed=True, is_won=True, category=ForecastCategory.CLOSED),
)


@dataclass
class Company:
    """A seller in East China and one in South China, their manager, everybody else, and what they work on."""

    database: Database
    people: dict[str, Actor]
    accounts: dict[str, Account] = field(default_factory=dict)
    contacts: dict[str, Contact] = field(default_factory=dict)
    leads: dict[str, Lead] = field(default_factory=dict)
    deals: dict[str, Opportunity] = field(default_factory=dict)
    pipelines: dict[str, str] = field(default_factory=dict)

    def id(self, row: Base) -> str:
        """The global id of a row."""
        return global_id(row.entity(), row.id)  # type: ignore[attr-defined]

    def user(self, who: str) -> str:
        """The global id of a person."""
        user_id = self.people[who].user_id
        assert user_id is not None
        return global_id("User", user_id)


async def _people(database: Database) -> dict[str, Actor]:
    territories = await add_territories(database)
    east, south = territories["east-china"], territories["south-china"]
    people = {
        "lei": await add_colleague(database, "张磊", Role.REP, territories=[east], email="lei.zhang@example.com"),
        "na": await add_colleague(database, "李娜", Role.REP, territories=[south], email="na.li@example.com"),
        "min": await add_colleague(
            database, "王敏", Role.MANAGER, territories=[east, south], email="min.wang@example.com"
        ),
    }
    for role in Role:
        if role not in {Role.REP, Role.MANAGER}:
            people[role.value] = await add_colleague(database, role.value.title(), role)
    return people


async def _work(company: Company) -> None:
    lei, na = company.people["lei"].user_id, company.people["na"].user_id
    async with company.database.open_uow(SYSTEM) as uow:
        await consent.ensure_purposes(uow)
        stages = await deals.ensure_pipeline(uow, "new_business", Text("新签", "New business"), STAGES)
        renewal = await deals.ensure_pipeline(
            uow, "renewal", Text("续约", "Renewal"), [StagePlan("due", Text("到期提醒", "Due"))]
        )
        company.pipelines = {
            "new": global_id("Pipeline", stages["won"].pipeline_id),
            "renewal": global_id("Pipeline", renewal["due"].pipeline_id),
        }
        for key, name, region, owner in (
            ("hospital", "杭州第一医院", "华东", lei), ("parts", "苏州精密零部件", "east-china", lei), ("device", "广州医疗器械", "South China", na),
        ):  # fmt: skip
            account = await accounts.create_account(
                uow, name=name, industry="hospital", region=region, owner_id=owner, employees=1200
            )
            company.accounts[key] = account
            await uow.session.flush()
            contact = await accounts.create_contact(
                uow, name=f"{name}·采购", account_id=account.id, title="采购经理", buying_role=BuyingRole.PURCHASING
            )
            await uow.session.flush()
            await accounts.add_contact_point(uow, contact, Channel.PHONE, f"138000012{len(company.contacts):02}")
            await accounts.add_contact_point(uow, contact, Channel.EMAIL, f"{key}@example.cn")
            company.contacts[key] = contact
            for number in range(3):
                deal = await deals.open_opportunity(
                    uow, name=f"{name} 第{number + 1}期", stage=stages[("qualify", "proposal", "won")[number]], account_id=account.id,
                    amount=Money((number + 1) * 10_000_000, "CNY") if number < 2 else None, close_date=date(2026, 6, 1 + number),
                )  # fmt: skip
                company.deals[f"{key}-{number + 1}"] = deal
                await uow.session.flush()
            for number in range(4):
                await activities.log(
                    uow, related_to=(account if number % 2 else company.deals[f"{key}-1"]).ref(), kind=ActivityKind.CALL, subject=f"第{number + 1}次电话",
                    body="谈了价格", occurred_at=START - timedelta(days=number), owner_id=owner,
                )  # fmt: skip
        for key, region, owner in (("mine", "华东", lei), ("open", "华东", None), ("far", "华南", None)):
            company.leads[key] = await leads.capture(
                uow, source="官网", external_id=key, name=f"线索{key}", company="宁波电子", phone=f"1390000123{len(company.leads)}", region=region,
                owner_id=owner, captured_at=START - timedelta(days=10 * len(company.leads)), budget=Money(5_000_000, "CNY"),
            )  # fmt: skip


@pytest.fixture
async def company(database: Database) -> Company:
    """The company, fresh for each test."""
    company = Company(database, await _people(database))
    await _work(company)
    return company


SIGNER = Signer(bytes(range(32)))


@dataclass
class Answer:
    """What came back: data, and errors as clients see them."""

    data: Any
    errors: list[dict[str, Any]]

    @property
    def codes(self) -> list[str]:
        """The error codes."""
        return [error["extensions"]["code"] for error in self.errors]


Ask = Callable[..., Awaitable[Answer]]


@pytest.fixture
def desk(company: Company) -> Desk:
    """The assistant on the company's database, with no model: the offline composer writes."""
    return Desk(company.database, Library(company.database))


@pytest.fixture
def ask(company: Company, desk: Desk, tmp_path: Path) -> Ask:
    """Put a document to the schema as somebody (None: without a token), in Chinese unless told otherwise."""

    async def ask(
        document: str, who: str | Actor | None = "lei", *, language: Language = Language.ZH, **variables: Any
    ) -> Answer:
        actor = company.people[who] if isinstance(who, str) else who
        notary = Notary(company.database, SIGNER, HeadFile(tmp_path / "heads"))
        context = Context(
            company.database, actor, language, company.database.clock(), notary, desk=desk, library=desk.library
        )
        result = await schema.execute(document, variable_values=variables, context_value=context)
        return Answer(result.data, [error.formatted for error in result.errors or []])  # type: ignore[misc]

    return ask


@dataclass
class Statements:
    """The statements that ran while they were counted."""

    seen: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.seen)


@pytest.fixture
def statements(company: Company) -> Iterator[Statements]:
    """Every statement on the reading connections, the driver's own ceremony aside."""
    counted = Statements()
    engine = company.database.reader.sync_engine

    def count(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if not statement.startswith(("BEGIN", "SELECT set_config(")):
            counted.seen.append(statement)

    event.listen(engine, "before_cursor_execute", count)
    yield counted
    event.remove(engine, "before_cursor_execute", count)
