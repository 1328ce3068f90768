"""Activities in the schema, and their logging."""

from datetime import datetime
from typing import Annotated, Any

import strawberry
from sqlalchemy import ColumnElement, case, func, literal

from api.attachments import Attachment
from api.context import Info
from api.mutations import UserError, given, mutation, refusals, text
from api.people import ACTOR_KIND, Actor
from api.people import actor as doer
from api.reads import (
    Connection,
    Node,
    View,
    by,
    column,
    equals,
    listing,
    names_any,
    newest,
    node,
    read_id,
    roots,
    selected,
    to_any,
)
from api.records import RECORD_HIDDEN
from api.scalars import enum
from domain import activities
from domain.activities import ActivityKind
from domain.kernel import ActorKind, Role, not_found

enum(
    ActivityKind,
    "What kind of thing was done.",
    CALL="A telephone call.",
    MEETING="A meeting.",
    VISIT="A visit at the customer's.",
    EMAIL="An e-mail.",
    MESSAGE="A chat or text message.",
    TASK="A task.",
    NOTE="A note.",
)


def _kind(view: View) -> ColumnElement[Any]:
    return case(
        (view.column("owner_id", "actor").is_not(None), literal(ActorKind.USER, ACTOR_KIND)),
        else_=view.column("created_by_kind", "actor"),
    )


def _doer(view: View) -> ColumnElement[Any]:
    return func.coalesce(view.column("owner_id", "actor"), view.column("created_by_id", "actor"))


@node(
    activities.Activity, order=by("-occurred_at", "-id"),
    hidden=RECORD_HIDDEN | {
        "version", "created_at", "updated_at", "owner_id", "account_id", "opportunity_id", "contact_id", "lead_id", "client_key", "input_fingerprint",
    },
)  # fmt: skip
class Activity(Node):
    """One thing that was done, at an instant, related to one record."""

    kind: ActivityKind = column("What kind of thing.")
    subject: str = column("What it was about.")
    body: str | None = column("What was said or written.")
    occurred_at: datetime = column("When it was done.")
    related_to: Node | None = to_any(
        "related_kind", "related_id", "The record that it is about.", kinds=activities.RELATED
    )
    actor: Actor | None = doer(
        "Who did it.",
        kind=_kind,
        user_id=_doer,
        columns=("owner_id", "created_by_kind", "created_by_id"),
    )
    attachments: list[Attachment] = newest(
        "subject_id", "Its documents, newest first.", where={"subject_kind": "Activity"}
    )


@strawberry.input(description="Which activities; all conditions hold together.")
class ActivityFilter:
    """Conditions on activities."""

    related_to_id: strawberry.ID | None = names_any("related_kind", "related_id", "The record that it is about.")
    kind: ActivityKind | None = equals("kind", "What kind of thing.")
    client_key: strawberry.ID | None = equals("client_key", "The key under which it was logged.")


@strawberry.input(description="An activity to log.")
class LogActivityInput:
    """What logging takes."""

    client_key: strawberry.ID = text("The caller's key: the same one logs once.", 200, required=True)
    related_to_id: strawberry.ID = strawberry.field(
        description="The account, contact, lead or opportunity that it is about."
    )
    kind: ActivityKind = strawberry.field(description="What kind of thing.")
    subject: str = text("What it was about.", activities.SUBJECT_LENGTH, required=True)
    body: str | None = text("What was said or written.", activities.BODY_LENGTH)
    occurred_at: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="When it was done; now without it."
    )


@strawberry.type(description="The activity that was logged, or why it was not.")
class ActivityPayload:
    """The answer to logging."""

    activity: Activity | None = strawberry.field(default=None, description="The activity.")
    errors: list[UserError] = refusals()


@roots
class ActivityQueries:
    """The roots of this room."""

    activities: Connection[Activity] = listing(
        "The activities that the reader sees, newest first.", filter=ActivityFilter
    )


@strawberry.type
class ActivityMutations:
    """The mutations of this room."""

    @mutation("Log an activity once on a record that the caller sees.", Role.REP, Role.MANAGER)
    async def log_activity(
        self, info: Info, input: Annotated[LogActivityInput, strawberry.argument(description="The activity.")]
    ) -> ActivityPayload | None:
        """Log it, and read it as the caller sees it."""
        related_to = read_id(input.related_to_id)
        if related_to is None:
            raise not_found("record", ("relatedToId",))
        async with info.context.open_uow() as uow:
            activity = await activities.log(
                uow, related_to=related_to, kind=input.kind, subject=input.subject, body=given(input.body),
                occurred_at=given(input.occurred_at), client_key=input.client_key,
            )  # fmt: skip
        return ActivityPayload(activity=selected(info, Activity, activity.id))
