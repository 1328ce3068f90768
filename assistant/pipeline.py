"""The whole story of one answer: gather, request, retrieve, write, check, record."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import func, literal, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from assistant import checks, prompts
from assistant.checks import SUPPORT_FULL, Checked
from assistant.context import FOLLOW_UP, AccountFacts, LeadFacts
from assistant.draft import Draft, Evidence, Pen, Section
from assistant.language_model import LanguageModel, ModelFailure
from assistant.masking import Masking
from assistant.model import (
    FINANCE_SECTIONS,
    Citation,
    CitationVerdict,
    Disposition,
    Generation,
    GenerationCheck,
    GenerationFigure,
    GenerationKind,
    GenerationMode,
    GenerationSection,
    PromptVersion,
)
from assistant.skills import SKILLS, Skill
from assistant.skills.base import Ask, Missing, Shelf
from assistant.skills.objection_reply import ranked_categories
from assistant.wording import CONCERNS, KINDS, label
from domain import consent, signals
from domain.accounts import Account
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
from knowledge import Library, Retrieval

logger = logging.getLogger(__name__)

OnSection = Callable[[Section], Awaitable[None]]
LATE = Text("时限已到，这一节没有写完", "the deadline came before this section was written")
MODEL_RESERVE_SECONDS = 1.0
"""What is kept of the deadline for checking and recording after the model has answered."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What the assistant works with: the database, the knowledge, and a model if one is configured."""

    database: Database
    library: Library
    model: LanguageModel | None = None
    model_name: str | None = None


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
    started = time.perf_counter()
    skill = _skill_for(actor, ask.checked())
    known = await _known(desk, actor, ask)
    if known is not None:
        return await _wait_for(desk, known, ask)
    facts = await _gather(desk, skill, actor, ask)
    generation_id, fresh, blocked = await _request(desk, skill, actor, ask, facts)
    if not fresh:
        return await _wait_for(desk, generation_id, ask)
    if blocked:
        return generation_id
    try:
        shelf = Shelf(await desk.library.find(actor, skill.wants(facts, ask)))
        draft = _compose(skill, ask, facts, shelf, started)
        written = await _word(desk, skill, ask, facts, draft, started)
        checked = await _check(desk, skill, facts, written)
        await _record(desk, skill, actor, ask, generation_id, facts, shelf, written, checked, started, on_section)
    except Exception:
        logger.exception("generation %s failed", generation_id)
        await close_failed(desk.database, generation_id, "the answer could not be written", started)
    return generation_id


def _skill_for(actor: Actor, ask: Ask) -> Skill:
    if not actor.has(Role.REP, Role.MANAGER):
        raise Forbidden(Text("只有销售代表和销售经理可以让助手起草", "only reps and managers have the assistant draft"))
    skill = SKILLS.get(ask.kind)
    if skill is None:
        raise Invalid(Text(f"尚不支持 {ask.kind.value}", f"{ask.kind.value} is not supported yet"), ("kind",))
    return skill


def _ask_fingerprint(ask: Ask) -> str:
    return fingerprint({name: value for name, value in asdict(ask).items() if name not in {"client_key", "deadline_seconds"}})


async def _known(desk: Desk, actor: Actor, ask: Ask) -> UUID | None:
    async with desk.database.read() as connection:
        same = (Generation.requested_by_id == actor.user_id) & (Generation.client_key == ask.client_key)
        row = (await connection.execute(select(Generation.id, Generation.input_fingerprint).where(same))).first()
    if row is None:
        return None
    if row.input_fingerprint != _ask_fingerprint(ask):
        raise KeyReused(Text("该 clientKey 已用于另一个请求", "this clientKey was used for another ask"), ("clientKey",))
    found: UUID = row.id
    return found


async def _wait_for(desk: Desk, generation_id: UUID, ask: Ask) -> UUID:
    deadline = time.perf_counter() + ask.deadline_seconds
    while time.perf_counter() < deadline:
        async with desk.database.read() as connection:
            disposition = (await connection.execute(select(Generation.disposition).where(Generation.id == generation_id))).scalar_one()
        if disposition is not Disposition.REQUESTED:
            break
        await asyncio.sleep(0.05)
    return generation_id


async def _gather(desk: Desk, skill: Skill, actor: Actor, ask: Ask) -> Any:
    async with desk.database.read() as connection, AsyncSession(connection, expire_on_commit=False) as session:
        return await skill.gather(session, actor, ask, desk.database.clock())


async def _request(desk: Desk, skill: Skill, actor: Actor, ask: Ask, facts: Any) -> tuple[UUID, bool, bool]:
    """Store the request, with the consent receipt of an answer that addresses a customer, before anything thinks."""
    snapshot = orjson.loads(orjson.dumps(facts, default=str))
    try:
        async with desk.database.open_uow(actor) as uow:
            generation = Generation(
                id=uow.new_id(), kind=ask.kind, requested_by_id=actor.user_id, requested_at=uow.now, territory_id=facts.territory_id,
                subject_kind=facts.subject.kind, subject_id=facts.subject.id, subject_label=facts.subject_label, ask=ask.words, category=ask.category,
                channel=ask.channel, language=ask.language, client_key=ask.client_key, input_fingerprint=_ask_fingerprint(ask), disposition=Disposition.REQUESTED,
                facts=snapshot, facts_digest=fingerprint(snapshot), in_legal_queue=False, in_finance_queue=False,
            )  # fmt: skip
            uow.session.add(generation)
            await uow.session.flush()
            blocked = skill.addresses_customer and await _consent(uow, generation, facts)
            if ask.kind is GenerationKind.OBJECTION_REPLY:
                await _raise_concern(uow, facts, ask)
            uow.note("generation.blocked" if blocked else "generation.requested", generation, {"kind": ask.kind.value, "facts": generation.facts_digest})
            return generation.id, True, blocked
    except IntegrityError:
        known = await _known(desk, actor, ask)
        if known is None:
            raise
        return known, False, False


async def _consent(uow: UnitOfWork, generation: Generation, facts: LeadFacts) -> bool:
    """Keep the receipt for the channel to be used, or for the refusal; True when no channel is allowed."""
    point = facts.allowed_channel()
    receipt = await consent.receipt(uow, facts.contact_id, FOLLOW_UP, point.channel if point else facts.wanted_channel)
    generation.consent_receipt_id = receipt.id
    if point is not None:
        generation.channel = point.channel
        return False
    generation.disposition, generation.finished_at = Disposition.BLOCKED, uow.now
    generation.reason = receipt.reason_zh if generation.language is Language.ZH else receipt.reason_en
    return True


async def _raise_concern(uow: UnitOfWork, facts: AccountFacts, ask: Ask) -> None:
    """What a customer said to a rep is a fact about the deal, whatever becomes of the answer."""
    if facts.deal is not None and ask.category is not None:
        await signals.record(
            uow, type="concern_raised", subject=facts.subject, account_id=facts.id, source="assistant", dedupe_key=f"{uow.actor.user_id}:{ask.client_key}",
            occurred_at=uow.now, payload={"category": ask.category, "words": ask.words},
        )  # fmt: skip


def _compose(skill: Skill, ask: Ask, facts: Any, shelf: Shelf, started: float) -> Draft:
    """The offline composer: each section in its order, until the deadline; what is missing says why."""
    draft = Draft(ask.language)
    for plan in skill.sections:
        late = time.perf_counter() - started > ask.deadline_seconds
        body = Missing(LATE) if late else plan.compose(Pen(draft, plan.key), facts, shelf)
        heading = plan.heading.words(ask.language)
        if isinstance(body, Missing):
            draft.sections.append(Section(plan.key, heading, body.why.words(ask.language), missing=True))
        else:
            draft.sections.append(Section(plan.key, heading, body))
    return draft


async def _word(desk: Desk, skill: Skill, ask: Ask, facts: Any, draft: Draft, started: float) -> Written:
    """Have the model put the draft into better words, masked; on any failure the composer's words stand and say so."""
    if desk.model is None or all(section.missing for section in draft.sections):
        return Written(draft, draft, GenerationMode.COMPOSER)
    body = prompts.prompt_body("system")
    masking = Masking(facts.person_names)
    system, user = prompts.render(draft, ask.words, body)
    masked = masking.mask(user)
    written = Written(draft, draft, GenerationMode.COMPOSER, prompt_version=body.version, masked_prompt=f"{system}\n\n{masked}")
    remaining = ask.deadline_seconds - (time.perf_counter() - started) - MODEL_RESERVE_SECONDS
    if remaining <= 0:
        return replace(written, fallback="model_timeout")
    try:
        completion = await desk.model.complete(prompts.prompt_for(system, masked, prompts.schema_for(draft)), remaining)
    except ModelFailure as failure:
        return replace(written, fallback=failure.reason.value)
    bodies = {str(part["key"]): masking.restore(str(part["body"])) for part in completion.content["sections"]}
    worded = [replace(section, body=bodies[section.key].strip()) if not section.missing and bodies.get(section.key, "").strip() else section for section in draft.sections]
    return Written(
        replace(draft, sections=worded), draft, GenerationMode.MODEL, completion.model, body.version, written.masked_prompt,
        prompt_tokens=completion.prompt_tokens, completion_tokens=completion.completion_tokens,
    )  # fmt: skip


async def _check(desk: Desk, skill: Skill, facts: Any, written: Written) -> Checked:
    """Check the words; a section that the model spoilt altogether is written by the composer after all."""
    text = "\n".join(section.body for section in written.draft.sections)
    foreign = await _other_customers(desk.database, text, facts.own_names())
    free = frozenset(plan.key for plan in skill.sections if plan.free)
    by_model = written.mode is GenerationMode.MODEL
    checked = checks.run(written.draft, foreign_names=foreign, free_sections=free, strict_support=by_model)
    lost = {section.key for section in checked.sections if section.missing}
    spoilt = [section for section in written.composed.sections if section.key in lost and not section.missing]
    if not by_model or not spoilt:
        return checked
    mended = checks.run(replace(written.composed, sections=spoilt), foreign_names=foreign, free_sections=free)
    whole = {section.key: section for section in mended.sections}
    return replace(
        checked,
        sections=[whole.get(section.key, section) for section in checked.sections],
        figures=[figure for figure in checked.figures if figure.section_key not in whole] + mended.figures,
        support=mended.support | checked.support,
    )


async def _other_customers(database: Database, text: str, own: frozenset[str]) -> frozenset[str]:
    """The names of other accounts that a text says, whoever may see them; names of one letter are no evidence."""
    said = func.instr(literal(text), Account.name) > 0 if database.embedded else func.strpos(literal(text), Account.name) > 0
    async with database.read() as connection:
        names = (await connection.execute(select(Account.name).where(func.length(Account.name) > 1, said))).scalars().all()
    return frozenset(name for name in names if name not in own and not any(name in mine for mine in own))


async def _record(
    desk: Desk, skill: Skill, actor: Actor, ask: Ask, generation_id: UUID, facts: Any, shelf: Shelf, written: Written, checked: Checked, started: float, on_section: OnSection | None
) -> None:  # fmt: skip
    """Store the sections (one by one for a stream), then everything else with the disposition, each noted before it leaves."""
    if on_section is not None:
        for position, section in enumerate(checked.sections):
            async with desk.database.open_uow(actor) as uow:
                generation = await _own(uow, generation_id)
                uow.session.add(_section_row(uow, generation_id, position, section))
                uow.note("generation.section_written", generation, {"section": section.key, "missing": section.missing})
            await on_section(section)
    async with desk.database.open_uow(actor) as uow:
        generation = await _own(uow, generation_id)
        if generation.disposition is not Disposition.REQUESTED:
            return
        if on_section is None:
            uow.session.add_all(_section_row(uow, generation_id, position, section) for position, section in enumerate(checked.sections))
        _settle(generation, skill, ask, facts, shelf, written, checked)
        generation.finished_at, generation.latency_ms = uow.now, round((time.perf_counter() - started) * 1000)
        await _store_prompt(uow, written)
        uow.session.add_all(_parts(uow, generation_id, written.draft, checked))
        uow.session.add_all(_retrievals(uow, generation_id, shelf))
        uow.note("generation.finished", generation, _summary(generation, checked), persons=facts.person_ids)


async def _own(uow: UnitOfWork, generation_id: UUID) -> Generation:
    return (await uow.session.execute(select(Generation).where(Generation.id == generation_id).with_for_update())).scalar_one()


def _settle(generation: Generation, skill: Skill, ask: Ask, facts: Any, shelf: Shelf, written: Written, checked: Checked) -> None:
    """What becomes of the answer: nothing left to say abstains, what addresses a customer waits for its release."""
    there = {section.key for section in checked.sections if not section.missing}
    if not there:
        generation.disposition = Disposition.ABSTAINED
    else:
        generation.disposition = Disposition.NEEDS_APPROVAL if skill.addresses_customer else Disposition.AUTO_RELEASED
    queued = skill.queued_by in there
    generation.in_legal_queue = generation.in_finance_queue = queued
    generation.mode, generation.model, generation.fallback = written.mode, written.model, written.fallback
    generation.prompt_version, generation.masked_prompt = written.prompt_version, written.masked_prompt
    generation.prompt_tokens, generation.completion_tokens = written.prompt_tokens, written.completion_tokens
    if ask.kind is GenerationKind.OBJECTION_REPLY:
        ranked = ranked_categories(facts, shelf)
        generation.categories = [{"key": key, "label": label(CONCERNS, key).words(ask.language), "score": str(score)} for key, score in ranked]


def _summary(generation: Generation, checked: Checked) -> dict[str, Any]:
    return {
        "disposition": generation.disposition.value,
        "mode": generation.mode.value if generation.mode else None,
        "failed_checks": [result.key for result in checked.results if not result.passed],
        "output": hashlib.sha256("\n".join(section.body for section in checked.sections).encode()).hexdigest(),
    }


async def _store_prompt(uow: UnitOfWork, written: Written) -> None:
    if written.prompt_version is None:
        return
    if await uow.session.get(PromptVersion, written.prompt_version) is None:
        uow.session.add(PromptVersion(id=written.prompt_version, body=prompts.prompt_body("system").body, stored_at=uow.now))


def _retrievals(uow: UnitOfWork, generation_id: UUID, shelf: Shelf) -> list[Retrieval]:
    return [
        Retrieval(id=uow.new_id(), generation_id=generation_id, item_id=found.item_id, version_number=found.version, wanted_as=name, rank=rank, at=uow.now)
        for name, entries in shelf.found.items()
        for rank, found in enumerate(entries, 1)
    ]


def _section_row(uow: UnitOfWork, generation_id: UUID, position: int, section: Section) -> GenerationSection:
    return GenerationSection(
        id=uow.new_id(), generation_id=generation_id, position=position, key=section.key, heading=section.heading, body=section.body, missing=section.missing
    )


def _parts(uow: UnitOfWork, generation_id: UUID, draft: Draft, checked: Checked) -> list[Any]:
    said = {section.key: set(map(int, checks.CITATION.findall(section.body))) for section in checked.sections if not section.missing}
    used = set().union(*said.values()) if said else set()
    finance = set().union(*(numbers for key, numbers in said.items() if key in FINANCE_SECTIONS)) if said else set()
    rows: list[Any] = [_citation(uow, generation_id, number, draft, checked, supports_finance=number in finance) for number in sorted(used)]
    rows += [
        GenerationFigure(
            id=uow.new_id(), generation_id=generation_id, position=position, section_key=figure.section_key, key=figure.key, label=figure.label,
            value=_plain(figure.value), unit=figure.unit, citation=figure.citation if figure.citation in used else None,
        )
        for position, figure in enumerate(checked.figures)
    ]  # fmt: skip
    rows += [
        GenerationCheck(id=uow.new_id(), generation_id=generation_id, position=position, key=result.key, passed=result.passed, detail=result.detail)
        for position, result in enumerate(checked.results)
    ]
    return rows


def _citation(uow: UnitOfWork, generation_id: UUID, number: int, draft: Draft, checked: Checked, *, supports_finance: bool) -> Citation:
    source = draft.sources[number]
    quote = source.text if isinstance(source, Evidence) else _quote(number, source.text, checked)
    share = checked.support.get(number, 0.0)
    verdict = CitationVerdict.SUPPORTED if share >= SUPPORT_FULL else CitationVerdict.PARTIAL
    record = source.record if isinstance(source, Evidence) else None
    return Citation(
        id=uow.new_id(), generation_id=generation_id, number=number, quote=quote, quote_hash=hashlib.sha256(quote.encode()).hexdigest(), verdict=verdict,
        supports_finance_sections=supports_finance, item_id=None if isinstance(source, Evidence) else source.item_id,
        item_version=None if isinstance(source, Evidence) else source.version, record_kind=record.kind if record else None,
        record_id=record.id if record else None, as_of=source.as_of if isinstance(source, Evidence) else None,
    )  # fmt: skip


def _quote(number: int, text: str, checked: Checked) -> str:
    """The sentence of the source that is nearest to what was said with its number."""
    said = [sentence for section in checked.sections if not section.missing for line in section.body.split("\n") for sentence in checks.sentences(line) if f"[{number}]" in sentence]
    candidates = [checks.LIST_MARK.sub("", sentence).strip() for line in text.split("\n") for sentence in checks.sentences(line) if sentence.strip() and not line.startswith("#")]
    if not candidates or not said:
        return text[:300]
    nearest = max(((checks.support_share(sentence, candidate), len(candidate), candidate) for sentence in said for candidate in candidates), default=(0, 0, text))
    return nearest[2][:500]


def _plain(value: Decimal) -> str:
    return f"{value:f}"


async def close_failed(database: Database, generation_id: UUID, reason: str, started: float | None = None) -> None:
    """End a request as FAILED, noted, unless it has ended otherwise."""
    async with database.open_uow(SYSTEM) as uow:
        generation = await _own(uow, generation_id)
        if generation.disposition is not Disposition.REQUESTED:
            return
        generation.disposition, generation.reason, generation.finished_at = Disposition.FAILED, reason, uow.now
        generation.latency_ms = round((time.perf_counter() - started) * 1000) if started is not None else None
        uow.note("generation.failed", generation, {"reason": reason})


async def close_interrupted(database: Database) -> int:
    """At start: end every request that a crash left open as FAILED, and return how many there were."""
    async with database.read() as connection:
        open_ids = (await connection.execute(select(Generation.id).where(Generation.disposition == Disposition.REQUESTED))).scalars().all()
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
    author = generation.model if generation.mode is GenerationMode.MODEL else ("离线撰写器" if zh else "the offline composer")
    notice = f"> {kind}，由 AI 生成（{author}），使用前请核对来源。" if zh else f"> AI-generated {kind} (by {author}); check the sources before use."
    if generation.fallback:
        notice += f"（模型不可用：{generation.fallback}）" if zh else f" (The model did not serve: {generation.fallback}.)"
    blocks = [f"## {section.heading}\n\n{section.body}" for section in sections if not section.missing]
    absent = [section.heading for section in sections if section.missing]
    if absent:
        blocks.append(("缺：" + "、".join(absent)) if zh else ("Missing: " + ", ".join(absent)))
    return "\n\n".join([notice, *blocks])

