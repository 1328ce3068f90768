"""Facts about buyers and sellers: append-only, with two clocks, a dedupe key and an evidence grade."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from jsonschema import Draft202012Validator, ValidationError
from sqlalchemy import ForeignKey, Index, UniqueConstraint, select
from sqlalchemy.orm import Mapped, mapped_column

from domain import ledger
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
    entity,
    not_found,
    rows_visible,
)

T = TypeVar("T")


class EvidenceGrade(StrEnum):
    """How well a fact is shown."""

    CLAIMED = "CLAIMED"
    SUGGESTED_BY_AI = "SUGGESTED_BY_AI"
    ATTACHED = "ATTACHED"
    VERIFIED = "VERIFIED"
    WAIVED = "WAIVED"


TEXT = {"type": "string", "minLength": 1, "maxLength": 4000, "pattern": "^[^\\x00]*$"}
KEY = {"type": "string", "pattern": "^[a-z0-9_]{1,60}$"}
NUMBER = {"type": "number", "minimum": 0}


def _schema(required: Sequence[str], **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


TYPES: dict[str, dict[str, Any]] = {
    "page_viewed": _schema(["title"], title=TEXT, url=TEXT, seconds=NUMBER),
    "document_downloaded": _schema(["title"], title=TEXT, url=TEXT),
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

LABELS = {
    "page_viewed": Text("浏览页面", "Page viewed"),
    "document_downloaded": Text("下载资料", "Document downloaded"),
    "enquiry_sent": Text("发来询盘", "Enquiry sent"),
    "demo_requested": Text("申请演示", "Demo requested"),
    "event_attended": Text("参加活动", "Event attended"),
    "email_opened": Text("打开邮件", "E-mail opened"),
    "quote_sent": Text("发出报价", "Quote sent"),
    "quote_opened": Text("查看报价", "Quote opened"),
    "payment_received": Text("收到付款", "Payment received"),
    "usage_reported": Text("使用情况", "Usage reported"),
    "concern_raised": Text("提出顾虑", "Concern raised"),
    "concern_resolved": Text("顾虑已解决", "Concern resolved"),
    "competitor_mentioned": Text("提到竞争对手", "Competitor mentioned"),
    "generation_outcome": Text("答复的采用情况", "Outcome of an answer"),
}
"""What people call each type."""

_LINKS: dict[str, dict[str, str]] = {
    "Account": {},
    "Contact": {"account_id": "account_id"},
    "Lead": {
        "contact_id": "contact_id", "account_id": "converted_account_id", "opportunity_id": "converted_opportunity_id",
    },
    "Opportunity": {"account_id": "account_id"},
}  # fmt: skip
"""What a signal may be about, with the subject's columns that name the account, the person and the deal behind it."""
SUBJECTS = tuple(_LINKS)
SIGNAL_ROWS = (
    ThroughSubject(SUBJECTS) | Through("account_id", "Account", Owned()) | Through("opportunity_id", "Opportunity")
)


class Signal(Base):
    """One fact, true at `occurred_at` and learned at `recorded_at`; the same source and dedupe key never make a second one."""

    __tablename__ = "signals"
    __person__ = "contact_id"
    __access__ = Access(
        {role: Sight(SIGNAL_ROWS, frozenset({"payload", "about", "actor"})) for role in (Role.REP, Role.MANAGER)}
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    type: Mapped[str]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"))
    contact_id: Mapped[UUID | None] = mapped_column(ForeignKey("contacts.id"))
    opportunity_id: Mapped[UUID | None]
    actor_kind: Mapped[ActorKind]
    actor_id: Mapped[UUID | None]
    occurred_at: Mapped[datetime]
    recorded_at: Mapped[datetime]
    source: Mapped[str]
    dedupe_key: Mapped[str]
    payload: Mapped[dict[str, Any]] = mapped_column(info=PERSONAL)
    evidence_grade: Mapped[EvidenceGrade]
    consent_receipt_id: Mapped[UUID | None] = mapped_column(ForeignKey("consent_receipts.id"))
    import_batch_id: Mapped[UUID | None]

    __table_args__ = (
        UniqueConstraint("source", "dedupe_key"),
        Index("ix_signals_subject", "subject_id", "occurred_at", "id"),
        Index("ix_signals_account", "account_id", "occurred_at", "id"),
        Index("ix_signals_opportunity", "opportunity_id", "occurred_at", "id"),
    )


@dataclass(frozen=True, slots=True)
class Fact:
    """A signal as a source delivers it; account and contact are those of the subject wherever it names them."""

    type: str
    subject: Ref
    source: str
    dedupe_key: str
    occurred_at: datetime
    payload: dict[str, Any]
    account_id: UUID | None = None
    contact_id: UUID | None = None
    evidence_grade: EvidenceGrade = EvidenceGrade.CLAIMED
    consent_receipt_id: UUID | None = None


@cache
def _validator(type: str) -> Draft202012Validator:
    return Draft202012Validator(TYPES[type])


def check(fact: Fact, now: datetime) -> None:
    """Refuse what cannot be taken.

    Raises Invalid for an unknown type or kind of subject, an empty source or dedupe key, a payload that its schema refuses,
    or an instant more than a day ahead.
    """
    if fact.type not in TYPES:
        raise Invalid(Text(f"未登记的信号类型“{fact.type}”", f"“{fact.type}” is no registered signal type"), ("type",))
    if fact.subject.kind not in SUBJECTS:
        words = Text(f"信号不能记在 {fact.subject.kind} 上", f"a signal cannot be about a {fact.subject.kind}")
        raise Invalid(words, ("subject",))
    for field, value in (("source", fact.source), ("dedupeKey", fact.dedupe_key)):
        if not value.strip():
            raise Invalid(Text(f"{field} 不能为空", f"{field} cannot be empty"), (field,))
    problem = next(iter(_validator(fact.type).iter_errors(fact.payload)), None)
    if problem is not None:
        raise _misfit(fact.type, problem)
    if fact.occurred_at > now + timedelta(days=1):
        raise Invalid(Text("发生时间不能晚于一天之后", "occurredAt is more than a day ahead"), ("occurredAt",))


CHINESE = {
    "required": "缺少必填项",
    "additionalProperties": "含有未登记的项",
    "type": "类型不对",
    "minLength": "不能为空",
    "maxLength": "过长",
    "pattern": "含有不允许的字符",
    "minimum": "不能为负",
}
"""What each keyword of the schemas means when it is not met; the English words are the validator's."""


def _misfit(type: str, problem: ValidationError) -> Invalid:
    path = ("payload", *map(str, problem.absolute_path))
    where, keyword, message = "/".join(path), str(problem.validator), problem.message[:200]
    zh = f"{where} 不符合 {type} 的格式：{CHINESE[keyword]}（{message}）"
    return Invalid(Text(zh, f"{where} does not fit {type}: {message}"), path)


async def record(
    uow: UnitOfWork, *, type: str, subject: Ref, source: str, dedupe_key: str, occurred_at: datetime, payload: dict[str, Any],
    account_id: UUID | None = None, contact_id: UUID | None = None, evidence_grade: EvidenceGrade = EvidenceGrade.CLAIMED,
    consent_receipt_id: UUID | None = None,
) -> Signal:  # fmt: skip
    """Record a fact about a record that the actor sees; the same source and dedupe key give the one that is there, unchanged.

    Raises Invalid as `check` does, NotFound for an absent or foreign subject.
    """
    fact = Fact(type, subject, source, dedupe_key, occurred_at, payload, account_id, contact_id, evidence_grade, consent_receipt_id)  # fmt: skip
    check(fact, uow.now)
    subjects = await _subjects(uow, [fact])
    await uow.wait_turn(f"signal\0{fact.source}\0{fact.dedupe_key}")
    same = (Signal.source == source) & (Signal.dedupe_key == dedupe_key)
    known = (await uow.session.execute(select(Signal).where(same))).scalar_one_or_none()
    if known is not None:
        return known
    signal = Signal(**_row(uow, fact, subjects))
    uow.session.add(signal)
    uow.note("signal.recorded", signal, {"type": type})
    await uow.session.flush()
    return signal


async def record_many(uow: UnitOfWork, facts: Sequence[Fact], *, source: str) -> int:
    """Record facts in bulk as one batch of `source`, those that are there already left out. Returns how many were new.

    Raises Invalid as `check` does and NotFound as `record` does, with the number of the fact, before anything is written.
    """
    for number, fact in enumerate(facts):
        try:
            check(fact, uow.now)
        except Invalid as error:
            raise Invalid(error.text, (str(number), *error.path)) from error
    subjects = await _subjects(uow, facts)
    fresh: dict[tuple[str, str], Fact] = {}
    for fact in facts:
        fresh.setdefault((fact.source, fact.dedupe_key), fact)
    for named in {fact.source for fact in facts}:
        keys = [key for of, key in fresh if of == named]
        for run in _runs(keys):
            same = (Signal.source == named) & Signal.dedupe_key.in_(run)
            for key in (await uow.session.execute(select(Signal.dedupe_key).where(same))).scalars():
                del fresh[named, key]
    if fresh:
        await ledger.import_rows(uow, source, {Signal: [_row(uow, fact, subjects) for fact in fresh.values()]})
    return len(fresh)


def _runs(values: Sequence[T], size: int = 500) -> Iterator[Sequence[T]]:
    """The values in runs that fit into one statement."""
    return (values[start : start + size] for start in range(0, len(values), size))


Links = dict[str, UUID | None]
LINKS = ("account_id", "contact_id", "opportunity_id")


async def _subjects(uow: UnitOfWork, facts: Sequence[Fact]) -> dict[Ref, Links]:
    """The account, contact and deal of each subject that the actor sees.

    Raises NotFound when there is one that they do not see.
    """
    found: dict[Ref, Links] = {}
    for kind in {fact.subject.kind for fact in facts}:
        model = entity(kind)
        columns = [model.__table__.c[column].label(name) for name, column in _LINKS[kind].items()]
        for ids in _runs(sorted({fact.subject.id for fact in facts if fact.subject.kind == kind})):
            seen = select(model.__table__.c.id, *columns).where(
                model.__table__.c.id.in_(ids), rows_visible(model, uow.actor)
            )
            for row in (await uow.session.execute(seen)).mappings():
                linked = dict(row) | {f"{kind.lower()}_id": row["id"]}
                found[Ref(kind, row["id"])] = {name: linked.get(name) for name in LINKS}
    for number, fact in enumerate(facts):
        if fact.subject not in found:
            raise not_found(fact.subject.kind, ("subject",) if len(facts) == 1 else (str(number), "subject"))
    return found


def _row(uow: UnitOfWork, fact: Fact, subjects: dict[Ref, Links]) -> dict[str, Any]:
    links = subjects[fact.subject]
    return {
        "id": uow.new_id(), "type": fact.type, "subject_kind": fact.subject.kind, "subject_id": fact.subject.id,
        "account_id": links["account_id"] or fact.account_id, "contact_id": links["contact_id"] or fact.contact_id,
        "opportunity_id": links["opportunity_id"], "actor_kind": uow.actor.kind, "actor_id": uow.actor.user_id, "occurred_at": fact.occurred_at, "recorded_at": uow.now, "source": fact.source, "dedupe_key": fact.dedupe_key,
        "payload": fact.payload, "evidence_grade": fact.evidence_grade, "consent_receipt_id": fact.consent_receipt_id,
    }  # fmt: skip
