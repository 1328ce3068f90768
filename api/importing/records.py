"""The products and deals of an export, with what they refer to looked up."""

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID

from sqlalchemy import select

from api.importing.load import Load
from api.importing.rows import DealRow, ProductRow
from api.importing.sheet import Cells
from api.importing.users import Agent
from domain import commerce, deals
from domain.commerce import Item, Order, PriceBookEntry, Product, Purchase
from domain.deals import ImportedDeal, Opportunity, Stage, StagePlan
from domain.kernel import Text

BATCH_ROWS = 1_000
Found = tuple[Cells, DealRow]


def noon(day: date) -> datetime:
    """The instant for a day without an hour: noon UTC, which is the same day nearly everywhere."""
    return datetime.combine(day, time(12), UTC)


@dataclass(slots=True)
class Known:
    """What deals may refer to: agents and accounts by their names and ids in the export, products by name and code."""

    agents: dict[str, Agent]
    aliases: frozenset[str] = frozenset()
    """The ids, addresses and names of people that stand beside the names in the export's own file of agents."""
    products: dict[str, UUID] = field(default_factory=dict)
    accounts: dict[str, UUID] = field(default_factory=dict)
    contacts: dict[str, UUID] = field(default_factory=dict)
    leads: dict[str, UUID] = field(default_factory=dict)
    owners: dict[UUID, UUID | None] = field(default_factory=dict)
    stored_accounts: dict[str | None, Any] = field(default_factory=dict)


async def load_products(load: Load, known: Known) -> None:
    """Add the products whose code is new, each with its prices from now on."""
    now = load.uow.now
    current = (
        (PriceBookEntry.product_id == Product.id)
        & (PriceBookEntry.valid_from <= now)
        & PriceBookEntry.valid_to.is_(None)
    )
    stored = select(Product.code, Product.id, Product.name_en, PriceBookEntry.list_minor).outerjoin(
        PriceBookEntry, current
    )
    here = {row.code: row for row in await load.uow.session.execute(stored)}
    known.products = {row.name_en: row.id for row in here.values()} | {code: row.id for code, row in here.items()}
    if load.export.products is None:
        return
    products, prices = [], []
    for _, row in load.export.products.rows:
        old = here.get(row.key)
        same = old is not None and (old.name_en, old.list_minor) == (row.name, row.list_price.amount_minor)
        load.count("products", known=old is not None, same=same, example=row.key)
        if old is None:
            id = known.products[row.key] = load.uow.new_id()
            products.append({"id": id, "code": row.key, "name_zh": row.name, "name_en": row.name, "series": row.series})
            prices.append({"id": load.uow.new_id(), "product_id": id} | _price(row, load.uow.now))
        known.products.setdefault(row.name, known.products[row.key])
    await load.keep(load.export.products.sheet, {Product: products, PriceBookEntry: prices})


def _price(row: ProductRow, now: datetime) -> dict[str, Any]:
    listed, floor = row.list_price, row.floor_price
    return {
        "list_minor": listed.amount_minor,
        "floor_minor": floor.amount_minor,
        "currency": listed.currency,
        "valid_from": now,
    }


def referring(load: Load, known: Known) -> list[Found]:
    """The deals whose agent, account and product are known; the others are rejected."""
    part, found = load.export.deals, []
    for cells, row in part.rows if part else ():
        for kind, name, among in (
            (Text("客户", "account"), row.account, known.accounts),
            (Text("产品", "product"), row.product, known.products),
        ):
            if name is not None and name not in among:
                cells.sheet.reject(cells.line, Text(f"未知{kind.zh}“{name}”", f"unknown {kind.en} “{name}”"))
                break
        else:
            if load.owner_is_known(cells, row.agent, known.agents):
                found.append((cells, row if row.agent in known.agents else replace(row, agent=None)))
    return found


async def load_deals(load: Load, known: Known, found: list[Found]) -> None:
    """Add the deals that are not there, with their stays in stages; the won ones with a value become orders."""
    part, plan = load.export.deals, load.mapping.pipeline
    if part is None or plan is None:
        return
    plans = [StagePlan(one.key, one.text, one.closed, one.won, one.expected_days, one.forecast) for one in plan.stages]
    stages = await deals.ensure_pipeline(load.uow, plan.key, plan.text, plans)
    worked = stages[plan.worked_stage] if plan.worked_stage else None
    stored = select(Opportunity.external_id, Opportunity.stage_id, Opportunity.amount_minor, Opportunity.close_date)
    here = {
        row.external_id: row
        for row in await load.uow.session.execute(stored.where(Opportunity.source == load.mapping.source))
    }
    ordered = select(Order.external_id).where(Order.source == load.mapping.source)
    orders = set((await load.uow.session.execute(ordered)).scalars())
    fresh = []
    for cells, row in found:
        old = here.get(row.key)
        mine = (stages[row.stage.key].id, row.amount.amount_minor if row.amount else None, row.close_date)
        load.count(
            "opportunities", known=old is not None, same=old is not None and tuple(old[1:]) == mine, example=cells.place
        )
        _count_order(load, row, known=old is not None, same=row.key in orders)
        if old is None:
            fresh.append((cells, row))
    ids = {known.agents[row.agent].id for _, row in found if row.agent is not None}
    for name in sorted(
        name for name, agent in known.agents.items() if agent.id not in ids and name not in known.aliases
    ):
        load.export.findings.add(Text("没有商机的销售人员", "sales agents without a deal"), name)
    before = len(part.sheet.table.lines) - len(fresh)
    for start in range(0, len(fresh), BATCH_ROWS):
        some = [(load.uow.new_id(), row) for _, row in fresh[start : start + BATCH_ROWS]]
        facts = ((id, _deal(load, known, row, stages, worked)) for id, row in some)
        tables = deals.imported_rows(load.uow, load.mapping.source, facts)
        for made in tables[Opportunity]:
            made["custom"] = load.custom.get(("opportunities", made["external_id"]))
        await load.keep(part.sheet, tables)
        bought = [(id, row) for id, row in some if _makes_order(load, row)]
        await commerce.place_orders(load.uow, _purchases(known, bought), source=load.mapping.source)
        load.progress(part.sheet.file, before + start + len(some), before + len(fresh))


def _deal(load: Load, known: Known, row: DealRow, stages: dict[str, Stage], worked: Stage | None) -> ImportedDeal:
    agent = known.agents[row.agent] if row.agent is not None else None
    closed = noon(row.close_date) if row.stage.closed and row.close_date else None
    opened = noon(row.opened_on) if row.opened_on else closed or load.uow.now
    return ImportedDeal(
        external_id=row.key, name=row.name or " · ".join(filter(None, (row.account, row.product))) or row.key,
        account_id=known.accounts[row.account] if row.account is not None else None, owner_id=agent.id if agent else None,
        territory_id=agent.territory_id if agent else None, stage=stages[row.stage.key], worked_in=worked if row.opened_on else None,
        amount=row.amount, opened_at=opened, closed_at=closed, close_date=row.close_date,
    )  # fmt: skip


def _makes_order(load: Load, row: DealRow) -> bool:
    whole = (
        row.account is not None and row.product is not None and row.amount is not None and row.amount.amount_minor > 0
    )
    return (
        whole
        and row.stage.won
        and load.mapping.opportunities is not None
        and load.mapping.opportunities.won_makes_order
    )


def _count_order(load: Load, row: DealRow, *, known: bool, same: bool) -> None:
    if _makes_order(load, row):
        load.tallies["orders"].read += 1
        load.count("orders", known=known, same=same, example=row.key)
    elif row.stage.won:
        load.export.findings.add(Text("赢单没有生成订单", "won deals that made no order"), row.key)


def _purchases(known: Known, some: list[tuple[UUID, DealRow]]) -> list[Purchase]:
    """The order that a won deal became: one of its product for its value, on the day it closed."""
    purchases = []
    for id, row in some:
        if row.account and row.product and row.amount and row.close_date:
            item = Item(known.products[row.product], 1, row.amount)
            account_id, at = known.accounts[row.account], noon(row.close_date)
            purchases.append(Purchase(row.key, account_id, at, (item,), opportunity_id=id, external_id=row.key))
    return purchases
