"""Pipelines, stages and opportunities in the schema, and the total of each stage."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from enum import StrEnum
from operator import ge, le
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import strawberry
from sqlalchemy import BigInteger, ColumnElement, Select, Uuid, and_, cast, func, or_, select
from sqlalchemy import Text as SqlText

from api.accounts import Account, Contact
from api.context import Context
from api.custom_fields import CustomFieldFilter, CustomFieldValue, custom_filter, custom_values
from api.leads import Lead, MoneyInput
from api.people import User
from api.reads import (
    NOBODY,
    NOW,
    STAMPS,
    Connection,
    Money,
    Node,
    Scope,
    View,
    argument,
    by,
    column,
    connection,
    contains,
    derived,
    equals,
    expressed,
    gathered,
    id_of,
    listed,
    listing,
    localized,
    many,
    matching,
    money,
    names,
    newest,
    node,
    packed,
    roots,
    rows,
    rows_as_json,
    since,
    to_one,
    unpacked,
    until,
    whole_days,
)
from api.record_log import LogEntry, log
from api.records import RECORD_HIDDEN, Record
from api.scalars import enum
from api.timeline import TimelineEntry, timeline
from domain import deals, kernel
from domain.accounts import BuyingRole
from domain.deals import CommitteeSeat, ForecastCategory, Influence, Stance
from domain.kernel import Invalid, Text, UtcDateTime, beyond, rows_visible, totals_visible
from domain.people import Territory

if TYPE_CHECKING:
    from api.activities import Activity
    from api.attachments import Attachment
    from api.commerce import Order, Payment, Quote


enum(
    ForecastCategory,
    "How sure a deal counts in the forecast.",
    PIPELINE="It may come.",
    BEST_CASE="It comes if all goes well.",
    MOST_LIKELY="It comes, most likely.",
    COMMIT="Its owner answers for it.",
    CLOSED="It is won.",
    OMITTED="It does not count.",
)
enum(
    Stance,
    "How a person stands towards a deal.",
    SUPPORTS="For it.",
    NEUTRAL="Neither for nor against it.",
    OPPOSES="Against it.",
    UNKNOWN="Nobody knows yet.",
)
enum(
    Influence,
    "How much a person's word counts in a decision.",
    HIGH="It decides.",
    MEDIUM="It is heard.",
    LOW="It counts little.",
)

STALLED_LIMIT = 366 * 20
"""Twenty years, in days."""


@node(deals.Stage, order=by("position", "id"), hidden=STAMPS - {"version"})
class Stage(Node):
    """One step of a pipeline."""

    key: str = column("The stage's key, unique in its pipeline.")
    label: str = localized("label", "The stage's name in the reader's language.")
    position: int = column("Its place in the pipeline, from 0.")
    is_closed: bool = column("Whether deals end here.")
    is_won: bool = column("Whether deals that end here are won.")
    expected_days: int | None = column("In how many days a deal is expected to leave it.")
    default_forecast_category: ForecastCategory = column("How a deal counts that enters it.")
    retired_at: datetime | None = column("Since when no deal enters it; null while deals do.")
    version: int = column("Grows with every stored change; what an edit's `expectedVersion` compares.")
    pipeline: Annotated["Pipeline", strawberry.lazy("api.deals")] = to_one(
        "pipeline_id", "The pipeline to which it belongs."
    )


@node(deals.Pipeline, order=by("id"), hidden=(STAMPS - {"version"}) | {"territory_id"})
class Pipeline(Node):
    """An ordered set of stages for one kind of business, everywhere or in one region."""

    key: str = column("The pipeline's key.")
    label: str = localized("label", "The pipeline's name in the reader's language.")
    region: str | None = column("The key of the region that it is for; null where it is for all.")
    version: int = column("Grows with every stored change; what an edit's `expectedVersion` compares.")
    stages: list[Stage] = many(
        "pipeline_id", "Its stages in their order; those that are retired come last, and say so."
    )


def _days(view: View) -> ColumnElement[int]:
    return whole_days(view.column("entered_at"), func.coalesce(view.column("left_at"), NOW))


@node(deals.StageTransition, order=by("entered_at", "id"), hidden=frozenset({"opportunity_id", "import_batch_id"}))
class StageTransition(Node):
    """One stay of a deal in a stage."""

    from_stage: Stage | None = to_one("from_stage_id", "The stage before; null where the deal began.")
    to_stage: Stage = to_one("to_stage_id", "The stage.")
    entered_at: datetime = column("When the deal entered it.")
    left_at: datetime | None = column("When the deal left it; null while it stays.")

    days: int = expressed(_days, "How many whole days it stayed, or has stayed by now.")


@node(deals.OpportunityContactRole, order=by("id"), hidden=RECORD_HIDDEN | {"opportunity_id"})
class OpportunityContactRole(Record):
    """One member of a deal's buying committee."""

    contact: Contact | None = to_one("contact_id", "The person.")
    role: BuyingRole = column("What the person decides here.")
    stance: Stance = column("How the person stands towards the deal.")
    influence: Influence | None = column("How much the person's word counts.")
    covered_at: datetime | None = column("When we first spoke with the person about it; null while we did not.")


@strawberry.type(description="Which of the roles that a deal needs somebody has spoken to.")
class CommitteeCoverage:
    """How the schema shows the domain's coverage."""

    percent: int = strawberry.field(description="Covered needed roles over needed roles, 0 to 100.")
    covered: list[BuyingRole] = strawberry.field(description="Needed roles whose people we spoke to.")
    uncovered: list[BuyingRole] = strawberry.field(
        description="Needed roles whose people we know and did not speak to."
    )
    unknown: list[BuyingRole] = strawberry.field(description="Needed roles of which we know nobody.")


def _seats(view: View) -> ColumnElement[str]:
    """The roles on the committee, as far as the reader sees them, with whether somebody spoke to them."""
    seat = deals.OpportunityContactRole.__table__.alias()
    seen = (seat.c.opportunity_id == view.key, rows_visible(deals.OpportunityContactRole, view.actor, seat))
    return packed(select(seat.c.role, seat.c.covered_at).where(*seen).correlate_except(seat))


def _coverage(seats: str) -> deals.CommitteeCoverage:
    kinds = (deals.OpportunityContactRole.role.type, UtcDateTime())
    return deals.committee_coverage([CommitteeSeat(role, at is not None) for role, at in unpacked(seats, kinds)])


@node(deals.Opportunity, hidden=RECORD_HIDDEN | {"territory_id", "source", "external_id"})
class Opportunity(Record):
    """A qualified potential deal with an amount and a date."""

    name: str = column("What it is about.")
    pipeline: Pipeline = to_one("pipeline_id", "The pipeline through which it goes.")
    stage: Stage = to_one("stage_id", "Where it stands.")
    amount: Money | None = money("amount_minor", "currency", "What it is worth.")
    close_date: date | None = column("When it is expected to close.")
    forecast_category: ForecastCategory | None = column("How sure it counts in the forecast.")
    declared_probability: int | None = column("How sure its owner is, 0 to 100.")
    next_step: str | None = column("What is to be done next.")
    account: Account | None = to_one("account_id", "The customer.")
    owner: User | None = to_one("owner_id", "The colleague who leads it.")
    lead: Lead | None = to_one("lead_id", "The lead from which it came.")
    primary_competitor: str | None = column("The key of the competitor that counts most.")
    opened_at: datetime = column("When it was opened.")
    stage_entered_at: datetime = column("Since when it has stood in its stage.")
    closed_at: datetime | None = column("When it was won or lost; null while it is open.")
    loss_reason: str | None = column("Why it was lost.")
    custom_fields: list[CustomFieldValue] = custom_values("Opportunity")
    contact_roles: list[OpportunityContactRole] = many("opportunity_id", "Its buying committee.")
    committee_coverage: CommitteeCoverage | None = gathered(
        (_seats,), _coverage, "Which of the roles that a deal needs somebody has spoken to."
    )
    transitions: list[StageTransition] = many("opportunity_id", "Its stays in stages, in their order.")
    activities: list[Annotated["Activity", strawberry.lazy("api.activities")]] = newest(
        "opportunity_id", "What was done on it, newest first."
    )
    quotes: Connection[Annotated["Quote", strawberry.lazy("api.commerce")]] = connection(
        "opportunity_id", "What was offered on it."
    )
    orders: Connection[Annotated["Order", strawberry.lazy("api.commerce")]] = connection(
        "opportunity_id", "What was bought on it."
    )
    payments: Connection[Annotated["Payment", strawberry.lazy("api.commerce")]] = connection(
        "opportunity_id", "What is owed and was paid on it, by due day."
    )
    attachments: list[Annotated["Attachment", strawberry.lazy("api.attachments")]] = newest(
        "subject_id", "Its documents, newest first.", where={"subject_kind": "Opportunity"}
    )
    timeline: Connection[TimelineEntry] = timeline("Opportunity")
    log: list[LogEntry] = log("Opportunity")


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


def _in_stage(view: View, key: ColumnElement[str]) -> ColumnElement[bool]:
    return view.column("stage_id").in_(select(deals.Stage.id).where(deals.Stage.key == key))


def _is_open(view: View, wanted: bool) -> ColumnElement[bool]:
    return view.column("stage_id").in_(select(deals.Stage.id).where(deals.Stage.is_closed.is_(not wanted)))


def _amount(name: str, compare: Callable[[Any, Any], Any], description: str) -> Any:
    def convert(value: MoneyInput, _context: Context) -> tuple[str, int]:
        asked = kernel.money(value.amount, value.currency, ("filter", name))
        return asked.currency, asked.amount_minor

    def clause(view: View, currency: ColumnElement[str], amount: ColumnElement[int]) -> ColumnElement[bool]:
        return and_(view.column("currency") == currency, compare(view.column("amount_minor"), amount))

    return matching(clause, description, "currency", "amount_minor", convert=convert)


def _stalled_since(days: int, context: Context) -> datetime:
    if not 0 <= days <= STALLED_LIMIT:
        words = Text(f"stalledDays 必须在 0 到 {STALLED_LIMIT} 之间", f"stalledDays must be from 0 to {STALLED_LIMIT}")
        raise Invalid(words, ("filter", "stalledDays"))
    return context.now - timedelta(days=days)


def _stalled(view: View, since: ColumnElement[datetime]) -> ColumnElement[bool]:
    return and_(view.column("stage_entered_at") <= since, _is_open(view, wanted=True))


def _in_region(view: View, word: ColumnElement[str]) -> ColumnElement[bool]:
    columns = (Territory.key, Territory.label_zh, Territory.label_en)
    named = select(Territory.id).where(or_(*(func.lower(column) == word for column in columns)))
    top = named.cte("inside", recursive=True)
    inside = top.union(select(Territory.id).where(Territory.parent_id == top.c.id))
    # Who may not see whose a deal is may not ask where it is either.
    return view.column("territory_id", "owner").in_(select(inside.c.id))


@strawberry.input(description="Which opportunities; all conditions hold together.")
class OpportunityFilter:
    """Conditions on opportunities."""

    stage_key: str | None = matching(_in_stage, "The key of the stage.", SqlText())
    owner_id: strawberry.ID | None = names("User", "owner_id", "The colleague who leads it.")
    account_id: strawberry.ID | None = names("Account", "account_id", "The customer.")
    open: bool | None = matching(_is_open, "True: not closed yet; false: closed.")
    pipeline_id: strawberry.ID | None = names("Pipeline", "pipeline_id", "The pipeline.")
    stage_id: strawberry.ID | None = names("Stage", "stage_id", "The stage.")
    region: str | None = matching(
        _in_region,
        "The region's key, or its label in either language; what lies in it too.",
        SqlText(),
        convert=lambda value, _context: value.strip().lower(),
    )
    close_date_since: date | None = since("close_date", "Expected to close on or after this day.")
    close_date_before: date | None = until("close_date", "Expected to close before this day.")
    amount_from: MoneyInput | None = _amount("amountFrom", ge, "Worth this amount at least, in its currency.")
    amount_to: MoneyInput | None = _amount("amountTo", le, "Worth this amount at most, in its currency.")
    stalled_days: int | None = matching(
        _stalled, "Open, and in its stage for at least so many days.", "stage_entered_at", convert=_stalled_since
    )
    forecast_category: ForecastCategory | None = equals("forecast_category", "How sure it counts in the forecast.")
    search: str | None = contains("name", "A part of the name, upper and lower case alike.")
    custom: list[CustomFieldFilter] | None = custom_filter()


def _moneys(stored: str) -> list[kernel.Money]:
    sums = unpacked(stored, (SqlText(), BigInteger()))
    return sorted(
        (kernel.Money(int(amount), code) for code, amount in sums if code and amount is not None),
        key=lambda total: total.currency,
    )


@rows
class PipelineStageTotal:
    """What the reader's opportunities of one stage add up to."""

    stage: Stage = to_one("stage_id", "The stage.")
    count: int = column("How many opportunities stand in it.")
    totals: list[Money] = derived(("totals",), _moneys, "One total a currency, by its code.")


def _stage_totals(scope: Scope, pipeline_id: ColumnElement[UUID] | None = None) -> Select[Any]:
    """The stages of a pipeline with their sums; what counts in a total is more than what the rows show."""
    deal, stage, default = (
        beyond(deals.Opportunity).alias(),
        deals.Stage.__table__.alias(),
        deals.Pipeline.__table__.alias(),
    )
    by_currency = (
        select(deal.c.stage_id, deal.c.currency, func.count().label("count"), func.sum(deal.c.amount_minor).label("amount"))
        .where(totals_visible(deals.Opportunity, scope.actor, deal)).group_by(deal.c.stage_id, deal.c.currency).subquery()
    )  # fmt: skip
    sums = (
        select(by_currency.c.stage_id, func.sum(by_currency.c.count).label("count"), rows_as_json(by_currency.c.currency, by_currency.c.amount).label("totals"))
        .group_by(by_currency.c.stage_id).subquery()
    )  # fmt: skip
    first = select(default.c.id).order_by(default.c.id).limit(1).scalar_subquery()
    wanted = (
        stage.c.pipeline_id == pipeline_id
        if pipeline_id is not None
        else or_(stage.c.pipeline_id == first, sums.c.count > 0)
    )
    return (
        select(
            stage.c.id.label("stage_id"), stage.c.pipeline_id, stage.c.position,
            cast(func.coalesce(sums.c.count, 0), BigInteger()).label("count"), func.coalesce(sums.c.totals, "[]").label("totals"),
        )
        .select_from(stage.outerjoin(sums, sums.c.stage_id == stage.c.id))
        .where(rows_visible(deals.Stage, scope.actor, stage), wanted, or_(stage.c.retired_at.is_(None), sums.c.count > 0))
    )  # fmt: skip


@roots
class DealQueries:
    """The roots of this room."""

    opportunities: Connection[Opportunity] = listing(
        "The opportunities that the reader sees, newest first.", filter=OpportunityFilter, orders=ORDERS
    )
    pipelines: Connection[Pipeline] = listing("The pipelines, oldest first.")

    pipeline_by_stage: list[PipelineStageTotal] = listed(
        _stage_totals,
        "The totals of each stage of a pipeline; without one, of the first and of every other stage that has opportunities.",
        argument(
            "pipeline_id", strawberry.ID | None, "The pipeline.", strawberry.UNSET, as_sql=Uuid(),
            convert=lambda given: (id_of("Pipeline", given) or NOBODY) if given else None,
        ),
        order=by("pipeline_id", "position", "stage_id"),
    )  # fmt: skip
