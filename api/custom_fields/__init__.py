"""Custom fields in the schema: their declaration, their values on records, and filters by them."""

from api.custom_fields.declaration import CustomField, CustomFieldMutations, CustomFieldQueries
from api.custom_fields.filters import CustomFieldFilter, custom_filter
from api.custom_fields.values import (
    CustomFieldInput,
    CustomFieldValue,
    custom_input,
    custom_values,
    read_custom,
    with_custom,
)

__all__ = [
    "CustomField",
    "CustomFieldFilter",
    "CustomFieldInput",
    "CustomFieldMutations",
    "CustomFieldQueries",
    "CustomFieldValue",
    "custom_filter",
    "custom_input",
    "custom_values",
    "read_custom",
    "with_custom",
]
