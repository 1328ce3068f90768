"""Pipelines, stages and opportunities in the schema, and the total of each stage."""

from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, cast
from uuid import UUID

import strawberry
from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.engine import RowMapping

from api.accounts import Account
from api.context import Context, Info
from api.people import User
from api.reads import (
    STAMPS,
    Connection,
    Money,
    Node,
    View,
    by,
    column,
    computed,
    id_of,
    listing,
    localized,
    many,
    matching,
    money,
    names,
    newest,
    node,
    roots,
    shape_of,
    to_one,
)
from api.records import RECORD_HIDDEN, Record
from api.scalars import enum
from domain import deals, kernel
from domain.kernel import totals_visible

if TYPE_CHECKING:
    from api.activities import Activity


@node(deals.Stage, order=by("position", "id"), hidden=STAMPS | {"expected_days", "default_forecast_category"})
class Stage(Node):
    """One step of a pipeline."""

    key: str = column("The stage's key, unique in its pipeline.")
    label: str = localized("label", "The stage's name in the reader's language.")
    position: int = column("Its place in the pipeline, from 0.")
    is_closed: bool = column("Whether deals end here.")
    is_won: bool = column("Whether deals that end here are won.")
    pipeline: Annotated["Pipeline", strawberry.lazy("api.deals")] = to_one(
        "pipeline_id", "The pipeline to which it belongs."
    )


@node(deals.Pipeline, order=by("id"), hidden=STAMPS)
class Pipeline(Node):
    """An ordered set of stages for one kind of business."""

    key: str = column("The pipeline's key.")
    label: str = localized("label", "The pipeline's name in the reader's language.")
    stages: list[Stage] = many("pipeline_id", "Its stages in their order.")


@node(
    deals.Opportunity,
    hidden=RECORD_HIDDEN | {
        "pipeline_id", "territory_id", "lead_id", "loss_reason", "forecast_category", "opened_at", "stage_entered_at", "closed_at", "source", "external_id",
    },
)  # fmt: skip
class Opportunity(Record):
    """A qualified potential deal with an amount and a date."""

    name: str = column("What it is about.")
    stage: Stage = to_one("stage_id", "Where it stands.")
    amount: Money | None = money("amount_minor", "currency", "What it is worth.")
    close_date: date | None = column("When it is expected to close.")
    account: Account | None = to_one("account_id", "The customer.")
    owner: User | None = to_one("owner_id", "The colleague who leads it.")
    primary_competitor: str | None = column("The key of the competitor that counts most.")
    activities: list[Annotated["Activity", strawberry.lazy("api.activities")]] = newest(
        "opportunity_id", "What was done on it, newest first."
    )


class OpportunityOrder(StrEnum):
    """How opportunities can be ordered."""

    AMOUNT_DESC = "AMOUNT_DESC"
    CLOSE_DATE_ASC = "CLOSE_DATE_ASC"
    CREATED_DESC = "CREATED_DESC"


enum(
    OpportunityOrder,
    "The orders of opportunities; without a value last, equal ones by id.",
    AMOUNT_DESC="The largest amount first.",
    CLOSE_DATE_ASC="The nearest close date first.",
    CREATED_DESC="The newest first.",
)
ORDERS = {
    OpportunityOrder.AMOUNT_DESC: by("-amount_minor", "id"),
    OpportunityOrder.CLOSE_DATE_ASC: by("close_date", "id"),
    OpportunityOrder.CREATED_DESC: by("-created_at", "-id"),
}


def _in_stage(view: View, key: str, _context: Context) -> ColumnElement[bool]:
    return view.column("stage_id").in_(select(deals.Stage.id).where(deals.Stage.key == key))


def _is_open(view: View, wanted: bool, _context: Context) -> ColumnElement[bool]:
    return view.column("stage_id").in_(select(deals.Stage.id).where(deals.Stage.is_closed.is_(not wanted)))


@strawberry.input(description="Which opportunities; all conditions hold together.")
class OpportunityFilter:
    """Conditions on opportunities."""

    stage_key: str | None = matching(_in_stage, "The key of the stage.")
    owner_id: strawberry.ID | None = names("User", "owner_id", "The colleague who leads it.")
    account_id: strawberry.ID | None = names("Account", "account_id", "The customer.")
    open: bool | None = matching(_is_open, "True: not closed yet; false: closed.")


@strawberry.type(description="What the reader's opportunities of one stage add up to.")
class PipelineStageTotal:
    """One stage with its sums."""

    stage: Stage = strawberry.field(description="The stage.")
    count: int = strawberry.field(description="How many opportunities stand in it.")
    totals: list[Money] = strawberry.field(description="One total a currency, by its code.")


def _totals(actor: kernel.Actor) -> Select[UUID, str | None, int, int | None]:
    deal = deals.Opportunity
    return (
        select(deal.stage_id, deal.currency, func.count().label("count"), func.sum(deal.amount_minor).label("amount"))
        .where(totals_visible(deal, actor))
        .group_by(deal.stage_id, deal.currency)
    )


def _stage_total(stage: Stage, rows: list[RowMapping]) -> PipelineStageTotal:
    sums = [
        kernel.Money(int(row["amount"]), row["currency"])
        for row in rows
        if row["currency"] and row["amount"] is not None
    ]
    totals = cast("list[Money]", sorted(sums, key=lambda total: total.currency))
    return PipelineStageTotal(stage=stage, count=sum(row["count"] or 0 for row in rows), totals=totals)


async def _pipeline_by_stage(context: Context, pipeline_id: strawberry.ID | None) -> list[PipelineStageTotal]:
    shape = shape_of(Stage)
    view = shape.view(context.reader, context.language)
    stage, sums = view.table.c, _totals(context.reader).subquery()
    default = select(deals.Pipeline.id).order_by(deals.Pipeline.id).limit(1).scalar_subquery()
    wanted = (
        stage.pipeline_id == id_of("Pipeline", pipeline_id)
        if pipeline_id
        else or_(stage.pipeline_id == default, sums.c.count > 0)
    )
    statement = (
        select(*shape.select(view), sums.c.currency, sums.c.count, sums.c.amount)
        .select_from(view.table.outerjoin(sums, sums.c.stage_id == stage.id))
        .where(view.rows(), wanted)
        .order_by(stage.pipeline_id, stage.position, stage.id)
    )
    stages: dict[UUID, list[RowMapping]] = {}
    for row in await context.rows(statement):
        stages.setdefault(row["id"], []).append(row)
    return [_stage_total(shape.build(rows[0], view), rows) for rows in stages.values()]


@roots
class DealQueries:
    """The roots of this room."""

    opportunities: Connection[Opportunity] = listing(
        "The opportunities that the reader sees, newest first.", filter=OpportunityFilter, orders=ORDERS
    )
    pipelines: Connection[Pipeline] = listing("The pipelines, oldest first.")

    @computed(
        "The totals of each stage of a pipeline; without one, of the first and of every other stage that has opportunities."
    )
    async def pipeline_by_stage(
        self,
        info: Info,
        pipeline_id: Annotated[
            strawberry.ID | None, strawberry.argument(description="The pipeline.")
        ] = strawberry.UNSET,
    ) -> list[PipelineStageTotal]:
        """Add up in the database, in one statement."""
        return await _pipeline_by_stage(info.context, pipeline_id or None)
