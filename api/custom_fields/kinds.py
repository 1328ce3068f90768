"""The words of custom fields in the schema: which records have them, and what they hold."""

from api.scalars import enum
from domain.custom_fields import CustomFieldEntity, CustomFieldKind

__all__ = ["CustomFieldEntity", "CustomFieldKind"]

enum(
    CustomFieldEntity,
    "The records that take custom fields.",
    ACCOUNT="Accounts.",
    CONTACT="Contacts.",
    LEAD="Leads.",
    OPPORTUNITY="Opportunities.",
    PRODUCT="Products.",
    QUOTE="Quotes.",
    ORDER="Orders.",
)
enum(
    CustomFieldKind,
    "What a custom field holds, and how JSON shows it.",
    TEXT="A text: a string.",
    NUMBER="A number.",
    DATE='A day: "2026-03-02".',
    BOOLEAN="Yes or no: true or false.",
    CHOICE="One of the declared choices: its key.",
    MONEY='An amount: {"amount": "1250000.00", "currency": "CNY"}.',
)
