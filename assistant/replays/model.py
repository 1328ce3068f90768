"""The tables of replays: each run with what it was made against, and what came of each answer in it."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from assistant.model import GenerationMode
from domain.kernel import PERSONAL, Access, Base, Everyone, Owned, Record, Role, Sight, Through


class ReplayedKnowledge(StrEnum):
    """Which state of the knowledge an answer is written from once more."""

    AS_OFFERED = "AS_OFFERED"
    NOW = "NOW"
    AT = "AT"


class ReplayedModel(StrEnum):
    """Who words it once more."""

    COMPOSER = "COMPOSER"
    CONFIGURED = "CONFIGURED"


class ReplayOutcome(StrEnum):
    """What came of one answer in a run."""

    WAITING = "WAITING"
    SAME = "SAME"
    CHANGED = "CHANGED"
    SKIPPED = "SKIPPED"


REPLAYING = (Role.MANAGER, Role.AUDITOR)
"""Who replays answers: those that they see, each."""
RUN_FIELDS = frozenset({"requested_by", "knowledge_at", "prompt_version", "finished_at", "results"})
RESULT_FIELDS = frozenset({"generation", "reason", "difference", "mode", "model", "used_prompt", "prompt_tokens", "completion_tokens", "latency_ms", "replayed_at"})  # fmt: skip


class ReplayRun(Record):
    """Some answers written once more: against which prompt, model and knowledge; it never changes but for its end."""

    __tablename__ = "replay_runs"
    __stays__ = "a run is about answers, and names colleagues alone"
    __access__ = Access(
        {Role.MANAGER: Sight(Owned("requested_by_id"), RUN_FIELDS), Role.AUDITOR: Sight(Everyone(), RUN_FIELDS)}
    )

    requested_by_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), index=True)
    requested_at: Mapped[datetime]
    knowledge: Mapped[ReplayedKnowledge]
    knowledge_at: Mapped[datetime | None]
    model: Mapped[ReplayedModel]
    prompt_version: Mapped[str | None]
    total: Mapped[int]
    finished_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_replay_runs_requested", "requested_at", "id"),)


class ReplayResult(Base):
    """One answer of a run: what is different in it, and what writing it once more cost."""

    __tablename__ = "replay_results"
    __aggregate__ = ("Generation", "generation_id")
    __access__ = Access({role: Sight(Through("generation_id", "Generation"), RESULT_FIELDS) for role in REPLAYING})

    id: Mapped[UUID] = mapped_column(primary_key=True)
    run_id: Mapped[UUID] = mapped_column(ForeignKey("replay_runs.id"))
    generation_id: Mapped[UUID] = mapped_column(ForeignKey("generations.id"), index=True)
    outcome: Mapped[ReplayOutcome]
    reason: Mapped[str | None]
    difference: Mapped[dict[str, Any] | None] = mapped_column(info=PERSONAL)
    mode: Mapped[GenerationMode | None]
    model: Mapped[str | None]
    used_prompt: Mapped[str | None]
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    latency_ms: Mapped[int | None]
    replayed_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("run_id", "generation_id"),
        Index("ix_replay_results_open", "outcome", "run_id"),
    )
