"""The tables of people: users, their roles in a context and for a time, places, brands, and by what they prove who they are."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, Integer, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel import Access, ActorKind, Base, Everyone, Language, Owned, Record, Role, sights

KEEPERS = (Role.ADMIN, Role.AUDITOR, Role.DPO)
"""The roles that see who may do what."""
OTHERS = tuple(role for role in Role if role not in KEEPERS)
USER_FIELDS = frozenset({"language", "time_zone", "roles", "grants"})
GRANT_FIELDS = frozenset({"user", "territory", "brand", "account", "account_id", "valid_to"})


class User(Record):
    """One person who signs in, or another system that comes with keys of its own."""

    __tablename__ = "users"
    __beyond__ = frozenset({"auth_epoch", "disabled_at"})
    __access__ = Access(
        sights(OTHERS, Everyone(), USER_FIELDS)
        | sights(KEEPERS, Everyone(), USER_FIELDS | {"disabled_at", "service_keys"})
    )

    name: Mapped[str]
    email: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[ActorKind] = mapped_column(default=ActorKind.USER, server_default=ActorKind.USER.value)
    language: Mapped[Language] = mapped_column(default=Language.ZH)
    time_zone: Mapped[str] = mapped_column(default="Asia/Shanghai")
    disabled_at: Mapped[datetime | None]
    auth_epoch: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """Counts what changes who they are here: whoever remembers an older number asks again."""
    source: Mapped[str | None]
    external_id: Mapped[str | None]

    __table_args__ = (UniqueConstraint("source", "external_id"),)


class Territory(Record):
    """A sales region, part of a larger one or not; its key is what records call their region."""

    __tablename__ = "territories"
    __access__ = Access(sights(tuple(Role), Everyone(), frozenset({"parent"})))

    key: Mapped[str] = mapped_column(unique=True)
    label_zh: Mapped[str]
    label_en: Mapped[str]
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("territories.id"))


class Brand(Record):
    """A brand under which the company sells."""

    __tablename__ = "brands"
    __access__ = Access(sights(tuple(Role), Everyone()))

    key: Mapped[str] = mapped_column(unique=True)
    label_zh: Mapped[str]
    label_en: Mapped[str]


class RoleGrant(Record):
    """A role of a user, in a territory and brand, on one account, or everywhere, from one instant to another."""

    __tablename__ = "role_grants"
    __beyond__ = frozenset({"user_id", "role", "valid_from", "valid_to"})
    __aggregate__ = ("User", "user_id")
    __access__ = Access(sights(OTHERS, Owned("user_id"), GRANT_FIELDS) | sights(KEEPERS, Everyone(), GRANT_FIELDS))

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    role: Mapped[Role]
    territory_id: Mapped[UUID | None] = mapped_column(ForeignKey("territories.id"))
    brand_id: Mapped[UUID | None] = mapped_column(ForeignKey("brands.id"))
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"), index=True)
    valid_from: Mapped[datetime]
    valid_to: Mapped[datetime | None]

    __table_args__ = (Index("ix_role_grants_user", "user_id", "role"),)


class Password(Base):
    """The hash of a user's password (Argon2id), in the encoding that names its parameters."""

    __tablename__ = "user_passwords"
    __unledgered__ = "a hash has no place in a log; that a password was set is noted of its user"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    hash: Mapped[str]
    set_at: Mapped[datetime]


class SignInSession(Base):
    """One browser in which a user is signed in, known by the hash of the secret in its cookie."""

    __tablename__ = "sign_in_sessions"
    __beyond__ = frozenset({"user_id"})
    __unledgered__ = "a session's secret has no place in a log, and its end is a matter of hours"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), index=True)
    secret_hash: Mapped[str]
    began_at: Mapped[datetime]
    ends_at: Mapped[datetime] = mapped_column(index=True)


class SignInAttempts(Base):
    """How often somebody has tried to sign in without success, as one name or from one place; the name is hashed."""

    __tablename__ = "sign_in_attempts"
    __unledgered__ = "a count of guesses, gone after a day"

    name: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(Integer)
    last_at: Mapped[datetime] = mapped_column(index=True)


class ServiceKey(Record):
    """One key with which another system comes as its user: for what, until when."""

    __tablename__ = "service_keys"
    __aggregate__ = ("User", "user_id")
    __access__ = Access(sights(KEEPERS, Everyone(), frozenset({"scopes", "revoked_at", "last_used_on"})))

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), index=True)
    label: Mapped[str]
    scopes: Mapped[list[str]]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class KeySecret(Base):
    """What proves a service key, hashed, and the last day on which somebody came with it."""

    __tablename__ = "service_key_secrets"
    __beyond__ = frozenset({"last_used_on"})
    __unledgered__ = "a hash has no place in a log, and the use of a key changes nothing"

    key_id: Mapped[UUID] = mapped_column(ForeignKey("service_keys.id"), primary_key=True)
    secret_hash: Mapped[str]
    last_used_on: Mapped[date | None]
