"""The whole story of one answer: gather, request, retrieve, write, check, record."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from assistant import checks, offers, prompts, recording, telemetry
from assistant.checks import Checked, CheckResult
from assistant.context import FOLLOW_UP
from assistant.draft import Draft, Pen, Section
from assistant.facts import AccountFacts, LeadFacts
from assistant.language_model import LanguageModel
from assistant.masking import Masking, addressed
from assistant.model import Disposition, Generation, GenerationKind, GenerationMode, GenerationPerson
from assistant.replies import FailureReason, ModelFailure
from assistant.skills import SKILLS, Skill
from assistant.skills.base import Ask, Missing, Shelf, TooLate
from assistant.skills.objection_reply import ranked_categories
from assistant.wording import CONCERNS, FAILURES, KINDS, label
from domain import consent, signals
from domain.accounts import Account
from domain.consent import ConsentDecision
from domain.kernel import (
    SYSTEM,
    Actor,
    Database,
    Forbidden,
    Invalid,
    KeyReused,
    Language,
    Role,
    Text,
    UnitOfWork,
    fingerprint,
)
from knowledge import Found, Library, guarding

logger = logging.getLogger(__name__)

OnSection = Callable[[Section], Awaitable[None]]
LATE = Text("时限已到，这一节没有写完", "the deadline came before this section was written")
LET_THROUGH = "knowledge_let_through"
"""The check that names what was found and not used."""
WRITING_SECONDS, CHECKING_SECONDS = 0.3, 1.0
"""What is kept of the deadline for writing after a retrieval, and for checking and recording after a model."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What the assistant works with: the database, the knowledge, and a model if one is configured."""

    database: Database
    library: Library
    model: LanguageModel | None = None
    model_name: str | None = None
    prompt: prompts.PromptBody | None = None
    """The prompt to use instead of the one in force."""


@dataclass(frozen=True, slots=True)
class Watch:
    """When an answer was begun and how long it may take."""

    started: float
    deadline_seconds: int

    @property
    def elapsed_seconds(self) -> float:
        """The time since it was begun."""
        return time.perf_counter() - self.started

    @property
    def remaining_seconds(self) -> float:
        """The time until the deadline; below zero after it."""
        return self.deadline_seconds - self.elapsed_seconds


@dataclass(slots=True)
class Written:
    """A draft after it was worded: by whom, from which prompt, at what cost."""

    draft: Draft
    composed: Draft
    mode: GenerationMode
    model: str | None = None
    prompt_version: str | None = None
    masked_prompt: str | None = None
    fallback: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


async def run(desk: Desk, actor: Actor, ask: Ask, on_section: OnSection | None = None) -> UUID:
    """Answer an ask and return its generation's id; whatever happens after the request is stored ends as a disposition.

    Each section goes to `on_section` once it is checked, stored and noted. The same client key of the same actor gives the
    generation that is there, finished or at its deadline.

    Raises Forbidden for roles that do not draft, NotFound for a foreign subject, Invalid for an ask that cannot be worked
    on, KeyReused for the same key with another ask.
    """
    watch = Watch(time.perf_counter(), ask.deadline_seconds)
    skill = _skill_for(actor, ask.checked())
    known = await _known(desk, actor, ask)
    if known is not None:
        return await _wait_for(desk, known, watch)
    with telemetry.step("gather"):
        facts = await _gather(desk, skill, actor, ask)
        generation_id, fresh, blocked = await _request(desk, skill, actor, ask, facts)
    if not fresh:
        return await _wait_for(desk, generation_id, watch)
    if blocked:
        return generation_id
    try:
        with telemetry.step("retrieve"):
            shelf = await retrieve(desk, actor, skill, facts, ask, watch)
        written, checked = await write(desk, skill, ask, facts, shelf, watch)
        if on_section is not None:
            await _hand_on(desk, actor, generation_id, checked, on_section)
        categories = _categories(ask, facts, shelf)
        with telemetry.step("record"):
            await _record(desk, skill, actor, generation_id, facts, shelf, written, checked, categories, watch)
        telemetry.answered(ask.kind.value, written.mode.value, watch.elapsed_seconds)
    except Exception:
        logger.exception("generation %s failed", generation_id)
        await close_failed(desk.database, generation_id, "the answer could not be written", watch)
    return generation_id


def _skill_for(actor: Actor, ask: Ask) -> Skill:
    if not actor.has(Role.REP, Role.MANAGER):
        raise Forbidden(Text("只有销售代表和销售经理可以让助手起草", "only reps and managers have the assistant draft"))
    skill = SKILLS.get(ask.kind)
    if skill is None:
        raise Invalid(Text(f"尚不支持 {ask.kind.value}", f"{ask.kind.value} is not supported yet"), ("kind",))
    return skill


def _ask_fingerprint(ask: Ask) -> str:
    return fingerprint(
        {name: value for name, value in asdict(ask).items() if name not in {"client_key", "deadline_seconds"}}
    )


async def _known(desk: Desk, actor: Actor, ask: Ask) -> UUID | None:
    async with desk.database.read(SYSTEM) as connection:
        return await _same(connection, actor, ask)


async def _requested(uow: UnitOfWork, ask: Ask) -> UUID | None:
    """The generation of the same key, if somebody asked for it at the same time and was faster; nobody else does now."""
    await uow.wait_turn(f"generation\0{uow.actor.user_id}\0{ask.client_key}")
    return await _same(uow.session, uow.actor, ask)


async def _same(executor: AsyncConnection | AsyncSession, actor: Actor, ask: Ask) -> UUID | None:
    same = (Generation.requested_by_id == actor.user_id) & (Generation.client_key == ask.client_key)
    row = (await executor.execute(select(Generation.id, Generation.input_fingerprint).where(same))).first()
    if row is None:
        return None
    if row.input_fingerprint != _ask_fingerprint(ask):
        raise KeyReused(
            Text("该 clientKey 已用于另一个请求", "this clientKey was used for another ask"), ("clientKey",)
        )
    found: UUID = row.id
    return found


async def _wait_for(desk: Desk, generation_id: UUID, watch: Watch) -> UUID:
    while True:
        async with desk.database.read(SYSTEM) as connection:
            disposition = (
                await connection.execute(select(Generation.disposition).where(Generation.id == generation_id))
            ).scalar_one()
        if disposition is not Disposition.REQUESTED or watch.remaining_seconds <= 0:
            return generation_id
        await asyncio.sleep(0.05)


async def _gather(desk: Desk, skill: Skill, actor: Actor, ask: Ask) -> Any:
    async with desk.database.read(actor) as connection, AsyncSession(connection, expire_on_commit=False) as session:
        return await skill.gather(session, actor, ask, desk.database.clock())


async def _request(desk: Desk, skill: Skill, actor: Actor, ask: Ask, facts: Any) -> tuple[UUID, bool, bool]:
    """Store the request, with the consent receipt of an answer that addresses a customer, before anything thinks."""
    snapshot = orjson.loads(orjson.dumps(facts, default=str))
    async with desk.database.open_uow(actor) as uow:
        known = await _requested(uow, ask)
        if known is not None:
            return known, False, False
        generation = Generation(
            id=uow.new_id(), kind=ask.kind, requested_by_id=actor.user_id, requested_at=uow.now, territory_id=facts.territory_id,
            subject_kind=facts.subject.kind, subject_id=facts.subject.id, subject_label=facts.subject_label, ask=ask.words, category=ask.category,
            channel=ask.channel, language=ask.language, client_key=ask.client_key, input_fingerprint=_ask_fingerprint(ask), disposition=Disposition.REQUESTED,
            facts=snapshot, facts_digest=fingerprint(snapshot), in_legal_queue=False, in_finance_queue=False,
        )  # fmt: skip
        uow.session.add(generation)
        await uow.session.flush()
        uow.session.add_all(
            GenerationPerson(generation_id=generation.id, contact_id=person) for person in facts.person_ids
        )
        blocked = skill.addresses_customer and not await _may_address(uow, generation, facts)
        if ask.kind is GenerationKind.OBJECTION_REPLY:
            await _raise_concern(uow, facts, ask)
        detail = {"kind": ask.kind.value, "facts": generation.facts_digest}
        uow.note(
            "generation.blocked" if blocked else "generation.requested",
            generation,
            detail,
            persons=facts.person_ids,
        )
        return generation.id, True, blocked


async def _may_address(uow: UnitOfWork, generation: Generation, facts: LeadFacts) -> bool:
    """Whether consent allows the channel to be used at this instant; the receipt is kept either way."""
    point = facts.allowed_channel()
    receipt = await consent.receipt(uow, facts.contact_id, FOLLOW_UP, point.channel if point else facts.wanted_channel)
    generation.consent_receipt_id = receipt.id
    if point is not None and receipt.decision is ConsentDecision.ALLOW:
        generation.channel = point.channel
        return True
    generation.disposition, generation.finished_at = Disposition.BLOCKED, uow.now
    generation.reason = receipt.reason.words(generation.language)
    return False


async def _raise_concern(uow: UnitOfWork, facts: AccountFacts, ask: Ask) -> None:
    """What a customer said to a rep is a fact about the deal, whatever becomes of the answer."""
    if facts.deal is not None and ask.category is not None:
        await signals.record(
            uow, type="concern_raised", subject=facts.subject, account_id=facts.id, source="assistant", dedupe_key=f"{uow.actor.user_id}:{ask.client_key}",
            occurred_at=uow.now, payload={"category": ask.category, "words": ask.words},
        )  # fmt: skip


async def retrieve(desk: Desk, actor: Actor, skill: Skill, facts: Any, ask: Ask, watch: Watch) -> Shelf:
    """The knowledge that the skill wants and that may be quoted; a late shelf where it did not come in time."""
    wants = skill.wants(facts, ask)
    try:
        async with asyncio.timeout(watch.remaining_seconds - WRITING_SECONDS):
            found = await desk.library.find(actor, wants)
            return replace(await asyncio.to_thread(harmless, found), wants=wants)
    except TimeoutError:
        return Shelf(late=True, wants=wants)


def harmless(found: dict[str, list[Found]]) -> Shelf:
    """What was found without what no reviewer has let through."""
    held = {entry.title: None for entries in found.values() for entry in entries if not guarding.may_be_quoted(entry)}
    kept = {name: [entry for entry in entries if guarding.may_be_quoted(entry)] for name, entries in found.items()}
    return Shelf(kept, held_back=tuple(held))


async def write(desk: Desk, skill: Skill, ask: Ask, facts: Any, shelf: Shelf, watch: Watch) -> tuple[Written, Checked]:
    """Write the answer out of what was gathered and found, and check it; nothing is stored."""
    with telemetry.step("write"):
        draft = _compose(skill, ask, facts, shelf, watch)
        written = await _word(desk, ask, facts, draft, watch)
    with telemetry.step("check"):
        checked = await _check(desk, skill, facts, written)
        if shelf.held_back:
            checked.results.append(CheckResult(LET_THROUGH, passed=False, detail=" ⏐ ".join(shelf.held_back)))
    return written, checked


def _compose(skill: Skill, ask: Ask, facts: Any, shelf: Shelf, watch: Watch) -> Draft:
    """The offline composer: each section in its order, until the deadline; what is missing says why."""
    draft = Draft(ask.language)
    for plan in skill.sections:
        try:
            body = plan.compose(Pen(draft, plan.key), facts, shelf) if watch.remaining_seconds > 0 else Missing(LATE)
        except TooLate:
            body = Missing(LATE)
        missing = isinstance(body, Missing)
        words = body.why.words(ask.language) if isinstance(body, Missing) else body
        draft.sections.append(Section(plan.key, plan.heading.words(ask.language), words, missing))
    return draft


async def _word(desk: Desk, ask: Ask, facts: Any, draft: Draft, watch: Watch) -> Written:
    """Have the model put the draft into better words, masked; on any failure the composer's words stand and say so."""
    if desk.model is None or all(section.missing for section in draft.sections):
        return Written(draft, draft, GenerationMode.COMPOSER)
    body = desk.prompt or prompts.prompt_body("system")
    masking = Masking(addressed(facts.person_names))
    system, user = prompts.render(draft, ask.words, body)
    masked = masking.mask(user)
    written = Written(
        draft, draft, GenerationMode.COMPOSER, prompt_version=body.version, masked_prompt=f"{system}\n\n{masked}"
    )
    remaining = watch.remaining_seconds - CHECKING_SECONDS
    if remaining <= 0:
        return replace(written, fallback=FailureReason.DEADLINE.value)
    try:
        completion = await desk.model.complete(prompts.prompt_for(system, masked, prompts.schema_for(draft)), remaining)
    except ModelFailure as failure:
        return replace(written, fallback=failure.reason.value)
    bodies = {str(part["key"]): masking.restore(str(part["body"])).strip() for part in completion.content["sections"]}
    worded = [
        section if section.missing else replace(section, body=bodies.get(section.key) or section.body)
        for section in draft.sections
    ]
    return replace(
        written, draft=replace(draft, sections=worded), mode=GenerationMode.MODEL, model=completion.model,
        prompt_tokens=completion.prompt_tokens, completion_tokens=completion.completion_tokens,
    )  # fmt: skip


async def _check(desk: Desk, skill: Skill, facts: Any, written: Written) -> Checked:
    """Check the words; a section that the model spoilt altogether is written by the composer after all."""
    own = facts.own_names()
    text = "\n".join(section.body for draft in (written.draft, written.composed) for section in draft.sections)
    names = {"foreign_names": await _other_customers(desk.database, text, own), "own_names": own}
    free = frozenset(plan.key for plan in skill.sections if plan.free)
    if written.mode is GenerationMode.COMPOSER:
        return checks.run(written.draft, free_sections=free, **names)
    checked = checks.run(written.draft, free_sections=free, composed=written.composed, **names)
    lost = {section.key for section in checked.sections if section.missing}
    spoilt = [section for section in written.composed.sections if section.key in lost and not section.missing]
    mended = checks.run(replace(written.composed, sections=spoilt), free_sections=free, **names)
    whole = {section.key: section for section in mended.sections}
    places = {section.key: place for place, section in enumerate(checked.sections)}
    figures = [figure for figure in checked.figures if figure.section_key not in whole] + mended.figures
    return replace(
        checked, sections=[whole.get(section.key, section) for section in checked.sections],
        figures=sorted(figures, key=lambda figure: places[figure.section_key]), support=mended.support | checked.support,
    )  # fmt: skip


async def _other_customers(database: Database, text: str, own: frozenset[str]) -> frozenset[str]:
    """The names of other accounts that a text says, whoever may see them; names of one letter are no evidence."""
    said = text.lower()
    for name in sorted(own, key=len, reverse=True):
        said = said.replace(name.lower(), " ")
    named = (func.instr if database.embedded else func.strpos)(literal(said), func.lower(Account.name)) > 0
    async with database.read(SYSTEM) as connection:
        names = (await connection.execute(select(Account.name).where(func.length(Account.name) > 1, named))).scalars()
        return frozenset(names) - own


async def _hand_on(desk: Desk, actor: Actor, generation_id: UUID, checked: Checked, on_section: OnSection) -> None:
    """Store and note each section for itself, then hand it on."""
    for position, section in enumerate(checked.sections):
        async with desk.database.open_uow(actor) as uow:
            generation = await recording.open_generation(uow, generation_id)
            uow.session.add(recording.section_row(uow, generation_id, position, section))
            detail = {"section": section.key, "missing": section.missing}
            uow.note(
                "generation.section_written", generation, detail, persons=await recording.persons_of(uow, generation_id)
            )
        await on_section(section)


def _categories(ask: Ask, facts: Any, shelf: Shelf) -> list[dict[str, str]] | None:
    """The top three categories of an objection."""
    if ask.kind is not GenerationKind.OBJECTION_REPLY:
        return None
    ranked = [] if shelf.late else ranked_categories(facts, shelf)
    return [
        {"key": key, "label": label(CONCERNS, key).words(ask.language), "score": str(score)} for key, score in ranked
    ]


async def _record(
    desk: Desk, skill: Skill, actor: Actor, generation_id: UUID, facts: Any, shelf: Shelf, written: Written, checked: Checked, categories: list[dict[str, str]] | None, watch: Watch
) -> None:  # fmt: skip
    """Store the answer, its sources and its disposition, unless it has ended otherwise."""
    async with desk.database.open_uow(actor) as uow:
        generation = await recording.open_generation(uow, generation_id)
        if generation.disposition is not Disposition.REQUESTED:
            return
        await recording.store_sections(uow, generation_id, checked)
        generation.mode, generation.model, generation.fallback = written.mode, written.model, written.fallback
        generation.prompt_version, generation.masked_prompt = written.prompt_version, written.masked_prompt
        generation.prompt_tokens, generation.completion_tokens = written.prompt_tokens, written.completion_tokens
        generation.categories = categories
        generation.finished_at, generation.latency_ms = uow.now, round(watch.elapsed_seconds * 1000)
        recording.settle(generation, skill, checked)
        await recording.store_parts(uow, generation, written.draft, checked)
        uow.session.add_all(offers.rows(uow, generation, facts, shelf))
        uow.note(
            "generation.finished",
            generation,
            _summary(generation, checked),
            persons=await recording.persons_of(uow, generation_id),
        )


def _summary(generation: Generation, checked: Checked) -> dict[str, Any]:
    return {
        "disposition": generation.disposition.value,
        "mode": generation.mode.value if generation.mode else None,
        "failed_checks": [result.key for result in checked.results if not result.passed],
        "output": hashlib.sha256("\n".join(section.body for section in checked.sections).encode()).hexdigest(),
    }


async def close_failed(database: Database, generation_id: UUID, reason: str, watch: Watch | None = None) -> None:
    """End a request as FAILED, noted, unless it has ended otherwise."""
    async with database.open_uow(SYSTEM) as uow:
        generation = await recording.open_generation(uow, generation_id)
        if generation.disposition is not Disposition.REQUESTED:
            return
        generation.disposition, generation.reason, generation.finished_at = Disposition.FAILED, reason, uow.now
        generation.latency_ms = round(watch.elapsed_seconds * 1000) if watch is not None else None
        uow.note(
            "generation.failed", generation, {"reason": reason}, persons=await recording.persons_of(uow, generation_id)
        )


async def close_interrupted(database: Database, before: datetime | None = None) -> int:
    """End every request that a crash left open as FAILED, and return how many there were.

    Where several processes answer, `before` spares those on which another may be at work.
    """
    left = select(Generation.id).where(Generation.disposition == Disposition.REQUESTED)
    if before is not None:
        left = left.where(Generation.requested_at < before)
    async with database.read(SYSTEM) as connection:
        open_ids = (await connection.scalars(left)).all()
    for generation_id in open_ids:
        await close_failed(database, generation_id, "interrupted by a restart")
    return len(open_ids)


def render_text(generation: Any, sections: list[Any]) -> str:
    """The whole answer as Markdown: labelled as generated, by whom, then the sections; empty where there is nothing to show."""
    written = [section for section in sections if not section.missing]
    if not written:
        return ""
    zh = generation.language is Language.ZH
    kind = label(KINDS, generation.kind).words(generation.language)
    author = (
        generation.model
        if generation.mode is GenerationMode.MODEL
        else ("离线撰写器" if zh else "the offline composer")
    )
    notice = (
        f"> {kind}，由 AI 生成（{author}），使用前请核对来源。"
        if zh
        else f"> AI-generated {kind} (by {author}); check the sources before use."
    )
    if generation.fallback:
        why = label(FAILURES, generation.fallback).words(generation.language)
        notice += f"（语言模型没有参与：{why}）" if zh else f" (No language model took part: {why}.)"
    blocks = [f"## {section.heading}\n\n{section.body}" for section in sections if not section.missing]
    absent = [section.heading for section in sections if section.missing]
    if absent:
        blocks.append(("缺：" + "、".join(absent)) if zh else ("Missing: " + ", ".join(absent)))
    return "\n\n".join([notice, *blocks])
