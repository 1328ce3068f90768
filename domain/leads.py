"""Unqualified interest: captured once, tied to a person, owned by somebody or open to claim."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, func, select
from sqlalchemy.orm import Mapped, mapped_column

from domain import accounts, people
from domain.accounts import Channel, Contact
from domain.kernel import (
    PERSONAL,
    Access,
    ActorKind,
    InTerritory,
    Invalid,
    Matching,
    Money,
    Owned,
    Record,
    Role,
    Sight,
    Text,
    UnitOfWork,
)


class LeadStatus(StrEnum):
    """Where a lead stands."""

    NEW = "NEW"
    ASSIGNED = "ASSIGNED"
    WORKING = "WORKING"
    NURTURING = "NURTURING"
    QUALIFIED = "QUALIFIED"
    CONVERTED = "CONVERTED"
    DISQUALIFIED = "DISQUALIFIED"


CANDIDATE_LIMIT = 200
"""Open leads of the same name, at most, that a new one is compared with."""
CLOSED = (LeadStatus.CONVERTED, LeadStatus.DISQUALIFIED)


class LeadGrade(StrEnum):
    """How promising a lead is."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"


class DuplicateVerdict(StrEnum):
    """How sure it is that a lead repeats another: the same address is certain, the same name at the same company possible."""

    NONE = "NONE"
    POSSIBLE = "POSSIBLE"
    CERTAIN = "CERTAIN"


LEAD_FIELDS = frozenset(
    {
        "company",
        "region",
        "industry",
        "contact",
        "first_responded_at",
        "owner",
        "interest",
        "budget",
        "grade",
        "duplicate_of",
        "activities",
    }
)


class Lead(Record):
    """One unqualified expression of interest, unique by source and external id."""

    __tablename__ = "leads"
    __person__ = "contact_id"
    __access__ = Access(
        {
            Role.REP: Sight(
                Owned() | InTerritory(unowned="owner_id") | Matching("owner_id", (None,), Owned("created_by_id")),
                LEAD_FIELDS,
            ),
            Role.MANAGER: Sight(InTerritory() | Owned(), LEAD_FIELDS),
        }
    )

    source: Mapped[str]
    external_id: Mapped[str]
    channel: Mapped[Channel | None]
    name: Mapped[str] = mapped_column(info=PERSONAL)
    company: Mapped[str | None]
    interest: Mapped[str | None] = mapped_column(info=PERSONAL)
    budget_minor: Mapped[int | None]
    currency: Mapped[str | None] = mapped_column(String(3))
    industry: Mapped[str | None]
    region: Mapped[str | None]
    territory_id: Mapped[UUID | None] = mapped_column(ForeignKey("territories.id"), index=True)
    brand_id: Mapped[UUID | None] = mapped_column(ForeignKey("brands.id"))
    owner_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"), index=True)
    contact_id: Mapped[UUID] = mapped_column(ForeignKey("contacts.id"), index=True)
    status: Mapped[LeadStatus]
    grade: Mapped[LeadGrade | None]
    captured_at: Mapped[datetime]
    assigned_at: Mapped[datetime | None]
    first_responded_at: Mapped[datetime | None]
    last_activity_at: Mapped[datetime]
    duplicate_verdict: Mapped[DuplicateVerdict]
    duplicate_of_id: Mapped[UUID | None] = mapped_column(ForeignKey("leads.id"))
    payload: Mapped[dict[str, Any] | None] = mapped_column(info=PERSONAL)

    __table_args__ = (
        UniqueConstraint("source", "external_id"),
        Index("ix_leads_company", "company"),
        Index("ix_leads_captured", "captured_at", "id"),
    )


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a possible duplicate shares with a new lead."""

    lead_id: UUID
    same_contact: bool
    same_name: bool
    same_company: bool


def duplicate_verdict(candidates: list[Candidate]) -> tuple[DuplicateVerdict, UUID | None]:
    """The verdict on a new lead and the lead it repeats: a shared address decides, a shared name and company hints."""
    for candidate in candidates:
        if candidate.same_contact:
            return DuplicateVerdict.CERTAIN, candidate.lead_id
    for candidate in candidates:
        if candidate.same_name and candidate.same_company:
            return DuplicateVerdict.POSSIBLE, candidate.lead_id
    return DuplicateVerdict.NONE, None


_CHINESE_FORM = re.compile(r"(?:股份|有限责任|有限|集团|公司)+$")
_ENGLISH_FORM = re.compile(r"(?<![^\s,.])(?:co\.?,?\s*ltd|ltd|limited|inc|corp|corporation|gmbh|llc)[\s,.]*$")
_SEPARATORS = re.compile(r"[^\w&+]+")


def company_key(company: str | None) -> str:
    """A company's name without spaces, punctuation, case and legal form, for comparison; a key is its own key."""
    name = unicodedata.normalize("NFKC", company or "").lower()
    while (shorter := _CHINESE_FORM.sub("", _SEPARATORS.sub("", _ENGLISH_FORM.sub("", name)))) != name:
        name = shorter
    return name


async def capture(
    uow: UnitOfWork, *, source: str, external_id: str, name: str, company: str | None = None, phone: str | None = None, email: str | None = None,
    region: str | None = None, industry: str | None = None, budget: Money | None = None, interest: str | None = None, payload: dict[str, Any] | None = None,
    channel: Channel | None = None, captured_at: datetime | None = None, owner_id: UUID | None = None, wechat: str | None = None,
) -> Lead:  # fmt: skip
    """Take in a lead and its person; the same source and external id give the lead that is there, unchanged.

    The person is the one who has the telephone, e-mail or WeChat address already, or a new one. A region that names no territory
    leaves the lead to the territory of the rep who captured it.

    Raises Invalid for empty names and addresses that cannot be ones.
    """
    for field, value in (("source", source), ("externalId", external_id), ("name", name)):
        if not value.strip():
            raise Invalid(Text(f"{field} 不能为空", f"{field} cannot be empty"), (field,))
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
    territory = await people.find_territory(uow.session, region)
    lead = Lead(
        id=uow.new_id(), source=source, external_id=external_id, channel=channel, name=name.strip(), company=company, interest=interest,
        budget_minor=budget.amount_minor if budget else None, currency=budget.currency if budget else None, industry=industry,
        region=territory.key if territory else region, territory_id=territory.id if territory else _home_territory(uow), contact_id=contact.id,
        owner_id=owner_id, status=LeadStatus.ASSIGNED if owner_id else LeadStatus.NEW, assigned_at=uow.now if owner_id else None,
        captured_at=captured_at or uow.now, last_activity_at=captured_at or uow.now, duplicate_verdict=verdict, duplicate_of_id=repeated, payload=payload,
    )  # fmt: skip
    uow.session.add(lead)
    uow.note("lead.captured", lead, {"source": source, "duplicate": verdict.value})
    await uow.session.flush()
    return lead


def _home_territory(uow: UnitOfWork) -> UUID | None:
    mine = [territory for reach in uow.actor.reaches if reach.role is Role.REP for territory in reach.territory_ids]
    return min(mine, default=None) if uow.actor.kind is ActorKind.USER else None


async def _candidates(uow: UnitOfWork, contact: Contact | None, name: str, company: str | None) -> list[Candidate]:
    same_contact = Lead.contact_id == contact.id if contact else Lead.contact_id.is_(None)
    alike = same_contact | (func.lower(Lead.name) == name.strip().lower())
    # However many share a common name, the leads of the same person come first.
    nearest = select(Lead).where(alike, Lead.status.not_in(CLOSED)).order_by(same_contact.desc(), Lead.id)
    rows = await uow.session.execute(nearest.limit(CANDIDATE_LIMIT))
    key = company_key(company)
    return [
        Candidate(
            lead_id=lead.id,
            same_contact=contact is not None and lead.contact_id == contact.id,
            same_name=lead.name.strip().lower() == name.strip().lower(),
            same_company=bool(key) and company_key(lead.company) == key,
        )
        for lead in rows.scalars()
    ]


def touch(lead: Lead, at: datetime, *, responded: bool) -> None:
    """Take in that somebody did something with a lead; the first genuine reply after its capture stops the response clock."""
    lead.last_activity_at = max(lead.last_activity_at, at)
    if not responded or at < lead.captured_at:
        return
    lead.first_responded_at = min(lead.first_responded_at or at, at)
    if lead.status in {LeadStatus.NEW, LeadStatus.ASSIGNED}:
        lead.status = LeadStatus.WORKING
