"""The accounts, products and deals of an export as rows, with what they refer to looked up."""

from collections import Counter, defaultdict
from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID

from sqlalchemy import select

from api.importing.load import Load
from api.importing.rows import AccountRow, DealRow, ProductRow
from api.importing.sheet import Cells
from api.importing.users import Agent
from domain import commerce, deals, people
from domain.accounts import Account, AccountTeamMember, LifecycleStage
from domain.commerce import Item, Order, PriceBookEntry, Product, Purchase
from domain.deals import ImportedDeal, Opportunity, Stage, StagePlan
from domain.kernel import Role, Text

BATCH_ROWS = 1_000
Found = tuple[Cells, DealRow]


def noon(day: date) -> datetime:
    """The instant for a day without an hour: noon UTC, which is the same day nearly everywhere."""
    return datetime.combine(day, time(12), UTC)


def family(parents: Map[str, str | None]) -> tuple[list[str], list[str]]:
    """The keys with parents before children, and the keys whose parent closes a circle and is left out for that."""
    done: dict[str, None] = {}
    cut: list[str] = []
    for start in parents:
        path: list[str] = []
        key: str | None = start
        while key is not None and key in parents and key not in done:
            if key in path:
                cut.append(path[-1])
                break
            path.append(key)
            key = parents[key]
        done |= dict.fromkeys(reversed(path))
    return list(done), cut


@dataclass(slots=True)
class Known:
    """What deals may refer to: agents and accounts by their names and ids in the export, products by name and code."""

    agents: dict[str, Agent]
    products: dict[str, UUID] = field(default_factory=dict)
    accounts: dict[str, UUID] = field(default_factory=dict)
    owners: dict[UUID, UUID | None] = field(default_factory=dict)


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


COMPARED = ("name", "industry", "employees", "annual_revenue_minor")


async def load_accounts(load: Load, known: Known) -> list[Found]:
    """Add the accounts that are not there, with owners and teams; return the deals whose references are all known."""
    stored = select(Account.external_id, Account.id, Account.owner_id, *(getattr(Account, name) for name in COMPARED))
    here = {
        row.external_id: row
        for row in await load.uow.session.execute(stored.where(Account.source == load.mapping.source))
    }
    ids = {key: row.id for key, row in here.items()}
    known.owners = {row.id: row.owner_id for row in here.values()}
    names = {row.name: row.id for row in here.values()}
    part = load.export.accounts
    for _, row in part.rows if part else ():
        ids.setdefault(row.key, load.uow.new_id())
        names.setdefault(row.name, ids[row.key])
    known.accounts = names | ids
    found = _referring(load, known)
    sellers = _sellers(found, known)
    if part is not None:
        fresh = {row.key: row for _, row in part.rows if row.key not in here}
        rows = await _account_rows(load, known, fresh, sellers, found)
        for _, row in part.rows:
            mine = (
                row.name,
                row.industry,
                row.employees,
                row.annual_revenue.amount_minor if row.annual_revenue else None,
            )
            old = here.get(row.key)
            load.count(
                "accounts", known=old is not None, same=old is not None and tuple(old[3:]) == mine, example=row.name
            )
        for start in range(0, len(rows), BATCH_ROWS):
            await load.keep(part.sheet, {Account: rows[start : start + BATCH_ROWS]})
            load.progress(part.sheet.file, start, len(rows))
    await _teams(load, known, sellers)
    return found


def _referring(load: Load, known: Known) -> list[Found]:
    """The deals whose agent, account and product are known; the others are rejected."""
    part, found = load.export.deals, []
    for cells, row in part.rows if part else ():
        for kind, name, among in (
            (Text("销售人员", "sales agent"), row.agent, known.agents),
            (Text("客户", "account"), row.account, known.accounts),
            (Text("产品", "product"), row.product, known.products),
        ):
            if name is not None and name not in among:
                cells.sheet.reject(cells.line, Text(f"未知{kind.zh}“{name}”", f"unknown {kind.en} “{name}”"))
                break
        else:
            found.append((cells, row))
    return found


def _sellers(found: list[Found], known: Known) -> dict[UUID, list[str]]:
    """The agents with deals on each account, those with most deals first, equals by name."""
    counts: dict[UUID, Counter[str]] = defaultdict(Counter)
    for _, row in found:
        if row.account is not None and row.agent is not None:
            counts[known.accounts[row.account]][row.agent] += 1
    return {id: sorted(count, key=lambda name: (-count[name], name)) for id, count in counts.items()}


async def _account_rows(
    load: Load, known: Known, fresh: dict[str, AccountRow], sellers: dict[UUID, list[str]], found: list[Found]
) -> list[dict[str, Any]]:
    """New accounts as rows, parents first."""
    buyers = {known.accounts[row.account] for _, row in found if row.stage.won and row.account is not None}
    by_id = {known.accounts[key]: key for key in fresh}
    parents = {}
    for key, row in fresh.items():
        parent = known.accounts.get(row.parent) if row.parent is not None else None
        if row.parent is not None and parent is None:
            load.export.findings.add(
                Text("上级客户未知，不设上级", "accounts whose parent is unknown, taken without one"),
                f"{row.name} → {row.parent}",
            )
        parents[key] = parent
    order, cut = family({key: by_id.get(parent) if parent else None for key, parent in parents.items()})
    for key in cut:
        load.export.findings.add(
            Text("上级客户成环，不设上级", "accounts whose parent closes a circle, taken without one"), fresh[key].name
        )
        parents[key] = None
    rows, places = [], {}
    for key in order:
        id, row = known.accounts[key], fresh[key]
        owner = _owner(load, known, row, sellers.get(id, []))
        known.owners[id] = owner.id if owner else None
        if row.region not in places:
            places[row.region] = await people.find_territory(load.uow.session, row.region)
        place = places[row.region]
        rows.append({
            "id": id, "name": row.name, "industry": row.industry, "region": place.key if place else row.region,
            "territory_id": place.id if place else owner.territory_id if owner else None, "owner_id": known.owners[id], "parent_id": parents[key],
            "lifecycle_stage": LifecycleStage.ACTIVE if id in buyers else LifecycleStage.PROSPECT, "employees": row.employees,
            "annual_revenue_minor": row.annual_revenue.amount_minor if row.annual_revenue else None,
            "currency": row.annual_revenue.currency if row.annual_revenue else None, "source": load.mapping.source, "external_id": key,
        })  # fmt: skip
    return rows


def _owner(load: Load, known: Known, row: AccountRow, sellers: list[str]) -> Agent | None:
    if row.owner is not None and row.owner not in known.agents:
        load.export.findings.add(
            Text("客户负责人未知，按商机推定", "accounts whose owner is unknown: deals decide"),
            f"{row.name} → {row.owner}",
        )
    chosen = row.owner if row.owner in known.agents else next(iter(sellers), None)
    if chosen is None:
        load.export.findings.add(Text("客户没有负责人", "accounts without an owner"), row.name)
        return None
    return known.agents[chosen]


async def _teams(load: Load, known: Known, sellers: dict[UUID, list[str]]) -> None:
    """Put every agent with deals on somebody else's account on its team."""
    if load.export.deals is None:
        return
    member = select(AccountTeamMember.account_id, AccountTeamMember.user_id).join(
        Account, Account.id == AccountTeamMember.account_id
    )
    here = {tuple(pair) for pair in await load.uow.session.execute(member.where(Account.source == load.mapping.source))}
    pairs = [(id, known.agents[name].id) for id, names in sellers.items() for name in names]
    rows: list[dict[str, Any]] = [
        {"id": load.uow.new_id(), "account_id": id, "user_id": user, "role": Role.REP}
        for id, user in pairs
        if known.owners.get(id) != user and (id, user) not in here
    ]
    for start in range(0, len(rows), BATCH_ROWS):
        await load.keep(load.export.deals.sheet, {AccountTeamMember: rows[start : start + BATCH_ROWS]})


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
    for name in sorted(known.agents.keys() - {row.agent for _, row in found}):
        load.export.findings.add(Text("没有商机的销售人员", "sales agents without a deal"), name)
    before = len(part.sheet.table.lines) - len(fresh)
    for start in range(0, len(fresh), BATCH_ROWS):
        some = [(load.uow.new_id(), row) for _, row in fresh[start : start + BATCH_ROWS]]
        facts = ((id, _deal(load, known, row, stages, worked)) for id, row in some)
        await load.keep(part.sheet, deals.imported_rows(load.uow, load.mapping.source, facts))
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
