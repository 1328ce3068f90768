"""Starting a replay: which answers, against what."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from assistant.model import Disposition, Generation, GenerationKind, PromptVersion
from assistant.recording import persons_of
from assistant.replays.model import (
    REPLAYING,
    ReplayedKnowledge,
    ReplayedModel,
    ReplayOutcome,
    ReplayResult,
    ReplayRun,
)
from domain.kernel import Forbidden, Invalid, Text, UnitOfWork, rows_visible

SAMPLE_LIMIT = 500
"""The most answers of one run."""
WRITTEN = tuple(
    one for one in Disposition if one not in {Disposition.REQUESTED, Disposition.FAILED, Disposition.BLOCKED}
)
"""The dispositions of answers that were written."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Which answers: named ones, or so many of a window."""

    generation_ids: tuple[UUID, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    kind: GenerationKind | None = None
    count: int = 100


@dataclass(frozen=True, slots=True)
class Against:
    """What they are written against once more: without anything named, what they were written from."""

    knowledge: ReplayedKnowledge = ReplayedKnowledge.AS_OFFERED
    knowledge_at: datetime | None = None
    model: ReplayedModel = ReplayedModel.CONFIGURED
    prompt_version: str | None = None


async def start(uow: UnitOfWork, *, sample: Sample, against: Against) -> ReplayRun:
    """Plan a run over answers that the actor sees; whoever has a library and a model works it off.

    Of a window so many are taken as are asked for, by the hash of their ids: the same window gives the same sample.

    Raises Forbidden for other roles, Invalid for nothing to replay, a count outside 1 to SAMPLE_LIMIT, an instant that is missing,
    not wanted or ahead of now, and a prompt that was never used.
    """
    if not uow.actor.has(*REPLAYING):
        raise Forbidden(Text("只有销售经理和审计可以重放回答", "only managers and auditors replay answers"))
    await _check(uow, against)
    ids = await _sample(uow, sample)
    if not ids:
        raise Invalid(Text("没有可以重放的回答", "there is no answer to replay"), ("sample",))
    run = ReplayRun(
        id=uow.new_id(), requested_by_id=uow.actor.user_id, requested_at=uow.now, knowledge=against.knowledge, knowledge_at=against.knowledge_at,
        model=against.model, prompt_version=against.prompt_version, total=len(ids),
    )  # fmt: skip
    uow.session.add(run)
    await uow.session.flush()
    for id in ids:
        uow.session.add(ReplayResult(id=uow.new_id(), run_id=run.id, generation_id=id, outcome=ReplayOutcome.WAITING))
        generation = await uow.session.get_one(Generation, id)
        uow.note("generation.replay_asked", generation, {"run": run.id.hex}, persons=await persons_of(uow, id))
    uow.note(
        "replay.started", run, {"answers": len(ids), "knowledge": against.knowledge.value, "model": against.model.value}
    )
    return run


async def _check(uow: UnitOfWork, against: Against) -> None:
    if (against.knowledge is ReplayedKnowledge.AT) != (against.knowledge_at is not None):
        words = Text("knowledgeAt 与 knowledge: AT 须一起给出", "knowledgeAt goes with knowledge: AT")
        raise Invalid(words, ("against", "knowledgeAt"))
    if against.knowledge_at is not None and against.knowledge_at > uow.now:
        raise Invalid(Text("knowledgeAt 不能晚于现在", "knowledgeAt is ahead of now"), ("against", "knowledgeAt"))
    version = against.prompt_version
    if version is not None and await uow.session.get(PromptVersion, version) is None:
        words = Text(
            f"没有使用过提示词“{against.prompt_version}”", f"no answer used the prompt “{against.prompt_version}”"
        )
        raise Invalid(words, ("against", "promptVersion"))


async def _sample(uow: UnitOfWork, sample: Sample) -> list[UUID]:
    if not 1 <= sample.count <= SAMPLE_LIMIT or len(sample.generation_ids) > SAMPLE_LIMIT:
        words = Text(f"一次最多重放 {SAMPLE_LIMIT} 条", f"a run has 1 to {SAMPLE_LIMIT} answers")
        raise Invalid(words, ("sample", "count"))
    seen = select(Generation.id).where(
        rows_visible(Generation, uow.actor.only(*REPLAYING)), Generation.disposition.in_(WRITTEN)
    )
    if sample.generation_ids:
        named = (await uow.session.execute(seen.where(Generation.id.in_(sample.generation_ids)))).scalars().all()
        if len(named) < len(set(sample.generation_ids)):
            words = Text("其中有的回答不存在或没有写成", "an answer among them is not there or was not written")
            raise Invalid(words, ("sample", "generationIds"))
        return list(named)
    if sample.since is not None:
        seen = seen.where(Generation.requested_at >= sample.since)
    if sample.until is not None:
        seen = seen.where(Generation.requested_at < sample.until)
    if sample.kind is not None:
        seen = seen.where(Generation.kind == sample.kind)
    found = (await uow.session.execute(seen)).scalars().all()
    return sorted(found, key=lambda one: hashlib.sha256(one.bytes).digest())[: sample.count]
