"""Two accounts with a deal each and two products, on a real database: what the tests of commerce share."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from domain import accounts, commerce, deals
from domain.commerce import (
    Invoice,
    Item,
    Order,
    OrderLine,
    Payment,
    PriceBookEntry,
    Product,
    Purchase,
    Quote,
    QuoteLine,
)
from domain.deals import StagePlan
from domain.kernel import SYSTEM, Actor, Base, Database, Money, Role, SalesError, Text, rows_visible
from domain.ledger import AuditEvent
from tests.factories import START, add_colleague, add_territories

COUNTED = (Product, PriceBookEntry, Quote, QuoteLine, Order, OrderLine, Invoice, Payment)


def cny(amount: int) -> Money:
    """Whole yuan."""
    return Money(amount * 100, "CNY")


@dataclass
class Company:
    """Two accounts with a deal each: Lei's in East China, Na's in South China; two products."""

    database: Database
    people: dict[str, Actor]
    accounts: dict[str, UUID]
    deals: dict[str, UUID]
    monitor: Product
    ultrasound: Product

    def items(self, quantity: int = 3) -> list[Item]:
        """Monitors and one ultrasound."""
        return [Item(self.monitor.id, quantity, cny(36_500)), Item(self.ultrasound.id, 1, cny(280_000))]

    async def quote(self, who: str = "lei", **changes: Any) -> Quote:
        """Put an offer on Lei's deal."""
        words: dict[str, Any] = {
            "number": "Q-2026-001",
            "opportunity_id": self.deals["hospital"],
            "items": self.items(),
            "payment_terms_days": 45,
        }
        async with self.database.open_uow(self.people[who]) as uow:
            return await commerce.record_quote(uow, **words | changes)

    async def order(self, who: str = "lei", **changes: Any) -> Order:
        """Take in a purchase of Lei's account."""
        words: dict[str, Any] = {
            "number": "O-001",
            "account_id": self.accounts["hospital"],
            "ordered_at": START - timedelta(days=20),
            "items": self.items(),
        }
        async with self.database.open_uow(self.people[who]) as uow:
            return await commerce.place_order(uow, **words | changes)

    async def orders(self, purchases: list[Purchase], who: str = "system") -> int:
        """Take in many."""
        async with self.database.open_uow(self.people[who]) as uow:
            return await commerce.place_orders(uow, purchases, source="ERP")

    def purchase(self, number: str, **changes: Any) -> Purchase:
        """One order of Lei's account as it comes in."""
        words: dict[str, Any] = {
            "account_id": self.accounts["hospital"],
            "ordered_at": START - timedelta(days=9),
            "items": tuple(self.items()),
        }
        return Purchase(number, **words | changes)

    async def count(self, model: type[Base], who: str = "system") -> int:
        """How many rows somebody sees."""
        seen = select(func.count()).select_from(model.__table__).where(rows_visible(model, self.people[who]))
        async with self.database.read() as connection:
            return (await connection.execute(seen)).scalar_one()

    async def counts(self) -> list[int]:
        """How much there is of everything."""
        async with self.database.read() as connection:
            events = (await connection.execute(select(func.count()).select_from(AuditEvent))).scalar_one()
        return [
            events,
            *[await self.count(model) for model in COUNTED],
        ]


@pytest.fixture
async def company(database: Database) -> Company:
    territories = await add_territories(database)
    east, south = territories["east-china"], territories["south-china"]
    people = {
        "system": SYSTEM,
        "lei": await add_colleague(database, "张磊", Role.REP, territories=[east]),
        "na": await add_colleague(database, "李娜", Role.REP, territories=[south]),
        "min": await add_colleague(database, "王敏", Role.MANAGER, territories=[east]),
    }
    for role in Role:
        if role not in {Role.REP, Role.MANAGER}:
            people[role.value] = await add_colleague(database, role.value, role)
    async with database.open_uow(SYSTEM) as uow:
        stages = await deals.ensure_pipeline(
            uow, "new_business", Text("新签", "New business"), [StagePlan("proposal", Text("方案报价", "Proposal"))]
        )
        ids, deal_ids = {}, {}
        for key, name, region, owner in (
            ("hospital", "杭州第一医院", "华东", "lei"),
            ("device", "广州医疗器械", "华南", "na"),
        ):
            account = await accounts.create_account(uow, name=name, region=region, owner_id=people[owner].user_id)
            await uow.session.flush()
            deal = await deals.open_opportunity(
                uow, name=f"{name} 采购", stage=stages["proposal"], account_id=account.id
            )
            ids[key], deal_ids[key] = account.id, deal.id
        monitor = await commerce.add_product(
            uow,
            code="CM-PM8",
            name=Text("病人监护仪 PM8", "Patient Monitor PM8"),
            list_price=cny(38_000),
            floor_price=cny(31_500),
        )
        ultrasound = await commerce.add_product(
            uow,
            code="CM-US6",
            name=Text("便携彩超 US6", "Portable Ultrasound US6"),
            list_price=cny(285_000),
            floor_price=cny(238_000),
        )
    return Company(database, people, ids, deal_ids, monitor, ultrasound)


Refused = Callable[[Awaitable[object]], Awaitable[SalesError]]


@pytest.fixture
def refused(company: Company) -> Refused:
    """The error of an operation that must change nothing."""

    async def run(operation: Awaitable[object]) -> SalesError:
        before = await company.counts()
        with pytest.raises(SalesError) as caught:
            await operation
        assert await company.counts() == before
        return caught.value

    return run
