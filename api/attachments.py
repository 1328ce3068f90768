"""Documents of records in the schema: by reference, never their bytes."""

from typing import Annotated, Any
from uuid import UUID

import strawberry

from api.context import Info
from api.mutations import UserError, changes, create_once, mutation, refusals, text
from api.people import Actor, actor
from api.reads import Node, column, expect, node, read_id, selected, to_any
from api.records import RECORD_HIDDEN, Record
from api.scalars import enum
from domain import attachments
from domain.attachments import ATTACHING, TITLE_LENGTH, URL_LENGTH, AttachmentKind
from domain.kernel import not_found

enum(
    AttachmentKind,
    "What a document is.",
    CONTRACT="A contract.",
    PROPOSAL="A proposal.",
    QUOTE="A quote as the customer got it.",
    ORDER="A purchase order.",
    INVOICE="A bill.",
    SPECIFICATION="What is wanted or offered, technically.",
    PRESENTATION="Slides.",
    MINUTES="What was said at a meeting.",
    PHOTO="A photograph.",
    RECORDING="Sound or film.",
    OTHER="Something else.",
)


@node(attachments.Attachment, hidden=RECORD_HIDDEN | {"account_id", "contact_id"})
class Attachment(Record):
    """A document of a record, under a web address or a document store's id."""

    title: str = column("What it is called.")
    kind: AttachmentKind = column("What it is.")
    url: str | None = column("Its https address; null where a document id names it.")
    document_id: str | None = column("Its id in the document store; null where an address names it.")
    media_type: str | None = column("Its media type, such as application/pdf.")
    size_bytes: float | None = column("How large it is, in bytes.")
    sha256: str | None = column("The SHA-256 of its bytes, in hexadecimal digits.")
    subject: Node | None = to_any("subject_kind", "subject_id", "The record to which it belongs.")
    added_by: Actor | None = actor("Who added it.", kind="created_by_kind", user_id="created_by_id")


@strawberry.input(description="A document to add to a record.")
class AddAttachmentInput:
    """What adding takes."""

    client_key: strawberry.ID = text("The caller's key: the same one adds once.", 200, required=True)
    subject_id: strawberry.ID = strawberry.field(
        description="The account, contact, lead, opportunity, quote, order or activity."
    )
    title: str = text("What it is called.", TITLE_LENGTH, required=True)
    kind: AttachmentKind = strawberry.field(default=AttachmentKind.OTHER, description="What it is.")
    url: str | None = text("Its https address; either this or a document id.", URL_LENGTH)
    document_id: str | None = text("Its id in the document store.", 200)
    media_type: str | None = text("Its media type, such as application/pdf.", 255)
    size_bytes: float | None = strawberry.field(default=strawberry.UNSET, description="How large it is, in bytes.")
    sha256: str | None = text("The SHA-256 of its bytes, in hexadecimal digits.", 64)


@strawberry.input(description="What to change in a document's entry; what is left out stays.")
class UpdateAttachmentInput:
    """What updating takes."""

    id: strawberry.ID = strawberry.field(description="The attachment.")
    expected_version: int = strawberry.field(description="The `version` on which the change is made.")
    title: str | None = text("What it is called.", TITLE_LENGTH)
    kind: AttachmentKind | None = strawberry.field(default=strawberry.UNSET, description="What it is.")
    url: str | None = text("Its https address; either this or a document id.", URL_LENGTH)
    document_id: str | None = text("Its id in the document store.", 200)
    media_type: str | None = text("Its media type, such as application/pdf.", 255)
    size_bytes: float | None = strawberry.field(default=strawberry.UNSET, description="How large it is, in bytes.")
    sha256: str | None = text("The SHA-256 of its bytes, in hexadecimal digits.", 64)


@strawberry.input(description="A document to take off its record.")
class RemoveAttachmentInput:
    """What removing takes."""

    id: strawberry.ID = strawberry.field(description="The attachment.")
    expected_version: int = strawberry.field(description="The `version` that is removed.")


@strawberry.type(description="The document's entry as it is now, or why it is not.")
class AttachmentPayload:
    """The answer to adding and updating."""

    attachment: Attachment | None = strawberry.field(default=None, description="The attachment.")
    errors: list[UserError] = refusals()


@strawberry.type(description="What was removed, or why it was not.")
class RemoveAttachmentPayload:
    """The answer to removing."""

    attachment_id: strawberry.ID | None = strawberry.field(default=None, description="The id that is gone.")
    errors: list[UserError] = refusals()


PLACE = ("url", "document_id", "media_type", "size_bytes", "sha256")


async def _payload(info: Info, id: UUID) -> AttachmentPayload:
    return AttachmentPayload(attachment=selected(info, Attachment, id))


@strawberry.type
class AttachmentMutations:
    """The mutations of this room."""

    @mutation("Add a document, by reference, to a record that the caller sees.", *ATTACHING)
    async def add_attachment(
        self, info: Info, input: Annotated[AddAttachmentInput, strawberry.argument(description="The document.")]
    ) -> AttachmentPayload | None:
        """Add it once, and read it as the caller sees it."""
        subject = read_id(input.subject_id)
        if subject is None:
            raise not_found("record", ("subjectId",))
        words: dict[str, Any] = {"subject": subject} | changes(input, "title", "kind", *PLACE)
        id = await create_once(info, input, attachments.Attachment, attachments.add_attachment, words)
        return await _payload(info, id)

    @mutation("Change what is said of a document, or where it is.", *ATTACHING)
    async def update_attachment(
        self, info: Info, input: Annotated[UpdateAttachmentInput, strawberry.argument(description="The change.")]
    ) -> AttachmentPayload | None:
        """Change it, and read it as the caller sees it."""
        id = expect("Attachment", input.id, "id")
        async with info.context.open_uow() as uow:
            words = changes(input, "title", "kind", *PLACE)
            await attachments.update_attachment(uow, id, expected_version=input.expected_version, changes=words)
        return await _payload(info, id)

    @mutation("Take a document off its record; the ledger keeps that it was there.", *ATTACHING)
    async def remove_attachment(
        self, info: Info, input: Annotated[RemoveAttachmentInput, strawberry.argument(description="The document.")]
    ) -> RemoveAttachmentPayload | None:
        """Remove it."""
        id = expect("Attachment", input.id, "id")
        async with info.context.open_uow() as uow:
            await attachments.remove_attachment(uow, id, expected_version=input.expected_version)
        return RemoveAttachmentPayload(attachment_id=input.id)
