"""A lead becomes a deal: once, with everything that was learned and agreed on the way."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, update

from domain import accounts, custom_fields, deals
from domain.accounts import Account, Contact
from domain.activities import Activity
from domain.deals import Opportunity, OpportunityContactRole
from domain.kernel import Base, Conflict, Invalid, Money, Ref, Text, UnitOfWork, load, rows_visible
from domain.leads import WRITERS, Lead, LeadStatus, LeadStep, check_step
from domain.people import Territory
from domain.signals import Signal


@dataclass(frozen=True, slots=True)
class Terms:
    """What somebody says of the account and the deal that a lead becomes; what is left out comes from the lead.

    `account_id` picks an account and `opportunity_id` a deal that is there; otherwise both are made.
    """

    account_id: UUID | None = None
    account_name: str | None = None
    opportunity_id: UUID | None = None
    opportunity_name: str | None = None
    pipeline_id: UUID | None = None
    stage_id: UUID | None = None
    stage_key: str | None = None
    amount: Money | None = None
    close_date: date | None = None
    opened_at: datetime | None = None


async def convert(uow: UnitOfWork, lead_id: UUID, terms: Terms, *, expected_version: int | None = None) -> Opportunity:
    """Turn a lead into a deal of an account, and return the deal.

    The lead's person is put on the account unless they belong to one, and seated in the buying committee where their role in
    purchases is known. Activities and signals of the lead show on the account and the deal. Consent stays with the person.

    Raises NotFound for a foreign lead, account or deal; Conflict for a lead that is converted already, naming its deal, for one
    that is given up or unowned, and for a person of an account that the actor does not see; StaleVersion; Invalid where the lead
    does not say enough; and what opening a deal raises.
    """
    lead = await _lead(uow, lead_id, expected_version)
    contact = await uow.session.get_one(Contact, lead.contact_id)
    picked = await _picked(uow, terms)
    account = await _account(uow, lead, contact, terms, picked)
    if contact.account_id is None:
        contact.account_id = account.id
        uow.note("contact.placed", contact)
        await uow.session.flush()
    opportunity = picked or await _open(uow, lead, account, terms)
    named = opportunity.lead_id is None and opportunity.change({"lead_id": lead.id})
    if await _carry_custom(uow, lead, opportunity) or named:
        uow.note("opportunity.lead_attached", opportunity)
    await _seat(uow, lead, contact, opportunity)
    lead.status, lead.converted_at = LeadStatus.CONVERTED, uow.now
    lead.converted_account_id, lead.converted_opportunity_id = account.id, opportunity.id
    carried = {"activities": await _carry_activities(uow, lead), "signals": await _carry_signals(uow, lead)}
    uow.note("lead.converted", lead, carried, covers=(Activity, Signal))
    await uow.session.flush()
    return opportunity


async def _lead(uow: UnitOfWork, id: UUID, expected_version: int | None) -> Lead:
    actor = uow.actor.only(*WRITERS)
    lead = await load(uow.session, actor, Lead, id, path=("leadId",), lock=True)
    if lead.status is LeadStatus.CONVERTED:
        raise await _converted(uow, lead)
    await load(uow.session, actor, Lead, id, path=("leadId",), expected_version=expected_version)
    check_step(uow, lead, LeadStep.CONVERT, ("leadId",))
    return lead


async def _converted(uow: UnitOfWork, lead: Lead) -> Conflict:
    seen = (Opportunity.id == lead.converted_opportunity_id) & rows_visible(Opportunity, uow.actor)
    name = await uow.session.scalar(select(Opportunity.name).where(seen))
    zh, en = (f"：“{name}”", f": “{name}”") if name else ("", "")
    return Conflict(Text(f"该线索已转为商机{zh}", f"the lead is a deal already{en}"), ("leadId",))


async def _picked(uow: UnitOfWork, terms: Terms) -> Opportunity | None:
    if terms.opportunity_id is None:
        return None
    roles = deals.SELLERS
    opportunity = await deals.deal_to_change(uow, terms.opportunity_id, *roles, path=("opportunityId",))
    if opportunity.account_id is None or terms.account_id not in {None, opportunity.account_id}:
        words = Text("所选商机不属于所选客户", "the deal picked is not one of the account picked")
        raise Invalid(words, ("opportunityId",))
    return opportunity


async def _account(uow: UnitOfWork, lead: Lead, contact: Contact, terms: Terms, picked: Opportunity | None) -> Account:
    """The account picked, else the person's own, else one made of the lead's company."""
    actor = uow.actor.only(*WRITERS)
    id = picked.account_id if picked else terms.account_id
    if id is not None:
        return await load(uow.session, actor, Account, id, path=("accountId",))
    if contact.account_id is not None:
        own = (Account.id == contact.account_id) & rows_visible(Account, actor)
        found = (await uow.session.execute(select(Account).where(own))).scalar_one_or_none()
        if found is None:
            words = Text(
                "该联系人已属于其他同事的客户：请联系您的经理，或另选客户",
                "this person belongs to an account of a colleague: ask your manager, or pick another account",
            )
            raise Conflict(words, ("accountId",))
        return found
    return await _new_account(uow, lead, terms)


async def _new_account(uow: UnitOfWork, lead: Lead, terms: Terms) -> Account:
    name = terms.account_name or lead.company or ""
    if not name.strip():
        words = Text("线索没有公司名称，请填写客户名称或选择客户", "the lead names no company: name or pick an account")
        raise Invalid(words, ("accountName",))
    place = select(Territory.key).where(Territory.id == lead.territory_id)
    region = await uow.session.scalar(place) if lead.territory_id else lead.region
    account = await accounts.create_account(
        uow, name=name, industry=lead.industry, region=region, owner_id=lead.owner_id, brand_id=lead.brand_id
    )
    await uow.session.flush()
    return account


async def _open(uow: UnitOfWork, lead: Lead, account: Account, terms: Terms) -> Opportunity:
    return await deals.create_opportunity(
        uow, name=terms.opportunity_name or account.name, account_id=account.id, pipeline_id=terms.pipeline_id, stage_id=terms.stage_id,
        stage_key=terms.stage_key, amount=terms.amount or lead.budget, close_date=terms.close_date, owner_id=lead.owner_id, lead_id=lead.id,
        opened_at=terms.opened_at,
    )  # fmt: skip


async def _carry_custom(uow: UnitOfWork, lead: Lead, opportunity: Opportunity) -> bool:
    """Give the deal what custom fields of the lead hold wherever deals have an empty one of the same key that takes it."""
    if not lead.custom:
        return False
    entity, current = Opportunity.entity(), opportunity.custom or {}
    fields = await custom_fields.fields_of(uow.session, entity)
    fresh = {key: value for key, value in lead.custom.items() if key in fields and key not in current}
    taken = {key: value for key, value in fresh.items() if _takes(fields[key], value)}
    return opportunity.change({"custom": await custom_fields.apply(uow, entity, opportunity.custom, taken)})


def _takes(field: custom_fields.FieldFact, value: Any) -> bool:
    try:
        custom_fields.read_value(field, value)
    except Invalid:
        return False
    return True


async def _seat(uow: UnitOfWork, lead: Lead, contact: Contact, opportunity: Opportunity) -> None:
    there = (OpportunityContactRole.opportunity_id == opportunity.id) & (
        OpportunityContactRole.contact_id == contact.id
    )
    seated = await uow.session.scalar(select(OpportunityContactRole.id).where(there).limit(1))
    if contact.buying_role is not None and seated is None:
        role, spoken = contact.buying_role, lead.first_responded_at
        await deals.add_contact_role(uow, opportunity, contact, role, covered_at=spoken)


async def _carry_activities(uow: UnitOfWork, lead: Lead) -> int:
    links = {
        "account_id": lead.converted_account_id,
        "opportunity_id": lead.converted_opportunity_id,
        "contact_id": lead.contact_id,
    }
    stamps = {
        "version": Activity.version + 1,
        "updated_at": uow.now,
        "updated_by_kind": uow.actor.kind,
        "updated_by_id": uow.actor.user_id,
    }
    return await _link(uow, Activity, Activity.lead_id == lead.id, links, stamps)


async def _carry_signals(uow: UnitOfWork, lead: Lead) -> int:
    links = {"account_id": lead.converted_account_id, "opportunity_id": lead.converted_opportunity_id}
    subject: Ref = lead.ref()
    about = (Signal.subject_kind == subject.kind) & (Signal.subject_id == subject.id)
    return await _link(uow, Signal, about, links, {})


async def _link(
    uow: UnitOfWork, model: type[Base], rows: ColumnElement[bool], links: dict[str, UUID | None], stamps: dict[str, Any]
) -> int:
    """Fill in the links of rows that are empty, and return how many rows had one."""
    columns = model.__table__.c
    filled = {name: func.coalesce(columns[name], id) for name, id in links.items()}
    bare = or_(*(columns[name].is_(None) for name in links))
    statement = update(model).where(rows, bare).values(filled | stamps)
    result = await uow.session.execute(statement.execution_options(synchronize_session=False))
    return int(result.rowcount)  # type: ignore[attr-defined]
