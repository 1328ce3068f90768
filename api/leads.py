"""Leads in the schema: what they say, where they stand, and what became of them."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import strawberry
from sqlalchemy import ColumnElement, case

from api.accounts import Account, Contact
from api.context import Context
from api.custom_fields import CustomFieldFilter, CustomFieldValue, custom_filter, custom_values
from api.people import User
from api.reads import (
    Connection,
    Money,
    View,
    by,
    column,
    contains_in,
    derived,
    embedded,
    equals,
    listing,
    many,
    matching,
    money,
    names,
    newest,
    node,
    roots,
    rows,
    to_one,
)
from api.record_log import LogEntry, log
from api.records import RECORD_HIDDEN, Record
from api.regions import in_region
from api.scalars import enum
from api.timeline import TimelineEntry, timeline
from domain import leads
from domain.accounts import Channel
from domain.kernel import Invalid, Text
from domain.leads import DuplicateVerdict, LeadGrade, LeadStatus

if TYPE_CHECKING:
    from api.activities import Activity
    from api.attachments import Attachment
    from api.deals import Opportunity

enum(
    LeadStatus,
    "Where a lead stands.",
    NEW="Captured, with no owner yet.",
    ASSIGNED="Owned, not worked on yet.",
    WORKING="Being worked on.",
    NURTURING="Not ready; kept warm.",
    QUALIFIED="Worth a deal.",
    CONVERTED="Turned into a deal.",
    DISQUALIFIED="Not worth a deal.",
)
enum(LeadGrade, "How promising a lead is.", A="Very.", B="Fairly.", C="Little.", D="Hardly.")
enum(
    DuplicateVerdict,
    "How sure it is that a lead repeats another.",
    NONE="It repeats none.",
    POSSIBLE="The same name at the same company.",
    CERTAIN="The same person: an address is the same.",
)

DORMANT_LIMIT = 24 * 366 * 20
"""Twenty years, in hours."""


CONVERSION = ("converted_at", "converted_account_id", "converted_opportunity_id", "contact_id")


@rows
class LeadConversion:
    """What a lead became."""

    at: datetime = column("When it was converted.")
    opportunity: Annotated["Opportunity", strawberry.lazy("api.deals")] | None = to_one(
        "opportunity_id", "The deal; null where it is not the reader's to see."
    )
    account: Account | None = to_one("account_id", "The account; null where it is not the reader's to see.")
    contact: Contact | None = to_one("contact_id", "The person; null where they are not the reader's to see.")


def _contact_of_converted(view: View) -> ColumnElement[UUID]:
    """The person, once the lead is converted: a lead has one before."""
    return case((view.column("converted_at", "converted_to").is_not(None), view.column("contact_id", "converted_to")))


@node(
    leads.Lead, order=by("-captured_at", "-id"), hidden=RECORD_HIDDEN | {"external_id", "territory_id", "brand_id", "payload"},
)  # fmt: skip
class Lead(Record):
    """An unqualified expression of interest, tied to a person."""

    name: str = column("The name that was given.")
    company: str | None = column("The company that was given.")
    source: str = column("Where it came from.")
    channel: Channel | None = column("The way in which it came.")
    status: LeadStatus = column("Where it stands.")
    region: str | None = column("The key of its region.")
    industry: str | None = column("The key of its industry.")
    interest: str | None = column("What was asked for.")
    budget: Money | None = money("budget_minor", "currency", "What may be spent.")
    grade: LeadGrade | None = column("How promising it is.")
    disqualify_reason: str | None = column("Why it was given up.")
    contact: Contact | None = to_one("contact_id", "The person.")
    captured_at: datetime = column("When it came in.")
    assigned_at: datetime | None = column("Since when its owner has it.")
    first_responded_at: datetime | None = column("When somebody first genuinely replied.")
    first_response_minutes: int | None = derived(
        ("first_responded_at", "assigned_at", "captured_at"), leads.first_response_minutes,
        "Whole minutes to the first genuine reply: from the assignment, or from the capture where no assignment came before the reply.",
    )  # fmt: skip
    reminded_at: datetime | None = column(
        "When its owner was reminded that it waits for a first reply; null while it was not due."
    )
    escalated_at: datetime | None = column(
        "When its managers were told that it waits for a first reply; null while it was not due."
    )
    interest_shown_at: datetime | None = column(
        "When the prospect last did what shows interest, such as asking for a demonstration; null where nothing is known."
    )
    last_activity_at: datetime = column("When anything was last done on it.")
    owner: User | None = to_one("owner_id", "The colleague who works on it; null while it is open to claim.")
    duplicate_verdict: DuplicateVerdict | None = column("How sure it is that it repeats another.")
    duplicate_of: Annotated["Lead", strawberry.lazy("api.leads")] | None = to_one(
        "duplicate_of_id", "The lead that this one repeats."
    )
    duplicates: list[Annotated["Lead", strawberry.lazy("api.leads")]] = many(
        "duplicate_of_id", "The leads that repeat this one."
    )
    custom_fields: list[CustomFieldValue] = custom_values("Lead")
    converted_to: LeadConversion | None = embedded(
        "What it became; null until it did.", CONVERSION, at="converted_at", account_id="converted_account_id",
        opportunity_id="converted_opportunity_id", contact_id=_contact_of_converted,
    )  # fmt: skip
    activities: list[Annotated["Activity", strawberry.lazy("api.activities")]] = newest(
        "lead_id", "What was done on it, newest first."
    )
    attachments: list[Annotated["Attachment", strawberry.lazy("api.attachments")]] = newest(
        "subject_id", "Its documents, newest first.", where={"subject_kind": "Lead"}
    )
    timeline: Connection[TimelineEntry] = timeline("Lead")
    log: list[LogEntry] = log("Lead")


def _dormant_since(hours: int, context: Context) -> datetime:
    if not 0 <= hours <= DORMANT_LIMIT:
        raise Invalid(
            Text(
                f"dormantSinceHours 必须在 0 到 {DORMANT_LIMIT} 之间",
                f"dormantSinceHours must be from 0 to {DORMANT_LIMIT}",
            ),
            ("filter", "dormantSinceHours"),
        )
    return context.now - timedelta(hours=hours)


def _dormant(view: View, since: ColumnElement[datetime]) -> ColumnElement[bool]:
    return view.column("last_activity_at") <= since


def _unowned(view: View, wanted: bool) -> ColumnElement[bool]:
    owner = view.column("owner_id")
    return owner.is_(None) if wanted else owner.is_not(None)


def _responded(view: View, wanted: bool) -> ColumnElement[bool]:
    replied = view.column("first_responded_at")
    return replied.is_not(None) if wanted else replied.is_(None)


def _overdue(view: View, wanted: bool) -> ColumnElement[bool]:
    waits = view.column("first_responded_at").is_(None) & view.column("escalated_at").is_not(None)
    return waits if wanted else ~waits


@strawberry.input(description="Which leads; all conditions hold together.")
class LeadFilter:
    """Conditions on leads."""

    status: LeadStatus | None = equals("status", "Where it stands.")
    source: str | None = equals("source", "Where it came from.")
    region: str | None = in_region("The region's key, or its label in either language.")
    owner_id: strawberry.ID | None = names("User", "owner_id", "The colleague who works on it.")
    dormant_since_hours: int | None = matching(
        _dormant, "No activity for at least so many hours.", "last_activity_at", convert=_dormant_since
    )
    grade: LeadGrade | None = equals("grade", "How promising it is.")
    channel: Channel | None = equals("channel", "The way in which it came.")
    unowned: bool | None = matching(_unowned, "True: open to claim; false: owned.")
    responded: bool | None = matching(_responded, "True: somebody has genuinely replied; false: nobody has.")
    overdue: bool | None = matching(
        _overdue, "True: nobody has replied and the managers were told of it; false: the others."
    )
    search: str | None = contains_in(
        ("name", "company"), "A part of the name or the company, upper and lower case alike."
    )
    custom: list[CustomFieldFilter] | None = custom_filter()


@strawberry.input(description="An exact amount of one currency.")
class MoneyInput:
    """Money as it comes in."""

    amount: Decimal = strawberry.field(description="The amount in major units, no finer than a minor unit.")
    currency: str = strawberry.field(description="The ISO 4217 code.")


@roots
class LeadQueries:
    """The roots of this room."""

    leads: Connection[Lead] = listing("The leads that the reader sees, newest first.", filter=LeadFilter)
