"""Work items' operations: open, decide, hand on, move up, call off."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from domain import people
from domain.kernel import (
    SYSTEM,
    Conflict,
    Database,
    Forbidden,
    Invalid,
    Ref,
    Role,
    SalesError,
    Text,
    UnitOfWork,
    entity,
    load,
    not_found,
)
from domain.work_items.model import PLACED, SUBJECTS, WorkDecision, WorkItem, WorkItemPerson, WorkKind
from domain.work_items.policy import Duty, Evidence, Refusal, Standing, WorkStep, next_rung, refusal, unmet

TEXT_LENGTH = 2000
MOST_CRITERIA = 20
LATE = Text("到期前没有处理", "not met by the time it was due")
_REFUSALS: dict[Refusal, tuple[type[SalesError], Text]] = {
    Refusal.NOT_ALLOWED: (Forbidden, Text("这项工作不归您处理", "this work item is not yours to do that with")),
    Refusal.OWN_REQUEST: (
        Forbidden,
        Text("不能审批自己提出的事项", "nobody decides on what they asked for themselves"),
    ),
    Refusal.OVER: (Conflict, Text("这项工作已经结束", "this work item has ended already")),
    Refusal.AT_THE_TOP: (Conflict, Text("已经升级到最高层级", "it has been escalated to the top already")),
}
UNBOUND = Text("请注明所批准内容的摘要", "say which content is decided on, by its digest")
OTHER_CONTENT = Text(
    "内容与送审时不一致，需要重新审批", "the content is not the one that was submitted: it needs an approval of its own"
)


# ---- opening ---------------------------------------------------------------------------------------------------------


async def create(
    uow: UnitOfWork, *, kind: WorkKind, subject: Ref, title: str, due_at: datetime, reason: str | None = None, owner_id: UUID | None = None,
    queue: Role | None = None, acceptance: Sequence[str] = (),
) -> WorkItem:  # fmt: skip
    """Open a work item about a record that the actor sees, for somebody or for a role's queue, in the actor's own words.

    Raises NotFound for a record out of their reach, and what `open_item` raises.
    """
    if subject.kind not in SUBJECTS:
        raise not_found(subject.kind, ("subjectId",))
    record: Any = await load(uow.session, uow.actor, entity(subject.kind), subject.id, path=("subjectId",))
    person = record.id if subject.kind == "Contact" else getattr(record, "contact_id", None)
    return await open_item(
        uow, kind=kind, subject=subject, title=Text(title, title), due_at=due_at, reason=Text(reason, reason) if reason else None, owner_id=owner_id,
        queue=queue, acceptance=acceptance, territory_id=getattr(record, "territory_id", None), persons=[person] if person else [],
    )  # fmt: skip


async def open_item(
    uow: UnitOfWork, *, kind: WorkKind, subject: Ref, title: Text, due_at: datetime, reason: Text | None = None, owner_id: UUID | None = None,
    queue: Role | None = None, acceptance: Sequence[str] = (), content_digest: str | None = None, territory_id: UUID | None = None,
    persons: Iterable[UUID] = (), opened_by_id: UUID | None = None,
) -> WorkItem:  # fmt: skip
    """Open a work item for somebody, or for a role's queue; it moves up by itself when it is not met in time.

    With a content digest it is decided on for exactly that content. Raises Invalid for nobody or a stranger as owner, empty or
    long words, or a time that is over.
    """
    _check_words(title.zh, "title")
    _check_words(title.en, "title")
    if reason is not None:
        _check_words(reason.zh, "reason")
    if len(acceptance) > MOST_CRITERIA:
        raise Invalid(Text(f"验收标准最多 {MOST_CRITERIA} 条", f"at most {MOST_CRITERIA} criteria"), ("acceptance",))
    for criterion in acceptance:
        _check_words(criterion, "acceptance")
    _check_due(uow, due_at)
    if owner_id is None and queue is None:
        raise Invalid(Text("请指定负责人或队列", "name an owner or a queue"), ("ownerId",))
    if owner_id is not None:
        await _check_owner(uow, owner_id, queue)
    named = sorted(set(persons))
    item = WorkItem(
        id=uow.new_id(), kind=kind, subject_kind=subject.kind, subject_id=subject.id, territory_id=territory_id, title_zh=title.zh.strip(),
        title_en=title.en.strip(), reason_zh=reason.zh if reason else None, reason_en=reason.en if reason else None, owner_id=owner_id, queue=queue,
        opened_at=uow.now, opened_by_id=opened_by_id or uow.actor.user_id, due_at=due_at, escalates_at=due_at, acceptance=list(acceptance) or None,
        content_digest=content_digest,
    )  # fmt: skip
    uow.session.add(item)
    uow.session.add_all(WorkItemPerson(work_item_id=item.id, contact_id=one) for one in named)
    uow.note("work_item.opened", item, persons=named)
    await uow.session.flush()
    return item


def _check_words(words: str, field: str) -> None:
    if not words.strip():
        raise Invalid(Text(f"{field} 不能为空", f"{field} cannot be empty"), (field,))
    if len(words) > TEXT_LENGTH:
        raise Invalid(
            Text(f"{field} 最多 {TEXT_LENGTH} 个字符", f"{field} is longer than {TEXT_LENGTH} characters"), (field,)
        )


def _check_due(uow: UnitOfWork, due_at: datetime) -> None:
    if due_at <= uow.now:
        raise Invalid(Text("截止时间必须晚于现在", "dueAt must come after now"), ("dueAt",))


async def _check_owner(uow: UnitOfWork, user_id: UUID, queue: Role | None) -> None:
    """Check that somebody works here, and holds the role where the item is in a queue."""
    user = await uow.session.get(people.User, user_id)
    grants = people.RoleGrant
    valid = (grants.valid_from <= uow.now) & (grants.valid_to.is_(None) | (grants.valid_to > uow.now))
    held = select(grants.role).where(grants.user_id == user_id, valid)
    roles = set((await uow.session.execute(held)).scalars())
    if user is None or user.disabled_at is not None or not roles or (queue is not None and queue not in roles):
        words = Text(
            "该同事不存在、已停用，或没有所需的角色", "no such colleague, disabled, or without the role that it takes"
        )
        raise Invalid(words, ("ownerId",))


# ---- who may ---------------------------------------------------------------------------------------------------------


def _duty(item: WorkItem) -> Duty:
    return Duty(
        kind=item.kind, state=item.state, owned=item.owner_id is not None, queued=item.queue is not None, escalated_to=item.escalated_to,
        placed=item.territory_id is not None,
    )  # fmt: skip


def _standing(uow: UnitOfWork, item: WorkItem) -> Standing:
    user, actor = uow.actor.user_id, uow.actor
    if actor.unrestricted:
        return Standing(system=True)
    manages = actor.manages(item.territory_id)
    to = item.escalated_to
    return Standing(
        owns=user is not None and item.owner_id == user,
        serves=any(
            reach.role is item.queue and (item.queue not in PLACED or item.territory_id in reach.territory_ids)
            for reach in actor.reaches
        ),
        opened=user is not None and item.opened_by_id == user,
        manages=manages,
        above=to is not None and (manages if to is Role.MANAGER else actor.has(to)),
    )


async def _take(uow: UnitOfWork, id: UUID | None, step: WorkStep, expected_version: int | None) -> WorkItem:
    """The work item on which the actor takes a step, locked."""
    item = await load(uow.session, uow.actor, WorkItem, id, expected_version=expected_version, lock=True)
    why = refusal(step, _duty(item), _standing(uow, item))
    if why is not None:
        kind, words = _REFUSALS[why]
        raise kind(words, ("id",))
    return item


async def _noted(uow: UnitOfWork, action: str, item: WorkItem, detail: dict[str, Any]) -> WorkItem:
    named = select(WorkItemPerson.contact_id).where(WorkItemPerson.work_item_id == item.id)
    uow.note(action, item, detail, persons=list((await uow.session.execute(named)).scalars()))
    await uow.session.flush()
    return item


# ---- what is done ----------------------------------------------------------------------------------------------------


async def decide(
    uow: UnitOfWork, id: UUID | None, decision: WorkDecision, *, content_digest: str | None = None, reason: str | None = None,
    evidence: Sequence[Evidence] = (), expected_version: int | None = None,
) -> WorkItem:  # fmt: skip
    """End a work item by a decision.

    Raises Forbidden for one that is not theirs to decide, Conflict for one that has ended or was opened for other content,
    Invalid without a reason where it is changed or rejected, or without evidence for a criterion where it is not.
    """
    item = await _take(uow, id, WorkStep.DECIDE, expected_version)
    if item.content_digest is not None and content_digest is None:
        raise Invalid(UNBOUND, ("contentDigest",))
    if content_digest != item.content_digest:
        raise Conflict(OTHER_CONTENT, ("contentDigest",))
    if reason is not None or decision is not WorkDecision.ACCEPTED:
        _check_words(reason or "", "reason")
    for one in evidence:
        if not one.shows or (one.criterion is not None and not 0 <= one.criterion < len(item.acceptance or ())):
            raise Invalid(
                Text("证据为空，或对应的验收标准不存在", "evidence that is empty or for no criterion"), ("evidence",)
            )
        if one.note is not None:
            _check_words(one.note, "evidence")
        if one.record_kind is not None:
            await _check_record(uow, Ref(one.record_kind, one.record_id))  # type: ignore[arg-type]
    open_criteria = [] if decision is WorkDecision.REJECTED else unmet(item.acceptance or (), evidence)
    if open_criteria:
        shown = "、".join(str(place + 1) for place in open_criteria)
        raise Invalid(
            Text(f"第 {shown} 条验收标准缺少证据", f"no evidence is given for criteria {shown.replace('、', ', ')}"),
            ("evidence",),
        )
    item.decision, item.decided_at, item.decided_by_id = decision, uow.now, uow.actor.user_id
    item.decision_reason = reason.strip() if reason else None
    item.evidence = [_stored(one) for one in evidence] or None
    item.escalates_at = None
    return await _noted(uow, "work_item.decided", item, {"decision": decision.value, "content": item.content_digest})


async def _check_record(uow: UnitOfWork, record: Ref) -> None:
    """Check that the actor sees a record that shows something.

    Raises NotFound when they do not.
    """
    try:
        model: Any = entity(record.kind)
    except LookupError:
        raise not_found(record.kind, ("evidence",)) from None
    await load(uow.session, uow.actor, model, record.id, path=("evidence",))


def _stored(evidence: Evidence) -> dict[str, Any]:
    return {
        "criterion": evidence.criterion, "note": evidence.note, "record_kind": evidence.record_kind,
        "record_id": evidence.record_id.hex if evidence.record_id else None,
    }  # fmt: skip


async def delegate(
    uow: UnitOfWork, id: UUID | None, *, owner_id: UUID, due_at: datetime | None = None, expected_version: int | None = None
) -> WorkItem:  # fmt: skip
    """Hand a work item to a colleague, who holds the queue's role where it is in one; with a new time where one is given.

    Raises Forbidden for one that is not theirs to hand on, Conflict for one that has ended, Invalid for a stranger.
    """
    item = await _take(uow, id, WorkStep.DELEGATE, expected_version)
    await _check_owner(uow, owner_id, item.queue)
    if due_at is not None:
        _check_due(uow, due_at)
        item.due_at, item.escalates_at = due_at, None if _at_the_top(item) else due_at
    item.owner_id, item.delegated_at, item.delegated_by_id = owner_id, uow.now, uow.actor.user_id
    return await _noted(uow, "work_item.delegated", item, {})


def _at_the_top(item: WorkItem) -> bool:
    return next_rung(item.escalated_to, placed=item.territory_id is not None) is None


async def escalate(uow: UnitOfWork, id: UUID | None, *, reason: str, expected_version: int | None = None) -> WorkItem:
    """Move a work item up: to its territory's managers, then to the executives, who hand it to somebody.

    It moves up again after as long as it had at first. Raises Forbidden for whom it does not concern, Conflict for one that
    has ended or is at the top, Invalid without a reason.
    """
    _check_words(reason, "reason")
    item = await _take(uow, id, WorkStep.ESCALATE, expected_version)
    item.escalated_to = next_rung(item.escalated_to, placed=item.territory_id is not None)
    item.escalated_at, item.escalation_reason = uow.now, reason.strip()
    item.escalates_at = None if _at_the_top(item) else max(uow.now, item.due_at) + (item.due_at - item.opened_at)
    to = item.escalated_to.value if item.escalated_to else None
    return await _noted(uow, "work_item.escalated", item, {"to": to})


async def cancel(uow: UnitOfWork, id: UUID | None, *, reason: str, expected_version: int | None = None) -> WorkItem:
    """Call a work item off.

    Raises Forbidden for others than who asked for it and the territory's managers, Conflict for one that has ended, Invalid
    without a reason.
    """
    _check_words(reason, "reason")
    item = await _take(uow, id, WorkStep.CANCEL, expected_version)
    item.cancelled_at, item.cancelled_by_id, item.cancel_reason = uow.now, uow.actor.user_id, reason.strip()
    item.escalates_at = None
    return await _noted(uow, "work_item.cancelled", item, {})


async def escalate_overdue(database: Database) -> int:
    """Move up every open work item whose time has come, each in a commit of its own; how many there were."""
    waits = (
        (WorkItem.escalates_at <= database.clock()) & WorkItem.decided_at.is_(None) & WorkItem.cancelled_at.is_(None)
    )
    async with database.read(SYSTEM) as connection:
        late = (await connection.scalars(select(WorkItem.id).where(waits).order_by(WorkItem.escalates_at))).all()
    moved = 0
    for id in late:
        async with database.open_uow(SYSTEM) as uow:
            held = select(WorkItem).where(WorkItem.id == id, waits).with_for_update()
            # Another process may have moved it, or somebody decided it, since it was listed.
            if (await uow.session.execute(held)).scalar_one_or_none() is not None:
                await escalate(uow, id, reason=f"{LATE.zh} / {LATE.en}")
                moved += 1
    return moved
