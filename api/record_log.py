"""Who did what with a record, and when: a narrow view of the ledger for whoever sees the record."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import strawberry
from sqlalchemy import func, select
from sqlalchemy.engine import RowMapping

from api.context import Context, Info
from api.people import Actor, User
from api.reads import batched, check_size, computed, load_one, shape_of
from api.scalars import JSON
from domain.kernel import SYSTEM, Text, entity, rows_visible
from domain.ledger import AuditEvent

ACTIONS: Mapping[str, Text] = {
    "lead.captured": Text("录入线索", "Captured the lead"),
    "lead.assigned": Text("分配线索", "Assigned the lead"),
    "lead.claimed": Text("认领线索", "Claimed the lead"),
    "lead.released": Text("退回公海", "Gave the lead back"),
    "lead.touched": Text("跟进线索", "Worked on the lead"),
    "lead.responded": Text("首次答复客户", "Replied for the first time"),
    "lead.updated": Text("修改线索", "Changed the lead"),
    "lead.nurtured": Text("转入培育", "Put the lead into nurturing"),
    "lead.qualified": Text("判定合格", "Qualified the lead"),
    "lead.disqualified": Text("判定无效", "Disqualified the lead"),
    "lead.converted": Text("转化线索", "Converted the lead"),
    "lead.carried_over": Text("随合并转移线索", "Carried the lead over in a merge"),
    "opportunity.opened": Text("新建商机", "Opened the deal"),
    "opportunity.moved": Text("推进阶段", "Moved the deal"),
    "opportunity.updated": Text("修改商机", "Changed the deal"),
    "opportunity.lead_named": Text("记下来源线索", "Named the lead it came from"),
    "opportunity.contact_role_added": Text("加入决策人", "Added somebody to the committee"),
    "opportunity.contact_role_updated": Text("更新决策人", "Changed somebody on the committee"),
    "opportunity.contact_role_removed": Text("移除决策人", "Took somebody off the committee"),
    "opportunity.carried_over": Text("随合并转移商机", "Carried the deal over in a merge"),
}
"""What a log shows, and what people call it; every other event stays with those who audit."""

DETAILS = ("source", "duplicate", "stage", "role")
"""What a log tells of an event's own words."""
CHANGES = ("status", "grade", "forecast_category", "declared_probability")
"""The columns of which it tells before and after; a person's words are never among them."""
REPLIED = "first_responded_at"


@strawberry.type(description="One thing that somebody did with the record.")
class LogEntry:
    """What is told of an event."""

    at: datetime = strawberry.field(description="When.")
    action: str = strawberry.field(description="What was done, such as `lead.claimed`.")
    actor: Actor = strawberry.field(description="Who did it.")
    detail: JSON = strawberry.field(
        description="What more there is to say: values, or what they were before and after."
    )
    owner_id: strawberry.Private[UUID | None]

    @computed("The name of what was done, in the reader's language.")
    async def label(self, info: Info) -> str:
        """Look it up."""
        return ACTIONS[self.action].words(info.context.language)

    @computed("To whom the record went with this; null where it did not change hands.")
    async def new_owner(self, info: Info) -> User | None:
        """Load the colleague."""
        found: User | None = None
        if self.owner_id is not None:
            found = await load_one(info.context, shape_of(User), self.owner_id)
        return found


def _fields(detail: Mapping[str, Any], row: str) -> dict[str, Any]:
    """What changed of the record itself."""
    own = (change["fields"] for change in detail.get("changes", ()) if change["row"] == row)
    return {name: change for fields in own for name, change in fields.items()}


def _entry(kind: str, event: RowMapping) -> LogEntry:
    fields = _fields(event["detail"], f"{kind}:{event['subject_id'].hex}")
    told = {name: value for name, value in event["detail"].get("detail", {}).items() if name in DETAILS}
    told |= {name: fields[name] for name in CHANGES if name in fields}
    replied = event["action"] == "lead.touched" and fields.get(REPLIED, {}).get("after") is not None
    owner = fields.get("owner_id", {}).get("after")
    return LogEntry(
        at=event["at"], action="lead.responded" if replied else event["action"], detail=JSON(told), owner_id=UUID(owner) if owner else None,
        actor=Actor(kind=event["actor_kind"], user_id=event["actor_id"], name=event["actor_name"], on_behalf_of_id=event["on_behalf_of_id"]),
    )  # fmt: skip


def _loader(kind: str) -> Callable[..., Awaitable[Mapping[UUID, list[LogEntry]]]]:
    async def load(
        context: Context,
        ids: list[UUID],
        *,
        last: Annotated[int, strawberry.argument(description="How many at most, newest first: 1 to 100.")] = 20,
    ) -> Mapping[UUID, list[LogEntry]]:
        check_size(context, last, "last")
        event, model = AuditEvent.__table__, entity(kind)
        # Events have a wall of their own, which this narrow view passes: it asks itself for whom the records are.
        seen = select(model.__table__.c.id).where(model.__table__.c.id.in_(ids), rows_visible(model, context.reader))
        rank = func.row_number().over(partition_by=event.c.subject_id, order_by=event.c.seq.desc()).label("rank")
        shown = event.c.subject_id.in_(seen), event.c.subject_kind == kind, event.c.action.in_(ACTIONS)
        ranked = select(event, rank).where(*shown).subquery()
        entries: dict[UUID, list[LogEntry]] = {}
        newest = select(ranked).where(ranked.c.rank <= last).order_by(ranked.c.rank)
        for row in await context.rows(newest, SYSTEM):
            entries.setdefault(row["subject_id"], []).append(_entry(kind, row))
        return entries

    return load


def log(kind: str) -> Any:
    """The field of a kind of record with its log."""
    return batched(_loader(kind), "Who did what with it, newest first.")
