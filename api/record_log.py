"""Who did what with a record, and when: a narrow view of the ledger for whoever sees the record."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, Text, and_, case, literal, select

from api.people import Actor, User, actor
from api.reads import (
    Scope,
    as_id,
    by,
    changed_to,
    column,
    derived,
    hexadecimal,
    in_words,
    listed,
    rows,
    to_one,
)
from api.scalars import JSON
from domain.kernel import Text as Words
from domain.kernel import beyond
from domain.ledger import AuditEvent

ACTIONS: Mapping[str, Words] = {
    "lead.captured": Words("录入线索", "Captured the lead"),
    "lead.assigned": Words("分配线索", "Assigned the lead"),
    "lead.claimed": Words("认领线索", "Claimed the lead"),
    "lead.released": Words("退回公海", "Gave the lead back"),
    "lead.touched": Words("跟进线索", "Worked on the lead"),
    "lead.responded": Words("首次答复客户", "Replied for the first time"),
    "lead.updated": Words("修改线索", "Changed the lead"),
    "lead.nurtured": Words("转入培育", "Put the lead into nurturing"),
    "lead.qualified": Words("判定合格", "Qualified the lead"),
    "lead.disqualified": Words("判定无效", "Disqualified the lead"),
    "lead.converted": Words("转化线索", "Converted the lead"),
    "lead.carried_over": Words("随合并转移线索", "Carried the lead over in a merge"),
    "opportunity.opened": Words("新建商机", "Opened the deal"),
    "opportunity.moved": Words("推进阶段", "Moved the deal"),
    "opportunity.updated": Words("修改商机", "Changed the deal"),
    "opportunity.lead_named": Words("记下来源线索", "Named the lead it came from"),
    "opportunity.contact_role_added": Words("加入决策人", "Added somebody to the committee"),
    "opportunity.contact_role_updated": Words("更新决策人", "Changed somebody on the committee"),
    "opportunity.contact_role_removed": Words("移除决策人", "Took somebody off the committee"),
    "opportunity.carried_over": Words("随合并转移商机", "Carried the deal over in a merge"),
}
"""What a log shows, and what people call it; every other event stays with those who audit."""

DETAILS = ("source", "duplicate", "stage", "role")
"""What a log tells of an event's own words."""
CHANGES = ("status", "grade", "forecast_category", "declared_probability")
"""The columns of which it tells before and after; a person's words are never among them."""
REPLIED = "first_responded_at"


def _fields(detail: Mapping[str, Any], row: str) -> dict[str, Any]:
    """What changed of the record itself."""
    own = (change["fields"] for change in detail.get("changes", ()) if change["row"] == row)
    return {name: change for fields in own for name, change in fields.items()}


def _told(entity: str, id: UUID, detail: Mapping[str, Any]) -> dict[str, Any]:
    """What a log tells of an event: its own words, and what some columns held before and hold since."""
    fields = _fields(detail, f"{entity}:{id.hex}")
    told = {name: value for name, value in detail.get("detail", {}).items() if name in DETAILS}
    return told | {name: fields[name] for name in CHANGES if name in fields}


@rows
class LogEntry:
    """One thing that somebody did with the record."""

    at: datetime = column("When.")
    action: str = column("What was done, such as `lead.claimed`.")
    actor: Actor = actor("Who did it.", kind="actor_kind", user_id="actor_id", name="actor_name", on_behalf_of_id="on_behalf_of_id")  # fmt: skip
    detail: JSON = derived(
        ("entity", "subject_id", "detail"),
        _told,
        "What more there is to say: values, or what they were before and after.",
    )
    label: str = in_words(
        ("action",), lambda language, action: ACTIONS[action].words(language), "The name of what was done, in the reader's language.",
    )  # fmt: skip
    new_owner: User | None = to_one(
        "new_owner_id", "To whom the record went with this; null where it did not change hands."
    )


def _events(entity: str) -> Callable[[Scope], Select[Any]]:
    """What makes the statement with the events of one kind of record, whoever may read the ledger: who sees the record sees them."""

    def made(scope: Scope) -> Select[Any]:
        event = beyond(AuditEvent).alias()
        row = literal(f"{entity}:", Text()).concat(hexadecimal(event.c.subject_id))
        replied = and_(event.c.action == "lead.touched", changed_to(event.c.detail, row, REPLIED).is_not(None))
        return scope.within(
            select(
                event.c.subject_id.label("parent"), literal(entity, Text()).label("entity"), event.c.subject_id, event.c.seq, event.c.at,
                case((replied, "lead.responded"), else_=event.c.action).label("action"), event.c.actor_kind, event.c.actor_id, event.c.actor_name,
                event.c.on_behalf_of_id, event.c.detail, as_id(changed_to(event.c.detail, row, "owner_id")).label("new_owner_id"),
            ).where(scope.below(event.c.subject_id), event.c.subject_kind == entity, event.c.action.in_(ACTIONS))
        )  # fmt: skip

    return made


def log(entity: str) -> Any:
    """The field of a kind of record with its log."""
    return listed(_events(entity), "Who did what with it, newest first.", order=by("-seq"), last=True)
