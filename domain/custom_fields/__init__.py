"""Fields that a company adds to its records in its own words: declared, typed and checked, without a change of tables."""

from domain.custom_fields.model import CustomField, CustomFieldEntity, CustomFieldKind
from domain.custom_fields.policy import (
    DESCRIPTION_LENGTH,
    KEY_LENGTH,
    LABEL_LENGTH,
    Choice,
    FieldFact,
    Values,
    changed_values,
    read_choices,
    read_value,
    words_of,
)
from domain.custom_fields.service import DEFINERS, apply, declared_fields, define, facts, fields_of, retire, update

__all__ = [
    "DEFINERS", "DESCRIPTION_LENGTH", "KEY_LENGTH", "LABEL_LENGTH", "Choice", "CustomField", "CustomFieldEntity", "CustomFieldKind", "FieldFact", "Values",
    "apply", "changed_values", "declared_fields", "define", "facts", "fields_of", "read_choices", "read_value", "retire", "update", "words_of",
]  # fmt: skip
