"""Operations on consent: what a person said goes in once, decisions come out as receipts."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from domain.accounts import Channel, Contact, ContactPoint
from domain.consent.model import KEEPERS, ConsentGrant, ConsentReceipt, ConsentStatus, LawfulBasis, Purpose
from domain.consent.policy import Decision, GrantFact, PurposeFact, contactability, decide, narrowed
from domain.kernel import Forbidden, Invalid, KeyReused, Text, UnitOfWork, fingerprint, load

EVIDENCE_LENGTH = 10_000

PURPOSES = (
    ("marketing", LawfulBasis.CONSENT, Text("营销推广", "Marketing")),
    ("sales_follow_up", LawfulBasis.CONSENT, Text("销售跟进", "Sales follow-up")),
    ("service", LawfulBasis.CONTRACT, Text("履约与售后服务", "Service under contract")),
    ("profiling", LawfulBasis.CONSENT, Text("行为分析与画像", "Profiling")),
)


async def _purposes(uow: UnitOfWork) -> dict[str, Purpose]:
    return {purpose.code: purpose for purpose in (await uow.session.execute(select(Purpose))).scalars()}


async def ensure_purposes(uow: UnitOfWork) -> dict[str, Purpose]:
    """The purposes by code; those of `PURPOSES` that are not there yet are defined."""
    found = await _purposes(uow)
    if found.keys() >= {code for code, _, _ in PURPOSES}:
        return found
    # Servers that start at the same time on a new database: one defines them.
    await uow.wait_turn("consent purposes")
    found = await _purposes(uow)
    for code, basis, label in PURPOSES:
        if code not in found:
            purpose = Purpose(id=uow.new_id(), code=code, lawful_basis=basis, label_zh=label.zh, label_en=label.en)
            uow.session.add(purpose)
            uow.note("purpose.defined", purpose, {"code": code, "lawful_basis": basis.value})
            found[code] = purpose
    await uow.session.flush()
    return found


async def record(
    uow: UnitOfWork, *, contact_id: UUID, purpose: str, channel: Channel, status: ConsentStatus, source: str, evidence: str | None = None,
    notice_version: str | None = None, occurred_at: datetime | None = None, expires_at: datetime | None = None, client_key: str | None = None,
) -> ConsentGrant:  # fmt: skip
    """Record what a person said; the same client key of the same actor gives the grant that is there.

    Raises Forbidden for roles that do not keep consent, NotFound for an absent or foreign contact, KeyReused for the same
    key with other input, Invalid for an unknown purpose, an empty source, overlong evidence, an instant ahead of now, an
    end that does not come after it, or a refusal with an end.
    """
    # The lock makes two deliveries of one key wait for each other.
    await _contact(uow, contact_id, lock=True)
    given = {
        "contact": contact_id, "purpose": purpose, "channel": channel, "status": status, "source": source, "evidence": evidence,
        "notice": notice_version, "at": occurred_at, "until": expires_at,
    }  # fmt: skip
    known = await _recorded(uow, client_key, given)
    if known is not None:
        return known
    if (await uow.session.execute(select(Purpose.id).where(Purpose.code == purpose))).first() is None:
        raise await _unknown(uow.session, purpose)
    _check(uow.now, status, source, evidence, occurred_at, expires_at)
    grant = ConsentGrant(
        id=uow.new_id(), contact_id=contact_id, purpose=purpose, channel=channel, status=status, occurred_at=occurred_at or uow.now,
        recorded_at=uow.now, effective_to=expires_at, source=source.strip(), evidence=evidence, notice_version=notice_version,
        recorded_by_kind=uow.actor.kind, recorded_by_id=uow.actor.user_id, client_key=client_key,
        input_fingerprint=fingerprint(given) if client_key is not None else None,
    )  # fmt: skip
    uow.session.add(grant)
    detail = {"purpose": purpose, "channel": channel.value, "status": status.value, "grant": grant.id.hex}
    uow.note("consent.recorded", grant.root(), detail)
    await uow.session.flush()
    return grant


async def _contact(uow: UnitOfWork, contact_id: UUID, *, lock: bool = False) -> Contact:
    """The person, seen with those roles alone that keep consent."""
    actor = uow.actor
    if not actor.has(*KEEPERS):
        raise Forbidden(Text("您的角色不能查看或登记授权", "your role has no part in consent"), ("contactId",))
    keeper = replace(actor, reaches=tuple(reach for reach in actor.reaches if reach.role in KEEPERS))
    return await load(uow.session, keeper, Contact, contact_id, path=("contactId",), lock=lock)


async def _recorded(uow: UnitOfWork, client_key: str | None, given: dict[str, Any]) -> ConsentGrant | None:
    if client_key is None:
        return None
    same = (ConsentGrant.recorded_by_id == uow.actor.user_id) & (ConsentGrant.client_key == client_key)
    known = (await uow.session.execute(select(ConsentGrant).where(same))).scalar_one_or_none()
    if known is not None and known.input_fingerprint != fingerprint(given):
        raise KeyReused(
            Text("该 clientKey 已用于另一条内容不同的授权", "this clientKey was used for another consent"),
            ("clientKey",),
        )
    return known


def _check(
    now: datetime, status: ConsentStatus, source: str, evidence: str | None, occurred_at: datetime | None, expires_at: datetime | None
) -> None:  # fmt: skip
    if not source.strip():
        raise Invalid(Text("授权来源不能为空", "consent needs a source"), ("source",))
    if evidence is not None and len(evidence) > EVIDENCE_LENGTH:
        words = Text(
            f"凭证不能超过 {EVIDENCE_LENGTH} 个字符", f"the evidence is longer than {EVIDENCE_LENGTH} characters"
        )
        raise Invalid(words, ("evidence",))
    if occurred_at is not None and occurred_at > now:
        raise Invalid(Text("发生时间不能晚于现在", "occurredAt is ahead of now"), ("occurredAt",))
    if expires_at is not None and status is ConsentStatus.OPT_OUT:
        raise Invalid(Text("拒绝没有到期时间", "a refusal does not expire"), ("expiresAt",))
    if expires_at is not None and expires_at <= (occurred_at or now):
        raise Invalid(Text("到期时间必须晚于发生时间", "expiresAt must come after occurredAt"), ("expiresAt",))


async def _unknown(executor: AsyncSession | AsyncConnection, code: str) -> Invalid:
    known = (await executor.execute(select(Purpose.code).order_by(Purpose.code))).scalars().all()
    words = Text(
        f"未知用途“{code}”，可用的有：{'、'.join(known)}", f"unknown purpose “{code}”; known ones: {', '.join(known)}"
    )
    return Invalid(words, ("purpose",))


@dataclass(slots=True)
class _Person:
    """What is known of one person for one purpose."""

    grants: list[GrantFact] = field(default_factory=list)
    reachable: set[Channel] = field(default_factory=set)


async def _gather(
    executor: AsyncSession | AsyncConnection, contact_ids: Collection[UUID], purpose: str
) -> tuple[PurposeFact, dict[UUID, _Person]]:
    """The purpose and its facts about each person, in two statements."""
    grants = and_(ConsentGrant.purpose == Purpose.code, ConsentGrant.contact_id.in_(contact_ids))
    statement = (
        select(
            Purpose.lawful_basis, Purpose.label_zh, Purpose.label_en, ConsentGrant.id, ConsentGrant.contact_id,
            ConsentGrant.channel, ConsentGrant.status, ConsentGrant.occurred_at, ConsentGrant.effective_to,
        )
        .select_from(Purpose).outerjoin(ConsentGrant, grants).where(Purpose.code == purpose)
    )  # fmt: skip
    rows = (await executor.execute(statement)).all()
    if not rows:
        raise await _unknown(executor, purpose)
    people = {contact_id: _Person() for contact_id in contact_ids}
    for row in rows:
        if row.id is not None:
            fact = GrantFact(row.id, purpose, row.channel, row.status, row.occurred_at, row.effective_to)
            people[row.contact_id].grants.append(fact)
    points = select(ContactPoint.contact_id, ContactPoint.channel).where(ContactPoint.contact_id.in_(contact_ids))
    for contact_id, channel in await executor.execute(points.distinct()):
        people[contact_id].reachable.add(channel)
    return PurposeFact(purpose, rows[0].lawful_basis, Text(rows[0].label_zh, rows[0].label_en)), people


async def contactability_of(
    executor: AsyncSession | AsyncConnection, contact_ids: Collection[UUID], purpose: str, at: datetime
) -> dict[UUID, tuple[Decision, ...]]:
    """The decisions on every channel for many people at once, in two statements; nothing is stored.

    Raises Invalid for an unknown purpose.
    """
    fact, people = await _gather(executor, contact_ids, purpose)
    return {
        contact_id: contactability(person.grants, person.reachable, fact, at) for contact_id, person in people.items()
    }


async def receipt(uow: UnitOfWork, contact_id: UUID, purpose: str, channel: Channel | None = None) -> ConsentReceipt:
    """Decide now whether a person may be contacted, on a channel or on the best one, and keep the decision.

    Raises Forbidden for roles that do not keep consent, NotFound for an absent or foreign contact, Invalid for an unknown
    purpose.
    """
    contact = await _contact(uow, contact_id)
    fact, people = await _gather(uow.session, [contact.id], purpose)
    found = decide(people[contact.id].grants, people[contact.id].reachable, fact, channel, uow.now)
    kept = ConsentReceipt(
        id=uow.new_id(), contact_id=contact.id, purpose=purpose, channel=found.channel, decision=found.decision, via=found.via,
        light=found.light, reason_zh=found.reason.zh, reason_en=found.reason.en, at=uow.now,
        deciding_grant_ids=[grant_id.hex for grant_id in found.deciding_grant_ids],
        evidence=await _evidence(uow.session, found.deciding_grant_ids),
    )  # fmt: skip
    uow.session.add(kept)
    detail = {
        "contact": contact.id.hex, "purpose": purpose, "channel": found.channel.value, "decision": found.decision.value,
        "via": found.via and found.via.value, "grants": kept.deciding_grant_ids,
    }  # fmt: skip
    uow.note("consent.decided", kept, detail)
    await uow.session.flush()
    return kept


async def _evidence(session: AsyncSession, grant_ids: Sequence[UUID]) -> str | None:
    """The proof behind a decision: each grant's channel, status, instant, source, notice, and what was kept."""
    rows = (await session.execute(select(ConsentGrant).where(ConsentGrant.id.in_(grant_ids)))).scalars()
    by_id = {grant.id: grant for grant in rows}
    lines = []
    for grant in (by_id[grant_id] for grant_id in grant_ids):
        parts = (grant.channel.value, grant.status.value, grant.occurred_at.isoformat(timespec="seconds"), grant.source)
        lines.append(" · ".join([*parts, *(part for part in (grant.notice_version, grant.evidence) if part)]))
    return "\n".join(lines) or None


async def narrow(uow: UnitOfWork, survivor_id: UUID, duplicate_id: UUID) -> int:
    """State for the survivor of two contacts whatever held more strictly of either, and return how many statements that took.

    The statements of both stay what they are; those of the duplicate are carried over by whoever merges.
    """
    said: dict[UUID, list[GrantFact]] = {survivor_id: [], duplicate_id: []}
    for grant in await uow.session.scalars(select(ConsentGrant).where(ConsentGrant.contact_id.in_(said))):
        fact = GrantFact(grant.id, grant.purpose, grant.channel, grant.status, grant.occurred_at, grant.effective_to)
        said[grant.contact_id].append(fact)
    stated = narrowed(said[survivor_id], said[duplicate_id], uow.now)
    for one in stated:
        grant = ConsentGrant(
            id=uow.new_id(), contact_id=survivor_id, purpose=one.purpose, channel=one.channel, status=one.status, occurred_at=one.occurred_at,
            recorded_at=uow.now, effective_to=one.effective_to, source="merge", recorded_by_kind=uow.actor.kind, recorded_by_id=uow.actor.user_id,
        )  # fmt: skip
        uow.session.add(grant)
        uow.note(
            "consent.narrowed",
            grant.root(),
            {"purpose": one.purpose, "channel": one.channel.value, "status": one.status.value},
        )
    await uow.session.flush()
    return len(stated)
