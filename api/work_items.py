"""Work items in the schema: what is owed by whom until when, and what its people do about it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import strawberry
from sqlalchemy import Boolean, ColumnElement, Uuid, and_, literal, or_, type_coerce
from sqlalchemy import Enum as SqlEnum

from api.context import Context, Info
from api.mutations import UserError, create_once, given, mutation, refusals, text
from api.people import User
from api.reads import (
    NOW,
    Connection,
    Expression,
    Node,
    View,
    by,
    column,
    equals,
    expect,
    expressed,
    gathered,
    global_id,
    listing,
    localized,
    matching,
    names,
    names_any,
    node,
    read_id,
    roots,
    selected,
    since,
    to_any,
    to_one,
    until,
)
from api.records import RECORD_HIDDEN, Record
from api.scalars import enum
from domain import work_items
from domain.kernel import Role, not_found
from domain.work_items import TEXT_LENGTH, Evidence, WorkDecision, WorkKind, WorkState

enum(
    WorkKind,
    "What kind of duty it is.",
    TASK="Something to do.",
    APPROVAL="A content or an act to release, change or refuse.",
    REVIEW="Something to look at and judge.",
    GATE="A condition of going on.",
    IMPROVEMENT="Something to do better.",
    COACHING="Something to practise with a colleague.",
)
enum(
    WorkState,
    "Where a duty stands: open, or at one of its three ends.",
    OPEN="Somebody owes it.",
    DONE="It was met or accepted, with or without changes.",
    REJECTED="It was refused.",
    CANCELLED="It was called off.",
)
enum(
    WorkDecision,
    "How a duty was decided.",
    ACCEPTED="Met, or accepted as it is.",
    CHANGED="Accepted with changes.",
    REJECTED="Refused.",
)

STATE = SqlEnum(WorkState, native_enum=False)
NO_SUBJECT = "Account, Contact, Lead or Opportunity"


@strawberry.type(description="What shows that a duty was met.")
class WorkEvidence:
    """One piece of evidence."""

    criterion: int | None = strawberry.field(description="The place of the criterion that it is for, from 0.")
    note: str | None = strawberry.field(description="What shows it, in words.")
    record_id: strawberry.ID | None = strawberry.field(description="The record that shows it.")


def _evidence(stored: list[Mapping[str, Any]]) -> list[WorkEvidence]:
    return [
        WorkEvidence(
            criterion=one["criterion"],
            note=one["note"],
            record_id=strawberry.ID(global_id(one["record_kind"], UUID(one["record_id"])))
            if one["record_id"]
            else None,
        )
        for one in stored
    ]


def _acceptance(stored: list[str]) -> list[str]:
    return list(stored)


def _column(name: str) -> Expression:
    return lambda view: view.table.c[name]


def _state(view: View) -> ColumnElement[Any]:
    return type_coerce(work_items.state_of(view.table.c), STATE)


def _late(view: View) -> ColumnElement[bool]:
    columns = view.table.c
    return and_(columns.decided_at.is_(None), columns.cancelled_at.is_(None), columns.due_at < NOW)


def _overdue(view: View) -> ColumnElement[bool]:
    return type_coerce(_late(view), Boolean())


@node(
    work_items.WorkItem, order=by("due_at", "id"),
    hidden=RECORD_HIDDEN | {"territory_id", "escalates_at", "acceptance", "evidence"},
)  # fmt: skip
class WorkItem(Record):
    """One duty: somebody, or whoever serves a role's queue, owes something about a record by a time."""

    kind: WorkKind = column("What kind of duty it is.")
    subject: Node | None = to_any(
        "subject_kind", "subject_id", "The record that it is about; null where the reader does not see it."
    )
    title: str = localized("title", "What is owed.")
    reason: str | None = localized("reason", "Why.")
    state: WorkState = expressed(_state, "Where it stands: it follows from what has happened to it.")
    overdue: bool = expressed(_overdue, "Whether it is open and its time is over.")
    owner: User | None = to_one("owner_id", "The colleague who owes it; null while it waits in a queue.")
    queue: Role | None = column("The role whose queue it is in: only that role decides.")
    opened_at: datetime = column("When it was opened.")
    opened_by: User | None = to_one("opened_by_id", "Who asked for it; null for the system.")
    due_at: datetime = column("By when it is owed.")
    acceptance: list[str] = gathered((_column("acceptance"),), _acceptance, "What has to be shown for it to be met.")
    evidence: list[WorkEvidence] = gathered((_column("evidence"),), _evidence, "What was shown.")
    content_digest: str | None = column("The SHA-256 of the content for which alone it is decided.")
    decided_at: datetime | None = column("When it was decided.")
    decision: WorkDecision | None = column("How.")
    decided_by: User | None = to_one("decided_by_id", "By whom.")
    decision_reason: str | None = column("Why.")
    delegated_at: datetime | None = column("When it was last handed on.")
    delegated_by: User | None = to_one("delegated_by_id", "By whom.")
    escalated_at: datetime | None = column("When it last moved up.")
    escalated_to: Role | None = column("To whom.")
    escalation_reason: str | None = column("Why.")
    cancelled_at: datetime | None = column("When it was called off.")
    cancelled_by: User | None = to_one("cancelled_by_id", "By whom; null for the system.")
    cancel_reason: str | None = column("Why.")


def _me(wanted: bool, context: Context) -> tuple[bool, UUID]:
    return wanted, context.reader.user_id or UUID(int=0)


def _mine(view: View, wanted: ColumnElement[bool], me: ColumnElement[UUID]) -> ColumnElement[bool]:
    owner = view.column("owner_id")
    return or_(and_(wanted, owner == me), and_(~wanted, or_(owner.is_(None), owner != me)))


def _is_overdue(view: View, wanted: bool) -> ColumnElement[bool]:
    return _late(view) if wanted else ~_late(view)


def _stands(view: View, state: WorkState) -> ColumnElement[bool]:
    return work_items.state_of(view.table.c) == literal(state.value)


@strawberry.input(description="Which work items; all conditions hold together.")
class WorkItemFilter:
    """Conditions on work items."""

    mine: bool | None = matching(
        _mine, "True: those that the reader owes; false: the others.", Boolean(), Uuid(), convert=_me
    )
    queue: Role | None = equals("queue", "Those in a role's queue.")
    state: WorkState | None = matching(_stands, "Where they stand.")
    overdue: bool | None = matching(_is_overdue, "True: open, and their time is over; false: the others.")
    kind: WorkKind | None = equals("kind", "What kind of duty.")
    subject_id: strawberry.ID | None = names_any("subject_kind", "subject_id", "The record that they are about.")
    owner_id: strawberry.ID | None = names("User", "owner_id", "The colleague who owes them.")
    since: datetime | None = since("due_at", "Owed by this instant or later.")
    until: datetime | None = until("due_at", "Owed before this instant.")


@roots
class WorkItemQueries:
    """The roots of this room."""

    work_items: Connection[WorkItem] | None = listing("What is owed, the soonest first.", filter=WorkItemFilter)


# ---- what is done ----------------------------------------------------------------------------------------------------


def _version() -> Any:
    return strawberry.field(description="The `version` that the caller has seen.")


@strawberry.input(description="A duty to open, for somebody or for a role's queue.")
class CreateWorkItemInput:
    """What opening takes."""

    client_key: strawberry.ID = text("The caller's key: the same one opens once.", 200, required=True)
    kind: WorkKind = strawberry.field(description="What kind of duty.")
    subject_id: strawberry.ID = strawberry.field(description=f"The record that it is about: {NO_SUBJECT}.")
    title: str = text("What is owed.", TEXT_LENGTH, required=True)
    reason: str | None = text("Why.", TEXT_LENGTH)
    owner_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="The colleague who owes it."
    )
    queue: Role | None = strawberry.field(
        default=strawberry.UNSET, description="The role in whose queue it waits; with an owner, one that they hold."
    )
    due_at: datetime = strawberry.field(description="By when.")
    acceptance: list[str] | None = text("What has to be shown for it to be met.", TEXT_LENGTH)


@strawberry.input(description="What shows that a duty was met: words, a record, or both.")
class WorkEvidenceInput:
    """One piece of evidence."""

    criterion: int | None = strawberry.field(
        default=strawberry.UNSET, description="The place of the criterion that it is for, from 0."
    )
    note: str | None = text("What shows it.", TEXT_LENGTH)
    record_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="The record that shows it."
    )


@strawberry.input(description="How a duty ends.")
class DecideWorkItemInput:
    """What a decision takes."""

    id: strawberry.ID = strawberry.field(description="The work item.")
    expected_version: int = _version()
    decision: WorkDecision = strawberry.field(description="How it ends.")
    content_digest: str | None = text(
        "The `contentDigest` that was decided on; needed where the work item has one, and refused where it is another.",
        64,
    )
    reason: str | None = text("Why; needed with CHANGED and REJECTED.", TEXT_LENGTH)
    evidence: list[WorkEvidenceInput] | None = strawberry.field(
        default=strawberry.UNSET, description="What shows that it was met, at least one piece for each criterion."
    )


@strawberry.input(description="A duty to hand to a colleague.")
class DelegateWorkItemInput:
    """What handing on takes."""

    id: strawberry.ID = strawberry.field(description="The work item.")
    expected_version: int = _version()
    owner_id: strawberry.ID = strawberry.field(
        description="The colleague, who holds the queue's role where there is one."
    )
    due_at: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="A new time; the old one without it."
    )


@strawberry.input(description="A duty to move up, or to call off.")
class WorkItemReasonInput:
    """What moving up and calling off take."""

    id: strawberry.ID = strawberry.field(description="The work item.")
    expected_version: int = _version()
    reason: str = text("Why.", TEXT_LENGTH, required=True)


@strawberry.type(description="The work item as it stands now, or why nothing was done.")
class WorkItemPayload:
    """The answer to what is done about a work item."""

    work_item: WorkItem | None = strawberry.field(
        default=None, description="The work item; null where it is not the reader's to see any more."
    )
    errors: list[UserError] = refusals()


def _shown(input: WorkEvidenceInput) -> Evidence:
    words = given(input.record_id)
    ref = None if words is None else read_id(words)
    if words is not None and ref is None:
        raise not_found("record", ("evidence",))
    return Evidence(
        criterion=given(input.criterion), note=given(input.note), record_kind=ref.kind if ref else None, record_id=ref.id if ref else None
    )  # fmt: skip


def _answer(info: Info, id: UUID) -> WorkItemPayload:
    return WorkItemPayload(work_item=selected(info, WorkItem, id))


@strawberry.type
class WorkItemMutations:
    """The mutations of this room."""

    @mutation("Open a duty about a record that the reader sees.", *Role)
    async def create_work_item(
        self, info: Info, input: Annotated[CreateWorkItemInput, strawberry.argument(description="What is owed.")]
    ) -> WorkItemPayload | None:
        """Open it once."""
        subject = read_id(input.subject_id)
        if subject is None:
            raise not_found("record", ("subjectId",))
        owner = given(input.owner_id)
        words = {
            "kind": input.kind, "subject": subject, "title": input.title, "reason": given(input.reason), "due_at": input.due_at, "queue": given(input.queue),
            "owner_id": expect("User", owner, "ownerId") if owner is not None else None, "acceptance": tuple(given(input.acceptance) or ()),
        }  # fmt: skip
        return _answer(info, await create_once(info, input, work_items.WorkItem, work_items.create, words))

    @mutation("End a duty by a decision.", *Role)
    async def decide_work_item(
        self, info: Info, input: Annotated[DecideWorkItemInput, strawberry.argument(description="How it ends.")]
    ) -> WorkItemPayload | None:
        """Decide it, for the content that was seen."""
        id = expect("WorkItem", input.id, "id")
        shown = [_shown(one) for one in given(input.evidence) or ()]
        async with info.context.open_uow() as uow:
            await work_items.decide(
                uow, id, input.decision, content_digest=given(input.content_digest), reason=given(input.reason), evidence=shown,
                expected_version=input.expected_version,
            )  # fmt: skip
        return _answer(info, id)

    @mutation("Hand a duty to a colleague.", *Role)
    async def delegate_work_item(
        self, info: Info, input: Annotated[DelegateWorkItemInput, strawberry.argument(description="To whom.")]
    ) -> WorkItemPayload | None:
        """Hand it on."""
        id, owner = expect("WorkItem", input.id, "id"), expect("User", input.owner_id, "ownerId")
        async with info.context.open_uow() as uow:
            await work_items.delegate(
                uow, id, owner_id=owner, due_at=given(input.due_at), expected_version=input.expected_version
            )
        return _answer(info, id)

    @mutation("Move a duty up: to the managers of its territory, then to the executives.", *Role)
    async def escalate_work_item(
        self, info: Info, input: Annotated[WorkItemReasonInput, strawberry.argument(description="Which one, and why.")]
    ) -> WorkItemPayload | None:
        """Move it up."""
        id = expect("WorkItem", input.id, "id")
        async with info.context.open_uow() as uow:
            await work_items.escalate(uow, id, reason=input.reason, expected_version=input.expected_version)
        return _answer(info, id)

    @mutation("Call a duty off.", *Role)
    async def cancel_work_item(
        self, info: Info, input: Annotated[WorkItemReasonInput, strawberry.argument(description="Which one, and why.")]
    ) -> WorkItemPayload | None:
        """Call it off."""
        id = expect("WorkItem", input.id, "id")
        async with info.context.open_uow() as uow:
            await work_items.cancel(uow, id, reason=input.reason, expected_version=input.expected_version)
        return _answer(info, id)
