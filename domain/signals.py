"""Facts about buyers and sellers: append-only, with two clocks, a dedupe key and an evidence grade."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any
from uuid import UUID

from jsonschema import Draft202012Validator
from sqlalchemy import ForeignKey, Index, UniqueConstraint, select
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel import (
    PERSONAL,
    Access,
    ActorKind,
    Base,
    Invalid,
    Owned,
    Ref,
    Role,
    Sight,
    Text,
    Through,
    ThroughSubject,
    UnitOfWork,
    fingerprint,
    insert_rows,
)


class EvidenceGrade(StrEnum):
    """How well a fact is shown."""

    CLAIMED = "CLAIMED"
    SUGGESTED_BY_AI = "SUGGESTED_BY_AI"
    ATTACHED = "ATTACHED"
    VERIFIED = "VERIFIED"
    WAIVED = "WAIVED"


def _schema(required: Sequence[str], **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


TEXT, KEY, NUMBER = {"type": "string", "minLength": 1, "maxLength": 4000}, {"type": "string", "pattern": "^[a-z0-9_]{1,60}$"}, {"type": "number"}

TYPES: dict[str, dict[str, Any]] = {
    "page_viewed": _schema(["title"], title=TEXT, seconds=NUMBER),
    "document_downloaded": _schema(["title"], title=TEXT),
    "enquiry_sent": _schema(["text"], text=TEXT),
    "demo_requested": _schema(["title"], title=TEXT),
    "event_attended": _schema(["title"], title=TEXT),
    "email_opened": _schema(["title"], title=TEXT),
    "quote_sent": _schema(["number"], number=TEXT),
    "quote_opened": _schema(["number"], number=TEXT),
    "payment_received": _schema(["order"], order=TEXT, share=NUMBER),
    "usage_reported": _schema(["module"], module=TEXT, hours=NUMBER),
    "concern_raised": _schema(["category", "words"], category=KEY, words=TEXT),
    "concern_resolved": _schema(["category"], category=KEY, words=TEXT),
    "competitor_mentioned": _schema(["competitor"], competitor=KEY, words=TEXT),
    "generation_outcome": _schema(["verdict"], verdict=TEXT),
}
"""The registered types, each with the JSON schema of its payload."""

SUBJECTS = ("Account", "Contact", "Lead", "Opportunity")
SIGNAL_ROWS = ThroughSubject(SUBJECTS) | Through("account_id", "Account", Owned())


class Signal(Base):
    """One fact, true at `occurred_at` and learned at `recorded_at`; the same source and dedupe key never make a second one."""

    __tablename__ = "signals"
    __person__ = "contact_id"
    __access__ = Access({role: Sight(SIGNAL_ROWS, frozenset({"payload"})) for role in (Role.REP, Role.MANAGER)})

    id: Mapped[UUID] = mapped_column(primary_key=True)
    type: Mapped[str]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    contact_id: Mapped[UUID | None] = mapped_column(ForeignKey("contacts.id"))
    actor_kind: Mapped[ActorKind]
    actor_id: Mapped[UUID | None]
    occurred_at: Mapped[datetime]
    recorded_at: Mapped[datetime]
    source: Mapped[str]
    dedupe_key: Mapped[str]
    payload: Mapped[dict[str, Any]] = mapped_column(info=PERSONAL)
    payload_fingerprint: Mapped[str]
    evidence_grade: Mapped[EvidenceGrade]
    consent_receipt_id: Mapped[UUID | None] = mapped_column(ForeignKey("consent_receipts.id"))
    import_batch_id: Mapped[UUID | None]

    __table_args__ = (
        UniqueConstraint("source", "dedupe_key"),
        Index("ix_signals_subject", "subject_id", "occurred_at", "id"),
        Index("ix_signals_account", "account_id", "occurred_at", "id"),
    )


@dataclass(frozen=True, slots=True)
class Fact:
    """A signal as a source delivers it."""

    type: str
    subject: Ref
    source: str
    dedupe_key: str
    occurred_at: datetime
    payload: dict[str, Any]
    account_id: UUID | None = None
    contact_id: UUID | None = None
    evidence_grade: EvidenceGrade = EvidenceGrade.CLAIMED


@cache
def _validator(type: str) -> Draft202012Validator:
    return Draft202012Validator(TYPES[type])


def check(fact: Fact, now: datetime) -> None:
    """Refuse what cannot be taken.

    Raises Invalid for an unknown type or subject, a payload that its schema refuses, or an instant more than a day ahead.
    """
    if fact.type not in TYPES:
        raise Invalid(Text(f"未登记的信号类型“{fact.type}”", f"“{fact.type}” is no registered signal type"), ("type",))
    if fact.subject.kind not in SUBJECTS:
        raise Invalid(Text(f"信号不能记在 {fact.subject.kind} 上", f"a signal cannot be about a {fact.subject.kind}"), ("subject",))
    problem = next(iter(_validator(fact.type).iter_errors(fact.payload)), None)
    if problem is not None:
        where = "/".join(("payload", *map(str, problem.absolute_path)))
        raise Invalid(Text(f"{where} 不符合 {fact.type} 的格式：{problem.message}", f"{where} does not fit {fact.type}: {problem.message}"), ("payload",))
    if fact.occurred_at > now + timedelta(days=1):
        raise Invalid(Text("发生时间不能晚于一天之后", "occurredAt is more than a day ahead"), ("occurredAt",))


async def record(
    uow: UnitOfWork, *, type: str, subject: Ref, source: str, dedupe_key: str, occurred_at: datetime, payload: dict[str, Any],
    account_id: UUID | None = None, contact_id: UUID | None = None, evidence_grade: EvidenceGrade = EvidenceGrade.CLAIMED,
) -> Signal:  # fmt: skip
    """Record a fact; the same source and dedupe key give the one that is there, whatever comes later and in which order.

    Raises Invalid as `check` does.
    """
    fact = Fact(type, subject, source, dedupe_key, occurred_at, payload, account_id, contact_id, evidence_grade)
    check(fact, uow.now)
    known = (await uow.session.execute(select(Signal).where(Signal.source == source, Signal.dedupe_key == dedupe_key))).scalar_one_or_none()
    if known is not None:
        return known
    signal = Signal(**_row(uow, fact))
    uow.session.add(signal)
    uow.note("signal.recorded", signal, {"type": type})
    await uow.session.flush()
    return signal


async def record_many(uow: UnitOfWork, facts: Sequence[Fact], *, batch: Ref) -> int:
    """Record facts in bulk under one note on their batch, those that are there already left out. Returns how many were new.

    Raises Invalid as `check` does, before anything is written.
    """
    for fact in facts:
        check(fact, uow.now)
    fresh: dict[tuple[str, str], Fact] = {}
    for fact in facts:
        fresh.setdefault((fact.source, fact.dedupe_key), fact)
    for source in {fact.source for fact in facts}:
        keys = [key for named, key in fresh if named == source]
        for start in range(0, len(keys), 500):
            same = (Signal.source == source) & Signal.dedupe_key.in_(keys[start : start + 500])
            for key in (await uow.session.execute(select(Signal.dedupe_key).where(same))).scalars():
                fresh.pop((source, key), None)
    rows = [_row(uow, fact) | {"import_batch_id": batch.id} for fact in fresh.values()]
    await insert_rows(uow, Signal, rows)
    uow.note("signals.recorded", batch, {"count": len(rows), "digest": fingerprint({"signals": [row["payload_fingerprint"] for row in rows]})}, covers=(Signal,))
    return len(rows)


def _row(uow: UnitOfWork, fact: Fact) -> dict[str, Any]:
    return {
        "id": uow.new_id(), "type": fact.type, "subject_kind": fact.subject.kind, "subject_id": fact.subject.id, "account_id": fact.account_id,
        "contact_id": fact.contact_id, "actor_kind": uow.actor.kind, "actor_id": uow.actor.user_id, "occurred_at": fact.occurred_at, "recorded_at": uow.now,
        "source": fact.source, "dedupe_key": fact.dedupe_key, "payload": fact.payload, "payload_fingerprint": fingerprint(fact.payload),
        "evidence_grade": fact.evidence_grade, "consent_receipt_id": None, "import_batch_id": None,
    }  # fmt: skip
