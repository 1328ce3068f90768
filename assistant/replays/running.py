"""Working a replay off: each answer is written once more from its stored facts, compared, and kept beside the first."""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, get_type_hints
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from assistant import pipeline, recording
from assistant.checks import Checked
from assistant.draft import Draft, Evidence, Section, Source
from assistant.model import (
    Citation,
    Generation,
    GenerationCheck,
    GenerationSection,
    PromptVersion,
)
from assistant.pipeline import Desk, Watch, Written
from assistant.prompts import PromptBody
from assistant.replays.compare import Difference, Writing, difference
from assistant.replays.model import ReplayedKnowledge, ReplayedModel, ReplayOutcome, ReplayResult, ReplayRun
from assistant.skills import SKILLS, Skill
from assistant.skills.base import MAX_DEADLINE_SECONDS, Ask, Shelf
from domain import people
from domain.kernel import SYSTEM, Actor, Database, Text, Unauthenticated
from knowledge import past

logger = logging.getLogger(__name__)

LATE = Text(
    "当时知识没有及时找到，或检索记录已清除", "its knowledge came too late, or its searches are not in the log any more"
)
GONE = Text("当时的资料已删除", "what it was written from was erased")
LEFT = Text(
    "提问者已不能登录，无法以其身份检索", "whoever asked cannot sign in any more: nothing is found in their place"
)
FAILED = Text("重放出错", "the replay failed")


class Skipped(Exception):
    """An answer cannot be replayed; the reason is its argument."""

    def __init__(self, why: Text) -> None:
        super().__init__(why.en)
        self.why = why


@dataclass(frozen=True, slots=True)
class Replayed:
    """An answer that was written once more."""

    difference: Difference
    written: Written
    latency_ms: int


async def work_off(desk: Desk, limit: int = 20) -> int:
    """Replay answers that wait, of the oldest run first, and return how many; several processes may do so at the same time."""
    done = 0
    while done < limit:
        async with desk.database.read(SYSTEM) as connection:
            waiting = (
                select(ReplayResult.id).join(ReplayRun, ReplayRun.id == ReplayResult.run_id)
                .where(ReplayResult.outcome == ReplayOutcome.WAITING).order_by(ReplayRun.requested_at, ReplayResult.id).limit(1)
            )  # fmt: skip
            result_id = (await connection.execute(waiting)).scalar_one_or_none()
        if result_id is None:
            break
        await replay(desk, result_id)
        done += 1
    return done


async def replay(desk: Desk, result_id: UUID) -> None:
    """Write one answer of a run once more and keep what is different; the answer itself and everything else stay as they are."""
    async with desk.database.read(SYSTEM) as connection:
        run, generation = await _asked(connection, result_id)
    try:
        found: Replayed | Text = await _replayed(desk, run, generation)
    except Skipped as skipped:
        found = skipped.why
    except Exception:
        logger.exception("the replay of generation %s failed", generation.id)
        found = FAILED
    await _keep(desk.database, result_id, found)


async def _asked(connection: AsyncConnection, result_id: UUID) -> tuple[Any, Any]:
    """The run and the answer of a result, as rows."""
    of_run = select(*ReplayRun.__table__.c).join(ReplayResult, ReplayResult.run_id == ReplayRun.id)
    of_answer = select(*Generation.__table__.c).join(ReplayResult, ReplayResult.generation_id == Generation.id)
    run, generation = [
        (await connection.execute(one.where(ReplayResult.id == result_id))).one() for one in (of_run, of_answer)
    ]
    return run, generation


async def _replayed(desk: Desk, run: Any, generation: Any) -> Replayed:
    skill = SKILLS[generation.kind]
    facts, ask = facts_of(skill, generation.facts), ask_of(generation)
    watch = Watch(time.perf_counter(), MAX_DEADLINE_SECONDS)
    desk = await _desk(desk, run)
    shelf = await _shelf(desk, run, generation, skill, facts, ask, watch)
    written, checked = await pipeline.write(desk, skill, ask, facts, shelf, watch)
    async with desk.database.read(SYSTEM) as connection:
        before = await _before(connection, generation.id)
    after = Writing(checked.sections, _cited(written.draft, checked), {one.key: one.passed for one in checked.results})
    return Replayed(difference(before, after), written, round(watch.elapsed_seconds * 1000))


@cache
def _reader(skill: Skill) -> TypeAdapter[Any]:
    """Reads the facts that a skill gathers out of JSON."""
    return TypeAdapter(get_type_hints(skill.gather)["return"])


def facts_of(skill: Skill, stored: Mapping[str, Any] | None) -> Any:
    """The facts of an answer as its skill gathered them.

    Raises Skipped where they were erased.
    """
    if stored is None:
        raise Skipped(GONE)
    return _reader(skill).validate_python(stored)


def ask_of(generation: Any) -> Ask:
    """What was asked."""
    deal = (generation.facts or {}).get("deal")
    return Ask(
        generation.kind, generation.subject_id, generation.client_key, words=generation.ask, opportunity_id=UUID(deal["id"]) if deal else None,
        category=generation.category, channel=generation.channel, language=generation.language, deadline_seconds=MAX_DEADLINE_SECONDS,
    )  # fmt: skip


async def _desk(desk: Desk, run: Any) -> Desk:
    """The desk with what the run is made against."""
    if run.model is ReplayedModel.COMPOSER:
        desk = replace(desk, model=None)
    if run.prompt_version is not None:
        async with desk.database.read(SYSTEM) as connection:
            body = select(PromptVersion.body).where(PromptVersion.id == run.prompt_version)
            stored = (await connection.execute(body)).scalar_one()
        desk = replace(desk, prompt=PromptBody(run.prompt_version.partition("@")[0], stored))
    if run.knowledge is ReplayedKnowledge.AT:
        desk = replace(desk, library=await past.as_of(desk.database, desk.library, run.knowledge_at))
    return desk


async def _shelf(desk: Desk, run: Any, generation: Any, skill: Skill, facts: Any, ask: Ask, watch: Watch) -> Shelf:
    if run.knowledge is ReplayedKnowledge.AS_OFFERED:
        async with desk.database.read(SYSTEM) as connection:
            offered = await past.offered(connection, generation.id)
        wants = skill.wants(facts, ask)
        if offered is None and wants:
            raise Skipped(LATE)
        return replace(pipeline.harmless(offered or {}), wants=wants)
    return await pipeline.retrieve(desk, await _asker(desk.database, generation), skill, facts, ask, watch)


async def _asker(database: Database, generation: Any) -> Actor:
    """Whoever asked, with what they may see today."""
    async with database.read(SYSTEM) as connection:
        try:
            return await people.sign_in(connection, database.clock(), user_id=generation.requested_by_id)
        except Unauthenticated as error:
            raise Skipped(LEFT) from error


async def _before(connection: AsyncConnection, generation_id: UUID) -> Writing:
    """The answer as it is stored."""
    part, citation, check = GenerationSection, Citation, GenerationCheck
    sections = select(part.key, part.heading, part.body, part.missing).where(part.generation_id == generation_id)
    cited = select(*citation.__table__.c).where(citation.generation_id == generation_id)
    checks = select(check.key, check.passed).where(check.generation_id == generation_id)
    return Writing(
        [Section(*row) for row in await connection.execute(sections.order_by(part.position))],
        [
            f"KnowledgeItem:{row.item_id.hex}@{row.item_version}" if row.item_id else f"{row.record_kind}:{row.record_id.hex}"
            for row in await connection.execute(cited.order_by(citation.number))
        ],
        {row.key: row.passed for row in await connection.execute(checks)},
    )  # fmt: skip


def _cited(draft: Draft, checked: Checked) -> list[str]:
    """The sources that are still cited after the checks, by their numbers."""
    return [_name(draft.sources[number]) for number in sorted(recording.uses_of(checked))]


def _name(source: Source) -> str:
    if isinstance(source, Evidence):
        return f"{source.record.kind}:{source.record.id.hex}"
    return f"KnowledgeItem:{source.item_id.hex}@{source.version}"


async def _keep(database: Database, result_id: UUID, found: Replayed | Text) -> None:
    async with database.open_uow(SYSTEM) as uow:
        result = (
            await uow.session.execute(select(ReplayResult).where(ReplayResult.id == result_id).with_for_update())
        ).scalar_one()
        if result.outcome is not ReplayOutcome.WAITING:
            return
        generation = await uow.session.get_one(Generation, result.generation_id)
        result.replayed_at = uow.now
        if isinstance(found, Text):
            result.outcome, result.reason = ReplayOutcome.SKIPPED, found.words(generation.language)
        else:
            result.outcome = ReplayOutcome.CHANGED if found.difference.changed else ReplayOutcome.SAME
            result.difference = asdict(found.difference)
            result.mode, result.model = found.written.mode, found.written.model
            result.used_prompt, result.latency_ms = found.written.prompt_version, found.latency_ms
            result.prompt_tokens, result.completion_tokens = (
                found.written.prompt_tokens,
                found.written.completion_tokens,
            )
        detail = {"run": result.run_id.hex, "outcome": result.outcome.value}
        uow.note("generation.replayed", generation, detail, persons=await recording.persons_of(uow, generation.id))
        await uow.session.flush()
        left = select(func.count()).where(
            ReplayResult.run_id == result.run_id, ReplayResult.outcome == ReplayOutcome.WAITING
        )
        if not (await uow.session.execute(left)).scalar_one():
            run = await uow.session.get_one(ReplayRun, result.run_id)
            run.finished_at = uow.now
            uow.note("replay.finished", run)
