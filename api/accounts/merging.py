"""Making one account of two, and one contact of two."""

from typing import Annotated

import strawberry

from api.accounts.organisations import AccountPayload
from api.accounts.people import ContactPayload
from api.accounts.types import Account, Contact
from api.context import Info
from api.mutations import given, mutation
from api.reads import expect, selected
from domain import merging
from domain.accounts import WRITERS


@strawberry.input(description="Two accounts of one organisation.")
class MergeAccountsInput:
    """What merging accounts takes."""

    survivor_id: strawberry.ID = strawberry.field(description="The account that stays.")
    survivor_version: int = strawberry.field(description="Its version as the caller has read it.")
    duplicate_id: strawberry.ID = strawberry.field(description="The account that goes; its id leads to the survivor.")
    duplicate_version: int = strawberry.field(description="Its version as the caller has read it.")
    keep: list[str] | None = strawberry.field(
        default=strawberry.UNSET,
        description=f"Fields to take from the duplicate: {', '.join(merging.ACCOUNT_FIELDS)}. What the survivor lacks is taken anyway.",
    )


@strawberry.input(description="Two contacts of one person.")
class MergeContactsInput:
    """What merging contacts takes."""

    survivor_id: strawberry.ID = strawberry.field(description="The contact that stays.")
    survivor_version: int = strawberry.field(description="Its version as the caller has read it.")
    duplicate_id: strawberry.ID = strawberry.field(description="The contact that goes; its id leads to the survivor.")
    duplicate_version: int = strawberry.field(description="Its version as the caller has read it.")
    keep: list[str] | None = strawberry.field(
        default=strawberry.UNSET,
        description=f"Fields to take from the duplicate: {', '.join(merging.CONTACT_FIELDS)}. What the survivor lacks is taken anyway.",
    )


def _pair(entity: str, input: MergeAccountsInput | MergeContactsInput) -> merging.Pair:
    return merging.Pair(
        expect(entity, input.survivor_id, "survivorId"), input.survivor_version,
        expect(entity, input.duplicate_id, "duplicateId"), input.duplicate_version, given(input.keep) or (),
    )  # fmt: skip


@strawberry.type
class MergeMutations:
    """What makes one record of two."""

    @mutation(
        "Make one account of two: whatever hangs on the duplicate goes over. Its owner, its manager or sales operations may.",
        *WRITERS,
    )
    async def merge_accounts(
        self, info: Info, input: Annotated[MergeAccountsInput, strawberry.argument(description="The accounts.")]
    ) -> AccountPayload | None:
        """Merge them, and read the survivor as the caller sees it."""
        pair = _pair("Account", input)
        async with info.context.open_uow() as uow:
            survivor = await merging.merge_accounts(uow, pair)
        return AccountPayload(account=selected(info, Account, survivor.id))

    @mutation(
        "Make one contact of two: whatever hangs on the duplicate goes over, and only what both allowed is still allowed.",
        *WRITERS,
    )
    async def merge_contacts(
        self, info: Info, input: Annotated[MergeContactsInput, strawberry.argument(description="The contacts.")]
    ) -> ContactPayload | None:
        """Merge them, and read the survivor as the caller sees it."""
        pair = _pair("Contact", input)
        async with info.context.open_uow() as uow:
            survivor = await merging.merge_contacts(uow, pair)
        return ContactPayload(contact=selected(info, Contact, survivor.id))
