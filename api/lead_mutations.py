"""What people do with leads: take in, claim, hand over, answer, judge, convert."""

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any, cast
from uuid import UUID

import strawberry
from sqlalchemy import select

from api.accounts import Account, Contact
from api.activities import Activity
from api.context import Info
from api.custom_fields import CustomFieldInput, custom_input, read_custom, with_custom
from api.deals import Opportunity
from api.leads import Lead, MoneyInput
from api.mutations import UserError, changes, create_once, given, mutation, refusals, text
from api.reads import expect, selected
from api.scalars import JSON
from domain import activities, conversion, deals, kernel, leads
from domain.accounts import Channel
from domain.activities import ActivityKind
from domain.conversion import Terms
from domain.kernel import SYSTEM, Invalid, Ref, Role, Text
from domain.leads import LeadGrade

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

REASON_LENGTH = 2000


# ---- inputs ----------------------------------------------------------------------------------------------------------


@strawberry.input(description="A lead to capture; source and externalId together name it once.")
class CaptureLeadInput:
    """What a capture takes."""

    source: str = text("Where it comes from.", 200, required=True)
    external_id: str = text("Its id there; the same source and id give the lead that is there.", 200, required=True)
    name: str = text("The person's name.", 200, required=True)
    company: str | None = text("The person's company.")
    phone: str | None = text("A telephone number; numbers without a country code are Chinese.", 100)
    email: str | None = text("An e-mail address.", 320)
    wechat: str | None = text("A WeChat id.", 100)
    region: str | None = text("The region's key, or its label in either language; the caller's own without it.", 200)
    industry: str | None = text("The key of the industry.", 200)
    budget: MoneyInput | None = strawberry.field(default=strawberry.UNSET, description="What may be spent.")
    interest: str | None = text("What was asked for.", 5000)
    channel: Channel | None = strawberry.field(default=strawberry.UNSET, description="The way in which it came.")
    claim: bool | None = strawberry.field(
        default=strawberry.UNSET, description="True: the caller owns it at once; open to claim without it."
    )
    payload: JSON | None = strawberry.field(
        default=strawberry.UNSET, description="The form as it came in: a JSON object."
    )
    custom: list[CustomFieldInput] | None = custom_input()


@strawberry.input(description="A lead, as the caller holds it.")
class LeadActionInput:
    """What a step takes."""

    id: strawberry.ID = strawberry.field(description="The lead.")
    expected_version: int = strawberry.field(description="The `version` on which the step is taken.")


@strawberry.input(description="A lead to claim.")
class ClaimLeadInput:
    """What a claim takes."""

    id: strawberry.ID = strawberry.field(description="The lead; whoever is first has it.")


@strawberry.input(description="A lead to give to a colleague.")
class AssignLeadInput:
    """What an assignment takes."""

    id: strawberry.ID = strawberry.field(description="The lead.")
    expected_version: int = strawberry.field(description="The `version` on which it is given.")
    owner_id: strawberry.ID = strawberry.field(description="The colleague, who sells there.")


@strawberry.input(description="What to change in a lead; what is left out stays.")
class UpdateLeadInput:
    """What updating a lead takes."""

    id: strawberry.ID = strawberry.field(description="The lead.")
    expected_version: int = strawberry.field(description="The `version` on which the change is made.")
    name: str | None = text("The person's name.", 200)
    company: str | None = text("The person's company.")
    region: str | None = text("The region's key, or its label in either language.", 200)
    industry: str | None = text("The key of the industry.", 200)
    budget: MoneyInput | None = strawberry.field(default=strawberry.UNSET, description="What may be spent.")
    interest: str | None = text("What was asked for.", 5000)
    grade: LeadGrade | None = strawberry.field(default=strawberry.UNSET, description="How promising it is.")
    custom: list[CustomFieldInput] | None = custom_input()


@strawberry.input(description="A lead that is worth a deal.")
class QualifyLeadInput:
    """What qualifying takes."""

    id: strawberry.ID = strawberry.field(description="The lead.")
    expected_version: int = strawberry.field(description="The `version` on which the step is taken.")
    grade: LeadGrade | None = strawberry.field(default=strawberry.UNSET, description="How promising it is.")


@strawberry.input(description="A lead to give up.")
class DisqualifyLeadInput:
    """What giving up takes."""

    id: strawberry.ID = strawberry.field(description="The lead.")
    expected_version: int = strawberry.field(description="The `version` on which the step is taken.")
    reason: str = text("Why.", REASON_LENGTH, required=True)


@strawberry.input(description="A genuine reply to a lead.")
class RespondToLeadInput:
    """What a reply takes."""

    client_key: strawberry.ID = text("The caller's key: the same one logs once.", 200, required=True)
    lead_id: strawberry.ID = strawberry.field(description="The lead.")
    kind: ActivityKind = strawberry.field(description="How: CALL, MEETING, VISIT, EMAIL or MESSAGE.")
    subject: str = text("What it was about.", activities.SUBJECT_LENGTH, required=True)
    body: str | None = text("What was said or written.", activities.BODY_LENGTH)
    occurred_at: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="When it was done; now without it."
    )


@strawberry.input(description="A lead to turn into a deal; account and deal are picked, or made of what the lead says.")
class ConvertLeadInput:
    """What a conversion takes."""

    client_key: strawberry.ID = text("The caller's key: the same one converts once.", 200, required=True)
    lead_id: strawberry.ID = strawberry.field(description="The lead.")
    expected_version: int = strawberry.field(description="The lead's `version` on which it is converted.")
    account_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="An account that is there; without it the person's own, or a new one."
    )
    account_name: str | None = text("The name of a new account; the lead's company without it.", 300)
    opportunity_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="A deal that is there; without it a new one."
    )
    opportunity_name: str | None = text("The name of a new deal; the account's without it.", 300)
    pipeline_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="The pipeline; without it the nearest of the account's territory."
    )
    stage_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="The stage; without it the first open one."
    )
    stage_key: str | None = text("The stage by its key in the pipeline.", 60)
    amount: MoneyInput | None = strawberry.field(
        default=strawberry.UNSET, description="What the deal is worth; the lead's budget without it."
    )
    close_date: date | None = strawberry.field(
        default=strawberry.UNSET, description="When the deal is expected to close."
    )


# ---- answers ---------------------------------------------------------------------------------------------------------


@strawberry.type(description="The lead as it is now, or why it is not.")
class LeadPayload:
    """The answer about a lead."""

    lead: Lead | None = strawberry.field(
        default=None, description="The lead; null where it is not the reader's to see."
    )
    errors: list[UserError] = refusals()


@strawberry.type(description="The lead and the reply to it, or why it was not taken.")
class RespondToLeadPayload:
    """The answer to a reply."""

    lead: Lead | None = strawberry.field(default=None, description="The lead.")
    activity: Activity | None = strawberry.field(default=None, description="The reply.")
    errors: list[UserError] = refusals()


@strawberry.type(description="What the lead became, or why it did not.")
class ConvertLeadPayload:
    """The answer to a conversion."""

    lead: Lead | None = strawberry.field(default=None, description="The lead.")
    account: Account | None = strawberry.field(default=None, description="The account.")
    contact: Contact | None = strawberry.field(default=None, description="The person.")
    opportunity: Opportunity | None = strawberry.field(default=None, description="The deal.")
    errors: list[UserError] = refusals()


def _payload(input: CaptureLeadInput) -> dict[str, Any] | None:
    payload = given(input.payload)
    if payload is not None and not isinstance(payload, dict):
        raise Invalid(Text("payload 必须是 JSON 对象", "payload must be a JSON object"), ("payload",))
    return cast("dict[str, Any] | None", payload)


def amount_of(input: MoneyInput | None, path: str) -> kernel.Money | None:
    """The money that an input gives; None where it gives none.

    Raises Invalid for an amount or a currency that cannot be.
    """
    return kernel.money(input.amount, input.currency, (path,)) if input else None


def picked(entity: str, id: strawberry.ID | None, path: str) -> UUID | None:
    """The record's own id where an optional input names one.

    Raises NotFound for an id of something else.
    """
    return expect(entity, id, path) if id else None


async def _lead(info: Info, id: UUID) -> LeadPayload:
    return LeadPayload(lead=selected(info, Lead, id))


async def _step(info: Info, input: Any, operation: "Callable[..., Awaitable[Any]]", **words: Any) -> LeadPayload:
    id = expect("Lead", input.id, "id")
    async with info.context.open_uow() as uow:
        await operation(uow, id, expected_version=input.expected_version, **words)
    return await _lead(info, id)


Step = Annotated[LeadActionInput, strawberry.argument(description="The lead and its version.")]


@strawberry.type
class LeadMutations:
    """The mutations of this room."""

    @mutation("Capture a lead once, and find or make the contact who holds its contact points.", Role.REP, Role.MANAGER)
    async def capture_lead(
        self, info: Info, input: Annotated[CaptureLeadInput, strawberry.argument(description="The lead.")]
    ) -> LeadPayload | None:
        """Capture it, and read it as the caller sees it."""
        payload, budget = _payload(input), amount_of(given(input.budget), "budget")
        async with info.context.open_uow() as uow:
            lead = await leads.capture(
                uow, source=input.source, external_id=input.external_id, name=input.name, company=given(input.company), phone=given(input.phone),
                email=given(input.email), wechat=given(input.wechat), region=given(input.region), industry=given(input.industry),
                interest=given(input.interest), channel=given(input.channel), budget=budget, payload=payload,
                owner_id=uow.actor.user_id if given(input.claim) else None, custom=read_custom(given(input.custom)),
            )  # fmt: skip
        return await _lead(info, lead.id)

    @mutation("Take a lead that nobody owns: of several at once the first has it, the others get CONFLICT.", Role.REP)
    async def claim_lead(
        self, info: Info, input: Annotated[ClaimLeadInput, strawberry.argument(description="The lead.")]
    ) -> LeadPayload | None:
        """Claim it."""
        id = expect("Lead", input.id, "id")
        async with info.context.open_uow() as uow:
            await leads.claim(uow, id)
        return await _lead(info, id)

    @mutation("Give a lead to a colleague who sells: one's own within its territory, a manager any.", *leads.WRITERS)
    async def assign_lead(
        self,
        info: Info,
        input: Annotated[AssignLeadInput, strawberry.argument(description="The lead and who gets it.")],
    ) -> LeadPayload | None:
        """Assign it."""
        return await _step(info, input, leads.assign, owner_id=expect("User", input.owner_id, "ownerId"))

    @mutation("Open a lead to be claimed again.", *leads.WRITERS)
    async def release_lead(self, info: Info, input: Step) -> LeadPayload | None:
        """Release it."""
        return await _step(info, input, leads.release)

    @mutation("Change what a lead says.", *leads.WRITERS)
    async def update_lead(
        self, info: Info, input: Annotated[UpdateLeadInput, strawberry.argument(description="The change.")]
    ) -> LeadPayload | None:
        """Change it."""
        words = changes(input, "name", "company", "region", "industry", "budget", "interest", "grade", "custom")
        words = with_custom(words)
        if "budget" in words:
            words["budget"] = amount_of(words["budget"], "budget")
        return await _step(info, input, leads.update, changes=words)

    @mutation("Find a lead worth a deal.", *leads.WRITERS)
    async def qualify_lead(
        self, info: Info, input: Annotated[QualifyLeadInput, strawberry.argument(description="The lead.")]
    ) -> LeadPayload | None:
        """Qualify it."""
        return await _step(info, input, leads.qualify, grade=given(input.grade))

    @mutation("Keep a lead warm that is not ready yet.", *leads.WRITERS)
    async def nurture_lead(self, info: Info, input: Step) -> LeadPayload | None:
        """Nurture it."""
        return await _step(info, input, leads.nurture)

    @mutation("Give a lead up for a reason.", *leads.WRITERS)
    async def disqualify_lead(
        self, info: Info, input: Annotated[DisqualifyLeadInput, strawberry.argument(description="The lead and why.")]
    ) -> LeadPayload | None:
        """Disqualify it."""
        return await _step(info, input, leads.disqualify, reason=input.reason)

    @mutation("Log a genuine reply to a lead once: it stops the response clock.", *leads.WRITERS)
    async def respond_to_lead(
        self, info: Info, input: Annotated[RespondToLeadInput, strawberry.argument(description="The reply.")]
    ) -> RespondToLeadPayload | None:
        """Log it, and read both as the caller sees them."""
        id = expect("Lead", input.lead_id, "leadId")
        async with info.context.open_uow() as uow:
            activity = await activities.log(
                uow, related_to=Ref("Lead", id), kind=input.kind, subject=input.subject, body=given(input.body),
                occurred_at=given(input.occurred_at), client_key=input.client_key, reply=True,
            )  # fmt: skip
        return RespondToLeadPayload(
            lead=selected(info, Lead, id),
            activity=selected(info, Activity, activity.id),
        )

    @mutation("Turn a lead into a deal once, with everything that was learned on the way.", *leads.WRITERS)
    async def convert_lead(
        self, info: Info, input: Annotated[ConvertLeadInput, strawberry.argument(description="The lead and its terms.")]
    ) -> ConvertLeadPayload | None:
        """Convert it, and read what came of it as the caller sees it."""
        id = expect("Lead", input.lead_id, "leadId")
        words = {"lead_id": id, "terms": _terms(input), "expected_version": input.expected_version}
        opportunity_id = await create_once(info, input, deals.Opportunity, conversion.convert, words)
        became = select(leads.Lead.converted_account_id, leads.Lead.contact_id).where(leads.Lead.id == id)
        # Who converted it may not see the lead any more: what came of it is shown as far as they see that.
        (ids,) = await info.context.rows(became, SYSTEM)
        return ConvertLeadPayload(
            lead=selected(info, Lead, id),
            account=selected(info, Account, ids["converted_account_id"]),
            contact=selected(info, Contact, ids["contact_id"]),
            opportunity=selected(info, Opportunity, opportunity_id),
        )


def _terms(input: ConvertLeadInput) -> Terms:
    return Terms(
        account_id=picked("Account", given(input.account_id), "accountId"),
        account_name=given(input.account_name),
        opportunity_id=picked("Opportunity", given(input.opportunity_id), "opportunityId"),
        opportunity_name=given(input.opportunity_name),
        pipeline_id=picked("Pipeline", given(input.pipeline_id), "pipelineId"),
        stage_id=picked("Stage", given(input.stage_id), "stageId"),
        stage_key=given(input.stage_key),
        amount=amount_of(given(input.amount), "amount"),
        close_date=given(input.close_date),
    )
