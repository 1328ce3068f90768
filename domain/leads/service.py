"""Leads' operations: capture, who owns one, what was learned of it, and where it stands."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from domain import accounts, custom_fields, people
from domain.accounts import Channel, Contact
from domain.kernel import (
    ActorKind,
    Conflict,
    Forbidden,
    Invalid,
    Money,
    Role,
    SalesError,
    Text,
    UnitOfWork,
    load,
    not_found,
)
from domain.leads.model import CLOSED, Lead, LeadGrade, LeadStatus
from domain.leads.policy import (
    FOLLOWING,
    STATUS_LABELS,
    Candidate,
    LeadStep,
    Refusal,
    Standing,
    duplicate_verdict,
    refusal,
)
from domain.leads.waiting import begin_waiting

WRITERS = (Role.REP, Role.MANAGER)
CANDIDATE_LIMIT = 200
"""Open leads of the same name, at most, that a new one is compared with."""
REASON_LENGTH = 2000


# ---- capture ---------------------------------------------------------------------------------------------------------


async def capture(
    uow: UnitOfWork, *, source: str, external_id: str, name: str, company: str | None = None, phone: str | None = None, email: str | None = None,
    region: str | None = None, industry: str | None = None, budget: Money | None = None, interest: str | None = None, payload: dict[str, Any] | None = None,
    channel: Channel | None = None, captured_at: datetime | None = None, owner_id: UUID | None = None, wechat: str | None = None,
    custom: Mapping[str, Any] | None = None,
) -> Lead:  # fmt: skip
    """Take in a lead and its person; the same source and external id give the lead that is there, unchanged.

    The person is the one who has the telephone, e-mail or WeChat address already, or a new one. A region that names no territory
    leaves the lead to the territory of the rep who captured it; without a region it gets that territory's.

    Raises Invalid for empty names, addresses that cannot be ones, and custom values that cannot be taken.
    """
    for field, value in (("source", source), ("externalId", external_id), ("name", name)):
        _filled(value, field)
    await uow.wait_turn(f"lead\0{source}\0{external_id}")
    known = (
        await uow.session.execute(select(Lead).where(Lead.source == source, Lead.external_id == external_id))
    ).scalar_one_or_none()
    if known is not None:
        return known
    given = [(Channel.PHONE, phone, "phone"), (Channel.EMAIL, email, "email"), (Channel.WECHAT, wechat, "wechat")]
    points = [(kind, value, field) for kind, value, field in given if value and value.strip()]
    keys = [(kind, accounts.match_key(kind, value, (field,))) for kind, value, field in points]
    contact = await accounts.find_contact(uow, keys)
    fresh = contact is None
    if contact is None:
        contact = await accounts.create_contact(uow, name=name)
        await uow.session.flush()
    for kind, value, field in points:
        await accounts.add_contact_point(uow, contact, kind, value, path=(field,))
    verdict, repeated = duplicate_verdict(await _candidates(uow, contact if not fresh else None, name, company))
    place, territory_id = await _place(uow, region)
    came_in = captured_at or uow.now
    lead = Lead(
        id=uow.new_id(), source=source, external_id=external_id, channel=channel, name=name.strip(), company=company, interest=interest,
        budget_minor=budget.amount_minor if budget else None, currency=budget.currency if budget else None, industry=industry,
        region=place, territory_id=territory_id, brand_id=uow.actor.home_brand(*WRITERS), contact_id=contact.id,
        owner_id=owner_id, status=LeadStatus.ASSIGNED if owner_id else LeadStatus.NEW, assigned_at=came_in if owner_id else None,
        captured_at=came_in, last_activity_at=came_in, duplicate_verdict=verdict, duplicate_of_id=repeated, payload=payload,
        custom=await custom_fields.apply(uow, Lead.entity(), None, custom),
    )  # fmt: skip
    uow.session.add(lead)
    uow.note("lead.captured", lead, {"source": source, "duplicate": verdict.value})
    if uow.actor.kind is not ActorKind.IMPORT:
        # What is imported came in long ago.
        begin_waiting(uow, lead)
    await uow.session.flush()
    return lead


def _filled(value: str, field: str) -> str:
    if not value.strip():
        raise Invalid(Text(f"{field} 不能为空", f"{field} cannot be empty"), (field,))
    return value.strip()


async def _place(uow: UnitOfWork, region: str | None) -> tuple[str | None, UUID | None]:
    """The region as it is stored and the territory: those that the words name, else those of the rep who acts."""
    territory = await people.find_territory(uow.session, region)
    if territory is not None:
        return territory.key, territory.id
    home = _home_territory(uow)
    if home is None or (region and region.strip()):
        return region, home
    return (await uow.session.get_one(people.Territory, home)).key, home


def _home_territory(uow: UnitOfWork) -> UUID | None:
    mine = [territory for reach in uow.actor.reaches if reach.role is Role.REP for territory in reach.territory_ids]
    return min(mine, default=None) if uow.actor.kind is ActorKind.USER else None


async def _candidates(uow: UnitOfWork, contact: Contact | None, name: str, company: str | None) -> list[Candidate]:
    same_contact = Lead.contact_id == contact.id if contact else Lead.contact_id.is_(None)
    alike = same_contact | (func.lower(Lead.name) == name.strip().lower())
    # However many share a common name, the leads of the same person come first.
    nearest = select(Lead).where(alike, Lead.status.not_in(CLOSED)).order_by(same_contact.desc(), Lead.id)
    rows = await uow.session.execute(nearest.limit(CANDIDATE_LIMIT))
    key = accounts.company_key(company)
    return [
        Candidate(
            lead_id=lead.id,
            same_contact=contact is not None and lead.contact_id == contact.id,
            same_name=lead.name.strip().lower() == name.strip().lower(),
            same_company=bool(key) and accounts.company_key(lead.company) == key,
        )
        for lead in rows.scalars()
    ]


def touch(lead: Lead, at: datetime, *, responded: bool) -> None:
    """Take in that somebody did something with a lead; the first genuine reply after its capture stops the response clock."""
    lead.last_activity_at = max(lead.last_activity_at, at)
    if not responded or at < lead.captured_at:
        return
    lead.first_responded_at = min(lead.first_responded_at or at, at)
    lead.status = FOLLOWING[LeadStep.RESPOND].get(lead.status, lead.status)


# ---- who may ---------------------------------------------------------------------------------------------------------

_REFUSALS = {
    Refusal.NOT_ALLOWED: (Forbidden, Text("只有线索负责人或该区域的经理可以这样做", "only its owner or the manager of its territory may do this")),
    Refusal.CLAIM_FIRST: (Conflict, Text("这条线索还没有负责人，请先领取或分配", "nobody owns this lead: claim or assign it first")),
    Refusal.TAKEN: (Conflict, Text("这条线索已被其他同事领取", "a colleague has claimed this lead already")),
}  # fmt: skip


def _standing(uow: UnitOfWork, lead: Lead) -> Standing:
    return Standing(
        manages=uow.actor.manages(lead.territory_id),
        owns=lead.owner_id is not None and lead.owner_id == uow.actor.user_id,
        owned=lead.owner_id is not None,
    )


def check_step(uow: UnitOfWork, lead: Lead, step: LeadStep, path: tuple[str, ...] = ("id",)) -> None:
    """Check that the actor may take a step on a lead now.

    Raises Forbidden when it is neither theirs nor managed by them, Conflict when its state does not allow the step.
    """
    why = refusal(step, lead.status, _standing(uow, lead))
    if why is not None:
        raise _refused(why, lead, path)


def _refused(why: Refusal, lead: Lead, path: tuple[str, ...] = ("id",)) -> SalesError:
    if why is Refusal.WRONG_STATUS:
        label = STATUS_LABELS[lead.status]
        words = Text(f"线索{label.zh}，不能这样做", f"the lead is {label.en}: that does not allow this")
        return Conflict(words, path)
    kind, words = _REFUSALS[why]
    return kind(words, path)


async def _take(uow: UnitOfWork, id: UUID, step: LeadStep, expected_version: int | None) -> Lead:
    """The lead on which the actor takes a step, locked, with the status that follows."""
    actor = uow.actor.only(*WRITERS)
    lead = await load(uow.session, actor, Lead, id, expected_version=expected_version, lock=True)
    check_step(uow, lead, step)
    lead.status = FOLLOWING[step][lead.status]
    return lead


# ---- who owns it -----------------------------------------------------------------------------------------------------


async def claim(uow: UnitOfWork, id: UUID) -> Lead:
    """Make an unowned lead that the actor sees as a rep theirs; one that is theirs already stays as it is.

    Raises NotFound for an absent lead and one out of their reach, Conflict when a colleague was faster.
    """
    lead = (await uow.session.execute(select(Lead).where(Lead.id == id).with_for_update())).scalar_one_or_none()
    # Whoever could have claimed it a moment ago may know that it is taken: the rules for rows hide it by now.
    if lead is None or not _in_reach(uow, lead):
        raise not_found("Lead", ("id",))
    if lead.owner_id is not None and lead.owner_id == uow.actor.user_id:
        return lead
    check_step(uow, lead, LeadStep.CLAIM)
    lead.status = FOLLOWING[LeadStep.CLAIM][lead.status]
    lead.owner_id, lead.assigned_at = uow.actor.user_id, uow.now
    begin_waiting(uow, lead)
    uow.note("lead.claimed", lead)
    await uow.session.flush()
    return lead


def _in_reach(uow: UnitOfWork, lead: Lead) -> bool:
    mine = uow.actor.user_id in {lead.owner_id, lead.created_by_id}
    return mine or any(lead.territory_id in reach.territory_ids for reach in uow.actor.only(Role.REP).reaches)


async def assign(uow: UnitOfWork, id: UUID, *, owner_id: UUID, expected_version: int | None = None) -> Lead:
    """Give a lead to a colleague who sells: its owner hands it over within its territory, its manager to anybody who sells.

    Raises Forbidden when it is neither theirs nor managed by them, Conflict when it is closed, Invalid for a colleague who
    does not sell there.
    """
    lead = await _take(uow, id, LeadStep.ASSIGN, expected_version)
    within = None if _standing(uow, lead).manages else lead.territory_id
    await people.check_seller(uow, owner_id, within, path=("ownerId",))
    changes_hands = lead.owner_id != owner_id
    if changes_hands:
        lead.owner_id, lead.assigned_at = owner_id, uow.now
    lead.disqualify_reason = None
    if changes_hands:
        begin_waiting(uow, lead)
    uow.note("lead.assigned", lead)
    await uow.session.flush()
    return lead


async def release(uow: UnitOfWork, id: UUID, *, expected_version: int | None = None) -> Lead:
    """Open a lead to be claimed by whoever sells in its territory, or in the actor's own where it has none."""
    lead = await _take(uow, id, LeadStep.RELEASE, expected_version)
    lead.owner_id = lead.assigned_at = None
    lead.territory_id = lead.territory_id or _home_territory(uow)
    uow.note("lead.released", lead)
    await uow.session.flush()
    return lead


# ---- what was learned, and where it stands ---------------------------------------------------------------------------


async def update(uow: UnitOfWork, id: UUID, *, changes: Mapping[str, Any], expected_version: int | None = None) -> Lead:
    """Set what is given of name, company, industry, region, interest, budget and grade; one that changes nothing is no event.

    Raises Conflict for a converted lead, Invalid for an empty name.
    """
    actor = uow.actor.only(*WRITERS)
    lead = await load(uow.session, actor, Lead, id, expected_version=expected_version, lock=True)
    if lead.status is LeadStatus.CONVERTED:
        raise _refused(Refusal.WRONG_STATUS, lead)
    for name, value in changes.items():
        await _set(uow, lead, name, value)
    if uow.session.is_modified(lead):
        uow.note("lead.updated", lead)
        await uow.session.flush()
    return lead


async def _set(uow: UnitOfWork, lead: Lead, name: str, value: Any) -> None:
    if name == "name":
        lead.name = _filled(value or "", "name")
    elif name == "budget":
        lead.budget_minor = value.amount_minor if value else None
        lead.currency = value.currency if value else None
    elif name == "region":
        territory = await people.find_territory(uow.session, value)
        lead.region = territory.key if territory else value
        lead.territory_id = territory.id if territory else lead.territory_id
    elif name == "custom":
        lead.custom = await custom_fields.apply(uow, lead.entity(), lead.custom, value)
    elif name in {"company", "industry", "interest", "grade"}:
        setattr(lead, name, value)
    else:
        raise LookupError(f"nobody changes a lead's {name}")


async def qualify(
    uow: UnitOfWork, id: UUID, *, grade: LeadGrade | None = None, expected_version: int | None = None
) -> Lead:
    """Find a lead worth a deal, with a grade where one is given."""
    lead = await _take(uow, id, LeadStep.QUALIFY, expected_version)
    lead.grade = grade or lead.grade
    uow.note("lead.qualified", lead)
    await uow.session.flush()
    return lead


async def nurture(uow: UnitOfWork, id: UUID, *, expected_version: int | None = None) -> Lead:
    """Keep a lead warm that is not ready yet."""
    lead = await _take(uow, id, LeadStep.NURTURE, expected_version)
    uow.note("lead.nurtured", lead)
    await uow.session.flush()
    return lead


async def disqualify(uow: UnitOfWork, id: UUID, *, reason: str, expected_version: int | None = None) -> Lead:
    """Give a lead up for a reason.

    Raises Invalid without one.
    """
    why = _filled(reason, "reason")
    if len(why) > REASON_LENGTH:
        raise Invalid(Text("原因过长", "the reason is too long"), ("reason",))
    lead = await _take(uow, id, LeadStep.DISQUALIFY, expected_version)
    lead.disqualify_reason = why
    uow.note("lead.disqualified", lead)
    await uow.session.flush()
    return lead
