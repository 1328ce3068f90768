"""The assistant in the schema: answers with their sources, the asking for them, and what people make of them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Annotated, Any
from uuid import UUID

import strawberry
from sqlalchemy import Boolean, ColumnElement, Text, select

from api.audit import AuditEvent
from api.consent import ConsentReceipt
from api.context import Context, Info
from api.knowledge import KnowledgeItem
from api.mutations import UserError, given, mutation, refusals, text
from api.people import Actor, person
from api.reads import (
    STAMPS,
    Connection,
    Expression,
    Node,
    View,
    by,
    column,
    computed,
    derived,
    equals,
    gathered,
    id_of,
    listing,
    load_one,
    many,
    names,
    names_any,
    node,
    packed,
    roots,
    shape_of,
    since,
    to_any,
    to_one,
    unpacked,
    until,
)
from api.scalars import enum
from assistant import model, pipeline, review
from assistant.draft import Section
from assistant.model import CitationVerdict, Disposition, FeedbackVerdict, GenerationKind, GenerationMode
from assistant.skills import SKILLS
from assistant.skills.base import DEFAULT_DEADLINE_SECONDS, Ask
from domain.accounts import Channel
from domain.kernel import Language, Role, rows_visible

enum(
    GenerationKind,
    "What kind of answer.",
    VISIT_BRIEF="What to know before a visit.",
    OBJECTION_REPLY="What to answer to a concern.",
    REACTIVATION_SCRIPT="What to say to a lead that fell asleep.",
    MEETING_SUMMARY="What a meeting came to; not served yet.",
    CONTENT_PACK="Content made for one customer; not served yet.",
    VALUE_REPORT="What a customer gained; not served yet.",
    REVIEW_ATTRIBUTION="Why a deal ended as it did; not served yet.",
    LIVE_BATTLECARD="What to say of a competitor now; not served yet.",
    COACHING_QUESTIONS="What to ask a colleague; not served yet.",
)
enum(
    Disposition,
    "What became of an answer.",
    REQUESTED="Asked for, not written yet.",
    AUTO_RELEASED="Released to its requester.",
    NEEDS_APPROVAL="May be read, not sent before somebody releases it.",
    APPROVED="Released by a person.",
    EDITED="Released by a person with changes.",
    VETOED="Overruled by a person.",
    BLOCKED="Not written: consent does not allow it.",
    ABSTAINED="Nothing in it could be shown with a source.",
    FAILED="Not finished.",
    RECALLED="Taken back.",
)
enum(GenerationMode, "Who worded an answer.", MODEL="A language model.", COMPOSER="The offline composer.")
enum(
    FeedbackVerdict,
    "What a person made of an answer.",
    USED="Used it.",
    EDITED="Used it with changes.",
    REJECTED="Did not use it.",
)
enum(
    CitationVerdict,
    "How well a source carries what is said with its number.",
    SUPPORTED="It says so.",
    PARTIAL="It says so in part or in other words.",
    UNSUPPORTED="It does not say so.",
)

PART = frozenset({"generation_id"})


@node(model.GenerationSection, hidden=PART | {"position"}, order=by("position", "id"))
class GenerationSection:
    """One section of an answer."""

    key: str = column("The key of the section within its kind of answer.")
    heading: str = column("Its heading in the answer's language.")
    body: str = column("Its text as Markdown, “[n]” being a citation's number; where it is missing, why.")
    missing: bool = column("Whether it could not be written.")


@strawberry.type(description="A category of concerns that an objection may belong to.")
class ConcernCategory:
    """One of the top three."""

    key: str = strawberry.field(description="The key of the category.")
    label: str = strawberry.field(description="Its name in the answer's language.")
    score: float = strawberry.field(description="How near it is, 0 to 1.")


@node(model.GenerationFigure, hidden=PART | {"position", "section_key"}, order=by("position", "id"))
class Figure:
    """One number of an answer as data: computed by code, or quoted from the cited source."""

    key: str = column("What it is, for machines.")
    label: str = column("What it is, in the answer's language.")
    value: Decimal = derived(("value",), Decimal, "The number, exact.")
    unit: str = column("Its unit: a currency code, “%”, or a word.")
    citation: int | None = column("The number of the citation that it rests on.")


@node(
    model.Citation,
    hidden=PART | {"quote_hash", "supports_finance_sections", "item_id", "record_kind", "record_id"},
    order=by("number", "id"),
)
class Citation:
    """One source of an answer: a knowledge version, or a record as of an instant."""

    number: int = column("The number that the text names in brackets.")
    quote: str = column("The words of the source.")
    verdict: CitationVerdict = column("How well it carries what is said with its number.")
    item: KnowledgeItem | None = to_one(
        "item_id", "The knowledge entry; null for a record, or where the reader does not see it."
    )
    item_version: int | None = column("The number of the entry's version that was used.")
    record: Node | None = to_any(
        "record_kind", "record_id", "The record; null for knowledge, or where the reader does not see it."
    )
    as_of: datetime | None = column("The instant as of which the record was read.")


@node(model.GenerationCheck, hidden=PART | {"position"}, order=by("position", "id"))
class GenerationCheck:
    """One check of an answer before it was shown."""

    key: str = column("Which check.")
    passed: bool = column("Whether nothing had to be removed.")
    detail: str | None = column("What was removed.")


@node(model.GenerationFeedback, hidden=PART | {"by_id"}, order=by("at", "id"))
class GenerationFeedback:
    """What one person made of an answer."""

    by: Actor = person("Who gave it.", "by_id")
    at: datetime = column("When.")
    verdict: FeedbackVerdict = column("What they made of it.")
    reason: str | None = column("Why.")
    corrected_text: str | None = column("The text as they used it.")


def _column(name: str) -> Expression:
    return lambda view: view.table.c[name]


def _categories(stored: list[Mapping[str, Any]]) -> list[ConcernCategory]:
    return [ConcernCategory(key=one["key"], label=one["label"], score=float(one["score"])) for one in stored]


def _sections(view: View) -> ColumnElement[str]:
    """The sections that the reader sees, in their order."""
    part = model.GenerationSection.__table__.alias()
    seen = (part.c.generation_id == view.key, rows_visible(model.GenerationSection, view.actor, part))
    columns = (part.c.key, part.c.heading, part.c.body, part.c.missing)
    return packed(select(*columns).where(*seen).order_by(part.c.position).correlate_except(part))


WORDED = ("kind", "language", "mode", "model", "fallback")
"""What of an answer its text tells beside the sections."""
SECTION = (Text(), Text(), Text(), Boolean())


def _text(sections: str, *said: Any) -> str:
    answer = SimpleNamespace(**dict(zip(WORDED, said, strict=True)))
    return pipeline.render_text(answer, [Section(*parts) for parts in unpacked(sections, SECTION)])


@node(
    model.Generation, order=by("-requested_at", "-id"),
    hidden=STAMPS | {
        "requested_by_id", "territory_id", "subject_kind", "subject_id", "ask", "category", "categories", "channel", "client_key", "input_fingerprint", "reason", "fallback",
        "masked_prompt", "facts", "facts_digest", "prompt_tokens", "completion_tokens", "finished_at", "in_legal_queue", "in_finance_queue", "consent_receipt_id",
    },
)  # fmt: skip
class Generation(Node):
    """One answer of the assistant: what was asked about what, who worded it, and what became of it."""

    kind: GenerationKind = column("What kind of answer.")
    mode: GenerationMode | None = column("Who worded it; null until it is written.")
    model: str | None = column("The model that worded it; null with the offline composer.")
    prompt_version: str | None = column("The prompt as key@content hash; null where no model was asked.")
    subject: Node | None = to_any(
        "subject_kind", "subject_id", "The record that it is about; null where the reader does not see it."
    )
    subject_label: str = column("What the record was called.")
    requested_by: Actor = person("Who asked.", "requested_by_id")
    requested_at: datetime = column("When.")
    latency_ms: int | None = column("Milliseconds from the request to the stored answer.")
    disposition: Disposition = column("What became of it.")
    language: Language = column("The language of the answer.")
    sections: list[GenerationSection] = many("generation_id", "Its sections in their order.")
    categories: list[ConcernCategory] = gathered(
        (_column("categories"),), _categories, "For an objection reply: the top three categories of the concern."
    )
    figures: list[Figure] = many("generation_id", "Every number in the text, as data.")
    citations: list[Citation] = many("generation_id", "Its sources by number.")
    checks: list[GenerationCheck] = many("generation_id", "What was checked before it was shown.")
    feedback: list[GenerationFeedback] = many("generation_id", "What people made of it, oldest first.")
    consent_receipt: ConsentReceipt | None = to_one(
        "consent_receipt_id", "The decision that allowed or forbade addressing the customer."
    )
    audit_events: list[AuditEvent] = many(
        "subject_id", "What the ledger holds of it.", where={"subject_kind": "Generation"}
    )

    text: str = gathered(
        (_sections, *map(_column, WORDED)), _text,
        "The whole answer as Markdown, labelled as generated; empty where nothing may be shown.",
    )  # fmt: skip


@strawberry.input(description="Which answers; all conditions hold together.")
class GenerationFilter:
    """Conditions on answers."""

    kind: GenerationKind | None = equals("kind", "What kind of answer.")
    disposition: Disposition | None = equals("disposition", "What became of it.")
    requested_by_id: strawberry.ID | None = names("User", "requested_by_id", "Who asked.")
    subject_id: strawberry.ID | None = names_any("subject_kind", "subject_id", "The record that it is about.")
    since: datetime | None = since("requested_at", "Asked at this instant or later.")
    until: datetime | None = until("requested_at", "Asked before this instant.")


@strawberry.type(description="How answers fared. Rates are null when nothing was shown.")
class AssistantMetrics:
    """The measures of one window."""

    shown: int = strawberry.field(description="Answers returned to a user.")
    used: int = strawberry.field(description="Of these, used as they were.")
    edited: int = strawberry.field(description="Of these, used with changes.")
    rejected: int = strawberry.field(description="Of these, not used.")
    vetoed: int = strawberry.field(description="Of these, overruled.")
    adoption_rate: float | None = strawberry.field(description="(used + edited) / shown.")
    veto_rate: float | None = strawberry.field(description="vetoed / shown.")
    p95_latency_ms: int | None = strawberry.field(description="The 95th percentile of their latency in milliseconds.")


# ---- asking ----------------------------------------------------------------------------------------------------------

KEY = "The caller's key: the same one never makes a second answer."
DEADLINE = "Seconds until unfinished sections are left out: 1 to 120; 11 without it."
LANGUAGE = "The language of the answer; the reader's without it."


def _deadline() -> Any:
    return strawberry.field(default=strawberry.UNSET, description=DEADLINE)


def _optional(description: str) -> Any:
    return strawberry.field(default=strawberry.UNSET, description=description)


@strawberry.input(description="A visit to prepare.")
class DraftVisitBriefInput:
    """What a visit brief takes."""

    account_id: strawberry.ID = strawberry.field(description="The customer to visit.")
    opportunity_id: strawberry.ID | None = _optional("The deal to talk about; the one nearest to closing without it.")
    purpose: str | None = _optional("What the visit is for.")
    language: Language | None = _optional(LANGUAGE)
    deadline_seconds: int | None = _deadline()
    client_key: strawberry.ID = strawberry.field(description=KEY)


@strawberry.input(description="An objection to answer.")
class DraftObjectionReplyInput:
    """What an objection reply takes."""

    opportunity_id: strawberry.ID = strawberry.field(description="The deal in which it was raised.")
    concern: str = strawberry.field(description="What the customer said.")
    category: str | None = _optional("The category, where the rep corrects the one that was guessed.")
    channel: Channel | None = _optional("The channel on which the answer will be given.")
    language: Language | None = _optional(LANGUAGE)
    deadline_seconds: int | None = _deadline()
    client_key: strawberry.ID = strawberry.field(description=KEY)


@strawberry.input(description="A lead to wake.")
class DraftReactivationScriptInput:
    """What a reactivation script takes."""

    lead_id: strawberry.ID = strawberry.field(description="The lead.")
    channel: Channel | None = _optional("The channel to use; the best that consent allows without it.")
    language: Language | None = _optional(LANGUAGE)
    deadline_seconds: int | None = _deadline()
    client_key: strawberry.ID = strawberry.field(description=KEY)


@strawberry.input(description="An answer of any kind.")
class DraftGenerationInput:
    """What any kind of answer takes."""

    kind: GenerationKind = strawberry.field(description="What kind of answer.")
    subject_id: strawberry.ID = strawberry.field(description="The record that it is about.")
    ask: str | None = _optional("What is asked: the purpose of a visit, the words of an objection.")
    channel: Channel | None = _optional("The channel to use.")
    language: Language | None = _optional(LANGUAGE)
    deadline_seconds: int | None = _deadline()
    client_key: strawberry.ID = strawberry.field(description=KEY)


@strawberry.input(description="What a person made of an answer.")
class GiveFeedbackInput:
    """What feedback takes."""

    generation_id: strawberry.ID = strawberry.field(description="The answer.")
    verdict: FeedbackVerdict = strawberry.field(description="What they made of it.")
    reason: str | None = text("Why.", review.TEXT_LENGTH)
    corrected_text: str | None = text("The text as they used it; needed with EDITED.", review.TEXT_LENGTH)


@strawberry.input(description="An answer to overrule.")
class VetoGenerationInput:
    """What a veto takes."""

    generation_id: strawberry.ID = strawberry.field(description="The answer.")
    reason: str = text("Why.", review.TEXT_LENGTH, required=True)


@strawberry.type(description="The answer, or why there is none.")
class GenerationPayload:
    """The answer to asking."""

    generation: Generation | None = strawberry.field(default=None, description="The answer.")
    errors: list[UserError] = refusals()


@strawberry.type(description="A piece of an answer as it becomes ready: a section, or at last the whole.")
class GenerationChunk:
    """One piece."""

    section: GenerationSection | None = strawberry.field(
        default=None, description="A section, stored and noted before it is sent."
    )
    generation: Generation | None = strawberry.field(default=None, description="The finished answer: the last piece.")


def _ask(context: Context, kind: GenerationKind, subject: str, input: Any, **more: Any) -> Ask:
    deadline = given(input.deadline_seconds)
    skill = SKILLS.get(kind)
    return Ask(
        kind=kind, subject_id=id_of(skill.subject_kind, subject) if skill else None, client_key=str(input.client_key), language=given(input.language) or context.language,
        deadline_seconds=DEFAULT_DEADLINE_SECONDS if deadline is None else deadline, **more,
    )  # fmt: skip


def _any_ask(context: Context, input: DraftGenerationInput) -> Ask:
    return _ask(context, input.kind, input.subject_id, input, words=given(input.ask), channel=given(input.channel))


async def _answer(context: Context, ask: Ask) -> GenerationPayload:
    await context.begin_answer(ask.deadline_seconds)
    found = await pipeline.run(context.assistant, context.reader, ask)
    return GenerationPayload(generation=await _read(context, found))


async def _read(context: Context, generation_id: UUID) -> Generation | None:
    found: Generation | None = await load_one(context, shape_of(Generation), generation_id)
    return found


@roots
class AssistantQueries:
    """The roots of this room."""

    generations: Connection[Generation] | None = listing(
        "The answers that the reader sees, newest first.", filter=GenerationFilter
    )

    @computed("How the answers of a window fared.")
    async def assistant_metrics(
        self,
        info: Info,
        since: Annotated[datetime, strawberry.argument(description="Asked at this instant or later.")],
        until: Annotated[
            datetime | None, strawberry.argument(description="Asked before this instant; now without it.")
        ] = strawberry.UNSET,
    ) -> AssistantMetrics | None:
        """Measure them."""
        context: Context = info.context
        async with context.database.read(context.reader) as connection:
            found = await review.metrics(connection, context.reader, since, given(until))
        return AssistantMetrics(
            shown=found.shown, used=found.used, edited=found.edited, rejected=found.rejected, vetoed=found.vetoed, adoption_rate=found.adoption_rate,
            veto_rate=found.veto_rate, p95_latency_ms=found.p95_latency_ms,
        )  # fmt: skip


@strawberry.type
class AssistantMutations:
    """The mutations of this room."""

    @mutation("Prepare a visit: thirteen sections with their sources.", Role.REP, Role.MANAGER)
    async def draft_visit_brief(
        self, info: Info, input: Annotated[DraftVisitBriefInput, strawberry.argument(description="The visit.")]
    ) -> GenerationPayload | None:
        """Write it."""
        opportunity = given(input.opportunity_id)
        named = None if opportunity is None else id_of("Opportunity", opportunity) or UUID(int=0)
        ask = _ask(
            info.context,
            GenerationKind.VISIT_BRIEF,
            input.account_id,
            input,
            words=given(input.purpose),
            opportunity_id=named,
        )
        return await _answer(info.context, ask)

    @mutation("Answer an objection: acknowledge, answer with proof, offer the next step.", Role.REP, Role.MANAGER)
    async def draft_objection_reply(
        self, info: Info, input: Annotated[DraftObjectionReplyInput, strawberry.argument(description="The objection.")]
    ) -> GenerationPayload | None:
        """Write it."""
        ask = _ask(
            info.context,
            GenerationKind.OBJECTION_REPLY,
            input.opportunity_id,
            input,
            words=input.concern,
            category=given(input.category),
            channel=given(input.channel),
        )
        return await _answer(info.context, ask)

    @mutation("Wake a lead: one reason to talk now, on a channel that consent allows.", Role.REP, Role.MANAGER)
    async def draft_reactivation_script(
        self, info: Info, input: Annotated[DraftReactivationScriptInput, strawberry.argument(description="The lead.")]
    ) -> GenerationPayload | None:
        """Write it."""
        return await _answer(
            info.context,
            _ask(info.context, GenerationKind.REACTIVATION_SCRIPT, input.lead_id, input, channel=given(input.channel)),
        )

    @mutation("Have any kind of answer written.", Role.REP, Role.MANAGER)
    async def draft_generation(
        self, info: Info, input: Annotated[DraftGenerationInput, strawberry.argument(description="What is asked.")]
    ) -> GenerationPayload | None:
        """Write it."""
        return await _answer(info.context, _any_ask(info.context, input))

    @mutation("Say what became of an answer.", Role.REP, Role.MANAGER)
    async def give_feedback(
        self, info: Info, input: Annotated[GiveFeedbackInput, strawberry.argument(description="The feedback.")]
    ) -> GenerationPayload | None:
        """Keep it."""
        async with info.context.open_uow() as uow:
            generation = await review.give_feedback(
                uow,
                id_of("Generation", input.generation_id),
                input.verdict,
                reason=given(input.reason),
                corrected_text=given(input.corrected_text),
            )
        return GenerationPayload(generation=await _read(info.context, generation.id))

    @mutation("Overrule an answer.", Role.MANAGER, Role.LEGAL)
    async def veto_generation(
        self, info: Info, input: Annotated[VetoGenerationInput, strawberry.argument(description="The veto.")]
    ) -> GenerationPayload | None:
        """Keep it."""
        async with info.context.open_uow() as uow:
            generation = await review.veto(uow, id_of("Generation", input.generation_id), input.reason)
        return GenerationPayload(generation=await _read(info.context, generation.id))


_running: set[asyncio.Task[UUID]] = set()
"""Answers being written for a stream: a reader who leaves does not break them off."""


@strawberry.type
class AssistantSubscriptions:
    """The assistant's stream."""

    @strawberry.subscription(  # type: ignore[untyped-decorator]  # Strawberry declares it without types
        description="An answer section by section, each stored and noted before it is sent; a repeated key sends them again."
    )
    async def generation_stream(
        self, info: Info, input: Annotated[DraftGenerationInput, strawberry.argument(description="What is asked.")]
    ) -> AsyncIterator[GenerationChunk]:
        """Write it, and hand each section on as it is stored."""
        context: Context = info.context
        ready: asyncio.Queue[Section | None] = asyncio.Queue()
        ask = _any_ask(context, input)
        await context.begin_answer(ask.deadline_seconds)
        writing = asyncio.create_task(pipeline.run(context.assistant, context.reader, ask, ready.put))
        _running.add(writing)
        writing.add_done_callback(_running.discard)
        writing.add_done_callback(lambda _: ready.put_nowait(None))
        sent = 0
        while (section := await ready.get()) is not None:
            sent += 1
            yield GenerationChunk(section=_section(section))
        generation_id = await writing
        generation = await _read(context, generation_id)
        if not sent and generation is not None:
            for shown in await _stored(context, generation_id):
                yield GenerationChunk(section=shown)
        yield GenerationChunk(generation=generation)


def _section(section: Section) -> GenerationSection:
    shown: GenerationSection = object.__new__(GenerationSection)
    shown.__dict__.update(asdict(section))
    return shown


async def _stored(context: Context, generation_id: UUID) -> list[GenerationSection]:
    part = (model.GenerationSection.generation_id == generation_id) & rows_visible(
        model.GenerationSection, context.reader
    )
    rows = await context.rows(
        select(*model.GenerationSection.__table__.c).where(part).order_by(model.GenerationSection.position)
    )
    return [_section(Section(row["key"], row["heading"], row["body"], row["missing"])) for row in rows]
