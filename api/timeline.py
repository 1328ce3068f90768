"""A record's timeline: what happened on it and on what hangs on it, of every class, in one order and in pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import strawberry
from sqlalchemy import (
    ColumnElement,
    False_,
    Integer,
    Select,
    Uuid,
    and_,
    false,
    func,
    literal_column,
    or_,
    select,
    true,
    union_all,
)

from api.context import Context, Info
from api.reads import SHAPES, Connection, by, check_size, computed, load_one
from api.reads.lists import Page
from api.reads.shapes import Row
from api.reads.view import View, read_cursor, write_cursor
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
NEWEST_FIRST = by("-at", "-kind", "-id")
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


@strawberry.type(description="One thing that happened.")
class TimelineEntry:
    """What is read of an entry first; its record is looked up when it is asked for."""

    at: datetime = strawberry.field(description="When.")
    kind: TimelineKind = strawberry.field(description="What kind of thing.")
    row_id: strawberry.Private[UUID]

    @computed("What it is about; null where it was taken back meanwhile.")
    async def node(self, info: Info) -> TimelineNode | None:
        """Load it together with every other of its class."""
        found: TimelineNode | None = await load_one(info.context, SHAPES[SOURCES[self.kind][0]], self.row_id)
        return found


@dataclass(frozen=True)
class Timeline:
    """The entries of one kind of record that are asked for."""

    entity: str
    kinds: tuple[TimelineKind, ...]
    since: datetime | None
    until: datetime | None

    async def read(
        self, context: Context, parents: Sequence[UUID], limit: int, after: Sequence[Any] | None
    ) -> dict[UUID, list[tuple[Row, TimelineEntry]]]:
        """The newest entries of each record that come after some key values, at most `limit` of each: one statement."""
        alone = limit if len(parents) == 1 else None
        whole = self._whole(context, parents, after, alone)
        if whole is None:
            return {}
        entry = whole.subquery()
        order = (entry.c.at.desc(), entry.c.kind.desc(), entry.c.id.desc())
        rank = func.row_number().over(partition_by=entry.c.parent, order_by=order).label("rank")
        ranked = select(entry, rank).subquery()
        groups: dict[UUID, list[tuple[Row, TimelineEntry]]] = {}
        for row in await context.rows(select(ranked).where(ranked.c.rank <= limit).order_by(ranked.c.rank)):
            found = TimelineEntry(at=row["at"], kind=KINDS[row["kind"]], row_id=row["id"])
            groups.setdefault(row["parent"], []).append((row, found))
        return groups

    async def count(self, context: Context, parents: Sequence[UUID]) -> dict[UUID, int]:
        """How many entries each record has."""
        whole = self._whole(context, parents, None, None)
        if whole is None:
            return {}
        entry = whole.subquery()
        statement = select(entry.c.parent, func.count().label("count")).group_by(entry.c.parent)
        return {row["parent"]: row["count"] for row in await context.rows(statement)}

    def cursor(self, row: Row) -> str:
        """The cursor of an entry that was read."""
        return write_cursor(NEWEST_FIRST, [row["at"], row["kind"], row["id"]])

    def _whole(self, context: Context, parents: Sequence[UUID], after: Sequence[Any] | None, limit: int | None) -> Any:
        """The rows of every class in one table; None where the reader sees none whatever they are."""
        branches = [branch for branch in BRANCHES[self.entity] if branch.kind in self.kinds]
        parts = [self._part(context, branch, parents, after, limit) for branch in branches]
        found = [part for part in parts if part is not None]
        return union_all(*found) if found else None

    def _part(
        self, context: Context, branch: Branch, parents: Sequence[UUID], after: Sequence[Any] | None, limit: int | None
    ) -> Select[Any] | None:
        name, when = SOURCES[branch.kind]
        shape = SHAPES[name]
        view = shape.view(context.reader, context.language)
        at, number = view.column(when), KINDS.index(branch.kind)
        parent, leads = _way(view, branch)
        asked = [view.rows(), leads, parent.in_(parents), at.is_not(None), *self._window(at)]
        if after is not None:
            asked.append(_beyond(after, at, number, view.table.c.id))
        if any(isinstance(condition, False_) for condition in asked):
            return None
        columns = (parent.label("parent"), literal_column(str(number), Integer()).label("kind"), at.label("at"), view.table.c.id.label("id"))  # fmt: skip
        part = select(*columns).where(*asked)
        if limit is None:
            return part
        # Of one record the newest of each class suffice, which its index has in order.
        return select(part.order_by(at.desc(), view.table.c.id.desc()).limit(limit).subquery())

    def _window(self, at: ColumnElement[Any]) -> list[ColumnElement[bool]]:
        since = [] if self.since is None else [at >= self.since]
        return since if self.until is None else [*since, at < self.until]


def _way(view: View, branch: Branch) -> tuple[ColumnElement[Any], ColumnElement[bool]]:
    """The expression for the record on whose timeline a row stands, and the condition that leads there."""
    table = view.table
    of = true() if branch.of is None else table.c.subject_kind == branch.of
    if branch.via is None:
        return table.c[branch.column], of
    name, column = branch.via
    step = entity(name).__table__.alias()
    return step.c[column], and_(of, step.c.id == table.c[branch.column])


def _beyond(after: Sequence[Any], at: ColumnElement[Any], number: int, id: ColumnElement[Any]) -> ColumnElement[bool]:
    """The condition for a class's rows that come after an entry: of the same instant, those of its kind by id."""
    instant, kind, last = after
    same: ColumnElement[bool] = false() if number > kind else true() if number < kind else id < last
    return or_(at < instant, and_(at == instant, same))


def _argument(description: str) -> Any:
    return strawberry.argument(description=description)


def timeline(entity: str) -> Any:
    """The field of a kind of record with its timeline."""

    async def resolve(
        root: Any,
        info: Info,
        first: Annotated[int, _argument("How many entries at most: 1 to 100.")] = 20,
        after: Annotated[
            str | None, _argument("The cursor after which to begin: `endCursor` of the page before.")
        ] = None,
        kinds: Annotated[list[TimelineKind] | None, _argument("Entries of these kinds alone.")] = None,
        since: Annotated[datetime | None, _argument("At this instant or later.")] = None,
        until: Annotated[datetime | None, _argument("Before this instant.")] = None,
    ) -> Connection[TimelineEntry]:
        check_size(info.context, first, "first")
        begin = read_cursor(KEY_TYPES, NEWEST_FIRST, after) if after else None
        chosen = KINDS if kinds is None else tuple(kind for kind in KINDS if kind in kinds)
        asked, context = Timeline(entity, chosen, since, until), info.context

        async def pages(parents: list[UUID]) -> Mapping[UUID, Page]:
            groups = await asked.read(context, parents, first + 1, begin)
            return {parent: Page(rows[:first], len(rows) > first) for parent, rows in groups.items()}

        async def totals(parents: list[UUID]) -> Mapping[UUID, int]:
            return await asked.count(context, parents)

        return Connection(
            listing=asked, begins_after=begin is not None,
            page=partial(context.load, (asked, first, after), root.row_id, pages, Page()),
            total=partial(context.load, (asked, "total"), root.row_id, totals, 0),
        )  # fmt: skip

    return strawberry.field(resolver=resolve, description="What happened on it and on what hangs on it, newest first.")
