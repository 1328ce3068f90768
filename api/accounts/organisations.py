"""Making and changing accounts and their teams."""

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import strawberry

from api.accounts.types import Account, AccountTeamMember
from api.context import Info
from api.custom_fields import CustomFieldInput, custom_input, with_custom
from api.mutations import UserError, changes, mutation, refusals, text
from api.reads import expect, selected
from domain import accounts, deals, kernel
from domain.accounts import NAME_LENGTH, WORD_LENGTH, WRITERS, LifecycleStage
from domain.kernel import Role

if TYPE_CHECKING:
    from api.leads import MoneyInput

FIELDS = ("name", "industry", "region", "lifecycle_stage", "credit_grade", "employees", "domain")
"""The fields of an input that the domain calls alike and takes as they are."""


def _plain(description: str) -> Any:
    return strawberry.field(default=strawberry.UNSET, description=description)


@strawberry.input(description="An account to make.")
class CreateAccountInput:
    """What making an account takes."""

    client_key: strawberry.ID = text("The caller's key: the same one makes it once.", 200, required=True)
    name: str = text("The organisation's name.", NAME_LENGTH, required=True)
    industry: str | None = text("The key of its industry.", WORD_LENGTH)
    region: str | None = text("The region's key, or its label in either language.", WORD_LENGTH)
    owner_id: strawberry.ID | None = _plain("The colleague who answers for it; a rep without it: the caller.")
    brand_id: strawberry.ID | None = _plain("The brand under which we sell to it.")
    parent_id: strawberry.ID | None = _plain("The organisation to which it belongs.")
    lifecycle_stage: LifecycleStage | None = _plain("Where it stands with us; PROSPECT without it.")
    credit_grade: str | None = text("Its credit grade.", WORD_LENGTH)
    employees: int | None = _plain("How many people work there.")
    annual_revenue: Annotated["MoneyInput", strawberry.lazy("api.leads")] | None = _plain(
        "What it turns over in a year."
    )
    domain: str | None = text("Its web site's domain, or an address on it.", 500)
    custom: list[CustomFieldInput] | None = custom_input()


@strawberry.input(description="A change of an account; what is left out stays, null clears.")
class UpdateAccountInput:
    """What changing an account takes."""

    id: strawberry.ID = strawberry.field(description="The account.")
    expected_version: int = strawberry.field(description="The version that the caller has read.")
    name: str | None = text("The organisation's name.", NAME_LENGTH)
    industry: str | None = text("The key of its industry.", WORD_LENGTH)
    region: str | None = text("The region's key, or its label in either language.", WORD_LENGTH)
    owner_id: strawberry.ID | None = _plain("The colleague who answers for it; a manager of the territory says so.")
    brand_id: strawberry.ID | None = _plain("The brand under which we sell to it.")
    parent_id: strawberry.ID | None = _plain("The organisation to which it belongs.")
    lifecycle_stage: LifecycleStage | None = _plain("Where it stands with us.")
    credit_grade: str | None = text("Its credit grade.", WORD_LENGTH)
    employees: int | None = _plain("How many people work there.")
    annual_revenue: Annotated["MoneyInput", strawberry.lazy("api.leads")] | None = _plain(
        "What it turns over in a year."
    )
    domain: str | None = text("Its web site's domain, or an address on it.", 500)
    custom: list[CustomFieldInput] | None = custom_input()


@strawberry.input(description="A colleague to put on an account's team.")
class AddAccountTeamMemberInput:
    """What adding to a team takes."""

    client_key: strawberry.ID = text("The caller's key: the same one adds once.", 200, required=True)
    account_id: strawberry.ID = strawberry.field(description="The account.")
    user_id: strawberry.ID = strawberry.field(description="The colleague.")
    role: Role = strawberry.field(description="What the colleague does for it.")


@strawberry.input(description="A member to take off an account's team.")
class RemoveAccountTeamMemberInput:
    """What removing from a team takes."""

    id: strawberry.ID = strawberry.field(description="The member.")
    expected_version: int = strawberry.field(description="The version that the caller has read.")


@strawberry.type(description="The account, or why it was not changed.")
class AccountPayload:
    """The answer to making or changing an account."""

    account: Account | None = strawberry.field(
        default=None, description="The account; null where it is no longer the caller's to see."
    )
    errors: list[UserError] = refusals()


@strawberry.type(description="The member of an account's team, or why nothing was changed.")
class AccountTeamMemberPayload:
    """The answer to adding to a team or removing from it."""

    account: Account | None = strawberry.field(default=None, description="The account.")
    member: AccountTeamMember | None = strawberry.field(
        default=None, description="The member; null once it is removed."
    )
    errors: list[UserError] = refusals()


def _linked(input: CreateAccountInput | UpdateAccountInput) -> dict[str, Any]:
    """What is given of references, amounts and custom fields, as the domain takes it."""
    values = changes(input, "owner_id", "brand_id", "parent_id", "annual_revenue", "custom")
    for name, entity, path in (
        ("owner_id", "User", "ownerId"),
        ("brand_id", "Brand", "brandId"),
        ("parent_id", "Account", "parentId"),
    ):
        if values.get(name) is not None:
            values[name] = expect(entity, values[name], path)
    if (revenue := values.get("annual_revenue")) is not None:
        values["annual_revenue"] = kernel.money(revenue.amount, revenue.currency, ("annualRevenue",))
    return with_custom(values)


async def account_payload(info: Info, id: UUID) -> AccountPayload:
    """The account as the caller sees it now."""
    return AccountPayload(account=selected(info, Account, id))


@strawberry.type
class OrganisationMutations:
    """What is done to accounts and their teams."""

    @mutation("Make an account once; a rep owns what they make.", *WRITERS)
    async def create_account(
        self, info: Info, input: Annotated[CreateAccountInput, strawberry.argument(description="The account.")]
    ) -> AccountPayload | None:
        """Make it, and read it as the caller sees it."""
        values: dict[str, Any] = {"custom": {}} | changes(input, *FIELDS) | _linked(input)
        async with info.context.open_uow() as uow:
            account = await accounts.create_account(uow, client_key=input.client_key, **values)
        return await account_payload(info, account.id)

    @mutation("Change an account.", *WRITERS)
    async def update_account(
        self, info: Info, input: Annotated[UpdateAccountInput, strawberry.argument(description="The change.")]
    ) -> AccountPayload | None:
        """Change what is given."""
        id, values = expect("Account", input.id, "id"), changes(input, *FIELDS) | _linked(input)
        async with info.context.open_uow() as uow:
            account = await accounts.update_account(uow, id, expected_version=input.expected_version, changes=values)
            await deals.follow_account(uow, account)
        return await account_payload(info, id)

    @mutation("Put a colleague on the team of an account that the caller owns or decides over.", *WRITERS)
    async def add_account_team_member(
        self, info: Info, input: Annotated[AddAccountTeamMemberInput, strawberry.argument(description="The member.")]
    ) -> AccountTeamMemberPayload | None:
        """Add the colleague once."""
        account_id, user_id = expect("Account", input.account_id, "accountId"), expect("User", input.user_id, "userId")
        async with info.context.open_uow() as uow:
            member = await accounts.join_team(uow, account_id, user_id, input.role, client_key=input.client_key)
        return AccountTeamMemberPayload(
            account=selected(info, Account, account_id),
            member=selected(info, AccountTeamMember, member.id),
        )

    @mutation("Take a colleague off the team of an account that the caller owns or decides over.", *WRITERS)
    async def remove_account_team_member(
        self, info: Info, input: Annotated[RemoveAccountTeamMemberInput, strawberry.argument(description="The member.")]
    ) -> AccountTeamMemberPayload | None:
        """Remove the member."""
        id = expect("AccountTeamMember", input.id, "id")
        async with info.context.open_uow() as uow:
            account_id = await accounts.leave_team(uow, id, expected_version=input.expected_version)
        return AccountTeamMemberPayload(account=selected(info, Account, account_id))
