"""The people and deeds of an export: contacts, leads and activities, with what they refer to looked up."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from api.importing.load import Load
from api.importing.persons import ActivityRow, LeadRow, Point
from api.importing.records import BATCH_ROWS, Known
from api.importing.rows import Part
from domain.accounts import Contact, ContactPoint
from domain.activities import Activity
from domain.deals import Opportunity
from domain.kernel import Text
from domain.leads import DuplicateVerdict, Lead, LeadStatus

Rows = list[dict[str, Any]]
OPEN = (LeadStatus.NEW, LeadStatus.ASSIGNED, LeadStatus.WORKING)


def _point_rows(load: Load, contact_id: UUID, points: tuple[Point, ...]) -> Rows:
    return [
        {"id": load.uow.new_id(), "contact_id": contact_id, "channel": channel, "value": value, "match_key": key}
        for channel, value, key in points
    ]


async def _keep_all(load: Load, part: Part[Any], tables: dict[type[Any], Rows], owner: type[Any]) -> None:
    """Keep rows in batches in which what hangs on a row comes with it."""
    main, person = tables[owner], "id" if owner is Contact else "contact_id"
    for start in range(0, len(main), BATCH_ROWS):
        some = main[start : start + BATCH_ROWS]
        ids = {row[person] for row in some}
        kept = {
            model: some if model is owner else [row for row in rows if row.get("contact_id", row["id"]) in ids]
            for model, rows in tables.items()
        }
        await load.keep(part.sheet, kept)
        load.progress(part.sheet.file, start + len(some), len(main))


async def load_contacts(load: Load, known: Known) -> None:
    """Add the contacts that are not there, each with the ways to reach them; without a known account they are rejected."""
    source, part = load.mapping.source, load.export.contacts
    id = func.coalesce(Contact.merged_into_id, Contact.id).label("id")
    stored = select(Contact.external_id, id, Contact.name, Contact.title).where(Contact.source == source)
    here = {row.external_id: row for row in await load.uow.session.execute(stored)}
    known.contacts = {key: row.id for key, row in here.items() if key is not None}
    contacts: Rows = []
    points: Rows = []
    for cells, row in part.rows if part else ():
        if row.account is not None and row.account not in known.accounts:
            cells.sheet.reject(cells.line, Text(f"未知客户“{row.account}”", f"unknown account “{row.account}”"))
            continue
        old = here.get(row.key)
        same = old is not None and (old.name, old.title) == (row.name, row.title)
        load.count("contacts", known=old is not None, same=same, example=cells.place)
        if old is None:
            account, new = known.accounts[row.account] if row.account else None, load.uow.new_id()
            known.contacts[row.key] = new
            contacts.append({
                "id": new, "name": row.name, "title": row.title, "account_id": account, "source": source, "external_id": row.key,
                "custom": load.custom.get(("contacts", row.key)),
            })  # fmt: skip
            points += _point_rows(load, new, row.points)
    if part is not None:
        await _keep_all(load, part, {Contact: contacts, ContactPoint: points}, Contact)


async def load_leads(load: Load, known: Known) -> None:
    """Add the leads that are not there, each with the person who is interested."""
    source, part = load.mapping.source, load.export.leads
    stored = select(Lead.external_id, Lead.id, Lead.name, Lead.company).where(Lead.source == source)
    here = {row.external_id: row for row in await load.uow.session.execute(stored)}
    known.leads = {key: row.id for key, row in here.items()}
    people: Rows = []
    points: Rows = []
    leads: Rows = []
    for cells, row in part.rows if part else ():
        if not load.owner_is_known(cells, row.owner, known.agents):
            continue
        old = here.get(row.key)
        same = old is not None and (old.name, old.company) == (row.name, row.company)
        load.count("leads", known=old is not None, same=same, example=cells.place)
        if old is None:
            person, new = load.uow.new_id(), load.uow.new_id()
            known.leads[row.key] = new
            people.append({"id": person, "name": row.name, "source": source, "external_id": f"lead:{row.key}"})
            points += _point_rows(load, person, row.points)
            leads.append({"id": new, "contact_id": person} | _lead(load, known, row))
    if part is not None:
        await _keep_all(load, part, {Contact: people, ContactPoint: points, Lead: leads}, Lead)


def _lead(load: Load, known: Known, row: LeadRow) -> dict[str, Any]:
    agent, at = known.agents.get(row.owner or ""), row.captured_at or load.uow.now
    status = row.status
    if status in OPEN and (agent is None or status is LeadStatus.NEW):
        # Whose lead nobody is, it waits; whose it is, it was given to.
        status = LeadStatus.NEW if agent is None else LeadStatus.ASSIGNED
    return {
        "source": load.mapping.source, "external_id": row.key, "name": row.name, "company": row.company, "interest": row.interest,
        "industry": row.industry, "region": row.region, "status": status, "owner_id": agent.id if agent else None,
        "territory_id": agent.territory_id if agent else None, "captured_at": at, "last_activity_at": at,
        "assigned_at": at if agent else None, "converted_at": at if status is LeadStatus.CONVERTED else None,
        "channel": row.points[0][0] if row.points else None, "duplicate_verdict": DuplicateVerdict.NONE,
        "custom": load.custom.get(("leads", row.key)),
    }  # fmt: skip


async def load_activities(load: Load, known: Known) -> None:
    """Add the activities that are not there, each related to the closest record that is known."""
    if not load.export.activities:
        return
    source = load.mapping.source
    deal = select(Opportunity.external_id, Opportunity.id, Opportunity.account_id).where(Opportunity.source == source)
    deals = {row.external_id: row for row in await load.uow.session.execute(deal)}
    among: dict[str, dict[Any, UUID]] = {
        "opportunity": {key: row.id for key, row in deals.items()}, "lead": known.leads, "contact": known.contacts,
        "account": known.accounts,
    }  # fmt: skip
    above = {row.id: row.account_id for row in deals.values()}
    at_account = select(Contact.id, Contact.account_id).where(Contact.source == source)
    above |= {row.id: row.account_id for row in await load.uow.session.execute(at_account)}
    mine = select(Activity.client_key, Activity.subject).where(Activity.client_key.startswith(f"import:{source}:"))
    here = {row.client_key: row.subject for row in await load.uow.session.execute(mine)}
    for number, part in enumerate(load.export.activities, 1):
        name = f"activities {number}"
        fresh: Rows = []
        for cells, row in part.rows:
            related = next(((link, among[link][word]) for link, word in row.links if word in among[link]), None)
            if related is None:
                said = ", ".join(word for _, word in row.links)
                cells.sheet.reject(cells.line, Text(f"相关记录未知：{said}", f"nothing known that it is about: {said}"))
                continue
            if not load.owner_is_known(cells, row.owner, known.agents):
                continue
            key = f"import:{source}:{row.kind.value}:{row.key}"
            load.count(name, known=key in here, same=here.get(key) == row.subject, example=cells.place)
            if key not in here:
                fresh.append({"client_key": key} | _activity(load, known, row, related, above))
        await _keep_all(load, part, {Activity: fresh}, Activity)


def _activity(
    load: Load, known: Known, row: ActivityRow, related: tuple[str, UUID], above: dict[UUID, UUID | None]
) -> dict[str, Any]:
    link, id = related
    agent = known.agents.get(row.owner or "")
    links = {f"{one}_id": id if one == link else None for one in ("opportunity", "lead", "contact", "account")}
    links["account_id"] = links["account_id"] or above.get(id)
    return {
        "id": load.uow.new_id(), "kind": row.kind, "subject": row.subject, "body": row.body, "related_kind": link.capitalize(),
        "occurred_at": row.occurred_at or load.uow.now, "related_id": id, "owner_id": agent.id if agent else None,
    } | links  # fmt: skip
