"""Signals in the schema: facts about buyers and sellers, as they came in."""

from datetime import datetime

from api.people import Actor
from api.people import actor as recorded_by
from api.reads import Node, by, column, in_words, node, to_any
from api.scalars import JSON, enum
from domain import signals
from domain.kernel import Language
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


def _label(language: Language, type: str) -> str:
    label = signals.LABELS.get(type)
    return type if label is None else label.words(language)


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
    actor: Actor | None = recorded_by("Who recorded it.", kind="actor_kind", user_id="actor_id")

    label: str = in_words(("type",), _label, "The name of its type in the reader's language.")
