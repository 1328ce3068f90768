"""What people do with deals: open, change, move, and seat a buying committee; and how pipelines are kept."""

from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

import strawberry

from api.context import Info
from api.custom_fields import CustomFieldInput, custom_input, read_custom, with_custom
from api.deals import Opportunity, OpportunityContactRole
from api.lead_mutations import REASON_LENGTH, amount_of, picked
from api.leads import MoneyInput
from api.mutations import UserError, changes, create_once, given, mutation, refusals, text
from api.reads import expect, selected
from domain import deals
from domain.accounts import BuyingRole, Contact
from domain.deals import SELLERS, WRITERS, ForecastCategory, Influence, Stance
from domain.kernel import Invalid, Text, UnitOfWork, load

NAME_LENGTH, KEY_LENGTH, STEP_LENGTH = 300, 60, 1000


def _optional(description: str) -> Any:
    return strawberry.field(default=strawberry.UNSET, description=description)


def _version() -> Any:
    return strawberry.field(description="The `version` on which the change is made.")


# ---- inputs ----------------------------------------------------------------------------------------------------------


@strawberry.input(description="A deal to open.")
class CreateOpportunityInput:
    """What opening takes."""

    client_key: strawberry.ID = text("The caller's key: the same one opens once.", 200, required=True)
    name: str = text("What it is about.", NAME_LENGTH, required=True)
    account_id: strawberry.ID = strawberry.field(description="The customer.")
    pipeline_id: strawberry.ID | None = _optional("The pipeline; without it the nearest of the account's territory.")
    stage_id: strawberry.ID | None = _optional("The stage; without it the first open one.")
    stage_key: str | None = text("The stage by its key in the pipeline.", KEY_LENGTH)
    amount: MoneyInput | None = _optional("What it is worth.")
    close_date: date | None = _optional("When it is expected to close.")
    owner_id: strawberry.ID | None = _optional(
        "The colleague who leads it, for managers to name; the caller without it."
    )
    primary_competitor: str | None = text("The key of the competitor that counts most.", KEY_LENGTH)
    next_step: str | None = text("What is to be done next.", STEP_LENGTH)
    declared_probability: int | None = _optional("How sure its owner is, 0 to 100.")
    custom: list[CustomFieldInput] | None = custom_input()


@strawberry.input(description="What to change in a deal; what is left out stays.")
class UpdateOpportunityInput:
    """What updating takes."""

    id: strawberry.ID = strawberry.field(description="The deal.")
    expected_version: int = _version()
    name: str | None = text("What it is about.", NAME_LENGTH)
    amount: MoneyInput | None = _optional("What it is worth.")
    close_date: date | None = _optional("When it is expected to close.")
    owner_id: strawberry.ID | None = _optional("The colleague who leads it, for managers to name.")
    primary_competitor: str | None = text("The key of the competitor that counts most.", KEY_LENGTH)
    forecast_category: ForecastCategory | None = _optional("How sure it counts; null: as its stage says.")
    declared_probability: int | None = _optional("How sure its owner is, 0 to 100.")
    next_step: str | None = text("What is to be done next.", STEP_LENGTH)
    custom: list[CustomFieldInput] | None = custom_input()


@strawberry.input(description="A deal to move into another stage: of its pipeline, by id or by key.")
class MoveOpportunityInput:
    """What moving takes."""

    id: strawberry.ID = strawberry.field(description="The deal.")
    expected_version: int = _version()
    stage_id: strawberry.ID | None = _optional("The stage.")
    stage_key: str | None = text("The stage by its key.", KEY_LENGTH)
    loss_reason: str | None = text("Why it is lost; needed for a stage where deals are lost.", REASON_LENGTH)
    at: datetime | None = _optional("When it moved; now without it.")


@strawberry.input(description="A person to seat in a deal's buying committee.")
class AddOpportunityContactRoleInput:
    """What seating takes."""

    client_key: strawberry.ID = text("The caller's key: the same one seats once.", 200, required=True)
    opportunity_id: strawberry.ID = strawberry.field(description="The deal.")
    contact_id: strawberry.ID = strawberry.field(description="The person.")
    role: BuyingRole = strawberry.field(description="What the person decides here.")
    stance: Stance | None = _optional("How the person stands towards the deal.")
    influence: Influence | None = _optional("How much the person's word counts.")
    covered_at: datetime | None = _optional("When we first spoke with the person about it.")


@strawberry.input(description="What to change in a seat; what is left out stays.")
class UpdateOpportunityContactRoleInput:
    """What updating a seat takes."""

    id: strawberry.ID = strawberry.field(description="The seat.")
    expected_version: int = _version()
    role: BuyingRole | None = _optional("What the person decides here.")
    stance: Stance | None = _optional("How the person stands towards the deal; null: nobody knows.")
    influence: Influence | None = _optional("How much the person's word counts.")
    covered_at: datetime | None = _optional("When we first spoke with the person about it.")


@strawberry.input(description="A seat to take out of a buying committee.")
class RemoveOpportunityContactRoleInput:
    """What removing takes."""

    id: strawberry.ID = strawberry.field(description="The seat.")
    expected_version: int = _version()


# ---- answers ---------------------------------------------------------------------------------------------------------


@strawberry.type(description="The deal as it is now, or why it is not.")
class OpportunityPayload:
    """The answer about a deal."""

    opportunity: Opportunity | None = strawberry.field(default=None, description="The deal.")
    errors: list[UserError] = refusals()


@strawberry.type(description="The seat and its deal as they are now, or why they are not.")
class OpportunityContactRolePayload:
    """The answer about a seat."""

    contact_role: OpportunityContactRole | None = strawberry.field(
        default=None, description="The seat; null once removed."
    )
    opportunity: Opportunity | None = strawberry.field(default=None, description="The deal.")
    errors: list[UserError] = refusals()


async def _opportunity(info: Info, id: UUID) -> OpportunityPayload:
    return OpportunityPayload(opportunity=selected(info, Opportunity, id))


async def _seat(info: Info, id: UUID, opportunity_id: UUID) -> OpportunityContactRolePayload:
    return OpportunityContactRolePayload(
        contact_role=selected(info, OpportunityContactRole, id),
        opportunity=selected(info, Opportunity, opportunity_id),
    )


def _needed(words: dict[str, Any], *names: str) -> None:
    """Check that what a record always has is not cleared."""
    for name in names:
        if name in words and words[name] is None:
            raise Invalid(Text(f"{name} 不能为空", f"{name} cannot be null"), (name,))


async def _seat_person(
    uow: UnitOfWork, opportunity_id: UUID, contact_id: UUID, role: BuyingRole, **more: Any
) -> deals.OpportunityContactRole:
    opportunity = await deals.deal_to_change(uow, opportunity_id, *SELLERS, path=("opportunityId",))
    contact = await load(uow.session, uow.actor.only(*SELLERS), Contact, contact_id, path=("contactId",))
    return await deals.add_contact_role(uow, opportunity, contact, role, **more)


@strawberry.type
class DealMutations:
    """The mutations of this room."""

    @mutation("Open a deal once.", *SELLERS)
    async def create_opportunity(
        self, info: Info, input: Annotated[CreateOpportunityInput, strawberry.argument(description="The deal.")]
    ) -> OpportunityPayload | None:
        """Open it, and read it as the caller sees it."""
        words = {
            "name": input.name, "account_id": expect("Account", input.account_id, "accountId"),
            "pipeline_id": picked("Pipeline", given(input.pipeline_id), "pipelineId"),
            "stage_id": picked("Stage", given(input.stage_id), "stageId"), "stage_key": given(input.stage_key),
            "amount": amount_of(given(input.amount), "amount"), "close_date": given(input.close_date),
            "owner_id": picked("User", given(input.owner_id), "ownerId"), "primary_competitor": given(input.primary_competitor),
            "next_step": given(input.next_step), "declared_probability": given(input.declared_probability),
            "custom": read_custom(given(input.custom)) or {},
        }  # fmt: skip
        id = await create_once(info, input, deals.Opportunity, deals.create_opportunity, words)
        return await _opportunity(info, id)

    @mutation("Change what a deal says.", *WRITERS)
    async def update_opportunity(
        self, info: Info, input: Annotated[UpdateOpportunityInput, strawberry.argument(description="The change.")]
    ) -> OpportunityPayload | None:
        """Change it."""
        id = expect("Opportunity", input.id, "id")
        words = changes(
            input, "name", "amount", "close_date", "owner_id", "primary_competitor", "forecast_category",
            "declared_probability", "next_step", "custom",
        )  # fmt: skip
        words = with_custom(words)
        if "amount" in words:
            words["amount"] = amount_of(words["amount"], "amount")
        if words.get("owner_id") is not None:
            words["owner_id"] = expect("User", words["owner_id"], "ownerId")
        async with info.context.open_uow() as uow:
            await deals.update_opportunity(uow, id, changes=words, expected_version=input.expected_version)
        return await _opportunity(info, id)

    @mutation("Move a deal into another stage; a closed one is reopened by the manager of its territory.", *SELLERS)
    async def move_opportunity(
        self, info: Info, input: Annotated[MoveOpportunityInput, strawberry.argument(description="The deal and stage.")]
    ) -> OpportunityPayload | None:
        """Move it."""
        id = expect("Opportunity", input.id, "id")
        key, stage_id = given(input.stage_key), picked("Stage", given(input.stage_id), "stageId")
        if (key is None) == (stage_id is None):
            words = Text("请用 stageId 或 stageKey 之一指明阶段", "name the stage by either stageId or stageKey")
            raise Invalid(words, ("stageId",))
        async with info.context.open_uow() as uow:
            deal = await deals.deal_to_change(uow, id, *SELLERS, expected_version=input.expected_version)
            path = ("stageKey",) if stage_id is None else ("stageId",)
            stage = await deals.stage_in_use(uow, deal.pipeline_id, id=stage_id, key=key, path=path)
            reason, at = given(input.loss_reason), given(input.at)
            await deals.move_opportunity(uow, deal, stage, at=at, loss_reason=reason)
        return await _opportunity(info, id)

    @mutation("Seat a person in a deal's buying committee once.", *SELLERS)
    async def add_opportunity_contact_role(
        self,
        info: Info,
        input: Annotated[AddOpportunityContactRoleInput, strawberry.argument(description="The person and the role.")],
    ) -> OpportunityContactRolePayload | None:
        """Seat them."""
        words = {
            "opportunity_id": expect("Opportunity", input.opportunity_id, "opportunityId"),
            "contact_id": expect("Contact", input.contact_id, "contactId"),
            "role": input.role,
            "stance": given(input.stance) or Stance.UNKNOWN,
            "influence": given(input.influence),
            "covered_at": given(input.covered_at),
        }
        id = await create_once(info, input, deals.OpportunityContactRole, _seat_person, words)
        return await _seat(info, id, words["opportunity_id"])

    @mutation("Change a person's seat in a buying committee.", *SELLERS)
    async def update_opportunity_contact_role(
        self,
        info: Info,
        input: Annotated[UpdateOpportunityContactRoleInput, strawberry.argument(description="The change.")],
    ) -> OpportunityContactRolePayload | None:
        """Change it."""
        id, words = expect("OpportunityContactRole", input.id, "id"), changes(input, "role", "influence", "covered_at")
        _needed(words, "role")
        if input.stance is not strawberry.UNSET:
            words["stance"] = input.stance or Stance.UNKNOWN
        async with info.context.open_uow() as uow:
            seat = await deals.update_contact_role(uow, id, changes=words, expected_version=input.expected_version)
        return await _seat(info, id, seat.opportunity_id)

    @mutation("Take a person's seat out of a buying committee.", *SELLERS)
    async def remove_opportunity_contact_role(
        self,
        info: Info,
        input: Annotated[RemoveOpportunityContactRoleInput, strawberry.argument(description="The seat.")],
    ) -> OpportunityContactRolePayload | None:
        """Remove it."""
        id = expect("OpportunityContactRole", input.id, "id")
        async with info.context.open_uow() as uow:
            opportunity = await deals.remove_contact_role(uow, id, expected_version=input.expected_version)
        return await _seat(info, id, opportunity.id)
