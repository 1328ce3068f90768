"""Making and changing contacts and their addresses."""

from typing import Annotated, Any

import strawberry

from api.accounts.types import Contact, ContactPoint
from api.context import Info
from api.custom_fields import CustomFieldInput, custom_input, read_custom, with_custom
from api.mutations import UserError, changes, given, mutation, refusals, text
from api.reads import expect, selected
from domain import accounts
from domain.accounts import ADDRESS_LENGTH, KEEPERS, NAME_LENGTH, TITLE_LENGTH, WRITERS, BuyingRole, Channel


def _plain(description: str) -> Any:
    return strawberry.field(default=strawberry.UNSET, description=description)


@strawberry.input(description="A contact to make.")
class CreateContactInput:
    """What making a contact takes."""

    client_key: strawberry.ID = text("The caller's key: the same one makes it once.", 200, required=True)
    account_id: strawberry.ID = strawberry.field(description="The organisation where the person works.")
    name: str = text("The person's name.", NAME_LENGTH, required=True)
    title: str | None = text("What the person's card says.", TITLE_LENGTH)
    buying_role: BuyingRole | None = _plain("What the person decides in purchases.")
    custom: list[CustomFieldInput] | None = custom_input()


@strawberry.input(description="A change of a contact; what is left out stays, null clears.")
class UpdateContactInput:
    """What changing a contact takes."""

    id: strawberry.ID = strawberry.field(description="The contact.")
    expected_version: int = strawberry.field(description="The version that the caller has read.")
    account_id: strawberry.ID | None = _plain("The organisation where the person works.")
    name: str | None = text("The person's name.", NAME_LENGTH)
    title: str | None = text("What the person's card says.", TITLE_LENGTH)
    buying_role: BuyingRole | None = _plain("What the person decides in purchases.")
    custom: list[CustomFieldInput] | None = custom_input()


@strawberry.input(description="An address to add to a contact.")
class AddContactPointInput:
    """What adding an address takes."""

    client_key: strawberry.ID = text("The caller's key: the same one adds once.", 200, required=True)
    contact_id: strawberry.ID = strawberry.field(description="The person.")
    channel: Channel = strawberry.field(description="The channel.")
    value: str = text(
        "The address; telephone numbers without a country code are Chinese.", ADDRESS_LENGTH, required=True
    )
    verified: bool = strawberry.field(
        default=False, description="Whether somebody made sure that it reaches the person."
    )


@strawberry.input(description="A change of an address; what is left out stays.")
class UpdateContactPointInput:
    """What changing an address takes."""

    id: strawberry.ID = strawberry.field(description="The address.")
    expected_version: int = strawberry.field(description="The version that the caller has read.")
    value: str | None = text("The address; a changed one is unverified until somebody makes sure.", ADDRESS_LENGTH)
    verified: bool | None = _plain("Whether somebody made sure that it reaches the person.")


@strawberry.input(description="An address to remove.")
class RemoveContactPointInput:
    """What removing an address takes."""

    id: strawberry.ID = strawberry.field(description="The address.")
    expected_version: int = strawberry.field(description="The version that the caller has read.")


@strawberry.type(description="The contact, or why it was not changed.")
class ContactPayload:
    """The answer to making or changing a contact."""

    contact: Contact | None = strawberry.field(
        default=None, description="The contact; null where it is no longer the caller's to see."
    )
    errors: list[UserError] = refusals()


@strawberry.type(description="The address and its person, or why nothing was changed.")
class ContactPointPayload:
    """The answer to adding, changing or removing an address."""

    contact: Contact | None = strawberry.field(default=None, description="The person.")
    contact_point: ContactPoint | None = strawberry.field(
        default=None, description="The address; null once it is removed."
    )
    errors: list[UserError] = refusals()


async def _point_payload(info: Info, point: accounts.ContactPoint) -> ContactPointPayload:
    return ContactPointPayload(
        contact=selected(info, Contact, point.contact_id),
        contact_point=selected(info, ContactPoint, point.id),
    )


@strawberry.type
class ContactMutations:
    """What is done to contacts and their addresses."""

    @mutation("Make a contact once, at an account that the caller sees.", *WRITERS)
    async def create_contact(
        self, info: Info, input: Annotated[CreateContactInput, strawberry.argument(description="The contact.")]
    ) -> ContactPayload | None:
        """Make it, and read it as the caller sees it."""
        account_id = expect("Account", input.account_id, "accountId")
        async with info.context.open_uow() as uow:
            contact = await accounts.create_contact(
                uow, name=input.name, account_id=account_id, title=given(input.title), buying_role=given(input.buying_role),
                custom=read_custom(given(input.custom)) or {}, client_key=input.client_key,
            )  # fmt: skip
        return ContactPayload(contact=selected(info, Contact, contact.id))

    @mutation("Change a contact.", *WRITERS)
    async def update_contact(
        self, info: Info, input: Annotated[UpdateContactInput, strawberry.argument(description="The change.")]
    ) -> ContactPayload | None:
        """Change what is given."""
        id = expect("Contact", input.id, "id")
        values = with_custom(changes(input, "account_id", "name", "title", "buying_role", "custom"))
        if values.get("account_id") is not None:
            values["account_id"] = expect("Account", values["account_id"], "accountId")
        async with info.context.open_uow() as uow:
            await accounts.update_contact(uow, id, expected_version=input.expected_version, changes=values)
        return ContactPayload(contact=selected(info, Contact, id))

    @mutation("Add an address to a contact, or return the equal one that is there.", *KEEPERS)
    async def add_contact_point(
        self, info: Info, input: Annotated[AddContactPointInput, strawberry.argument(description="The address.")]
    ) -> ContactPointPayload | None:
        """Add it once."""
        contact_id = expect("Contact", input.contact_id, "contactId")
        async with info.context.open_uow() as uow:
            point = await accounts.add_point(
                uow, contact_id, input.channel, input.value, verified=input.verified, client_key=input.client_key
            )
        return await _point_payload(info, point)

    @mutation("Change an address, or say whether somebody made sure of it.", *KEEPERS)
    async def update_contact_point(
        self, info: Info, input: Annotated[UpdateContactPointInput, strawberry.argument(description="The change.")]
    ) -> ContactPointPayload | None:
        """Change what is given."""
        id = expect("ContactPoint", input.id, "id")
        async with info.context.open_uow() as uow:
            point = await accounts.update_point(
                uow, id, expected_version=input.expected_version, changes=changes(input, "value", "verified")
            )
        return await _point_payload(info, point)

    @mutation("Remove an address of a contact.", *KEEPERS)
    async def remove_contact_point(
        self, info: Info, input: Annotated[RemoveContactPointInput, strawberry.argument(description="The address.")]
    ) -> ContactPointPayload | None:
        """Remove it."""
        id = expect("ContactPoint", input.id, "id")
        async with info.context.open_uow() as uow:
            contact_id = await accounts.remove_point(uow, id, expected_version=input.expected_version)
        return ContactPointPayload(contact=selected(info, Contact, contact_id))
