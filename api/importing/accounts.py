"""The accounts of an export: whose they are, to whom they belong, who works on them."""

from collections import Counter, defaultdict
from collections.abc import Mapping as Map
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from api.importing.load import Load
from api.importing.records import BATCH_ROWS, Found, Known
from api.importing.rows import AccountRow
from api.importing.users import Agent
from domain import people
from domain.accounts import Account, AccountTeamMember, LifecycleStage, company_key
from domain.kernel import Role, Text
from domain.people import Territory

Sellers = dict[UUID, list[str]]
COMPARED = (Account.name, Account.industry, Account.employees, Account.annual_revenue_minor)


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


async def find_accounts(load: Load, known: Known) -> None:
    """Look up the accounts that deals may refer to; new ones get their ids."""
    # What came for an account that was merged since goes to the account into which it was.
    id = func.coalesce(Account.merged_into_id, Account.id).label("id")
    stored = select(Account.external_id, id, Account.owner_id, *COMPARED)
    rows = await load.uow.session.execute(stored.where(Account.source == load.mapping.source))
    known.stored_accounts = {row.external_id: row for row in rows}
    known.owners = {row.id: row.owner_id for row in known.stored_accounts.values()}
    ids = {key: row.id for key, row in known.stored_accounts.items()}
    names = {row.name: row.id for row in known.stored_accounts.values()}
    for _, row in load.export.accounts.rows if load.export.accounts else ():
        ids.setdefault(row.key, load.uow.new_id())
        names.setdefault(row.name, ids[row.key])
    known.accounts = names | ids


async def load_accounts(load: Load, known: Known, found: list[Found]) -> None:
    """Add the accounts that are not there, parents first, and put their sellers on the teams."""
    sellers, part = _sellers(found, known), load.export.accounts
    if part is not None:
        by_key = {row.key: row for _, row in part.rows}
        for key, row in by_key.items():
            old, revenue = known.stored_accounts.get(key), row.annual_revenue
            mine = (row.name, row.industry, row.employees, revenue.amount_minor if revenue else None)
            same = old is not None and tuple(old[3:]) == mine
            load.count("accounts", known=old is not None, same=same, example=row.name)
        buyers = {known.accounts[row.account] for _, row in found if row.stage.won and row.account is not None}
        rows = await _rows(load, known, by_key, sellers, buyers)
        for start in range(0, len(rows), BATCH_ROWS):
            await load.keep(part.sheet, {Account: rows[start : start + BATCH_ROWS]})
            load.progress(part.sheet.file, min(start + BATCH_ROWS, len(rows)), len(rows))
    await _teams(load, known, sellers)


def _sellers(found: list[Found], known: Known) -> Sellers:
    """The agents with deals on each account, those with most deals first, equals by name."""
    counts: dict[UUID, Counter[str]] = defaultdict(Counter)
    for _, row in found:
        if row.account is not None and row.agent is not None:
            counts[known.accounts[row.account]][row.agent] += 1
    return {id: sorted(count, key=lambda name: (-count[name], name)) for id, count in counts.items()}


async def _rows(
    load: Load, known: Known, by_key: dict[str, AccountRow], sellers: Sellers, buyers: set[UUID]
) -> list[dict[str, Any]]:
    """The new accounts as rows, parents first."""
    order, parents = _parents(load, known, by_key)
    places: dict[str | None, Territory | None] = {}
    rows = []
    for key in order:
        id, row = known.accounts[key], by_key[key]
        owner = _owner(load, known, row, sellers.get(id, []))
        if key in known.stored_accounts:
            continue
        known.owners[id] = owner.id if owner else None
        if row.region not in places:
            places[row.region] = await people.find_territory(load.uow.session, row.region)
        place, revenue = places[row.region], row.annual_revenue
        rows.append({
            "id": id, "name": row.name, "name_key": company_key(row.name), "industry": row.industry, "region": place.key if place else row.region,
            "territory_id": place.id if place else owner.territory_id if owner else None,
            "owner_id": known.owners[id], "parent_id": parents[key], "employees": row.employees,
            "lifecycle_stage": LifecycleStage.ACTIVE if id in buyers else LifecycleStage.PROSPECT,
            "annual_revenue_minor": revenue.amount_minor if revenue else None, "currency": revenue.currency if revenue else None,
            "source": load.mapping.source, "external_id": key, "domain": row.domain, "custom": load.custom.get(("accounts", key)),
        })  # fmt: skip
    return rows


def _parents(load: Load, known: Known, by_key: dict[str, AccountRow]) -> tuple[list[str], dict[str, UUID | None]]:
    """The keys, parents first, and the parent of each; unknown parents and circles are left out with a warning."""
    here = {known.accounts[key]: key for key in by_key}
    parents = {key: known.accounts.get(row.parent) if row.parent else None for key, row in by_key.items()}
    for key, row in by_key.items():
        if row.parent is not None and parents[key] is None:
            unknown = Text("上级客户未知，不设上级", "accounts whose parent is unknown, taken without one")
            load.export.findings.add(unknown, f"{row.name} → {row.parent}")
    order, cut = family({key: here.get(parent) if parent else None for key, parent in parents.items()})
    for key in cut:
        circle = Text("上级客户成环，不设上级", "accounts whose parent closes a circle, taken without one")
        load.export.findings.add(circle, by_key[key].name)
        parents[key] = None
    return order, parents


def _owner(load: Load, known: Known, row: AccountRow, sellers: list[str]) -> Agent | None:
    if row.owner is not None and row.owner not in known.agents:
        unknown = Text("客户负责人未知，按商机推定", "accounts whose owner is unknown: deals decide")
        load.export.findings.add(unknown, f"{row.name} → {row.owner}")
    chosen = row.owner if row.owner in known.agents else next(iter(sellers), None)
    if chosen is None:
        load.export.findings.add(Text("客户没有负责人", "accounts without an owner"), row.name)
        return None
    return known.agents[chosen]


async def _teams(load: Load, known: Known, sellers: Sellers) -> None:
    """Put every agent with deals on somebody else's account on its team."""
    if load.export.deals is None:
        return
    member = select(AccountTeamMember.account_id, AccountTeamMember.user_id)
    member = member.join(Account, Account.id == AccountTeamMember.account_id)
    mine = Account.source == load.mapping.source
    here = {tuple(pair) for pair in await load.uow.session.execute(member.where(mine))}
    pairs = [(id, known.agents[name].id) for id, names in sellers.items() for name in names]
    rows: list[dict[str, Any]] = [
        {"id": load.uow.new_id(), "account_id": id, "user_id": user, "role": Role.REP}
        for id, user in pairs
        if known.owners.get(id) != user and (id, user) not in here
    ]
    for start in range(0, len(rows), BATCH_ROWS):
        await load.keep(load.export.deals.sheet, {AccountTeamMember: rows[start : start + BATCH_ROWS]})
