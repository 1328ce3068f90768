"""Signals taken in, each once, whoever delivers it again and in whatever order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from sqlalchemy import select

from domain import ledger
from domain.kernel import (
    ActorKind,
    Delivery,
    Event,
    Invalid,
    Ref,
    UnitOfWork,
    entity,
    insert_rows,
    not_found,
    rows_visible,
)
from domain.signals.model import LINKS_OF, EvidenceGrade, Signal, SignalKey
from domain.signals.policy import Fact, check

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SignalsRecorded(Event):
    """New signals came in; those of an import, which are history, are not told of."""

    kind: ClassVar[str] = "signals.recorded"
    ids: tuple[str, ...]
    since: str
    """The oldest and the newest instant at which one of them was true, in ISO 8601: they name the months."""
    until: str


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
    known = await _known(uow, source, dedupe_key)
    if known is not None:
        return known
    row = _row(uow, fact, subjects)
    signal = Signal(**row)
    uow.session.add(signal)
    uow.write(SignalKey, [_key(row)])
    _tell(uow, [row])
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
            same = (SignalKey.source == named) & SignalKey.dedupe_key.in_(run)
            for key in (await uow.session.execute(select(SignalKey.dedupe_key).where(same))).scalars():
                del fresh[named, key]
    if fresh:
        rows = [_row(uow, fact, subjects) for fact in fresh.values()]
        await ledger.import_rows(uow, source, {Signal: rows})
        await insert_rows(uow, SignalKey, [_key(row) for row in rows])
        for told in _runs(rows):
            _tell(uow, told)
    return len(fresh)


async def told_of(uow: UnitOfWork, events: Sequence[Delivery]) -> Sequence[Signal]:
    """The signals that SignalsRecorded events tell of, the oldest first; one that was removed meanwhile is left out."""
    ids = [UUID(id) for event in events for id in event.body["ids"]]
    since = min(datetime.fromisoformat(event.body["since"]) for event in events)
    until = max(datetime.fromisoformat(event.body["until"]) for event in events)
    found: list[Signal] = []
    for run in _runs(ids):
        of = select(Signal).where(Signal.id.in_(run), Signal.occurred_at.between(since, until))
        found += (await uow.session.execute(of)).scalars()
    return sorted(found, key=lambda signal: (signal.occurred_at, signal.id))


def _tell(uow: UnitOfWork, rows: Sequence[Mapping[str, Any]]) -> None:
    if uow.actor.kind is not ActorKind.IMPORT:
        instants = [row["occurred_at"] for row in rows]
        uow.emit(
            SignalsRecorded(tuple(row["id"].hex for row in rows), min(instants).isoformat(), max(instants).isoformat())
        )


async def _known(uow: UnitOfWork, source: str, dedupe_key: str) -> Signal | None:
    """The signal that was recorded under a key; the month is named, so that one partition is asked."""
    key = await uow.find(SignalKey, source=source, dedupe_key=dedupe_key)
    if key is None:
        return None
    found = select(Signal).where(Signal.id == key.signal_id, Signal.occurred_at == key.occurred_at)
    return (await uow.session.execute(found)).scalar_one()


def _key(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "source": row["source"], "dedupe_key": row["dedupe_key"], "signal_id": row["id"], "occurred_at": row["occurred_at"],
    }  # fmt: skip


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
        columns = [model.__table__.c[column].label(name) for name, column in LINKS_OF[kind].items()]
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
