"""The tables and words of accounts: organisations, their teams, their people and how to reach them."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel import (
    PERSONAL,
    Access,
    Everyone,
    HasChild,
    InTerritory,
    Member,
    Owned,
    Record,
    Role,
    Sight,
    Through,
    found_by,
    sights,
)


class LifecycleStage(StrEnum):
    """Where an account stands with us."""

    PROSPECT = "PROSPECT"
    ONBOARDING = "ONBOARDING"
    ACTIVE = "ACTIVE"
    AT_RISK = "AT_RISK"
    CHURNED = "CHURNED"


class Channel(StrEnum):
    """A way to reach a person."""

    EMAIL = "EMAIL"
    PHONE = "PHONE"
    WECHAT = "WECHAT"
    SMS = "SMS"
    APP = "APP"
    IN_PERSON = "IN_PERSON"
    MAIL = "MAIL"


class BuyingRole(StrEnum):
    """What a person decides in a purchase."""

    ECONOMIC_BUYER = "ECONOMIC_BUYER"
    DECISION_MAKER = "DECISION_MAKER"
    TECHNICAL_EVALUATOR = "TECHNICAL_EVALUATOR"
    PURCHASING = "PURCHASING"
    FINANCE = "FINANCE"
    LEGAL = "LEGAL"
    CHAMPION = "CHAMPION"
    USER = "USER"
    BLOCKER = "BLOCKER"


ACCOUNT_FIELDS = frozenset({
    "industry", "region", "territory", "brand", "owner", "team", "domain", "contacts", "opportunities", "activities", "lifecycle_stage", "credit_grade",
    "employees", "annual_revenue", "parent", "quotes", "orders", "payments", "receivables", "attachments", "custom_fields", "possible_duplicates",
})  # fmt: skip
CONTACT_FIELDS = frozenset({
    "title", "account", "contact_points", "contactability", "buying_role", "activities", "attachments", "custom_fields",
    "possible_duplicates",
})  # fmt: skip


def _merged(name: str) -> Index:
    """An index of the few rows that were merged: of all rows it would lead a planner to read them by being none."""
    some = text("merged_into_id IS NOT NULL")
    return Index(name, "merged_into_id", sqlite_where=some, postgresql_where=some)


class Account(Record):
    """One organisation that we sell to or want to sell to."""

    __tablename__ = "accounts"
    __searched__ = found_by("name", domain="domain")
    __beyond__ = frozenset({"merged_into_id"})
    __access__ = Access(
        {
            Role.REP: Sight(Owned() | Member("AccountTeamMember", "account_id"), ACCOUNT_FIELDS),
            Role.MANAGER: Sight(InTerritory(), ACCOUNT_FIELDS),
            Role.CSM: Sight(
                Member("AccountTeamMember", "account_id"), ACCOUNT_FIELDS - {"activities", "possible_duplicates"}
            ),
            Role.SALES_OPS: Sight(Everyone(), ACCOUNT_FIELDS - {"activities"}),
            Role.FINANCE: Sight(
                Everyone(), frozenset({"opportunities", "quotes", "orders", "payments", "receivables", "credit_grade"})
            ),
            Role.AUDITOR: Sight(Everyone()),
        }
    )

    name: Mapped[str]
    industry: Mapped[str | None]
    region: Mapped[str | None]
    territory_id: Mapped[UUID | None] = mapped_column(ForeignKey("territories.id"), index=True)
    brand_id: Mapped[UUID | None] = mapped_column(ForeignKey("brands.id"))
    owner_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"), index=True)
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    lifecycle_stage: Mapped[LifecycleStage] = mapped_column(default=LifecycleStage.PROSPECT)
    credit_grade: Mapped[str | None]
    employees: Mapped[int | None]
    annual_revenue_minor: Mapped[int | None]
    currency: Mapped[str | None] = mapped_column(String(3))
    domain: Mapped[str | None] = mapped_column(index=True)
    """The domain of its web site, as `policy.normal_domain` writes it."""
    name_key: Mapped[str | None] = mapped_column(index=True)
    """The name as `policy.company_key` compares it."""
    custom: Mapped[dict[str, Any] | None]
    merged_into_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    """The account that this one repeated and was merged into; what is left here is its id."""
    source: Mapped[str | None]
    external_id: Mapped[str | None]

    __table_args__ = (
        UniqueConstraint("source", "external_id"),
        Index("ix_accounts_name", "name"),
        Index("ix_accounts_created", "created_at", "id"),
        Index("ix_accounts_updated", "updated_at", "id"),
        _merged("ix_accounts_merged_into_id"),
    )


class AccountTeamMember(Record):
    """A colleague who works on an account beside its owner."""

    __tablename__ = "account_team_members"
    __aggregate__ = ("Account", "account_id")
    __access__ = Access(
        sights(
            (Role.REP, Role.MANAGER, Role.CSM, Role.SALES_OPS), Through("account_id", "Account"), frozenset({"user"})
        )
    )

    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), index=True)
    role: Mapped[Role]

    __table_args__ = (UniqueConstraint("account_id", "user_id", "role"),)


class Contact(Record):
    """One person, at an account or known from a lead alone."""

    __tablename__ = "contacts"
    __searched__ = found_by("name", title="title")
    __beyond__ = frozenset({"merged_into_id"})
    __person__ = "id"
    __access__ = Access(
        {
            Role.REP: Sight(Through("account_id", "Account") | HasChild("Lead", "contact_id"), CONTACT_FIELDS),
            Role.MANAGER: Sight(Through("account_id", "Account") | HasChild("Lead", "contact_id"), CONTACT_FIELDS),
            Role.CSM: Sight(
                Through("account_id", "Account"),
                CONTACT_FIELDS - {"activities", "contactability", "possible_duplicates"},
            ),
            Role.SALES_OPS: Sight(Everyone(), CONTACT_FIELDS - {"activities", "contact_points", "contactability"}),
            Role.LEGAL: Sight(Everyone(), frozenset({"contact_points", "contactability"})),
            Role.DPO: Sight(Everyone(), frozenset({"contact_points", "contactability"})),
        }
    )

    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"), index=True)
    name: Mapped[str] = mapped_column(info=PERSONAL)
    title: Mapped[str | None] = mapped_column(info=PERSONAL)
    buying_role: Mapped[BuyingRole | None]
    custom: Mapped[dict[str, Any] | None] = mapped_column(info=PERSONAL)
    merged_into_id: Mapped[UUID | None] = mapped_column(ForeignKey("contacts.id"))
    """The contact that this one repeated and was merged into; what is left here is its id."""
    erased_at: Mapped[datetime | None]
    source: Mapped[str | None]
    external_id: Mapped[str | None]

    __table_args__ = (
        UniqueConstraint("source", "external_id"),
        Index("ix_contacts_name", "name", "id"),
        Index("ix_contacts_created", "created_at", "id"),
        Index("ix_contacts_updated", "updated_at", "id"),
        _merged("ix_contacts_merged_into_id"),
    )


UNSHOWN = "***"
"""What is shown of an address of which nothing may be shown."""


class ContactPoint(Record):
    """One address of a person on one channel.

    `match_key` is the form by which equals are found, `masked` what is shown of it.
    """

    __tablename__ = "contact_points"
    __aggregate__ = ("Contact", "contact_id")
    __person__ = "contact_id"
    __access__ = Access(
        {
            role: Sight(Through("contact_id", "Contact"), frozenset({"verified_at"}))
            for role in (Role.REP, Role.MANAGER, Role.CSM, Role.LEGAL, Role.DPO)
        }
    )

    contact_id: Mapped[UUID] = mapped_column(ForeignKey("contacts.id"))
    channel: Mapped[Channel]
    value: Mapped[str] = mapped_column(info=PERSONAL)
    match_key: Mapped[str] = mapped_column(info=PERSONAL)
    masked: Mapped[str] = mapped_column(info=PERSONAL, server_default=UNSHOWN)
    verified_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("contact_id", "channel", "match_key"),
        Index("ix_contact_points_match", "match_key"),
    )
