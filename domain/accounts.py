"""The organisations we sell to, their people, and how to reach them."""

import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import phonenumbers
from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, or_, select
from sqlalchemy.orm import Mapped, mapped_column

from domain import people
from domain.kernel import (
    PERSONAL,
    Access,
    Conflict,
    Everyone,
    HasChild,
    InTerritory,
    Invalid,
    Member,
    Owned,
    Record,
    Role,
    Sight,
    Text,
    Through,
    UnitOfWork,
    load,
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
    "industry", "region", "owner", "contacts", "opportunities", "activities", "lifecycle_stage", "credit_grade", "employees", "parent", "quotes", "orders",
})  # fmt: skip
CONTACT_FIELDS = frozenset({"title", "account", "contact_points", "contactability", "buying_role"})


class Account(Record):
    """One organisation that we sell to or want to sell to."""

    __tablename__ = "accounts"
    __access__ = Access(
        {
            Role.REP: Sight(Owned() | Member("AccountTeamMember", "account_id"), ACCOUNT_FIELDS),
            Role.MANAGER: Sight(InTerritory(), ACCOUNT_FIELDS),
            Role.CSM: Sight(Member("AccountTeamMember", "account_id"), ACCOUNT_FIELDS - {"activities"}),
            Role.SALES_OPS: Sight(Everyone(), ACCOUNT_FIELDS - {"activities"}),
            Role.FINANCE: Sight(Everyone(), frozenset({"opportunities", "quotes", "orders", "credit_grade"})),
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
    source: Mapped[str | None]
    external_id: Mapped[str | None]

    __table_args__ = (UniqueConstraint("source", "external_id"), Index("ix_accounts_name", "name"))


class AccountTeamMember(Record):
    """A colleague who works on an account beside its owner."""

    __tablename__ = "account_team_members"
    __aggregate__ = ("Account", "account_id")

    account_id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), index=True)
    role: Mapped[Role]

    __table_args__ = (UniqueConstraint("account_id", "user_id", "role"),)


class Contact(Record):
    """One person, at an account or known from a lead alone."""

    __tablename__ = "contacts"
    __person__ = "id"
    __access__ = Access(
        {
            Role.REP: Sight(Through("account_id", "Account") | HasChild("Lead", "contact_id"), CONTACT_FIELDS),
            Role.MANAGER: Sight(Through("account_id", "Account") | HasChild("Lead", "contact_id"), CONTACT_FIELDS),
            Role.CSM: Sight(Through("account_id", "Account"), CONTACT_FIELDS - {"contactability"}),
            Role.SALES_OPS: Sight(Everyone(), frozenset({"title", "account", "buying_role"})),
            Role.LEGAL: Sight(Everyone(), frozenset({"contact_points", "contactability"})),
            Role.DPO: Sight(Everyone(), frozenset({"contact_points", "contactability"})),
        }
    )

    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"), index=True)
    name: Mapped[str] = mapped_column(info=PERSONAL)
    title: Mapped[str | None] = mapped_column(info=PERSONAL)
    buying_role: Mapped[BuyingRole | None]
    erased_at: Mapped[datetime | None]
    source: Mapped[str | None]
    external_id: Mapped[str | None]

    __table_args__ = (UniqueConstraint("source", "external_id"),)


class ContactPoint(Record):
    """One address of a person on one channel; `match_key` is the form by which equals are found."""

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
    verified_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("contact_id", "channel", "match_key"),
        Index("ix_contact_points_match", "match_key"),
    )


_ERASED = Text("该联系人的个人信息已被删除", "this contact has been erased")


def match_key(channel: Channel, value: str, path: tuple[str, ...] = ("value",)) -> str:
    """The form of an address by which equal ones are found: E.164 for telephones, lower case elsewhere.

    Raises Invalid for an e-mail address or telephone number that cannot be one.
    """
    text = unicodedata.normalize("NFKC", value).strip()
    if channel in {Channel.PHONE, Channel.SMS}:
        try:
            number = phonenumbers.parse(text, "CN")
        except phonenumbers.NumberParseException as error:
            raise Invalid(Text(f"“{value}”不是电话号码", f"“{value}” is not a telephone number"), path) from error
        if not phonenumbers.is_possible_number(number):
            raise Invalid(Text(f"“{value}”不是可用的电话号码", f"“{value}” cannot be a telephone number"), path)
        return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    if channel is Channel.EMAIL and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]+", text):
        raise Invalid(Text(f"“{value}”不是邮箱地址", f"“{value}” is not an e-mail address"), path)
    if not text:
        raise Invalid(Text("联系方式不能为空", "a contact point cannot be empty"), path)
    return text.lower()


def masked(channel: Channel, value: str) -> str:
    """An address with its middle hidden, enough to recognise it and too little to use it."""
    if channel is Channel.EMAIL:
        local, _, domain = value.partition("@")
        return f"{local[:1] if len(local) > 1 else ''}***@{domain}"
    if channel in {Channel.PHONE, Channel.SMS}:
        digits = re.sub(r"\D", "", value)
        return f"{digits[:3]}****{digits[-4:]}" if len(digits) > 10 else f"****{digits[-2:]}"  # noqa: PLR2004 - seven shown digits leave too few to guess of a short number
    return f"{value[:1]}***{value[-1:]}" if len(value) > 2 else "***"  # noqa: PLR2004 - nothing to show of two letters


async def create_account(
    uow: UnitOfWork, *, name: str, industry: str | None = None, region: str | None = None, owner_id: UUID | None = None,
    brand_id: UUID | None = None, parent_id: UUID | None = None, lifecycle_stage: LifecycleStage = LifecycleStage.PROSPECT,
    credit_grade: str | None = None, employees: int | None = None,
) -> Account:  # fmt: skip
    """Create an account in the territory that its region names."""
    if not name.strip():
        raise Invalid(Text("客户名称不能为空", "an account needs a name"), ("name",))
    territory = await people.find_territory(uow.session, region)
    account = Account(
        id=uow.new_id(), name=name.strip(), industry=industry, region=territory.key if territory else region, territory_id=territory.id if territory else None,
        owner_id=owner_id, brand_id=brand_id, parent_id=parent_id, lifecycle_stage=lifecycle_stage, credit_grade=credit_grade, employees=employees,
    )  # fmt: skip
    uow.session.add(account)
    uow.note("account.created", account)
    return account


async def add_team_member(uow: UnitOfWork, account: Account, user_id: UUID, role: Role) -> AccountTeamMember:
    """Put a colleague on an account's team."""
    member = AccountTeamMember(id=uow.new_id(), account_id=account.id, user_id=user_id, role=role)
    uow.session.add(member)
    uow.note("account.team_member_added", account, {"role": role.value})
    return member


async def create_contact(
    uow: UnitOfWork,
    *,
    name: str,
    account_id: UUID | None = None,
    title: str | None = None,
    buying_role: BuyingRole | None = None,
) -> Contact:
    """Create a person, at an account that the actor sees or at none."""
    if not name.strip():
        raise Invalid(Text("联系人姓名不能为空", "a contact needs a name"), ("name",))
    if account_id is not None:
        await load(uow.session, uow.actor, Account, account_id, path=("accountId",))
    contact = Contact(id=uow.new_id(), account_id=account_id, name=name.strip(), title=title, buying_role=buying_role)
    uow.session.add(contact)
    uow.note("contact.created", contact)
    return contact


async def add_contact_point(
    uow: UnitOfWork,
    contact: Contact,
    channel: Channel,
    value: str,
    *,
    verified_at: datetime | None = None,
    path: tuple[str, ...] = ("value",),
) -> ContactPoint:
    """Add an address to a person, or return the equal one that is there.

    Raises Invalid for an address that cannot be one, Conflict when the person was erased.
    """
    key = match_key(channel, value, path)
    if contact.erased_at is not None:
        raise Conflict(_ERASED, path)
    await uow.wait_turn(f"contact point\0{contact.id}\0{key}")
    same = (ContactPoint.contact_id == contact.id) & (ContactPoint.channel == channel) & (ContactPoint.match_key == key)
    found = (await uow.session.execute(select(ContactPoint).where(same))).scalar_one_or_none()
    if found is not None:
        return found
    point = ContactPoint(
        id=uow.new_id(),
        contact_id=contact.id,
        channel=channel,
        value=value.strip(),
        match_key=key,
        verified_at=verified_at,
    )
    uow.session.add(point)
    uow.note("contact.point_added", contact, {"channel": channel.value})
    await uow.session.flush()
    return point


async def find_contact(uow: UnitOfWork, points: Iterable[tuple[Channel, str]]) -> Contact | None:
    """The oldest person who has one of the addresses (channel and match key), whoever may see them.

    Nobody else makes a person of these addresses before this transaction ends: equal people must not be made twice.
    """
    wanted = sorted({(_kin(channel), key) for channel, key in points})
    if not wanted:
        return None
    await uow.wait_turn(*(f"address\0{'/'.join(kin)}\0{key}" for kin, key in wanted))
    same = or_(*((ContactPoint.match_key == key) & ContactPoint.channel.in_(kin) for kin, key in wanted))
    having = select(ContactPoint.contact_id).where(same)
    statement = select(Contact).where(Contact.id.in_(having), Contact.erased_at.is_(None)).order_by(Contact.id).limit(1)
    return (await uow.session.execute(statement)).scalar_one_or_none()


def _kin(channel: Channel) -> tuple[Channel, ...]:
    """The channels on which the same address means the same person: a telephone number takes calls and messages."""
    return (Channel.PHONE, Channel.SMS) if channel in {Channel.PHONE, Channel.SMS} else (channel,)


async def erase_contact(uow: UnitOfWork, contact: Contact) -> None:
    """Replace a person's name by a placeholder and delete their addresses; the ledger's keys are destroyed by its own room.

    Raises Conflict when the person was erased before.
    """
    if contact.erased_at is not None:
        raise Conflict(_ERASED, ("contactId",))
    for point in (
        await uow.session.execute(select(ContactPoint).where(ContactPoint.contact_id == contact.id))
    ).scalars():
        await uow.session.delete(point)
    contact.name, contact.title, contact.erased_at = f"已删除 {contact.id.hex[-6:]}", None, uow.now
    uow.note("contact.erased", contact)
