"""Proposals to take entries out of use, each with its evidence: made by a job, decided by a curator."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, exists, func, select
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel import (
    SYSTEM,
    Access,
    Conflict,
    Database,
    Everyone,
    Invalid,
    Record,
    Role,
    Sight,
    Text,
    Through,
    UnitOfWork,
    load,
    sights,
)
from knowledge.effectiveness import ENOUGH, KnowledgeEffectiveness, Segment
from knowledge.model import CURATING, KnowledgeItem, KnowledgePeriod, KnowledgeState, Retrieval
from knowledge.service import may_curate, retire
from knowledge.usage import LoggedSearch

EXPIRED_FOR = timedelta(days=30)
UNUSED_FOR = timedelta(days=90)
"""How long an entry was in use without a search bringing it up."""
SEARCHES = 200
"""How many searches there must have been in that time, for their silence to say something."""
SPARED = timedelta(days=90)
"""How long an entry is not proposed again after a curator kept it."""
REASON_LENGTH = 2_000
DECIDED = frozenset({"item", "decision", "decided_at", "decided_by"})


class RetirementGround(StrEnum):
    """Why an entry is proposed for retirement."""

    EXPIRED = "EXPIRED"
    UNUSED = "UNUSED"
    INEFFECTIVE = "INEFFECTIVE"


class RetirementState(StrEnum):
    """What became of a proposal."""

    OPEN = "OPEN"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    WITHDRAWN = "WITHDRAWN"


class RetirementProposal(Record):
    """One entry proposed for retirement: on which ground, with which figures, and what a curator decided."""

    __tablename__ = "retirement_proposals"
    __stays__ = "it is about an entry, and names colleagues alone"
    __access__ = Access(
        sights(CURATING, Everyone(), DECIDED) | {Role.MANAGER: Sight(Through("item_id", "KnowledgeItem"), DECIDED)}
    )

    item_id: Mapped[UUID] = mapped_column(ForeignKey("knowledge_items.id"), index=True)
    version_number: Mapped[int]
    ground: Mapped[RetirementGround]
    evidence: Mapped[dict[str, Any]]
    state: Mapped[RetirementState]
    decided_by_id: Mapped[UUID | None]
    decided_at: Mapped[datetime | None]
    decision: Mapped[str | None]

    __table_args__ = (Index("ix_retirement_proposals_state", "state", "created_at"),)


async def propose(database: Database) -> int:
    """Propose what has expired, is never found, or works less well than its kind; how many proposals are new.

    An open proposal whose ground is gone is withdrawn. At most one stands for an entry, and none is made within SPARED of a
    curator's having kept it.
    """
    async with database.open_uow(SYSTEM) as uow:
        await uow.wait_turn("retirement proposals")
        grounds: dict[UUID, tuple[RetirementGround, int, dict[str, Any]]] = {}
        async for item_id, ground in _grounds(uow):
            grounds.setdefault(item_id, ground)
        state = RetirementProposal.state
        standing = select(RetirementProposal).where(state == RetirementState.OPEN).with_for_update()
        for proposal in (await uow.session.execute(standing)).scalars():
            if proposal.item_id not in grounds:
                _settle(uow, proposal, RetirementState.WITHDRAWN, None)
        kept = (state == RetirementState.OPEN) | (
            (state == RetirementState.REJECTED) & (RetirementProposal.decided_at > uow.now - SPARED)
        )
        await uow.session.flush()
        spared = set((await uow.session.execute(select(RetirementProposal.item_id).where(kept))).scalars())
        fresh = {item_id: ground for item_id, ground in grounds.items() if item_id not in spared}
        for item_id, (why, number, evidence) in fresh.items():
            proposal = RetirementProposal(
                id=uow.new_id(), item_id=item_id, version_number=number, ground=why, evidence=evidence, state=RetirementState.OPEN
            )  # fmt: skip
            uow.session.add(proposal)
            uow.note("knowledge.retirement_proposed", proposal)
    return len(fresh)


async def accept(
    uow: UnitOfWork, proposal_id: UUID | None, expected_version: int | None, comment: str | None = None
) -> RetirementProposal:
    """Take the entry out of use, as `retire` does.

    Raises Forbidden for people who do not curate, Conflict for a proposal that was decided.
    """
    proposal = await _open(uow, proposal_id, expected_version)
    item = await load(uow.session, uow.actor, KnowledgeItem, proposal.item_id, lock=True)
    await retire(uow, item.id, item.version, comment)
    return await _decided(uow, proposal, RetirementState.ACCEPTED, comment)


async def reject(
    uow: UnitOfWork, proposal_id: UUID | None, expected_version: int | None, reason: str
) -> RetirementProposal:
    """Keep the entry, and say why; it is not proposed again for SPARED.

    Raises Invalid without a reason.
    """
    proposal = await _open(uow, proposal_id, expected_version)
    if not reason.strip() or len(reason) > REASON_LENGTH:
        words = Text(
            f"请写明保留的理由（最多 {REASON_LENGTH} 字）", f"say why it is kept, in at most {REASON_LENGTH} characters"
        )
        raise Invalid(words, ("reason",))
    return await _decided(uow, proposal, RetirementState.REJECTED, reason.strip())


async def _open(uow: UnitOfWork, proposal_id: UUID | None, expected_version: int | None) -> RetirementProposal:
    may_curate(uow)
    proposal = await load(
        uow.session, uow.actor, RetirementProposal, proposal_id, expected_version=expected_version, lock=True
    )
    if proposal.state is not RetirementState.OPEN:
        raise Conflict(Text("该建议已有结论", "the proposal was decided"), ("id",))
    return proposal


def _settle(uow: UnitOfWork, proposal: RetirementProposal, state: RetirementState, decision: str | None) -> None:
    proposal.state, proposal.decision, proposal.decided_at = state, decision, uow.now
    proposal.decided_by_id = uow.actor.user_id
    uow.note(f"knowledge.retirement_{state.lower()}", proposal, {"decision": decision})


async def _decided(
    uow: UnitOfWork, proposal: RetirementProposal, state: RetirementState, decision: str | None
) -> RetirementProposal:
    _settle(uow, proposal, state, decision)
    await uow.session.flush()
    return proposal


# ---- the grounds -----------------------------------------------------------------------------------------------------

Ground = tuple[RetirementGround, int, dict[str, Any]]
IN_USE = KnowledgeItem.state == KnowledgeState.PUBLISHED


async def _grounds(uow: UnitOfWork) -> AsyncIterator[tuple[UUID, Ground]]:
    """What speaks for retiring entries in use, the strongest ground first."""
    async for found in _expired(uow):
        yield found
    async for found in _ineffective(uow):
        yield found
    async for found in _unused(uow):
        yield found


async def _expired(uow: UnitOfWork) -> AsyncIterator[tuple[UUID, Ground]]:
    since = uow.now - EXPIRED_FOR
    asked = select(KnowledgeItem.id, KnowledgeItem.published_number, KnowledgeItem.expires_at)
    for row in await uow.session.execute(asked.where(IN_USE, KnowledgeItem.expires_at < since)):
        yield row.id, (RetirementGround.EXPIRED, row.published_number, {"expired_at": row.expires_at.isoformat()})


async def _ineffective(uow: UnitOfWork) -> AsyncIterator[tuple[UUID, Ground]]:
    """Versions in use whose rate of use lies below the mean of their kind even at the upper end of its interval."""
    effect = KnowledgeEffectiveness
    of_version = (KnowledgeItem.id == effect.item_id) & (KnowledgeItem.published_number == effect.version_number)
    poor = (effect.segment == Segment.ALL) & (effect.offered >= ENOUGH) & (effect.high < effect.mean)
    for row in (
        await uow.session.execute(select(effect).join(KnowledgeItem, of_version).where(IN_USE, poor))
    ).scalars():
        names = (
            "offered",
            "cited",
            "used",
            "edited",
            "rejected",
            "followed",
            "advanced",
            "rate",
            "low",
            "high",
            "mean",
        )
        evidence = {name: getattr(row, name) for name in names}
        yield row.item_id, (RetirementGround.INEFFECTIVE, row.version_number or 1, evidence)


async def _unused(uow: UnitOfWork) -> AsyncIterator[tuple[UUID, Ground]]:
    since = uow.now - UNUSED_FOR
    counted = select(func.count()).select_from(LoggedSearch).where(LoggedSearch.at >= since)
    searches = (await uow.session.execute(counted)).scalar_one()
    if searches < SEARCHES:
        return
    rows = await uow.session.execute(select(KnowledgeItem.id, KnowledgeItem.published_number).where(never_found(since)))
    for row in rows:
        evidence = {"days": UNUSED_FOR.days, "searches": searches}
        yield row.id, (RetirementGround.UNUSED, row.published_number, evidence)


def never_found(since: datetime) -> Any:
    """Entries that have been in use since an instant without a search bringing them up."""
    begun = exists().where(
        KnowledgePeriod.item_id == KnowledgeItem.id,
        KnowledgePeriod.ended_at.is_(None),
        KnowledgePeriod.begun_at <= since,
    )
    brought_up = exists().where(Retrieval.item_id == KnowledgeItem.id, Retrieval.at >= since)
    return IN_USE & begun & ~brought_up
