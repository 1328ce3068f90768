"""Accounts, their teams, their people, and how to reach them, as readers see them."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import strawberry
from sqlalchemy import Select

from api.consent import ChannelDecision, channel_decisions
from api.context import Context
from api.custom_fields import CustomFieldFilter, CustomFieldValue, custom_filter, custom_values
from api.people import Brand, Territory, User
from api.reads import (
    Connection,
    Money,
    Scope,
    alike,
    batched,
    by,
    column,
    connection,
    contains,
    equals,
    listing,
    many,
    money,
    names,
    newest,
    node,
    roots,
    to_one,
)
from api.receivables import Receivables, receivables
from api.records import RECORD_HIDDEN, Record
from api.regions import in_region
from api.scalars import enum
from api.timeline import TimelineEntry, timeline
from domain import accounts
from domain.accounts import BuyingRole, Channel, LifecycleStage
from domain.kernel import Role

if TYPE_CHECKING:
    from api.activities import Activity
    from api.attachments import Attachment
    from api.commerce import Order, Payment, Quote
    from api.deals import Opportunity

enum(
    LifecycleStage,
    "Where an account stands with us.",
    PROSPECT="Not a customer yet.",
    ONBOARDING="Has bought and is being set up.",
    ACTIVE="A customer.",
    AT_RISK="A customer who may leave.",
    CHURNED="A customer who left.",
)
enum(
    BuyingRole,
    "What a person decides in a purchase.",
    ECONOMIC_BUYER="Holds the money.",
    DECISION_MAKER="Has the last word.",
    TECHNICAL_EVALUATOR="Judges whether it works.",
    PURCHASING="Handles the purchase.",
    FINANCE="Checks terms and payment.",
    LEGAL="Checks the contract.",
    CHAMPION="Speaks for us inside.",
    USER="Will work with it.",
    BLOCKER="Is against it.",
)


def _like_accounts(scope: Scope) -> Select[Any]:
    return accounts.same_accounts(scope.actor, scope.below, scope.within)


def _like_contacts(scope: Scope) -> Select[Any]:
    return accounts.same_contacts(scope.actor, scope.below, scope.within)


@node(
    accounts.Account,
    hidden=RECORD_HIDDEN | {"name_key", "merged_into_id", "source", "external_id"},
)
class Account(Record):
    """An organisation that we sell to or want to sell to."""

    name: str = column("The organisation's name.")
    industry: str | None = column("The key of its industry.")
    region: str | None = column("The key of its region.")
    territory: Territory | None = to_one("territory_id", "The territory in which it lies.")
    brand: Brand | None = to_one("brand_id", "The brand under which we sell to it.")
    owner: User | None = to_one("owner_id", "The colleague who answers for it.")
    lifecycle_stage: LifecycleStage | None = column("Where it stands with us.")
    credit_grade: str | None = column("Its credit grade.")
    employees: int | None = column("How many people work there.")
    annual_revenue: Money | None = money("annual_revenue_minor", "currency", "What it turns over in a year.")
    domain: str | None = column("The domain of its web site.")
    parent: Annotated["Account", strawberry.lazy("api.accounts")] | None = to_one(
        "parent_id", "The organisation that it belongs to."
    )
    team: list[Annotated["AccountTeamMember", strawberry.lazy("api.accounts")]] = many(
        "account_id", "The colleagues who work on it beside its owner.", order=by("id")
    )
    custom_fields: list[CustomFieldValue] = custom_values("Account")
    possible_duplicates: list[Annotated["Account", strawberry.lazy("api.accounts")]] = alike(
        _like_accounts,
        accounts.SUGGESTIONS,
        "Other accounts that may be the same: by name, legal form aside, or by domain.",
    )
    contacts: Connection[Annotated["Contact", strawberry.lazy("api.accounts")]] = connection(
        "account_id", "Its people."
    )
    opportunities: Connection[Annotated["Opportunity", strawberry.lazy("api.deals")]] = connection(
        "account_id", "The deals with it."
    )
    activities: list[Annotated["Activity", strawberry.lazy("api.activities")]] = newest(
        "account_id", "What was done on it and on what hangs on it, newest first."
    )
    quotes: Connection[Annotated["Quote", strawberry.lazy("api.commerce")]] = connection(
        "account_id", "What it was offered."
    )
    orders: Connection[Annotated["Order", strawberry.lazy("api.commerce")]] = connection(
        "account_id", "What it bought."
    )
    payments: Connection[Annotated["Payment", strawberry.lazy("api.commerce")]] = connection(
        "account_id", "What it owes and paid, by due day."
    )
    receivables: list[Receivables] = receivables(
        "What it owes, one entry a currency; empty where nothing was ever owed."
    )
    attachments: list[Annotated["Attachment", strawberry.lazy("api.attachments")]] = newest(
        "subject_id", "Its documents, newest first.", where={"subject_kind": "Account"}
    )
    timeline: Connection[TimelineEntry] = timeline("Account")


@node(accounts.AccountTeamMember, order=by("id"), hidden=RECORD_HIDDEN | {"account_id"})
class AccountTeamMember(Record):
    """A colleague who works on an account beside its owner."""

    user: User | None = to_one("user_id", "The colleague.")
    role: Role = column("What the colleague does for it.")


@node(accounts.ContactPoint, hidden=RECORD_HIDDEN | {"contact_id", "value", "match_key"})
class ContactPoint(Record):
    """One address of a person on one channel, shown with its middle hidden."""

    channel: Channel = column("The channel.")
    masked: str = column("The address with its middle hidden.")
    verified_at: datetime | None = column("When somebody made sure that it reaches the person.")


async def _contactability(
    context: Context,
    ids: list[UUID],
    *,
    purpose: Annotated[str, strawberry.argument(description="The code of the purpose, such as `marketing`.")],
) -> Mapping[UUID, list[ChannelDecision]]:
    return await channel_decisions(context, ids, purpose)


@node(accounts.Contact, hidden=RECORD_HIDDEN | {"merged_into_id", "erased_at", "source", "external_id"})
class Contact(Record):
    """A person, at an account or known from a lead alone."""

    name: str = column("The person's name; a placeholder after erasure.")
    title: str | None = column("What the person's card says.")
    buying_role: BuyingRole | None = column("What the person decides in purchases.")
    account: Account | None = to_one("account_id", "The organisation where the person works.")
    activities: list[Annotated["Activity", strawberry.lazy("api.activities")]] = newest(
        "contact_id", "What was done with the person, newest first."
    )
    contact_points: list[ContactPoint] = many("contact_id", "The person's addresses.", order=by("id"))
    custom_fields: list[CustomFieldValue] = custom_values("Contact")
    possible_duplicates: list[Annotated["Contact", strawberry.lazy("api.accounts")]] = alike(
        _like_contacts,
        accounts.SUGGESTIONS,
        "Other contacts that may be the same: by an address, or by name at the same account.",
    )
    contactability: list[ChannelDecision] = batched(
        _contactability, "Whether the person may be contacted for a purpose now, channel by channel."
    )
    attachments: list[Annotated["Attachment", strawberry.lazy("api.attachments")]] = newest(
        "subject_id", "Its documents, newest first.", where={"subject_kind": "Contact"}
    )
    timeline: Connection[TimelineEntry] = timeline("Contact")


@strawberry.input(description="Which accounts; all conditions hold together.")
class AccountFilter:
    """Conditions on accounts."""

    industry: str | None = equals("industry", "The key of the industry.")
    region: str | None = in_region("The region's key, or its label in either language.")
    owner_id: strawberry.ID | None = names("User", "owner_id", "The colleague who answers for it.")
    brand_id: strawberry.ID | None = names("Brand", "brand_id", "The brand under which we sell to it.")
    parent_id: strawberry.ID | None = names("Account", "parent_id", "The organisation to which it belongs.")
    lifecycle_stage: LifecycleStage | None = equals("lifecycle_stage", "Where it stands with us.")
    search: str | None = contains("name", "A part of the name, upper and lower case alike.")
    custom: list[CustomFieldFilter] | None = custom_filter()


@strawberry.input(description="Which contacts; all conditions hold together.")
class ContactFilter:
    """Conditions on contacts."""

    account_id: strawberry.ID | None = names("Account", "account_id", "The organisation.")
    search: str | None = contains("name", "A part of the name, upper and lower case alike.")
    custom: list[CustomFieldFilter] | None = custom_filter()


class RecordOrder(StrEnum):
    """How accounts and contacts can be ordered."""

    CREATED_DESC = "CREATED_DESC"
    UPDATED_DESC = "UPDATED_DESC"
    NAME_ASC = "NAME_ASC"


enum(
    RecordOrder,
    "The orders of accounts and contacts; equal ones by id.",
    CREATED_DESC="The newest first.",
    UPDATED_DESC="What was changed last first.",
    NAME_ASC="By name, character by character.",
)
ORDERS = {
    RecordOrder.CREATED_DESC: by("-created_at", "-id"),
    RecordOrder.UPDATED_DESC: by("-updated_at", "-id"),
    RecordOrder.NAME_ASC: by("name", "id"),
}


@roots
class AccountQueries:
    """The roots of this room."""

    accounts: Connection[Account] = listing(
        "The accounts that the reader sees, newest first.", filter=AccountFilter, orders=ORDERS
    )
    contacts: Connection[Contact] = listing(
        "The people whom the reader sees, newest first.", filter=ContactFilter, orders=ORDERS
    )
