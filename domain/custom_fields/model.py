"""The table of declared fields, and its words."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped

from domain.kernel import Access, Everyone, Record, Role, sights


class CustomFieldEntity(StrEnum):
    """The records that take custom fields, by the names of their classes."""

    ACCOUNT = "Account"
    CONTACT = "Contact"
    LEAD = "Lead"
    OPPORTUNITY = "Opportunity"
    PRODUCT = "Product"
    QUOTE = "Quote"
    ORDER = "Order"


class CustomFieldKind(StrEnum):
    """What a custom field holds."""

    TEXT = "TEXT"
    NUMBER = "NUMBER"
    DATE = "DATE"
    BOOLEAN = "BOOLEAN"
    CHOICE = "CHOICE"
    MONEY = "MONEY"


class CustomField(Record):
    """One declared field of one kind of record; its key and kind never change, and a retired one is shown no more."""

    __tablename__ = "custom_fields"
    __access__ = Access(sights(tuple(Role), Everyone(), frozenset({"description", "choices", "retired_at"})))

    entity_name: Mapped[CustomFieldEntity]
    key: Mapped[str]
    label_zh: Mapped[str]
    label_en: Mapped[str]
    description: Mapped[str | None]
    kind: Mapped[CustomFieldKind]
    choices: Mapped[list[Any]]
    is_required: Mapped[bool]
    retired_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("entity_name", "key"),)
