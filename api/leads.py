"""Leads in the schema, and their capture."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, cast

import strawberry
from sqlalchemy import ColumnElement

from api.accounts import Contact
from api.context import Context, Info
from api.mutations import UserError, given, mutation, refusals, text
from api.people import User
from api.reads import (
    Connection,
    Money,
    View,
    by,
    column,
    equals,
    listing,
    load_one,
    matching,
    money,
    names,
    newest,
    node,
    roots,
    shape_of,
    to_one,
)
from api.records import RECORD_HIDDEN, Record
from api.regions import in_region
from api.scalars import JSON, enum
from domain import kernel, leads
from domain.kernel import Invalid, Role, Text
from domain.leads import LeadGrade, LeadStatus

if TYPE_CHECKING:
    from api.activities import Activity

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

DORMANT_LIMIT = 24 * 366 * 20
"""Twenty years, in hours."""


@node(
    leads.Lead, order=by("-captured_at", "-id"),
    hidden=RECORD_HIDDEN | {"external_id", "channel", "territory_id", "brand_id", "assigned_at", "last_activity_at", "duplicate_verdict", "payload"},
)  # fmt: skip
class Lead(Record):
    """An unqualified expression of interest, tied to a person."""

    name: str = column("The name that was given.")
    company: str | None = column("The company that was given.")
    source: str = column("Where it came from.")
    status: LeadStatus = column("Where it stands.")
    region: str | None = column("The key of its region.")
    industry: str | None = column("The key of its industry.")
    interest: str | None = column("What was asked for.")
    budget: Money | None = money("budget_minor", "currency", "What may be spent.")
    grade: LeadGrade | None = column("How promising it is.")
    contact: Contact | None = to_one("contact_id", "The person.")
    captured_at: datetime = column("When it came in.")
    first_responded_at: datetime | None = column("When somebody first genuinely replied.")
    owner: User | None = to_one("owner_id", "The colleague who works on it.")
    duplicate_of: Annotated["Lead", strawberry.lazy("api.leads")] | None = to_one(
        "duplicate_of_id", "The lead that this one repeats."
    )
    activities: list[Annotated["Activity", strawberry.lazy("api.activities")]] = newest(
        "lead_id", "What was done on it, newest first."
    )


def _dormant(view: View, hours: int, context: Context) -> ColumnElement[bool]:
    if not 0 <= hours <= DORMANT_LIMIT:
        raise Invalid(
            Text(
                f"dormantSinceHours 必须在 0 到 {DORMANT_LIMIT} 之间",
                f"dormantSinceHours must be from 0 to {DORMANT_LIMIT}",
            ),
            ("filter", "dormantSinceHours"),
        )
    return view.column("last_activity_at") <= context.now - timedelta(hours=hours)


@strawberry.input(description="Which leads; all conditions hold together.")
class LeadFilter:
    """Conditions on leads."""

    status: LeadStatus | None = equals("status", "Where it stands.")
    source: str | None = equals("source", "Where it came from.")
    region: str | None = in_region("The region's key, or its label in either language.")
    owner_id: strawberry.ID | None = names("User", "owner_id", "The colleague who works on it.")
    dormant_since_hours: int | None = matching(_dormant, "No activity for at least so many hours.")


@strawberry.input(description="An exact amount of one currency.")
class MoneyInput:
    """Money as it comes in."""

    amount: Decimal = strawberry.field(description="The amount in major units, no finer than a minor unit.")
    currency: str = strawberry.field(description="The ISO 4217 code.")


@strawberry.input(description="A lead to capture; source and externalId together name it once.")
class CaptureLeadInput:
    """What a capture takes."""

    source: str = text("Where it comes from.", 200, required=True)
    external_id: str = text("Its id there; the same source and id give the lead that is there.", 200, required=True)
    name: str = text("The person's name.", 200, required=True)
    company: str | None = text("The person's company.")
    phone: str | None = text("A telephone number; numbers without a country code are Chinese.", 100)
    email: str | None = text("An e-mail address.", 320)
    region: str | None = text("The region's key, or its label in either language.", 200)
    industry: str | None = text("The key of the industry.", 200)
    budget: MoneyInput | None = strawberry.field(default=strawberry.UNSET, description="What may be spent.")
    interest: str | None = text("What was asked for.", 5000)
    payload: JSON | None = strawberry.field(
        default=strawberry.UNSET, description="The form as it came in: a JSON object."
    )


@strawberry.type(description="The lead that was captured, or why it was not.")
class LeadPayload:
    """The answer to a capture."""

    lead: Lead | None = strawberry.field(
        default=None, description="The lead; null where it is not the reader's to see."
    )
    errors: list[UserError] = refusals()


def _payload(input: CaptureLeadInput) -> dict[str, Any] | None:
    payload = given(input.payload)
    if payload is not None and not isinstance(payload, dict):
        raise Invalid(Text("payload 必须是 JSON 对象", "payload must be a JSON object"), ("payload",))
    return cast("dict[str, Any] | None", payload)


def _budget(input: CaptureLeadInput) -> kernel.Money | None:
    return kernel.money(input.budget.amount, input.budget.currency, ("budget",)) if input.budget else None


@roots
class LeadQueries:
    """The roots of this room."""

    leads: Connection[Lead] = listing("The leads that the reader sees, newest first.", filter=LeadFilter)


@strawberry.type
class LeadMutations:
    """The mutations of this room."""

    @mutation("Capture a lead once, and find or make the contact who holds its contact points.", Role.REP, Role.MANAGER)
    async def capture_lead(
        self, info: Info, input: Annotated[CaptureLeadInput, strawberry.argument(description="The lead.")]
    ) -> LeadPayload | None:
        """Capture it, and read it as the caller sees it."""
        payload, budget = _payload(input), _budget(input)
        async with info.context.open_uow() as uow:
            lead = await leads.capture(
                uow, source=input.source, external_id=input.external_id, name=input.name, company=given(input.company), phone=given(input.phone),
                email=given(input.email), region=given(input.region), industry=given(input.industry), interest=given(input.interest), budget=budget, payload=payload,
            )  # fmt: skip
        return LeadPayload(lead=await load_one(info.context, shape_of(Lead), lead.id))
