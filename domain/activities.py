"""What colleagues did: calls, meetings, visits, messages, tasks and notes, each related to one record."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from domain.accounts import Account, Contact
from domain.deals import Opportunity
from domain.kernel import (
    PERSONAL,
    Access,
    Invalid,
    KeyReused,
    Owned,
    Record,
    Ref,
    Role,
    Sight,
    Text,
    Through,
    UnitOfWork,
    fingerprint,
    found_by,
    load,
    not_found,
)
from domain.leads import Lead, LeadStep, check_step, touch


class ActivityKind(StrEnum):
    """What kind of thing was done."""

    CALL = "CALL"
    MEETING = "MEETING"
    VISIT = "VISIT"
    EMAIL = "EMAIL"
    MESSAGE = "MESSAGE"
    TASK = "TASK"
    NOTE = "NOTE"


RESPONSES = frozenset(
    {ActivityKind.CALL, ActivityKind.MEETING, ActivityKind.VISIT, ActivityKind.EMAIL, ActivityKind.MESSAGE}
)
"""The kinds that count as a genuine reply to a lead."""

RELATED: dict[str, type[Record]] = {"Account": Account, "Contact": Contact, "Lead": Lead, "Opportunity": Opportunity}
SUBJECT_LENGTH, BODY_LENGTH = 500, 50_000

ACTIVITY_FIELDS = frozenset({"body", "related_to", "actor", "attachments"})


class Activity(Record):
    """One thing done, by its owner, at an instant, related to one record; the account above that record is kept beside it."""

    __tablename__ = "activities"
    __searched__ = found_by("subject", body="body")
    __person__ = "contact_id"
    __access__ = Access(
        {
            Role.REP: Sight(
                Owned()
                | Through("opportunity_id", "Opportunity")
                | Through("lead_id", "Lead")
                | Through("account_id", "Account", Owned()),
                ACTIVITY_FIELDS,
            ),
            Role.MANAGER: Sight(
                Through("opportunity_id", "Opportunity")
                | Through("account_id", "Account")
                | Through("lead_id", "Lead"),
                ACTIVITY_FIELDS,
            ),
        }
    )

    kind: Mapped[ActivityKind]
    subject: Mapped[str] = mapped_column(info=PERSONAL)
    body: Mapped[str | None] = mapped_column(info=PERSONAL)
    occurred_at: Mapped[datetime]
    owner_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    related_kind: Mapped[str]
    related_id: Mapped[UUID]
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    opportunity_id: Mapped[UUID | None] = mapped_column(ForeignKey("opportunities.id"))
    contact_id: Mapped[UUID | None] = mapped_column(ForeignKey("contacts.id"))
    lead_id: Mapped[UUID | None] = mapped_column(ForeignKey("leads.id"))
    client_key: Mapped[str | None]
    input_fingerprint: Mapped[str | None]

    __table_args__ = (
        UniqueConstraint("created_by_id", "client_key"),
        Index("ix_activities_account", "account_id", "occurred_at", "id"),
        Index("ix_activities_opportunity", "opportunity_id", "occurred_at", "id"),
        Index("ix_activities_lead", "lead_id", "occurred_at", "id"),
        Index("ix_activities_contact", "contact_id", "occurred_at", "id"),
        Index("ix_activities_owner", "owner_id", "occurred_at", "id"),
        Index("ix_activities_occurred", "occurred_at", "id"),
    )


async def log(
    uow: UnitOfWork, *, related_to: Ref, kind: ActivityKind, subject: str, body: str | None = None, occurred_at: datetime | None = None,
    client_key: str | None = None, owner_id: UUID | None = None, reply: bool = False,
) -> Activity:  # fmt: skip
    """Log an activity on a record that the actor sees; the same client key of the same actor gives the one that is there.

    A `reply` is one to a lead by whoever works on it: a genuine one stops the lead's response clock and moves its status, as
    any activity of such a kind does.

    Raises NotFound for an absent or foreign record, KeyReused for the same key with other input, Invalid for an empty or
    overlong subject, an overlong body, an instant more than a day ahead, or a reply of a kind that reaches nobody; and what
    `leads.check_step` raises for a reply.
    """
    given = {
        "related": str(related_to),
        "kind": kind,
        "subject": subject,
        "body": body,
        "at": occurred_at and occurred_at.astimezone(UTC).isoformat(),
    }
    if client_key is not None:
        known = await uow.earlier(Activity, created_by_id=uow.actor.user_id, client_key=client_key)
        if known is not None:
            if known.input_fingerprint != fingerprint(given):
                raise KeyReused(
                    Text("该 clientKey 已用于另一条内容不同的活动", "this clientKey was used for another activity"),
                    ("clientKey",),
                )
            return known
    _check(uow, subject, body, occurred_at)
    record = await _related(uow, related_to, ("leadId",) if reply else ("relatedToId",))
    if reply:
        _check_reply(uow, record, kind)
    links = _links(record)
    activity = Activity(
        id=uow.new_id(), kind=kind, subject=subject.strip(), body=body, occurred_at=occurred_at or uow.now, owner_id=owner_id or uow.actor.user_id,
        related_kind=related_to.kind, related_id=related_to.id, client_key=client_key,
        input_fingerprint=fingerprint(given) if client_key is not None else None, **links,
    )  # fmt: skip
    uow.session.add(activity)
    uow.note("activity.logged", activity, {"kind": kind.value})
    if isinstance(record, Lead):
        touch(record, activity.occurred_at, responded=kind in RESPONSES)
        uow.note("lead.touched", record)
    await uow.session.flush()
    return activity


def _check(uow: UnitOfWork, subject: str, body: str | None, occurred_at: datetime | None) -> None:
    if not subject.strip():
        raise Invalid(Text("主题不能为空", "the subject cannot be empty"), ("subject",))
    if len(subject) > SUBJECT_LENGTH:
        raise Invalid(
            Text(f"主题不能超过 {SUBJECT_LENGTH} 个字符", f"the subject is longer than {SUBJECT_LENGTH} characters"),
            ("subject",),
        )
    if body is not None and len(body) > BODY_LENGTH:
        raise Invalid(
            Text(f"正文不能超过 {BODY_LENGTH} 个字符", f"the body is longer than {BODY_LENGTH} characters"), ("body",)
        )
    if occurred_at is not None and occurred_at > uow.now + timedelta(days=1):
        raise Invalid(Text("发生时间不能晚于一天之后", "occurredAt is more than a day ahead"), ("occurredAt",))


def _check_reply(uow: UnitOfWork, record: Record, kind: ActivityKind) -> None:
    if kind not in RESPONSES:
        words = Text("任务和备注不算答复客户", "a task or a note is no reply to anybody")
        raise Invalid(words, ("kind",))
    if not isinstance(record, Lead):
        raise not_found("Lead", ("leadId",))
    check_step(uow, record, LeadStep.RESPOND, ("leadId",))


async def _related(uow: UnitOfWork, related_to: Ref, path: tuple[str, ...]) -> Record:
    model = RELATED.get(related_to.kind)
    if model is None:
        raise not_found("record", path)
    # A lead is changed by its activities: two of them at once wait for each other instead of failing.
    return await load(uow.session, uow.actor, model, related_to.id, path=path, lock=related_to.kind == Lead.entity())


def _links(record: Record) -> dict[str, UUID | None]:
    links: dict[str, UUID | None] = {
        name: getattr(record, name, None) for name in ("account_id", "opportunity_id", "contact_id")
    }
    if isinstance(record, Lead):
        links |= {"account_id": record.converted_account_id, "opportunity_id": record.converted_opportunity_id}
    return links | {"lead_id": None} | {f"{record.entity().lower()}_id": record.id}
