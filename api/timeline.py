"""A record's timeline: what happened on it and on what hangs on it, of every class, in one order and in pages."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from sqlalchemy import (
    ColumnElement,
    Enum,
    False_,
    Integer,
    Select,
    Text,
    Uuid,
    and_,
    cast,
    false,
    literal,
    null,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.types import TypeEngine

from api.reads import SHAPES, Begin, Scope, View, argument, by, column, paged_rows, rows, to_any
from api.scalars import enum
from domain.kernel import UtcDateTime, entity

if TYPE_CHECKING:
    from api.activities import Activity
    from api.assistant import Generation
    from api.commerce import Order, Quote
    from api.consent import ConsentGrant
    from api.deals import StageTransition
    from api.signals import Signal


class TimelineKind(StrEnum):
    """What kind of entry; of one instant the later ones here come first."""

    CONSENT = "CONSENT"
    ORDER = "ORDER"
    QUOTE = "QUOTE"
    GENERATION = "GENERATION"
    SIGNAL = "SIGNAL"
    STAGE_TRANSITION = "STAGE_TRANSITION"
    ACTIVITY = "ACTIVITY"


enum(
    TimelineKind,
    "What kind of entry of a timeline.",
    CONSENT="A person said yes or no to being contacted.",
    ORDER="Something was bought.",
    QUOTE="A quote was issued.",
    GENERATION="The assistant was asked.",
    SIGNAL="A fact came in.",
    STAGE_TRANSITION="A deal entered a stage.",
    ACTIVITY="A colleague did something.",
)
KINDS = tuple(TimelineKind)
KIND = Enum(TimelineKind, native_enum=False)
NEWEST_FIRST = by("-at", "-rank", "-id")
KEY_TYPES = (UtcDateTime(), Integer(), Uuid())

SOURCES: Mapping[TimelineKind, tuple[str, str]] = {
    TimelineKind.CONSENT: ("ConsentGrant", "occurred_at"),
    TimelineKind.ORDER: ("Order", "ordered_at"),
    TimelineKind.QUOTE: ("Quote", "issued_at"),
    TimelineKind.GENERATION: ("Generation", "requested_at"),
    TimelineKind.SIGNAL: ("Signal", "occurred_at"),
    TimelineKind.STAGE_TRANSITION: ("StageTransition", "entered_at"),
    TimelineKind.ACTIVITY: ("Activity", "occurred_at"),
}
"""The class of each kind, and the column that says when."""
CLASSES = frozenset(name for name, _ in SOURCES.values())


@dataclass(frozen=True)
class Branch:
    """One way from a class's rows to the record on whose timeline they stand: by a column, or through another class.

    `of` is the kind of subject that the column names, where it may name several.
    """

    kind: TimelineKind
    column: str
    of: str | None = None
    via: tuple[str, str] | None = None


def _direct(column: str, *kinds: TimelineKind) -> list[Branch]:
    return [Branch(kind, column) for kind in kinds]


def _asked(of: str, via: str | None = None) -> Branch:
    return Branch(TimelineKind.GENERATION, "subject_id", of, None if via is None else (of, via))


K = TimelineKind
BRANCHES: Mapping[str, Sequence[Branch]] = {
    "Account": [
        *_direct("account_id", K.ACTIVITY, K.SIGNAL, K.QUOTE, K.ORDER), Branch(K.STAGE_TRANSITION, "opportunity_id", via=("Opportunity", "account_id")),
        Branch(K.CONSENT, "contact_id", via=("Contact", "account_id")), _asked("Account"), _asked("Opportunity", "account_id"), _asked("Contact", "account_id"),
        _asked("Lead", "converted_account_id"),
    ],
    "Contact": [*_direct("contact_id", K.ACTIVITY, K.SIGNAL, K.CONSENT), _asked("Contact")],
    "Lead": [*_direct("lead_id", K.ACTIVITY), Branch(K.SIGNAL, "subject_id", of="Lead"), _asked("Lead")],
    "Opportunity": [*_direct("opportunity_id", K.ACTIVITY, K.SIGNAL, K.STAGE_TRANSITION, K.QUOTE, K.ORDER), _asked("Opportunity")],
}  # fmt: skip
"""What stands on the timeline of each kind of record."""

TimelineNode = Annotated[
    Annotated["Activity", strawberry.lazy("api.activities")]
    | Annotated["ConsentGrant", strawberry.lazy("api.consent")]
    | Annotated["Generation", strawberry.lazy("api.assistant")]
    | Annotated["Order", strawberry.lazy("api.commerce")]
    | Annotated["Quote", strawberry.lazy("api.commerce")]
    | Annotated["Signal", strawberry.lazy("api.signals")]
    | Annotated["StageTransition", strawberry.lazy("api.deals")],
    strawberry.union("TimelineNode", description="What an entry of a timeline is about."),
]


@rows
class TimelineEntry:
    """One thing that happened."""

    at: datetime = column("When.")
    kind: TimelineKind = column("What kind of thing.")
    node: TimelineNode | None = to_any(
        "entity", "id", "What it is about; null where it was taken back meanwhile.", kinds=CLASSES
    )


def _entries(entity: str) -> Callable[..., Select[Any]]:
    """What makes the statement with the entries of one kind of record: those of every class in one table."""

    def made(
        scope: Scope,
        begin: Begin,
        kinds: list[TimelineKind] | None = None,
        since: ColumnElement[datetime] | None = None,
        until: ColumnElement[datetime] | None = None,
    ) -> Select[Any]:
        parts = [
            _part(scope, begin, branch, since, until)
            for branch in BRANCHES[entity]
            if kinds is None or branch.kind in kinds
        ]
        found = [part for part in parts if part is not None] or [_nothing()]
        return select(union_all(*found).subquery())

    return made


def _part(
    scope: Scope,
    begin: Begin,
    branch: Branch,
    since: ColumnElement[datetime] | None,
    until: ColumnElement[datetime] | None,
) -> Select[Any] | None:
    """The rows of one class; None where the reader sees none of them whatever they are."""
    name, when = SOURCES[branch.kind]
    view = SHAPES[name].fresh_view(scope.actor, scope.language)
    at, rank = view.column(when), KINDS.index(branch.kind)
    parent, leads = _way(view, branch)
    asked = [view.rows(), leads, scope.below(parent), at.is_not(None)]
    if any(isinstance(condition, False_) for condition in asked):
        return None
    if since is not None:
        asked.append(at >= since)
    if until is not None:
        asked.append(at < until)
    if begin.after is not None:
        asked.append(_beyond(begin.after, at, rank, view.key))
    columns = (
        parent.label("parent"), literal(rank, Integer()).label("rank"), at.label("at"), view.key.label("id"),
        literal(branch.kind, KIND).label("kind"), literal(name, Text()).label("entity"),
    )  # fmt: skip
    part = scope.within(select(*columns).where(*asked))
    if begin.limit is None:
        return part
    # Of one record the newest of each class suffice, which its index has in order.
    return select(part.order_by(at.desc(), view.key.desc()).limit(begin.limit).subquery())


def _nothing() -> Select[Any]:
    """No rows at all."""
    kinds: dict[str, Any] = {
        "parent": Uuid(), "rank": Integer(), "at": UtcDateTime(), "id": Uuid(), "kind": KIND, "entity": Text(),
    }  # fmt: skip
    columns: list[ColumnElement[Any]] = [cast(null(), kind).label(name) for name, kind in kinds.items()]
    return select(*columns).where(false())


def _way(view: View, branch: Branch) -> tuple[ColumnElement[Any], ColumnElement[bool]]:
    """The expression for the record on whose timeline a row stands, and the condition that leads there."""
    table = view.table
    of = true() if branch.of is None else table.c.subject_kind == branch.of
    if branch.via is None:
        return table.c[branch.column], of
    name, column = branch.via
    step = entity(name).__table__.alias()
    return step.c[column], and_(of, step.c.id == table.c[branch.column])


def _beyond(after: Sequence[Any], at: ColumnElement[Any], rank: int, id: ColumnElement[Any]) -> ColumnElement[bool]:
    """The condition for a class's rows that come after an entry: of the same instant, those of its kind by id."""
    kinds: Sequence[TypeEngine[Any]] = KEY_TYPES
    instant, kind, last = (
        value if isinstance(value, ColumnElement) else literal(value, known)
        for value, known in zip(after, kinds, strict=True)
    )
    own = literal(rank, Integer())
    return or_(at < instant, and_(at == instant, or_(own < kind, and_(own == kind, id < last))))


def timeline(entity: str) -> Any:
    """The field of a kind of record with its timeline."""
    return paged_rows(
        _entries(entity), "What happened on it and on what hangs on it, newest first.",
        argument("kinds", list[TimelineKind] | None, "Entries of these kinds alone.", None),
        argument("since", datetime | None, "At this instant or later.", None, as_sql=UtcDateTime()),
        argument("until", datetime | None, "Before this instant.", None, as_sql=UtcDateTime()),
        order=NEWEST_FIRST, kinds=KEY_TYPES,
    )  # fmt: skip
