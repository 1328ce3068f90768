"""Replays in the schema: stored answers written once more against another prompt, model or knowledge, side by side with the first."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import strawberry

from api.assistant import Generation
from api.context import Info
from api.mutations import UserError, create_once, given, mutation, refusals, text
from api.people import Actor, person
from api.reads import (
    Connection,
    Expression,
    by,
    column,
    equals,
    expect,
    gathered,
    listing,
    many,
    node,
    roots,
    selected,
    to_one,
)
from api.records import RECORD_HIDDEN, Record
from api.scalars import enum
from assistant import replays
from assistant.model import GenerationKind, GenerationMode
from assistant.replays import Against, ReplayedKnowledge, ReplayedModel, ReplayOutcome, Sample

enum(
    ReplayedKnowledge,
    "Which state of the knowledge an answer is written from once more.",
    AS_OFFERED="What it was offered, in the very versions.",
    NOW="What is found for it now.",
    AT="What was in use at an instant.",
)
enum(
    ReplayedModel,
    "Who words an answer once more.",
    COMPOSER="The offline composer.",
    CONFIGURED="The model of this installation; the composer where there is none.",
)
enum(
    ReplayOutcome,
    "What came of an answer in a replay.",
    WAITING="It has not been written once more yet.",
    SAME="Its words, sources and checks are the same.",
    CHANGED="Something is different.",
    SKIPPED="It could not be written once more.",
)


@strawberry.type(description="One section as it was and as it would be.")
class SectionDifference:
    """One section twice."""

    key: str = strawberry.field(description="The key of the section.")
    heading: str = strawberry.field(description="Its heading.")
    before: str | None = strawberry.field(description="Its text in the answer; null where it was not written.")
    after: str | None = strawberry.field(description="Its text in the replay; null where it would not be written.")
    changed: bool = strawberry.field(description="Whether one word is different.")


@strawberry.type(description="One check whose result is another.")
class CheckDifference:
    """One check twice."""

    key: str = strawberry.field(description="The check.")
    passed_before: bool = strawberry.field(description="Whether it passed in the answer.")
    passed_after: bool = strawberry.field(description="Whether it passed in the replay.")


@strawberry.type(
    description="An answer and its replay side by side. A source is `Kind:id`, knowledge with the number of its version."
)
class ReplayDifference:
    """What is different."""

    sections: list[SectionDifference] = strawberry.field(description="Each section of either.")
    sources_kept: list[str] = strawberry.field(description="The sources that both cite.")
    sources_lost: list[str] = strawberry.field(description="Those that the answer cited alone.")
    sources_gained: list[str] = strawberry.field(description="Those that the replay cites alone.")
    checks: list[CheckDifference] = strawberry.field(description="The checks whose result is another.")


def _stored(name: str) -> Expression:
    return lambda view: view.table.c[name]


def _difference(stored: Mapping[str, Any] | None) -> ReplayDifference | None:
    if stored is None:
        return None
    sections = [SectionDifference(**one, changed=one["before"] != one["after"]) for one in stored["sections"]]
    sources = {name: stored[name] for name in ("sources_kept", "sources_lost", "sources_gained")}
    return ReplayDifference(sections=sections, checks=[CheckDifference(**one) for one in stored["checks"]], **sources)


@node(replays.ReplayResult, hidden=frozenset({"run_id", "generation_id", "difference"}), order=by("id"))
class ReplayResult:
    """One answer of a replay; `generation` has what it was and cost."""

    generation: Generation | None = to_one("generation_id", "The answer.")
    outcome: ReplayOutcome = column("What came of it.")
    reason: str | None = column("Why it could not be written once more.")
    mode: GenerationMode | None = column("Who worded it now.")
    model: str | None = column("The model that did.")
    used_prompt: str | None = column("The prompt that was used, as key@content hash.")
    prompt_tokens: int | None = column("Tokens that the model read.")
    completion_tokens: int | None = column("Tokens that it wrote.")
    latency_ms: int | None = column("Milliseconds that it took.")
    replayed_at: datetime | None = column("When.")
    difference: ReplayDifference | None = gathered(
        (_stored("difference"),), _difference, "What is different; null until it is written, and where it was skipped."
    )


@strawberry.input(description="Which results.")
class ReplayResultFilter:
    """Conditions on results."""

    outcome: ReplayOutcome | None = equals("outcome", "What came of them.")


@node(replays.ReplayRun, order=by("-requested_at", "-id"), hidden=RECORD_HIDDEN | {"requested_by_id"})
class ReplayRun(Record):
    """Some answers written once more; nothing but its results comes of it."""

    requested_by: Actor = person("Who asked for it.", "requested_by_id")
    requested_at: datetime = column("When.")
    knowledge: ReplayedKnowledge = column("From which state of the knowledge.")
    knowledge_at: datetime | None = column("Of which instant, where it is that of one.")
    model: ReplayedModel = column("By whom they are worded.")
    prompt_version: str | None = column("The prompt that is used instead of the one in force.")
    total: int = column("How many answers.")
    finished_at: datetime | None = column("When the last was done; null until then.")
    results: list[ReplayResult] = many("run_id", "What came of each answer that the reader sees.")


@roots
class ReplayQueries:
    """The roots of this room."""

    replays: Connection[ReplayRun] | None = listing("The replays that the reader sees, newest first.")


@strawberry.input(description="Which answers are replayed: named ones, or a sample of a window.")
class ReplaySampleInput:
    """What is replayed."""

    generation_ids: list[strawberry.ID] | None = strawberry.field(
        default=strawberry.UNSET, description="These answers; what follows does not count then."
    )
    since: datetime | None = strawberry.field(default=strawberry.UNSET, description="Asked at this instant or later.")
    until: datetime | None = strawberry.field(default=strawberry.UNSET, description="Asked before this instant.")
    kind: GenerationKind | None = strawberry.field(default=strawberry.UNSET, description="Of this kind.")
    count: int = strawberry.field(
        default=100, description="How many at most: 1 to 500; the same window gives the same ones."
    )


@strawberry.input(description="What answers are written against once more.")
class ReplayAgainstInput:
    """Against what."""

    knowledge: ReplayedKnowledge = strawberry.field(
        default=ReplayedKnowledge.AS_OFFERED, description="From which state of the knowledge."
    )
    knowledge_at: datetime | None = strawberry.field(default=strawberry.UNSET, description="The instant of AT.")
    model: ReplayedModel = strawberry.field(default=ReplayedModel.CONFIGURED, description="Who words them.")
    prompt_version: str | None = text(
        "The prompt, as `promptVersion` of an answer names it; the one in force without it.", 200
    )


@strawberry.input(description="A replay to start.")
class StartReplayInput:
    """What starting takes."""

    client_key: strawberry.ID = text("The caller's key: the same one starts once.", 200, required=True)
    sample: ReplaySampleInput = strawberry.field(description="Which answers.")
    against: ReplayAgainstInput = strawberry.field(description="Against what.")


@strawberry.type(description="The replay, or why none was started.")
class ReplayPayload:
    """The answer to starting."""

    run: ReplayRun | None = strawberry.field(default=None, description="The replay.")
    errors: list[UserError] = refusals()


@strawberry.type
class ReplayMutations:
    """The mutations of this room."""

    @mutation("Write stored answers once more and compare; nothing else happens to anything.", *replays.REPLAYING)
    async def start_replay(
        self, info: Info, input: Annotated[StartReplayInput, strawberry.argument(description="What is replayed.")]
    ) -> ReplayPayload | None:
        """Plan it; the process that holds the knowledge works it off within seconds."""
        chosen, against = input.sample, input.against
        ids = tuple(expect("Generation", id, "sample", "generationIds") for id in given(chosen.generation_ids) or ())
        words = {
            "sample": Sample(ids, given(chosen.since), given(chosen.until), given(chosen.kind), chosen.count),
            "against": Against(against.knowledge, given(against.knowledge_at), against.model, given(against.prompt_version)),
        }  # fmt: skip
        id = await create_once(info, input, replays.ReplayRun, replays.start, words)
        return ReplayPayload(run=selected(info, ReplayRun, id))
