"""The stored answers of the assistant: each a generation from its request to what people made of it."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from domain.accounts import Channel
from domain.kernel import (
    PERSONAL,
    Access,
    Base,
    Everyone,
    InTerritory,
    Language,
    Matching,
    Owned,
    Record,
    Role,
    Sight,
    Through,
)


class GenerationKind(StrEnum):
    """What kind of answer is asked for."""

    VISIT_BRIEF = "VISIT_BRIEF"
    OBJECTION_REPLY = "OBJECTION_REPLY"
    REACTIVATION_SCRIPT = "REACTIVATION_SCRIPT"
    MEETING_SUMMARY = "MEETING_SUMMARY"
    CONTENT_PACK = "CONTENT_PACK"
    VALUE_REPORT = "VALUE_REPORT"
    REVIEW_ATTRIBUTION = "REVIEW_ATTRIBUTION"
    LIVE_BATTLECARD = "LIVE_BATTLECARD"
    COACHING_QUESTIONS = "COACHING_QUESTIONS"


class Disposition(StrEnum):
    """What became of an answer."""

    REQUESTED = "REQUESTED"
    AUTO_RELEASED = "AUTO_RELEASED"
    NEEDS_APPROVAL = "NEEDS_APPROVAL"
    APPROVED = "APPROVED"
    EDITED = "EDITED"
    VETOED = "VETOED"
    BLOCKED = "BLOCKED"
    ABSTAINED = "ABSTAINED"
    FAILED = "FAILED"
    RECALLED = "RECALLED"


SHOWN = (Disposition.AUTO_RELEASED, Disposition.NEEDS_APPROVAL, Disposition.APPROVED, Disposition.EDITED)
"""The dispositions in which the requester may read the text."""


class GenerationMode(StrEnum):
    """Who worded an answer."""

    MODEL = "MODEL"
    COMPOSER = "COMPOSER"


class FeedbackVerdict(StrEnum):
    """What a person made of an answer."""

    USED = "USED"
    EDITED = "EDITED"
    REJECTED = "REJECTED"


class CitationVerdict(StrEnum):
    """How well a citation carries the sentence that names it."""

    SUPPORTED = "SUPPORTED"
    PARTIAL = "PARTIAL"
    UNSUPPORTED = "UNSUPPORTED"


FINANCE_SECTIONS = ("quote_strategies", "compliance_risks")
GENERATION_FIELDS = frozenset({
    "mode", "model", "prompt_version", "subject", "latency_ms", "sections", "categories", "figures", "citations", "checks", "feedback", "consent_receipt", "audit_events",
})  # fmt: skip
OWN_SHOWN = Through("generation_id", "Generation", Matching("disposition", SHOWN, Owned("requested_by_id")))


def _parts(*, finance: Through | Matching | None, withheld: frozenset[str] = frozenset()) -> Access:
    sights = {
        Role.REP: Sight(OWN_SHOWN, withheld),
        Role.MANAGER: Sight(Through("generation_id", "Generation"), withheld),
        Role.LEGAL: Sight(Through("generation_id", "Generation"), withheld),
        Role.AUDITOR: Sight(Through("generation_id", "Generation"), withheld),
    }
    return Access(sights | ({Role.FINANCE: Sight(finance, withheld)} if finance else {}))


class Generation(Record):
    """One answer: what was asked about what, who worded it, and what became of it."""

    __tablename__ = "generations"
    __stays__ = "an answer is about the record of which it was asked"
    __access__ = Access(
        {
            Role.REP: Sight(Owned("requested_by_id"), GENERATION_FIELDS),
            Role.MANAGER: Sight(Owned("requested_by_id") | InTerritory(), GENERATION_FIELDS),
            Role.LEGAL: Sight(Matching("in_legal_queue", (True,)), GENERATION_FIELDS - {"audit_events"}),
            Role.FINANCE: Sight(Matching("in_finance_queue", (True,)), frozenset({"sections", "figures", "citations"})),
            Role.AUDITOR: Sight(Everyone(), GENERATION_FIELDS),
        }
    )

    kind: Mapped[GenerationKind]
    requested_by_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    requested_at: Mapped[datetime]
    territory_id: Mapped[UUID | None] = mapped_column(ForeignKey("territories.id"), index=True)
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    subject_label: Mapped[str] = mapped_column(info=PERSONAL)
    ask: Mapped[str | None] = mapped_column(info=PERSONAL)
    category: Mapped[str | None]
    channel: Mapped[Channel | None]
    language: Mapped[Language]
    client_key: Mapped[str]
    input_fingerprint: Mapped[str]
    disposition: Mapped[Disposition]
    reason: Mapped[str | None] = mapped_column(info=PERSONAL)
    mode: Mapped[GenerationMode | None]
    model: Mapped[str | None]
    fallback: Mapped[str | None]
    prompt_version: Mapped[str | None]
    masked_prompt: Mapped[str | None] = mapped_column(info=PERSONAL)
    facts: Mapped[dict[str, Any] | None] = mapped_column(info=PERSONAL)
    facts_digest: Mapped[str | None]
    categories: Mapped[list[Any] | None]
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    latency_ms: Mapped[int | None]
    finished_at: Mapped[datetime | None]
    in_legal_queue: Mapped[bool] = mapped_column(default=False)
    in_finance_queue: Mapped[bool] = mapped_column(default=False)
    consent_receipt_id: Mapped[UUID | None] = mapped_column(ForeignKey("consent_receipts.id"))

    __table_args__ = (
        UniqueConstraint("requested_by_id", "client_key"),
        Index("ix_generations_requested", "requested_at", "id"),
        Index("ix_generations_subject", "subject_id"),
        Index("ix_generations_open", "disposition"),
    )


class GenerationPerson(Base):
    """One person among those whom an answer's facts name: under whose keys its words enter the ledger, and with whom they go."""

    __tablename__ = "generation_persons"
    __unledgered__ = "tells which keys seal the answer's events, each of which shows it by its keys"
    __stays__ = "the answer's events are sealed under the keys of those whom it named"
    __person__ = "contact_id"
    __erases__ = ("Generation", "generation_id")

    generation_id: Mapped[UUID] = mapped_column(ForeignKey("generations.id"), primary_key=True)
    contact_id: Mapped[UUID] = mapped_column(ForeignKey("contacts.id"), primary_key=True, index=True)


class GenerationSection(Base):
    """One section of an answer, in the order of the skill, written or missing."""

    __tablename__ = "generation_sections"
    __aggregate__ = ("Generation", "generation_id")
    __access__ = _parts(finance=Matching("key", FINANCE_SECTIONS, Through("generation_id", "Generation")))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    generation_id: Mapped[UUID] = mapped_column(ForeignKey("generations.id"))
    position: Mapped[int]
    key: Mapped[str]
    heading: Mapped[str]
    body: Mapped[str] = mapped_column(info=PERSONAL)
    missing: Mapped[bool]

    __table_args__ = (UniqueConstraint("generation_id", "position"),)


class GenerationFigure(Base):
    """One number of an answer as data: computed by code, or quoted from a cited source."""

    __tablename__ = "generation_figures"
    __aggregate__ = ("Generation", "generation_id")
    __access__ = _parts(
        finance=Matching("section_key", FINANCE_SECTIONS, Through("generation_id", "Generation")),
        withheld=frozenset({"citation"}),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    generation_id: Mapped[UUID] = mapped_column(ForeignKey("generations.id"))
    position: Mapped[int]
    section_key: Mapped[str]
    key: Mapped[str]
    label: Mapped[str] = mapped_column(info=PERSONAL)
    value: Mapped[str]
    unit: Mapped[str]
    citation: Mapped[int | None]

    __table_args__ = (UniqueConstraint("generation_id", "position"),)


class Citation(Base):
    """One source of an answer: a knowledge version, or a record as of an instant."""

    __tablename__ = "citations"
    __stays__ = "a citation names the record that was read, as of then"
    __aggregate__ = ("Generation", "generation_id")
    __access__ = _parts(
        finance=Matching("supports_finance_sections", (True,), Through("generation_id", "Generation")),
        withheld=frozenset({"item", "item_version", "record", "as_of"}),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    generation_id: Mapped[UUID] = mapped_column(ForeignKey("generations.id"))
    number: Mapped[int]
    quote: Mapped[str] = mapped_column(info=PERSONAL)
    quote_hash: Mapped[str] = mapped_column(info=PERSONAL)
    verdict: Mapped[CitationVerdict]
    supports_finance_sections: Mapped[bool]
    item_id: Mapped[UUID | None]
    item_version: Mapped[int | None]
    record_kind: Mapped[str | None]
    record_id: Mapped[UUID | None]
    as_of: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("generation_id", "number"),
        Index("ix_citations_item", "item_id", "item_version"),
    )


class GenerationCheck(Base):
    """One check of an answer: whether it passed, and what it removed if not."""

    __tablename__ = "generation_checks"
    __aggregate__ = ("Generation", "generation_id")
    __access__ = _parts(finance=None, withheld=frozenset({"detail"}))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    generation_id: Mapped[UUID] = mapped_column(ForeignKey("generations.id"))
    position: Mapped[int]
    key: Mapped[str]
    passed: Mapped[bool]
    detail: Mapped[str | None] = mapped_column(info=PERSONAL)

    __table_args__ = (UniqueConstraint("generation_id", "position"),)


class GenerationFeedback(Base):
    """What one person made of an answer; the latest of a person counts."""

    __tablename__ = "generation_feedback"
    __aggregate__ = ("Generation", "generation_id")
    __access__ = Access(
        {
            role: Sight(Through("generation_id", "Generation"), frozenset({"reason", "corrected_text"}))
            for role in (Role.REP, Role.MANAGER, Role.LEGAL, Role.AUDITOR)
        }
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    generation_id: Mapped[UUID] = mapped_column(ForeignKey("generations.id"))
    by_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    at: Mapped[datetime]
    verdict: Mapped[FeedbackVerdict]
    reason: Mapped[str | None] = mapped_column(info=PERSONAL)
    corrected_text: Mapped[str | None] = mapped_column(info=PERSONAL)

    __table_args__ = (Index("ix_generation_feedback_generation", "generation_id", "at"),)


class PromptVersion(Base):
    """The body of a prompt as it was, stored once under key@content hash."""

    __tablename__ = "prompt_versions"
    __unledgered__ = "content-addressed: its id is the hash of its body, which the generation's note names"

    id: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[str]
    stored_at: Mapped[datetime]


CALCULATION_FIELDS = frozenset(
    {"item", "account", "opportunity", "lead", "calculated_by", "inputs", "steps", "results"}
)


def _calculations(role: Role) -> Sight:
    """One's own, and those of deals, of customers without a deal, and of leads that the role sees."""
    of_account = Matching("opportunity_id", (None,), Through("account_id", "Account"))
    of_deal, of_lead = Through("opportunity_id", "Opportunity"), Through("lead_id", "Lead")
    return Sight(Owned("calculated_by_id") | of_deal | of_account | of_lead, CALCULATION_FIELDS)


class RoiCalculation(Record):
    """What one version of a ROI model gave for one deal, customer or lead: inputs with where each came from, steps, results.

    It is shown to customers and never changes.
    """

    __tablename__ = "roi_calculations"
    __access__ = Access(
        {role: _calculations(role) for role in (Role.REP, Role.MANAGER, Role.CSM, Role.SALES_OPS)}
        | {
            role: Sight(Owned("calculated_by_id"), CALCULATION_FIELDS)
            for role in (Role.CURATOR, Role.LEGAL, Role.ADMIN)
        }
        | {Role.AUDITOR: Sight(Everyone(), CALCULATION_FIELDS)}
    )

    item_id: Mapped[UUID] = mapped_column(ForeignKey("knowledge_items.id"), index=True)
    version_number: Mapped[int]
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("accounts.id"), index=True)
    opportunity_id: Mapped[UUID | None] = mapped_column(ForeignKey("opportunities.id"), index=True)
    lead_id: Mapped[UUID | None] = mapped_column(ForeignKey("leads.id"), index=True)
    calculated_by_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), index=True)
    calculated_at: Mapped[datetime]
    inputs: Mapped[list[Any]]
    steps: Mapped[list[Any]]
    results: Mapped[list[Any]]
