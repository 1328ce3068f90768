"""The near-real-time view in the schema: figures of the whole business and how they were before."""

from datetime import datetime

import strawberry

from api.deals import Stage
from api.people import Territory
from api.reads import (
    Connection,
    Money,
    Node,
    by,
    column,
    equals,
    in_words,
    listing,
    money,
    node,
    roots,
    since,
    to_one,
    until,
)
from api.scalars import enum
from domain import measures
from domain.kernel import Language, Text
from domain.measures import Measure

LABELS = {
    Measure.OPEN_DEALS: Text("进行中的商机", "Open deals"),
    Measure.DEALS_WON: Text("本月赢单", "Deals won this month"),
    Measure.DEALS_LOST: Text("本月丢单", "Deals lost this month"),
    Measure.LEADS_CAPTURED: Text("本月新线索", "Leads captured this month"),
    Measure.LEADS_WAITING: Text("等待响应的线索", "Leads that wait for a reply"),
    Measure.LEADS_OVERDUE: Text("已升级的线索", "Leads that were escalated"),
}
enum(Measure, "What a figure counts.", **{measure.name: f"{label.en}." for measure, label in LABELS.items()})


def _label(language: Language, measure: Measure) -> str:
    return LABELS[Measure(measure)].words(language)


@node(measures.MeasureSnapshot, order=by("-taken_at", "-id"))
class MeasureSnapshot(Node):
    """One figure of the whole business as it was at one instant, computed by code every two hours."""

    measure: Measure = column("What it counts.")
    label: str = in_words(("measure",), _label, "What it counts, in the reader's language.")
    taken_at: datetime = column("When it was computed.")
    is_current: bool = column("Whether it is of the newest computation.")
    window_from: datetime | None = column("Since when it counts; null for what stands at the instant.")
    territory: Territory | None = to_one("territory_id", "Of which territory; null for records without one.")
    stage: Stage | None = to_one("stage_id", "Of which stage.")
    count: int = column("How many records.")
    amount: Money | None = money(
        "amount_minor", "currency", "What they are worth; null for leads and for deals without an amount."
    )


@strawberry.input(description="Which figures.")
class MeasureSnapshotFilter:
    """All of what is given holds."""

    measure: Measure | None = equals("measure", "What it counts.")
    is_current: bool | None = equals("is_current", "Of the newest computation, or of earlier ones.")
    taken_since: datetime | None = since("taken_at", "Computed at this instant or later.")
    taken_before: datetime | None = until("taken_at", "Computed before this instant.")


@roots
class MeasureQueries:
    """The roots of this room."""

    measure_snapshots: Connection[MeasureSnapshot] = listing(
        "The figures of the whole business, computed anew every two hours, newest first.", filter=MeasureSnapshotFilter
    )
