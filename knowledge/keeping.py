"""What those who keep the knowledge do besides publishing: ask for changes, suspend, address, hand over, decide proposals."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from sqlalchemy import or_, select

from domain.kernel import SYSTEM, Conflict, Database, Event, Forbidden, Invalid, Language, Role, Text, UnitOfWork, load
from knowledge.content import Content
from knowledge.model import (
    KnowledgeAudience,
    KnowledgeItem,
    KnowledgeKind,
    KnowledgeProposal,
    KnowledgeState,
    KnowledgeVersion,
    ProposalState,
    ReviewStep,
)
from knowledge.service import (
    begin_use,
    draft,
    draft_of,
    end_use,
    may_curate,
    numbered,
    revise,
    step,
    stored_content,
    touch,
)

AHEAD = timedelta(days=14)
"""How long before an entry expires, or is to be looked at again, its owner is reminded."""
COMMENT_LENGTH, AUDIENCES = 5_000, 50
NOT_IN_USE = Text("该条目不在使用中", "the entry is not in use")
NOT_SUSPENDED = Text("该条目没有被暂停", "the entry is not suspended")
WORDS_NEEDED = Text("请写明原因", "say why")


async def request_changes(
    uow: UnitOfWork, item_id: UUID | None, expected_version: int | None, comment: str
) -> KnowledgeItem:
    """Send what is in review back to whoever wrote it, with what is to be changed.

    Raises Conflict where nothing is in review, Invalid without words.
    """
    item = await _kept(uow, item_id, expected_version)
    version = await draft_of(uow, item)
    if version.state is not KnowledgeState.IN_REVIEW:
        raise Conflict(Text("没有在审核中的版本", "nothing is in review"), ("id",))
    version.state, version.changes_requested_at = KnowledgeState.DRAFT, uow.now
    if item.published_number is None:
        item.state = KnowledgeState.DRAFT
    return await _done(uow, item, version.number, ReviewStep.CHANGES_REQUESTED, _worded(comment))


async def comment_on(uow: UnitOfWork, item_id: UUID | None, number: int, comment: str) -> KnowledgeItem:
    """Say something about a version; nothing else changes.

    Raises NotFound, Invalid for a version that is not there or without words.
    """
    may_curate(uow)
    item = await load(uow.session, uow.actor, KnowledgeItem, item_id)
    await _version(uow, item, number)
    step(uow, item, number, ReviewStep.COMMENTED, _worded(comment))
    uow.note("knowledge.commented", item, {"number": number, "comment": comment})
    await uow.session.flush()
    return item


async def suspend(uow: UnitOfWork, item_id: UUID | None, expected_version: int | None, comment: str) -> KnowledgeItem:
    """Take the published version out of use until somebody resumes it; from this commit on it cannot be found."""
    item = await _kept(uow, item_id, expected_version)
    if item.state is not KnowledgeState.PUBLISHED or item.published_number is None:
        raise Conflict(NOT_IN_USE, ("id",))
    version = await numbered(uow, item, item.published_number)
    item.state = version.state = KnowledgeState.SUSPENDED
    await end_use(uow, item)
    return await _done(uow, item, version.number, ReviewStep.SUSPENDED, _worded(comment))


async def resume(
    uow: UnitOfWork, item_id: UUID | None, expected_version: int | None, comment: str | None = None
) -> KnowledgeItem:
    """Have a suspended version found again as it was.

    Raises Conflict for one that is not suspended.
    """
    item = await _kept(uow, item_id, expected_version)
    if item.state is not KnowledgeState.SUSPENDED or item.published_number is None:
        raise Conflict(NOT_SUSPENDED, ("id",))
    version = await numbered(uow, item, item.published_number)
    item.state = version.state = KnowledgeState.PUBLISHED
    await begin_use(uow, item, stored_content(version))
    return await _done(uow, item, version.number, ReviewStep.RESUMED, comment)


async def republish(uow: UnitOfWork, item_id: UUID | None, expected_version: int | None, number: int) -> KnowledgeItem:
    """Begin a draft with what an earlier version said; it goes to review as every draft does.

    Raises Conflict where a draft is pending, which would be lost.
    """
    item = await _kept(uow, item_id, expected_version)
    if item.draft_number is not None:
        raise Conflict(Text("已有待处理的草稿", "a draft is pending"), ("id",))
    old = stored_content(await _version(uow, item, number))
    change = {"title": old.title, "body": old.body, **old.facets.lists(), **old.dates}
    return await revise(uow, item_id, expected_version, change)


@dataclass(frozen=True, slots=True)
class Audience:
    """Whom an entry is addressed to; what is None holds for all."""

    role: Role | None = None
    territory_id: UUID | None = None
    brand_id: UUID | None = None


async def address(
    uow: UnitOfWork, item_id: UUID | None, expected_version: int | None, audience: Sequence[Audience]
) -> KnowledgeItem:
    """Say who may see an entry: whom one of these names, everybody where there is none.

    Raises Invalid for more than are kept, or one that names nothing.
    """
    item = await _kept(uow, item_id, expected_version)
    if len(audience) > AUDIENCES or Audience() in audience:
        zh = f"受众最多 {AUDIENCES} 个，每个至少指定角色、区域或品牌之一"
        raise Invalid(Text(zh, f"an audience names a role, a territory or a brand; {AUDIENCES} at most"), ("audience",))
    before = select(KnowledgeAudience).where(KnowledgeAudience.item_id == item.id)
    for one in (await uow.session.execute(before)).scalars():
        await uow.session.delete(one)
    await uow.session.flush()
    uow.session.add_all(
        KnowledgeAudience(
            id=uow.new_id(), item_id=item.id, role=one.role, territory_id=one.territory_id, brand_id=one.brand_id
        )
        for one in dict.fromkeys(audience)
    )
    touch(uow, item)
    uow.note("knowledge.addressed", item, {"audiences": len(set(audience))})
    await uow.session.flush()
    return item


async def hand_over(
    uow: UnitOfWork, item_id: UUID | None, expected_version: int | None, owner_id: UUID
) -> KnowledgeItem:
    """Have somebody else keep an entry."""
    item = await _kept(uow, item_id, expected_version)
    item.owner_id, item.reminded_at = owner_id, None
    touch(uow, item)
    uow.note("knowledge.handed_over", item)
    await uow.session.flush()
    return item


async def credit(
    uow: UnitOfWork, item_id: UUID | None, expected_version: int | None, *, source: str | None, licence: str | None
) -> bool:
    """Say whence an entry comes and under which licence, where that is said; whether that changed anything."""
    item = await _kept(uow, item_id, expected_version)
    said = {"source": source, "licence": licence}
    change = {name: value for name, value in said.items() if value is not None and value != getattr(item, name)}
    for name, value in change.items():
        setattr(item, name, value)
    if change:
        touch(uow, item)
        uow.note("knowledge.credited", item, change)
        await uow.session.flush()
    return bool(change)


async def audience_of(uow: UnitOfWork, item_id: UUID) -> set[Audience]:
    """Whom an entry is addressed to."""
    mine = select(KnowledgeAudience).where(KnowledgeAudience.item_id == item_id)
    rows = (await uow.session.execute(mine)).scalars()
    return {Audience(row.role, row.territory_id, row.brand_id) for row in rows}


# ---- proposals -------------------------------------------------------------------------------------------------------


async def propose(
    uow: UnitOfWork,
    *,
    item_id: UUID | None,
    kind: KnowledgeKind,
    language: Language,
    content: Content,
    reason: str | None,
) -> KnowledgeProposal:
    """Propose a new entry, or other words for one that the proposer sees.

    Raises NotFound for an entry out of sight, Invalid for content that cannot be kept.
    """
    content.checked()
    if item_id is not None:
        item = await load(uow.session, uow.actor, KnowledgeItem, item_id)
        kind, language = item.kind, item.language
    proposal = KnowledgeProposal(
        id=uow.new_id(), item_id=item_id, kind=kind, language=language, title=content.title, body=content.body, reason=reason,
        owner_id=uow.actor.user_id, state=ProposalState.OPEN,
    )  # fmt: skip
    uow.session.add(proposal)
    uow.note("knowledge.proposed", proposal)
    await uow.session.flush()
    return proposal


async def accept(
    uow: UnitOfWork, proposal_id: UUID | None, expected_version: int | None, decision: str | None
) -> KnowledgeProposal:
    """Make a draft of a proposal, which goes to review as every draft does.

    Raises Conflict for one that was decided, or where the entry has a draft already.
    """
    proposal = await _open(uow, proposal_id, expected_version)
    content = Content(proposal.title, proposal.body)
    if proposal.item_id is None:
        item = await draft(uow, kind=proposal.kind, language=proposal.language, content=content)
    else:
        item = await load(uow.session, uow.actor, KnowledgeItem, proposal.item_id, lock=True)
        if item.draft_number is not None:
            raise Conflict(Text("该条目已有待处理的草稿", "the entry has a pending draft"), ("id",))
        item = await revise(uow, item.id, item.version, {"title": content.title, "body": content.body})
    proposal.became_id = item.id
    return await _decided(uow, proposal, ProposalState.ACCEPTED, decision)


async def reject(
    uow: UnitOfWork, proposal_id: UUID | None, expected_version: int | None, decision: str | None
) -> KnowledgeProposal:
    """Leave a proposal as it is, and tell its proposer why."""
    return await _decided(
        uow, await _open(uow, proposal_id, expected_version), ProposalState.REJECTED, _worded(decision)
    )


async def _open(uow: UnitOfWork, proposal_id: UUID | None, expected_version: int | None) -> KnowledgeProposal:
    may_curate(uow)
    proposal = await load(
        uow.session, uow.actor, KnowledgeProposal, proposal_id, expected_version=expected_version, lock=True
    )
    if proposal.state is not ProposalState.OPEN:
        raise Conflict(Text("该建议已有结论", "the proposal was decided"), ("id",))
    if proposal.owner_id == uow.actor.user_id and not uow.actor.unrestricted:
        raise Forbidden(Text("不能决定自己的建议", "nobody decides their own proposal"), ("id",))
    return proposal


async def _decided(
    uow: UnitOfWork, proposal: KnowledgeProposal, state: ProposalState, decision: str | None
) -> KnowledgeProposal:
    proposal.state, proposal.decision, proposal.decided_at, proposal.decided_by_id = (
        state,
        decision,
        uow.now,
        uow.actor.user_id,
    )
    uow.note(f"knowledge.proposal_{state.lower()}", proposal, {"decision": decision})
    await uow.session.flush()
    return proposal


# ---- differences -----------------------------------------------------------------------------------------------------


class LineChange(StrEnum):
    """What became of a line."""

    SAME = "SAME"
    ADDED = "ADDED"
    REMOVED = "REMOVED"


def difference(old: str, new: str) -> list[tuple[LineChange, str]]:
    """The lines of two texts in one order, each the same, added or removed; linear in all but contrived cases."""
    marks = {" ": LineChange.SAME, "+": LineChange.ADDED, "-": LineChange.REMOVED}
    one, other = old.splitlines(), new.splitlines()
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=True)
    found = []
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            found += [(marks[" "], line) for line in one[a:b]]
        else:
            found += [(marks["-"], line) for line in one[a:b]] + [(marks["+"], line) for line in other[c:d]]
    return found


# ---- reminders -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KnowledgeAges(Event):
    """An entry expires soon, or is to be looked at again."""

    kind: ClassVar[str] = "knowledge.ages"
    item_id: UUID


async def remind_owners(database: Database) -> int:
    """Tell the owners of entries in use which of them expire or are due for another look within AHEAD; each once."""
    async with database.open_uow(SYSTEM) as uow:
        soon = uow.now + AHEAD
        due = or_(KnowledgeItem.expires_at < soon, KnowledgeItem.review_at < soon)
        asked = select(KnowledgeItem).where(
            KnowledgeItem.state == KnowledgeState.PUBLISHED, KnowledgeItem.reminded_at.is_(None), due
        )
        items = (await uow.session.execute(asked.with_for_update())).scalars().all()
        for item in items:
            item.reminded_at = uow.now
            uow.note("knowledge.reminded", item)
            uow.emit(KnowledgeAges(item.id))
    return len(items)


# ---- what they share -------------------------------------------------------------------------------------------------


async def _kept(uow: UnitOfWork, item_id: UUID | None, expected_version: int | None) -> KnowledgeItem:
    may_curate(uow)
    return await load(uow.session, uow.actor, KnowledgeItem, item_id, expected_version=expected_version, lock=True)


async def _version(uow: UnitOfWork, item: KnowledgeItem, number: int) -> KnowledgeVersion:
    same = (KnowledgeVersion.item_id == item.id) & (KnowledgeVersion.number == number)
    found = (await uow.session.execute(select(KnowledgeVersion).where(same))).scalar_one_or_none()
    if found is None:
        raise Invalid(Text(f"没有第 {number} 版", f"there is no version {number}"), ("number",))
    return found


def _worded(comment: str | None) -> str:
    if comment is None or not comment.strip():
        raise Invalid(WORDS_NEEDED, ("comment",))
    if len(comment) > COMMENT_LENGTH:
        raise Invalid(Text(f"最多 {COMMENT_LENGTH} 个字符", f"at most {COMMENT_LENGTH} characters"), ("comment",))
    return comment


async def _done(
    uow: UnitOfWork, item: KnowledgeItem, number: int, done: ReviewStep, comment: str | None
) -> KnowledgeItem:
    touch(uow, item)
    step(uow, item, number, done, comment)
    uow.note(f"knowledge.{done.lower()}", item, {"number": number, "comment": comment})
    await uow.session.flush()
    return item
