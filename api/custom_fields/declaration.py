"""The declaration of custom fields: listed, added, changed, taken out of use."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import strawberry
from sqlalchemy import ColumnElement

from api.context import Info
from api.custom_fields.kinds import CustomFieldEntity, CustomFieldKind
from api.mutations import UserError, changes, given, mutation, refusals, text
from api.reads import View, argument, by, chosen, column, derived, expect, localized, node, roots, selected, worded
from api.records import RECORD_HIDDEN, Record
from domain import custom_fields
from domain.custom_fields import (
    DEFINERS,
    DESCRIPTION_LENGTH,
    KEY_LENGTH,
    LABEL_LENGTH,
    Choice,
)
from domain.kernel import Text


@strawberry.type(description="One value that a choice field takes.")
class CustomFieldChoice:
    """A choice with its labels."""

    key: str = strawberry.field(description="The value that is stored.")
    label_zh: str = strawberry.field(description="The label in Chinese.")
    label_en: str = strawberry.field(description="The label in English.")
    retired: bool = strawberry.field(description="Whether records keep it and no record takes it any more.")

    label: str = worded(
        lambda choice, language: Text(choice.label_zh, choice.label_en).words(language),
        "The label in the reader's language.",
    )


def _choices(stored: list[Mapping[str, Any]]) -> list[CustomFieldChoice]:
    return [
        CustomFieldChoice(key=one.key, label_zh=one.zh, label_en=one.en, retired=one.retired)
        for one in custom_fields.read_choices(stored)
    ]


@node(custom_fields.CustomField, order=by("id"), hidden=RECORD_HIDDEN)
class CustomField(Record):
    """A field that the company added to one kind of record."""

    entity: CustomFieldEntity = column("The records that have it.", "entity_name")
    key: str = column("The key by which inputs, filters and values name it; it never changes.")
    label: str = localized("label", "Its name in the reader's language.")
    label_zh: str = column("Its name in Chinese.")
    label_en: str = column("Its name in English.")
    description: str | None = column("What it is for.")
    kind: CustomFieldKind = column("What it holds; it never changes.")
    choices: list[CustomFieldChoice] = derived(("choices",), _choices, "What a choice field takes.")
    required: bool = column("Whether people must give it with every new record.", "is_required")
    retired_at: datetime | None = column("When it was taken out of use.")


@strawberry.input(description="One value that a choice field is to take.")
class CustomFieldChoiceInput:
    """A choice with its labels."""

    key: str = text("The value that is stored: lower-case letters, digits and underscores.", KEY_LENGTH, required=True)
    label_zh: str = text("The label in Chinese.", LABEL_LENGTH, required=True)
    label_en: str = text("The label in English.", LABEL_LENGTH, required=True)


@strawberry.input(description="A field to add to one kind of record.")
class DefineCustomFieldInput:
    """What a declaration takes."""

    client_key: strawberry.ID = text("The caller's key: the same one declares once.", 200, required=True)
    entity: CustomFieldEntity = strawberry.field(description="The records that are to have it.")
    key: str = text(
        "The key: lower-case letters, digits and underscores; unique for the entity for good.",
        KEY_LENGTH,
        required=True,
    )
    label_zh: str = text("Its name in Chinese.", LABEL_LENGTH, required=True)
    label_en: str = text("Its name in English.", LABEL_LENGTH, required=True)
    kind: CustomFieldKind = strawberry.field(description="What it holds.")
    description: str | None = text("What it is for.", DESCRIPTION_LENGTH)
    choices: list[CustomFieldChoiceInput] | None = strawberry.field(
        default=strawberry.UNSET, description="What a choice field takes; other kinds have none."
    )
    required: bool = strawberry.field(default=False, description="Whether people must give it with every new record.")


@strawberry.input(description="A change of a custom field; what is left out stays.")
class UpdateCustomFieldInput:
    """What a change takes."""

    id: strawberry.ID = strawberry.field(description="The field.")
    expected_version: int = strawberry.field(description="The version that the caller has read.")
    label_zh: str | None = text("Its name in Chinese.", LABEL_LENGTH)
    label_en: str | None = text("Its name in English.", LABEL_LENGTH)
    description: str | None = text("What it is for; null clears it.", DESCRIPTION_LENGTH)
    choices: list[CustomFieldChoiceInput] | None = strawberry.field(
        default=strawberry.UNSET, description="All its choices; one that is left out is retired."
    )
    required: bool | None = strawberry.field(
        default=strawberry.UNSET, description="Whether people must give it with every new record."
    )


@strawberry.input(description="A custom field to take out of use.")
class RetireCustomFieldInput:
    """What retiring takes."""

    id: strawberry.ID = strawberry.field(description="The field.")
    expected_version: int = strawberry.field(description="The version that the caller has read.")


@strawberry.type(description="The custom field, or why it was not changed.")
class CustomFieldPayload:
    """The answer to a declaration."""

    custom_field: CustomField | None = strawberry.field(default=None, description="The field.")
    errors: list[UserError] = refusals()


def _given_choices(choices: list[CustomFieldChoiceInput] | None) -> list[Choice]:
    return [Choice(one.key, one.label_zh, one.label_en) for one in choices or ()]


async def _payload(info: Info, field: custom_fields.CustomField) -> CustomFieldPayload:
    return CustomFieldPayload(custom_field=selected(info, CustomField, field.id))


def _of(view: View, entity: CustomFieldEntity, include_retired: bool) -> list[ColumnElement[bool]]:
    same = [view.column("entity_name") == entity]
    return same if include_retired else [*same, view.table.c.retired_at.is_(None)]


@roots
class CustomFieldQueries:
    """The roots of this room."""

    custom_fields: list[CustomField] = chosen(
        "The custom fields of one kind of record, in the order of their declaration.",
        _of,
        argument("entity", CustomFieldEntity, "The records."),
        argument("include_retired", bool, "Whether to list those out of use as well.", False),
    )


@strawberry.type
class CustomFieldMutations:
    """The mutations of this room."""

    @mutation("Add a field to one kind of record.", *DEFINERS)
    async def define_custom_field(
        self, info: Info, input: Annotated[DefineCustomFieldInput, strawberry.argument(description="The field.")]
    ) -> CustomFieldPayload | None:
        """Declare it once."""
        async with info.context.open_uow() as uow:
            field = await custom_fields.define(
                uow, entity=input.entity, key=input.key, label=Text(input.label_zh, input.label_en), kind=input.kind,
                description=given(input.description), choices=_given_choices(given(input.choices)), is_required=input.required, client_key=input.client_key,
            )  # fmt: skip
        return await _payload(info, field)

    @mutation("Change how a custom field is called, what it takes, or whether it is required.", *DEFINERS)
    async def update_custom_field(
        self, info: Info, input: Annotated[UpdateCustomFieldInput, strawberry.argument(description="The change.")]
    ) -> CustomFieldPayload | None:
        """Change what is given."""
        values = changes(input, "label_zh", "label_en", "description", "choices", required="is_required")
        if "choices" in values:
            values["choices"] = _given_choices(values["choices"])
        async with info.context.open_uow() as uow:
            field = await custom_fields.update(
                uow, expect("CustomField", input.id, "id"), expected_version=input.expected_version, changes=values
            )
        return await _payload(info, field)

    @mutation("Take a custom field out of use; its values stay stored and are shown no more.", *DEFINERS)
    async def retire_custom_field(
        self, info: Info, input: Annotated[RetireCustomFieldInput, strawberry.argument(description="The field.")]
    ) -> CustomFieldPayload | None:
        """Retire it."""
        async with info.context.open_uow() as uow:
            field = await custom_fields.retire(
                uow, expect("CustomField", input.id, "id"), expected_version=input.expected_version
            )
        return await _payload(info, field)
