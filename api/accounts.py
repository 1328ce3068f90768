"""Accounts, their people, and how to reach them, in the schema."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import strawberry

from api.consent import ChannelDecision, channel_decisions
from api.context import Context
from api.people import User
from api.reads import (
    STAMPS,
    Connection,
    batched,
    by,
    column,
    connection,
    contains,
    derived,
    equals,
    listing,
    many,
    names,
    newest,
    node,
    roots,
    to_one,
)
from api.records import RECORD_HIDDEN, Record
from api.regions import in_region
from api.scalars import enum
from domain import accounts
from domain.accounts import BuyingRole, Channel, LifecycleStage

if TYPE_CHECKING:
    from api.activities import Activity
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


@node(
    accounts.Account,
    hidden=RECORD_HIDDEN | {"territory_id", "brand_id", "annual_revenue_minor", "currency", "source", "external_id"},
)
class Account(Record):
    """An organisation that we sell to or want to sell to."""

    name: str = column("The organisation's name.")
    industry: str | None = column("The key of its industry.")
    region: str | None = column("The key of its region.")
    owner: User | None = to_one("owner_id", "The colleague who answers for it.")
    lifecycle_stage: LifecycleStage | None = column("Where it stands with us.")
    credit_grade: str | None = column("Its credit grade.")
    employees: int | None = column("How many people work there.")
    parent: Annotated["Account", strawberry.lazy("api.accounts")] | None = to_one(
        "parent_id", "The organisation that it belongs to."
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


@node(accounts.ContactPoint, hidden=STAMPS | {"contact_id", "value", "match_key"})
class ContactPoint:
    """One address of a person on one channel, shown with its middle hidden."""

    channel: Channel = column("The channel.")
    masked: str = derived(("channel", "value"), accounts.masked, "The address with its middle hidden.")
    verified_at: datetime | None = column("When somebody made sure that it reaches the person.")


async def _contactability(
    context: Context,
    ids: list[UUID],
    *,
    purpose: Annotated[str, strawberry.argument(description="The code of the purpose, such as `marketing`.")],
) -> Mapping[UUID, list[ChannelDecision]]:
    return await channel_decisions(context, ids, purpose)


@node(accounts.Contact, hidden=RECORD_HIDDEN | {"erased_at", "source", "external_id"})
class Contact(Record):
    """A person, at an account or known from a lead alone."""

    name: str = column("The person's name; a placeholder after erasure.")
    title: str | None = column("What the person's card says.")
    buying_role: BuyingRole | None = column("What the person decides in purchases.")
    account: Account | None = to_one("account_id", "The organisation where the person works.")
    contact_points: list[ContactPoint] = many("contact_id", "The person's addresses.", order=by("id"))
    contactability: list[ChannelDecision] = batched(
        _contactability, "Whether the person may be contacted for a purpose now, channel by channel."
    )


@strawberry.input(description="Which accounts; all conditions hold together.")
class AccountFilter:
    """Conditions on accounts."""

    industry: str | None = equals("industry", "The key of the industry.")
    region: str | None = in_region("The region's key, or its label in either language.")
    owner_id: strawberry.ID | None = names("User", "owner_id", "The colleague who answers for it.")
    search: str | None = contains("name", "A part of the name, upper and lower case alike.")


@strawberry.input(description="Which contacts; all conditions hold together.")
class ContactFilter:
    """Conditions on contacts."""

    account_id: strawberry.ID | None = names("Account", "account_id", "The organisation.")
    search: str | None = contains("name", "A part of the name, upper and lower case alike.")


@roots
class AccountQueries:
    """The roots of this room."""

    accounts: Connection[Account] = listing("The accounts that the reader sees, newest first.", filter=AccountFilter)
    contacts: Connection[Contact] = listing("The people whom the reader sees, newest first.", filter=ContactFilter)
