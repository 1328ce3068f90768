"""Signals in the schema: facts about buyers and sellers, as they came in."""

from datetime import datetime
from uuid import UUID

from api.context import Info
from api.people import Actor
from api.reads import Node, by, column, computed, derived, node, to_any
from api.scalars import JSON, enum
from domain import signals
from domain.kernel import ActorKind
from domain.signals import EvidenceGrade

enum(
    EvidenceGrade,
    "How well a fact is shown.",
    CLAIMED="Somebody says so.",
    SUGGESTED_BY_AI="The assistant thinks so.",
    ATTACHED="There is a document.",
    VERIFIED="Somebody made sure.",
    WAIVED="Nobody asks for proof.",
)


def _actor(kind: ActorKind | None, id: UUID | None) -> Actor:
    return Actor(kind=kind or ActorKind.SYSTEM, user_id=id)


@node(
    signals.Signal, order=by("-occurred_at", "-id"),
    hidden=frozenset({"account_id", "contact_id", "opportunity_id", "dedupe_key", "consent_receipt_id", "import_batch_id"}),
)  # fmt: skip
class Signal(Node):
    """One fact about a buyer or a seller, with when it was true and when we learned of it."""

    type: str = column("What kind of fact, such as `enquiry_sent`.")
    about: Node | None = to_any(
        "subject_kind", "subject_id", "The record that it is about; null where the reader does not see it."
    )
    occurred_at: datetime = column("When it was true.")
    recorded_at: datetime = column("When we learned of it.")
    source: str = column("Where it came from.")
    payload: JSON | None = column("What it says, in the form of its type.")
    evidence_grade: EvidenceGrade = column("How well it is shown.")
    actor: Actor | None = derived(("actor_kind", "actor_id"), _actor, "Who recorded it.")

    @computed("The name of its type in the reader's language.")
    async def label(self, info: Info) -> str:
        """Look it up."""
        label = signals.LABELS.get(self.type)
        return self.type if label is None else label.words(info.context.language)
