"""Saved questions in the schema: kept by curators, listed with their last run, and run on demand."""

from datetime import datetime
from typing import Annotated, Any, cast
from uuid import UUID

import strawberry
from sqlalchemy import Boolean, ColumnElement, and_, exists, select

from api.context import Context, Info
from api.knowledge.entries import KnowledgeItem
from api.knowledge.question_runs import NO_LIBRARY, run_tests
from api.knowledge.search import KnowledgeHit, PassageScore, hits_of
from api.mutations import UserError, changes, create_once, given, mutation, refusals, text
from api.people import Brand, Territory
from api.reads import (
    STAMPS,
    Connection,
    Node,
    View,
    column,
    deferred,
    equals,
    expect,
    global_id,
    listing,
    load_one,
    many,
    matching,
    names,
    node,
    roots,
    selected,
    shape_of,
    to_one,
)
from domain import people
from domain.kernel import Base, Language, Role, Unavailable, UnitOfWork, load, rows_visible
from knowledge import CURATING, KnowledgeKind, retrieval_tests
from knowledge.retrieval_tests import FACET_LENGTH, QUESTION_LENGTH, Outcome

# ---- stored ----------------------------------------------------------------------------------------------------------


@strawberry.type(description="The rank at which an entry came.")
class RetrievalRank:
    """One entry of a test in a run."""

    item_id: strawberry.ID = strawberry.field(description="The entry.")
    rank: int | None = strawberry.field(description="Its rank, from 1; null where it was not among the first 50.")


def _ranks(_language: Language, ranks: Any) -> list[RetrievalRank]:
    return [
        RetrievalRank(item_id=strawberry.ID(global_id("KnowledgeItem", UUID(id))), rank=rank)
        for id, rank in (ranks or {}).items()
    ]


@node(retrieval_tests.RetrievalTestRun, hidden=frozenset())
class RetrievalTestRun(Node):
    """What a test found when it was last run; it is run again after each publication."""

    at: datetime = column("When it ran.")
    test_version: int = column("The `version` of the test that ran.")
    publication: int = column("The count of publications that it searched, as `knowledgeIndex` shows it.")
    model_fingerprint: str | None = column(
        "The digest of the embedding model that served; null where words served alone."
    )
    methods: list[str] = column("The methods that served.")
    passed: bool = column("Whether every expected entry came within the places, and no unwanted one.")
    ranks: list[RetrievalRank] = deferred(("ranks",), _ranks, "Where each entry that it names came.")


@node(retrieval_tests.RetrievalExpectation, hidden=frozenset({"test_id"}))
class RetrievalExpectation:
    """An entry that a test names."""

    item: KnowledgeItem | None = to_one("item_id", "The entry.")
    comes: bool = column("Whether it should come; false: it should not.")


@node(retrieval_tests.RetrievalTest, hidden=STAMPS - {"version", "created_at", "updated_at"})
class RetrievalTest(Node):
    """A saved question, with the entries that should come for it and those that should not."""

    version: int = column("Grows with every stored change; what `expectedVersion` compares.")
    created_at: datetime = column("When it was saved.")
    updated_at: datetime = column("When it was last changed.")
    question: str = column("The words.")
    language: Language = column("The language in which they are put.")
    within: int = column("Among how many first entries the expected ones should be.")
    asker_role: Role = column("The role of who asks: what they do not see does not come.")
    territory: Territory | None = to_one("territory_id", "Where they work; null: nowhere in particular.")
    brand: Brand | None = to_one("brand_id", "For which brand they work; null: for all.")
    kind: KnowledgeKind | None = column("Filter: what kind of content.", "only_kind")
    entry_language: Language | None = column("Filter: the language of entries.", "only_language")
    concern: str | None = column("Filter: a concern that they name.")
    stage: str | None = column("Filter: a stage that they name.")
    buying_role: str | None = column("Filter: a buying role that they name.")
    industry: str | None = column("Filter: an industry that they name.")
    competitor: str | None = column("Filter: a competitor that they name.")
    expectations: list[RetrievalExpectation] = many("test_id", "The entries that it names.")
    last_run: RetrievalTestRun | None = to_one("id", "Its last run; null before the first.")


def _passed(view: View, passed: bool) -> ColumnElement[bool]:
    ran = retrieval_tests.RetrievalTestRun
    same = and_(ran.id == view.table.c.id, ran.passed == passed, rows_visible(ran, view.actor))
    return exists(select(1).where(same))


@strawberry.input(description="Which tests; all conditions hold together.")
class RetrievalTestFilter:
    """Conditions on tests."""

    language: Language | None = equals("language", "The language of the question.")
    asker_role: Role | None = equals("asker_role", "The role of who asks.")
    territory_id: strawberry.ID | None = names("Territory", "territory_id", "Where they work.")
    passed: bool | None = matching(_passed, "How the last run ended: false are the tests that fail now.", Boolean())


# ---- inputs ----------------------------------------------------------------------------------------------------------


def _optional(description: str) -> Any:
    return strawberry.field(default=strawberry.UNSET, description=description)


@strawberry.input(description="A question to save, with what should come for it.")
class SaveRetrievalTestInput:
    """What saving takes."""

    client_key: strawberry.ID = text("The caller's key: the same one saves the test once.", 200, required=True)
    question: str = text("The words, such as an example of a gap.", QUESTION_LENGTH, required=True)
    language: Language = strawberry.field(default=Language.ZH, description="The language in which they are put.")
    expected: list[strawberry.ID] = strawberry.field(default_factory=list, description="The entries that should come.")
    unwanted: list[strawberry.ID] = strawberry.field(default_factory=list, description="Those that should not.")
    within: int = strawberry.field(default=5, description="Among how many first entries: 1 to 50.")
    asker_role: Role = strawberry.field(default=Role.REP, description="The role of who asks.")
    territory_id: strawberry.ID | None = _optional("Where they work.")
    brand_id: strawberry.ID | None = _optional("For which brand they work.")
    kind: KnowledgeKind | None = _optional("Filter: what kind of content.")
    entry_language: Language | None = _optional("Filter: the language of entries.")
    concern: str | None = text("Filter: a concern, by key.", FACET_LENGTH)
    stage: str | None = text("Filter: a stage, by key.", FACET_LENGTH)
    buying_role: str | None = text("Filter: a buying role, by key.", FACET_LENGTH)
    industry: str | None = text("Filter: an industry, by key.", FACET_LENGTH)
    competitor: str | None = text("Filter: a competitor, by key.", FACET_LENGTH)


@strawberry.input(description="What to change in a test; what is left out stays.")
class ReviseRetrievalTestInput:
    """What revising takes."""

    id: strawberry.ID = strawberry.field(description="The test.")
    expected_version: int = strawberry.field(description="The `version` on which the change is made.")
    question: str | None = text("The words.", QUESTION_LENGTH)
    language: Language | None = _optional("The language in which they are put.")
    expected: list[strawberry.ID] | None = _optional("The entries that should come, in the place of those before.")
    unwanted: list[strawberry.ID] | None = _optional("Those that should not, in the place of those before.")
    within: int | None = _optional("Among how many first entries: 1 to 50.")
    asker_role: Role | None = _optional("The role of who asks.")
    territory_id: strawberry.ID | None = _optional("Where they work; null: nowhere in particular.")
    brand_id: strawberry.ID | None = _optional("For which brand they work; null: for all.")
    kind: KnowledgeKind | None = _optional("Filter: what kind of content; null: any.")
    entry_language: Language | None = _optional("Filter: the language of entries; null: any.")
    concern: str | None = text("Filter: a concern, by key; null: any.", FACET_LENGTH)
    stage: str | None = text("Filter: a stage, by key; null: any.", FACET_LENGTH)
    buying_role: str | None = text("Filter: a buying role, by key; null: any.", FACET_LENGTH)
    industry: str | None = text("Filter: an industry, by key; null: any.", FACET_LENGTH)
    competitor: str | None = text("Filter: a competitor, by key; null: any.", FACET_LENGTH)


@strawberry.input(description="A test to keep no longer.")
class DeleteRetrievalTestInput:
    """What deleting takes."""

    id: strawberry.ID = strawberry.field(description="The test.")
    expected_version: int = strawberry.field(description="The `version` that is deleted.")


@strawberry.input(description="Which tests to run.")
class RunRetrievalTestsInput:
    """What running takes."""

    ids: list[strawberry.ID] | None = _optional("The tests; all of them without it.")


# ---- payloads --------------------------------------------------------------------------------------------------------


@strawberry.type(description="The test as it is now, or why it is not.")
class RetrievalTestPayload:
    """The answer to saving and revising."""

    test: RetrievalTest | None = strawberry.field(default=None, description="The test.")
    errors: list[UserError] = refusals()


@strawberry.type(description="The test that is gone, or why it is not.")
class DeleteRetrievalTestPayload:
    """The answer to deleting."""

    test_id: strawberry.ID | None = strawberry.field(default=None, description="The id that is gone.")
    errors: list[UserError] = refusals()


@strawberry.type(description="Where an entry that a test names came, and why there.")
class RetrievalTestRank:
    """One entry of a run."""

    item: KnowledgeItem | None = strawberry.field(description="The entry.")
    comes: bool = strawberry.field(description="Whether it should come.")
    rank: int | None = strawberry.field(description="Its rank, from 1; null where it is not among the first 50.")
    score: float | None = strawberry.field(description="The fused score, 0 to 1; null where it did not come.")
    explanation: list[PassageScore] = strawberry.field(
        description="What each method said; empty where it did not come."
    )


@strawberry.type(description="What a test found.")
class RetrievalTestOutcome:
    """The outcome of one test."""

    test: RetrievalTest | None = strawberry.field(description="The test.")
    passed: bool = strawberry.field(
        description="Whether every expected entry came within the places, and no unwanted one."
    )
    ranks: list[RetrievalTestRank] = strawberry.field(description="Where each entry that it names came.")
    found: list[KnowledgeHit] = strawberry.field(description="Where it fails: what came within the places.")
    methods: list[str] = strawberry.field(description="The methods that served.")
    degraded: str | None = strawberry.field(description="Why not every method served; null when all did.")


@strawberry.type(description="What the tests found, or why they were not run.")
class RunRetrievalTestsPayload:
    """The answer to running."""

    outcomes: list[RetrievalTestOutcome] = strawberry.field(default_factory=list, description="Those that fail first.")
    ran: int = strawberry.field(default=0, description="How many tests ran.")
    failed: int = strawberry.field(default=0, description="How many of them failed.")
    errors: list[UserError] = refusals()


# ---- showing ---------------------------------------------------------------------------------------------------------


async def _item(context: Context, id: UUID) -> Any:
    return await load_one(context, shape_of(KnowledgeItem), id)


async def _outcome(context: Context, outcome: Outcome) -> RetrievalTestOutcome:
    question, result = outcome.question, outcome.result
    placed = dict(enumerate(result.hits, 1))
    ranks = []
    for id, rank in outcome.ranks.items():
        hit = None if rank is None else placed[rank]
        ranks.append(
            RetrievalTestRank(
                item=await _item(context, id), comes=question.named[id], rank=rank, score=None if hit is None else hit.score,
                explanation=cast("list[PassageScore]", [] if hit is None else list(hit.explanation)),
            )
        )  # fmt: skip
    found = [] if outcome.passed else await hits_of(context, result.hits[: question.within])
    test: Any = await load_one(context, shape_of(RetrievalTest), question.test_id)
    return RetrievalTestOutcome(
        test=test, passed=outcome.passed, ranks=ranks, found=found, methods=list(result.methods),
        degraded=result.degraded.words(context.language) if result.degraded else None,
    )  # fmt: skip


@roots
class QuestionQueries:
    """The saved tests."""

    retrieval_tests: Connection[RetrievalTest] = listing(
        "The saved questions, newest first; for who keeps the knowledge.", filter=RetrievalTestFilter
    )


# ---- keeping and running ---------------------------------------------------------------------------------------------

SAME = ("question", "language", "within", "asker_role", "concern", "stage", "buying_role", "industry", "competitor")
RENAMED = {"kind": "only_kind", "entry_language": "only_language"}


def _ids(input: Any, name: str) -> list[UUID] | None:
    ids = given(getattr(input, name))
    return None if ids is None else [expect("KnowledgeItem", id, name) for id in ids]


def _said(input: Any) -> dict[str, Any]:
    """What an input says, by the names of the domain."""
    words = changes(input, *SAME, **RENAMED)
    for name, entity, path in (("territory_id", "Territory", "territoryId"), ("brand_id", "Brand", "brandId")):
        if (id := getattr(input, name)) is not strawberry.UNSET:
            words[name] = None if id is None else expect(entity, id, path)
    for name in ("expected", "unwanted"):
        if (ids := _ids(input, name)) is not None:
            words[name] = ids
    return words


async def _check_place(uow: UnitOfWork, words: dict[str, Any]) -> None:
    """See that the territory and the brand that are named are there."""
    places: tuple[tuple[str, type[Base]], ...] = (("territory_id", people.Territory), ("brand_id", people.Brand))
    for name, model in places:
        if words.get(name) is not None:
            await load(uow.session, uow.actor, model, words[name], path=(name.replace("_id", "Id"),))


async def _save(uow: UnitOfWork, **words: Any) -> retrieval_tests.RetrievalTest:
    await _check_place(uow, words)
    return await retrieval_tests.save_retrieval_test(uow, **words)


@strawberry.type
class QuestionMutations:
    """What curators do with tests."""

    @mutation("Save a question with the entries that should come for it.", *CURATING)
    async def save_retrieval_test(
        self, info: Info, input: Annotated[SaveRetrievalTestInput, strawberry.argument(description="The test.")]
    ) -> RetrievalTestPayload | None:
        """Save it once."""
        id = await create_once(info, input, retrieval_tests.RetrievalTest, _save, _said(input))
        return RetrievalTestPayload(test=selected(info, RetrievalTest, id))

    @mutation("Change a saved question.", *CURATING)
    async def revise_retrieval_test(
        self, info: Info, input: Annotated[ReviseRetrievalTestInput, strawberry.argument(description="The change.")]
    ) -> RetrievalTestPayload | None:
        """Change it, and read it as the caller sees it."""
        id, words = expect("RetrievalTest", input.id, "id"), _said(input)
        async with info.context.open_uow() as uow:
            await _check_place(uow, words)
            await retrieval_tests.revise_retrieval_test(uow, id, input.expected_version, words)
        return RetrievalTestPayload(test=selected(info, RetrievalTest, id))

    @mutation("Keep a saved question no longer.", *CURATING)
    async def delete_retrieval_test(
        self, info: Info, input: Annotated[DeleteRetrievalTestInput, strawberry.argument(description="The test.")]
    ) -> DeleteRetrievalTestPayload | None:
        """Delete it."""
        id = expect("RetrievalTest", input.id, "id")
        async with info.context.open_uow() as uow:
            await retrieval_tests.delete_retrieval_test(uow, id, input.expected_version)
        return DeleteRetrievalTestPayload(test_id=input.id)

    @mutation("Put saved questions to retrieval as it is, and keep what came.", *CURATING)
    async def run_retrieval_tests(
        self, info: Info, input: Annotated[RunRetrievalTestsInput, strawberry.argument(description="Which tests.")]
    ) -> RunRetrievalTestsPayload | None:
        """Run them, each as its asker."""
        context = info.context
        if context.library is None:
            raise Unavailable(NO_LIBRARY)
        named = given(input.ids)
        ids = None if named is None else [expect("RetrievalTest", id, "ids") for id in named]
        outcomes = await run_tests(context.database, context.library, ids)
        shown = [await _outcome(context, one) for one in sorted(outcomes, key=lambda one: one.passed)]
        return RunRetrievalTestsPayload(outcomes=shown, ran=len(shown), failed=sum(not one.passed for one in shown))
