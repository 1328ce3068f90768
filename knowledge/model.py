"""Knowledge entries, their versions, and the passages by which they are found."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel import (
    Access,
    Addressed,
    Base,
    Everyone,
    InDate,
    Language,
    Matching,
    Owned,
    Record,
    Role,
    Sight,
    Through,
)


class KnowledgeKind(StrEnum):
    """What kind of content an entry holds."""

    TALK_TRACK = "TALK_TRACK"
    OBJECTION_RESPONSE = "OBJECTION_RESPONSE"
    CASE_STUDY = "CASE_STUDY"
    BATTLECARD = "BATTLECARD"
    PLAYBOOK = "PLAYBOOK"
    FAQ = "FAQ"
    POLICY = "POLICY"
    PRODUCT_SHEET = "PRODUCT_SHEET"
    MEDIA = "MEDIA"
    ROI_MODEL = "ROI_MODEL"


class KnowledgeState(StrEnum):
    """Where a version stands."""

    DRAFT = "DRAFT"
    IN_REVIEW = "IN_REVIEW"
    PUBLISHED = "PUBLISHED"
    SUSPENDED = "SUSPENDED"
    RETIRED = "RETIRED"


ITEM_FIELDS = frozenset(
    {
        "owner",
        "effective_from",
        "expires_at",
        "source",
        "licence",
        "published",
        "concerns",
        "stages",
        "roles",
        "industries",
        "competitors",
        "regions",
    }
)
KEEPING = frozenset({"draft", "versions", "history", "audience", "review_at", "reminded_at"})
"""What those who keep the knowledge see besides."""
WRITING = frozenset(
    {
        "published_at",
        "removals",
        "author",
        "submitted_at",
        "published_by",
        "changes_requested_at",
        "suspicions",
        "let_through_at",
    }
)
PERIOD_FIELDS = frozenset({"ended_at", "version", "item", "effective_from", "expires_at"})
PROPOSAL_FIELDS = frozenset({"item", "reason", "owner", "decided_by", "decided_at", "decision", "became"})
CURATING = (Role.CURATOR, Role.LEGAL, Role.ADMIN)
WATCHING = (*CURATING, Role.AUDITOR)
"""Who sees every entry whatever its state, who wrote what, and who let it through."""
IN_THE_FIELD = (Role.REP, Role.MANAGER, Role.CSM)
"""Who works in territories; everybody else works everywhere."""
FOUND = (KnowledgeState.PUBLISHED,)


class ReviewStep(StrEnum):
    """What was done to a version on its way."""

    DRAFTED = "DRAFTED"
    SUBMITTED = "SUBMITTED"
    MARKED = "MARKED"
    COMMENTED = "COMMENTED"
    CHANGES_REQUESTED = "CHANGES_REQUESTED"
    PUBLISHED = "PUBLISHED"
    SUSPENDED = "SUSPENDED"
    RESUMED = "RESUMED"
    RETIRED = "RETIRED"


class ProposalState(StrEnum):
    """What became of a proposal."""

    OPEN = "OPEN"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"


def _found(role: Role) -> Addressed:
    """What is in use, in date and addressed to those of a role."""
    in_use = Matching("state", FOUND, InDate("effective_from", "expires_at"))
    return Addressed("KnowledgeAudience", "item_id", role, in_use, everywhere=role not in IN_THE_FIELD)


class KnowledgeItem(Record):
    """One entry: who keeps it, for what it is made, and which of its versions is published.

    `state` is that of the published version while there is one, else of the draft.
    """

    __tablename__ = "knowledge_items"
    __access__ = Access(
        {role: Sight(_found(role) | Owned(), ITEM_FIELDS) for role in Role if role not in WATCHING}
        | {role: Sight(Everyone(), ITEM_FIELDS | KEEPING) for role in WATCHING}
    )

    kind: Mapped[KnowledgeKind]
    language: Mapped[Language]
    state: Mapped[KnowledgeState]
    owner_id: Mapped[UUID | None] = mapped_column(index=True)
    published_number: Mapped[int | None]
    draft_number: Mapped[int | None]
    concerns: Mapped[list[str]]
    stages: Mapped[list[str]]
    roles: Mapped[list[str]]
    industries: Mapped[list[str]]
    competitors: Mapped[list[str]]
    regions: Mapped[list[str]]
    effective_from: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    review_at: Mapped[datetime | None]
    reminded_at: Mapped[datetime | None]
    source: Mapped[str | None]
    licence: Mapped[str | None]
    external_source: Mapped[str | None]
    external_id: Mapped[str | None]
    shareable: Mapped[bool] = mapped_column(default=False, server_default=false())

    __table_args__ = (
        UniqueConstraint("external_source", "external_id"),
        Index("ix_knowledge_items_state", "state", "kind"),
    )


class KnowledgeVersion(Base):
    """One stored text of an entry; a published one never changes."""

    __tablename__ = "knowledge_versions"
    __aggregate__ = ("KnowledgeItem", "item_id")
    __access__ = Access(
        {
            role: Sight(Through("item_id", "KnowledgeItem"), frozenset({"published_at", "removals"}))
            for role in Role
            if role not in WATCHING
        }
        | {role: Sight(Through("item_id", "KnowledgeItem"), WRITING) for role in WATCHING}
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    item_id: Mapped[UUID] = mapped_column(ForeignKey("knowledge_items.id"))
    number: Mapped[int]
    state: Mapped[KnowledgeState]
    title: Mapped[str]
    body: Mapped[str]
    facets: Mapped[dict[str, Any]]
    author_id: Mapped[UUID | None]
    submitted_at: Mapped[datetime | None]
    published_at: Mapped[datetime | None]
    published_by_id: Mapped[UUID | None]
    created_at: Mapped[datetime]
    import_batch_id: Mapped[UUID | None]

    changes_requested_at: Mapped[datetime | None]
    let_through_at: Mapped[datetime | None]
    body_hash: Mapped[str | None] = mapped_column(index=True)

    __table_args__ = (UniqueConstraint("item_id", "number"),)


class KnowledgePeriod(Base):
    """A time in which one version of an entry was in use: what one saw at an instant is the version of that instant's period."""

    __tablename__ = "knowledge_periods"
    __aggregate__ = ("KnowledgeItem", "item_id")
    __access__ = Access({role: Sight(Through("item_id", "KnowledgeItem"), PERIOD_FIELDS) for role in Role})

    id: Mapped[UUID] = mapped_column(primary_key=True)
    item_id: Mapped[UUID] = mapped_column(ForeignKey("knowledge_items.id"))
    version_id: Mapped[UUID] = mapped_column(ForeignKey("knowledge_versions.id"))
    version_number: Mapped[int]
    begun_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    effective_from: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_knowledge_periods_item", "item_id", "begun_at"),)


class KnowledgeAudience(Base):
    """Whom an entry is addressed to: a role, a territory with all below it, a brand; what is left open holds for all."""

    __tablename__ = "knowledge_audiences"
    __aggregate__ = ("KnowledgeItem", "item_id")
    __stays__ = "it is about an entry, and names colleagues and places alone"
    __access__ = Access(
        {
            role: Sight(Through("item_id", "KnowledgeItem"), frozenset({"role", "territory", "brand"}))
            for role in WATCHING
        }
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    item_id: Mapped[UUID] = mapped_column(ForeignKey("knowledge_items.id"), index=True)
    role: Mapped[Role | None]
    territory_id: Mapped[UUID | None]
    brand_id: Mapped[UUID | None]


class KnowledgeReview(Base):
    """One step of a version's way, by whom and with what words; it never changes."""

    __tablename__ = "knowledge_reviews"
    __aggregate__ = ("KnowledgeItem", "item_id")
    __stays__ = "it is about an entry, and names colleagues and places alone"
    __access__ = Access(
        {role: Sight(Through("item_id", "KnowledgeItem"), frozenset({"by", "comment"})) for role in WATCHING}
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    item_id: Mapped[UUID] = mapped_column(ForeignKey("knowledge_items.id"))
    version_number: Mapped[int]
    step: Mapped[ReviewStep]
    by_id: Mapped[UUID | None]
    at: Mapped[datetime]
    comment: Mapped[str | None]

    __table_args__ = (Index("ix_knowledge_reviews_item", "item_id", "at", "id"),)


class KnowledgeProposal(Record):
    """What somebody who does not keep the knowledge would have in it: a new entry, or other words for one that is there."""

    __tablename__ = "knowledge_proposals"
    __stays__ = "it is about an entry, and names colleagues alone"
    __access__ = Access(
        {role: Sight(Owned(), PROPOSAL_FIELDS) for role in Role if role not in WATCHING}
        | {role: Sight(Everyone(), PROPOSAL_FIELDS) for role in WATCHING}
    )

    item_id: Mapped[UUID | None] = mapped_column(ForeignKey("knowledge_items.id"))
    kind: Mapped[KnowledgeKind]
    language: Mapped[Language]
    title: Mapped[str]
    body: Mapped[str]
    reason: Mapped[str | None]
    owner_id: Mapped[UUID | None] = mapped_column(index=True)
    state: Mapped[ProposalState]
    decided_by_id: Mapped[UUID | None]
    decided_at: Mapped[datetime | None]
    decision: Mapped[str | None]
    became_id: Mapped[UUID | None] = mapped_column(ForeignKey("knowledge_items.id"))

    __table_args__ = (Index("ix_knowledge_proposals_state", "state", "created_at"),)


class Passage(Base):
    """One searchable piece of a published version, cut by its headings; its number is its id in the index."""

    __tablename__ = "passages"
    __unledgered__ = "derived from a published version by knowledge/text.py, and rebuilt from it at any time"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    item_id: Mapped[UUID] = mapped_column(ForeignKey("knowledge_items.id"), index=True)
    version_number: Mapped[int]
    position: Mapped[int]
    title_path: Mapped[str]
    text: Mapped[str]
    content_hash: Mapped[str]


class Publication(Base):
    """The count of publications and withdrawals: every search compares it before it trusts an index."""

    __tablename__ = "publications"
    __unledgered__ = "a counter; the publication itself has its note"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int]
    last_passage: Mapped[int]


class CachedVector(Base):
    """One text's vector under one embedding model, so that nothing is encoded twice."""

    __tablename__ = "cached_vectors"
    __unledgered__ = "derived from text by a model, and computed again at any time"

    content_hash: Mapped[str] = mapped_column(primary_key=True)
    model_fingerprint: Mapped[str] = mapped_column(primary_key=True)
    vector: Mapped[bytes] = mapped_column(LargeBinary)
    checksum: Mapped[bytes | None] = mapped_column(LargeBinary)


class VectorGeneration(Base):
    """One embedding model's vectors where the database itself searches them: for which publication all were there, when last used."""

    __tablename__ = "vector_generations"
    __unledgered__ = "what an index says of itself; it is derived from passages by a model"

    model_fingerprint: Mapped[str] = mapped_column(primary_key=True)
    model_id: Mapped[str]
    dimension: Mapped[int]
    publication: Mapped[int | None]
    used_at: Mapped[datetime]


class Retrieval(Base):
    """One entry that a search brought up, for an answer or a person, with its rank: what usage is counted from."""

    __tablename__ = "retrievals"
    __stays__ = "a search was made on an occasion that is past"
    __unledgered__ = "a search log; the answer that it served names its citations in the ledger"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    generation_id: Mapped[UUID | None] = mapped_column(index=True)
    item_id: Mapped[UUID]
    version_number: Mapped[int]
    wanted_as: Mapped[str]
    rank: Mapped[int]
    at: Mapped[datetime]
    search_id: Mapped[UUID | None] = mapped_column(index=True)
    score: Mapped[float | None]
    methods: Mapped[list[Any] | None]

    __table_args__ = (Index("ix_retrievals_item", "item_id", "at"), Index("ix_retrievals_at", "at"))
