"""The ledger in the schema: its events, and whether it is sound."""

from datetime import datetime
from typing import Any

import strawberry

from api.context import Info
from api.people import Actor, actor
from api.reads import (
    Connection,
    Node,
    by,
    column,
    computed,
    equals,
    listing,
    names,
    names_any,
    node,
    roots,
    since,
    to_any,
    until,
)
from api.scalars import JSON
from domain import ledger
from domain.kernel import Forbidden, Role, Text
from domain.ledger import Verification

MAY_VERIFY = (Role.AUDITOR, Role.DPO, Role.ADMIN)
NO_VERIFYING = Text(
    "只有审计、数据保护和管理员可以核验账本",
    "only auditors, data protection officers and administrators verify the ledger",
)


@node(ledger.AuditEvent, order=by("-seq", "-id"), hidden=frozenset({"seq", "digest_version", "leaf_index"}))
class AuditEvent(Node):
    """One thing that somebody did, with a digest over all of it."""

    at: datetime = column("When it was done.")
    action: str = column("What was done, such as `lead.captured`.")
    actor: Actor = actor(
        "Who did it.", kind="actor_kind", user_id="actor_id", name="actor_name", on_behalf_of_id="on_behalf_of_id"
    )
    subject: Node | None = to_any(
        "subject_kind", "subject_id", "The record to which it was done; null where the reader does not see it."
    )
    detail: JSON = column("What changed; personal values only as ciphertext.")
    digest: str = column("The digest over the event: the proof until it is sealed.")
    sealed_at: datetime | None = column("When it became a leaf of the tree.")


@strawberry.input(description="Which events; all conditions hold together.")
class AuditFilter:
    """Conditions on events."""

    subject_id: strawberry.ID | None = names_any(
        "subject_kind", "subject_id", "The record to which something was done."
    )
    action: str | None = equals("action", "What was done.")
    actor_id: strawberry.ID | None = names("User", "actor_id", "The person who did it.")
    since: datetime | None = since("at", "Done at this instant or later.")
    until: datetime | None = until("at", "Done before this instant.")


@strawberry.type(description="What verifying the ledger found.")
class LedgerVerification:
    """The finding in the reader's language."""

    sound: bool = strawberry.field(description="Whether everything fits.")
    events: int = strawberry.field(description="How many events there are.")
    sealed: int = strawberry.field(description="How many of them are sealed.")
    head: str | None = strawberry.field(description="The newest signed head, to be remembered elsewhere.")
    problem: str | None = strawberry.field(description="The first thing that does not fit, in the reader's language.")


@roots
class AuditQueries:
    """The roots of this room."""

    audit_events: Connection[AuditEvent] | None = listing(
        "The events that the reader sees, newest first.", filter=AuditFilter
    )

    @computed("Whether the ledger is sound, as far as it has grown since it last was.")
    async def verify_ledger(self, info: Info) -> LedgerVerification | None:
        """Recompute it from what is stored."""
        context: Any = info.context
        if not context.reader.has(*MAY_VERIFY):
            raise Forbidden(NO_VERIFYING)
        found: Verification = await context.auditor.verify()
        return LedgerVerification(
            sound=found.sound, events=found.events, sealed=found.sealed, head=found.head.line().decode() if found.head else None,
            problem=found.problem.words(context.language) if found.problem else None,
        )  # fmt: skip
