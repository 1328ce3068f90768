"""The values of custom fields on records, as they are read and as they come in."""

from typing import Any

import strawberry

from api.context import Context
from api.custom_fields.kinds import CustomFieldKind
from api.mutations import text
from api.reads import Beside, looked_up
from api.scalars import JSON
from domain import custom_fields
from domain.custom_fields import KEY_LENGTH, FieldFact
from domain.kernel import SYSTEM, Invalid, Language, Text


@strawberry.type(description="What a record holds in one custom field.")
class CustomFieldValue:
    """A value with the name of its field."""

    key: str = strawberry.field(description="The field's key.")
    label: str = strawberry.field(description="The field's name in the reader's language.")
    kind: CustomFieldKind = strawberry.field(description="What the field holds.")
    text: str = strawberry.field(description="The value as people read it in the reader's language.")
    value: JSON = strawberry.field(description="The value as JSON, as inputs take it.")


async def declared(context: Context, entities: list[str]) -> dict[str, dict[str, FieldFact]]:
    """The declared fields of several entities by key."""
    async with context.database.read(SYSTEM) as connection:
        return {entity: await custom_fields.fields_of(connection, entity) for entity in entities}


def custom_values(entity: str) -> Any:
    """The field of a record with the values of its custom fields, in the order of their declaration."""

    def shown(language: Language, known: dict[str, FieldFact], stored: dict[str, Any]) -> list[CustomFieldValue]:
        return [
            CustomFieldValue(
                key=field.key, label=field.label.words(language), kind=field.kind, value=stored[field.key],
                text=custom_fields.words_of(field, stored[field.key], language),
            )
            for field in known.values() if field.key in stored
        ]  # fmt: skip

    beside = Beside(f"custom fields of {entity}", lambda: custom_fields.declared_fields(entity), custom_fields.facts)
    return looked_up(("custom",), beside, shown, "What it holds in fields that the company added.")


@strawberry.input(description="A value for one custom field.")
class CustomFieldInput:
    """What a record is given in one field."""

    key: str = text("The field's key.", KEY_LENGTH, required=True)
    value: JSON | None = strawberry.field(
        default=None, description="The value, in the form of the field's kind; null clears it."
    )


def custom_input() -> Any:
    """The input field with values for custom fields."""
    return strawberry.field(
        default=strawberry.UNSET, description="Values for custom fields; those that are left out stay as they are."
    )


def read_custom(given: list[CustomFieldInput] | None) -> dict[str, Any] | None:
    """The values of an input by key; None where it was left out.

    Raises Invalid for a key that comes twice.
    """
    if not given:
        return None
    values: dict[str, Any] = {}
    for one in given:
        if one.key in values:
            raise Invalid(Text(f"字段“{one.key}”重复", f"the field “{one.key}” comes twice"), ("custom", one.key))
        values[one.key] = one.value
    return values


def with_custom(changes: dict[str, Any]) -> dict[str, Any]:
    """An update's changes, with the values of custom fields by key."""
    return changes | {"custom": read_custom(changes["custom"])} if "custom" in changes else changes
