"""The content board in the schema: coverage, gaps, what is stale or never found, look-alikes, and proposals to retire."""

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

import strawberry
from sqlalchemy import ColumnElement, false, func, select, true

import knowledge
from api.context import Context, Info
from api.knowledge.entries import BrokenTests, KnowledgeItem, shown_tests
from api.knowledge.question_runs import PublicationChange, broken_by, note_broken
from api.mutations import UserError, given, mutation, refusals, text
from api.people import User
from api.reads import (
    STAMPS,
    Connection,
    Node,
    by,
    check_size,
    column,
    computed,
    equals,
    expect,
    listing,
    load_one,
    names,
    node,
    roots,
    selected,
    shape_of,
    to_one,
)
from api.scalars import JSON, enum
from assistant.wording import CONCERNS
from domain.accounts import Account
from domain.deals import Stage
from domain.kernel import SYSTEM, Forbidden, Invalid, Language, Role, Text, rows_visible
from knowledge import CURATING, KnowledgeKind, LoggedSearch, RetrievalTest, board, gaps, retirement
from knowledge.board import Staleness
from knowledge.likeness import LikenessMethod
from knowledge.retirement import RetirementGround, RetirementState

SEES = (*CURATING, Role.MANAGER)
LONGEST_DAYS, INDUSTRIES = 365, 40
NO_SIGHT = Text("您的角色不能查看内容看板", "your role does not see the content board")

enum(
    Staleness,
    "Why an entry is stale.",
    EXPIRED="Its expiry has passed.",
    REVIEW_DUE="Its review date has passed.",
    NOT_LOOKED_AT="It has no review date and nobody published it anew for a year.",
)
enum(
    LikenessMethod,
    "By what passages were compared.",
    MEANING="Their cached vectors.",
    WORDS="Their words (TF-IDF), where not every passage has its vector.",
)
enum(
    RetirementGround,
    "Why an entry is proposed for retirement.",
    EXPIRED="It expired 30 days ago or longer.",
    UNUSED="It was in use for 90 days in which at least 200 searches did not bring it up.",
    INEFFECTIVE="Offered 30 times or more, its rate of use lies below the mean of its kind even at the interval's upper end.",
)
enum(
    RetirementState,
    "What became of a proposal.",
    OPEN="It waits for a curator.",
    ACCEPTED="The entry was retired.",
    REJECTED="The entry was kept; it is not proposed again for 90 days.",
    WITHDRAWN="Its ground is gone.",
)


# ---- computed figures ------------------------------------------------------------------------------------------------


@strawberry.type(description="How many entries in date meet a concern in a stage and an industry.")
class CoverageCell:
    """One cell."""

    concern: str = strawberry.field(description="The key of the concern.")
    stage: str = strawberry.field(description="The key of the stage.")
    industry: str = strawberry.field(description="The key of the industry.")
    entries: int = strawberry.field(
        description="Entries that name the concern and fit the stage and the industry, which they name or leave open."
    )
    made_for: int = strawberry.field(description="Of these, those that name all three.")


@strawberry.type(description="Coverage of what the installation meets by what it knows.")
class KnowledgeCoverage:
    """The cells with their axes."""

    concerns: list[str] = strawberry.field(description="The concerns that answers tell apart.")
    stages: list[str] = strawberry.field(description="The open stages of the pipelines, in their order.")
    industries: list[str] = strawberry.field(description="The industries of accounts, the most frequent first.")
    empty: int = strawberry.field(description="How many cells no entry fits.")
    cells: list[CoverageCell] = strawberry.field(description="The cells, by concern, then stage, then industry.")


@strawberry.type(description="Questions that ask the same and have no good hit.")
class KnowledgeGap:
    """One gap."""

    asked: int = strawberry.field(description="How often they were asked.")
    questions: int = strawberry.field(description="How many different questions there are.")
    examples: list[str] = strawberry.field(description="Those asked most; personal data are masked.")
    concern: str | None = strawberry.field(description="The concern that most of them name.")
    empty: int = strawberry.field(description="How often nothing at all was found.")
    last_at: datetime = strawberry.field(description="When one was asked last.")
    tests: int = strawberry.field(description="How many retrieval tests ask one of its questions.")


@strawberry.type(description="What the knowledge does not answer.")
class KnowledgeGaps:
    """The gaps with their denominators."""

    searches: int = strawberry.field(description="Searches in the time, of people and for answers.")
    unanswered: int = strawberry.field(description="Of these, those without a good hit.")
    clustered_by: LikenessMethod = strawberry.field(description="By what questions were gathered.")
    gaps: list[KnowledgeGap] = strawberry.field(description="The gaps, the one asked most first.")


@strawberry.type(description="An entry that has grown stale.")
class StaleEntry:
    """One entry."""

    item: KnowledgeItem = strawberry.field(description="The entry.")
    reason: Staleness = strawberry.field(description="Why.")
    since: datetime = strawberry.field(description="Since when: its expiry, its review date, or when it came into use.")


@strawberry.type(description="Entries that have grown stale.")
class StaleEntries:
    """A page with its total."""

    total_count: int = strawberry.field(description="How many there are.")
    entries: list[StaleEntry] = strawberry.field(description="The longest stale first.")


@strawberry.type(description="An entry that no search brings up.")
class UnusedEntry:
    """One entry."""

    item: KnowledgeItem = strawberry.field(description="The entry.")
    last_at: datetime | None = strawberry.field(description="When a search last did; null for never.")


@strawberry.type(description="Entries that no search brings up.")
class UnusedEntries:
    """A page with its total."""

    total_count: int = strawberry.field(description="How many there are.")
    entries: list[UnusedEntry] = strawberry.field(description="Those never found first.")


def _check(context: Context) -> None:
    if not context.reader.has(*SEES):
        raise Forbidden(NO_SIGHT)


def _since(context: Context, days: int) -> datetime:
    if not 1 <= days <= LONGEST_DAYS:
        words = Text(f"days 须在 1 到 {LONGEST_DAYS} 之间", f"days must be 1 to {LONGEST_DAYS}")
        raise Invalid(words, ("days",))
    return context.now - timedelta(days=days)


def _mine(context: Context) -> ColumnElement[bool]:
    """The searches that count for the reader: all for who keeps the knowledge, for a manager those of their territories."""
    if context.reader.has(*CURATING):
        return true()
    reaches = [reach for reach in context.reader.reaches if reach.role is Role.MANAGER and not reach.account_ids]
    territories = frozenset[Any]().union(*(reach.territory_ids for reach in reaches))
    return LoggedSearch.territory_id.in_(territories) if territories else false()


def _visible(context: Context) -> ColumnElement[bool]:
    return rows_visible(knowledge.KnowledgeItem, context.reader)


async def _items(context: Context, rows: Sequence[Any]) -> list[Any]:
    return await asyncio.gather(*(load_one(context, shape_of(KnowledgeItem), row["id"]) for row in rows))


async def _axes(context: Context) -> tuple[list[str], list[str], list[str]]:
    stages = select(Stage.key).where(~Stage.is_closed, Stage.retired_at.is_(None)).order_by(Stage.position, Stage.key)
    used = select(Account.industry).where(Account.industry.is_not(None)).group_by(Account.industry)
    industries = used.order_by(func.count().desc(), Account.industry).limit(INDUSTRIES)
    staged = await context.rows(stages, SYSTEM)
    placed = await context.rows(industries, SYSTEM)
    return list(CONCERNS), list(dict.fromkeys(row["key"] for row in staged)), [row["industry"] for row in placed]


async def _tests(context: Context, questions: Collection[str]) -> Counter[str]:
    """How many retrieval tests ask each of some questions."""
    asked = select(RetrievalTest.question).where(RetrievalTest.question.in_(questions))
    return Counter(row["question"] for row in await context.rows(asked, SYSTEM))


First = Annotated[int, strawberry.argument(description="How many at most: 1 to 100.")]
Days = Annotated[int, strawberry.argument(description=f"Of the last how many days: 1 to {LONGEST_DAYS}.")]


@roots
class BoardFigures:
    """What is computed when it is asked for."""

    @computed(
        "How many entries in date meet each concern in each stage and industry; for who keeps the knowledge and managers."
    )
    async def knowledge_coverage(
        self,
        info: Info,
        kind: Annotated[KnowledgeKind | None, strawberry.argument(description="Of which kind.")] = None,
        language: Annotated[Language | None, strawberry.argument(description="In which language.")] = None,
    ) -> KnowledgeCoverage | None:
        """Count over the entries that the reader sees."""
        context = info.context
        _check(context)
        axes = await _axes(context)
        rows = await context.rows(board.facets(context.now, kind, language).where(_visible(context)))
        cells = await asyncio.to_thread(board.coverage, [_Row(row) for row in rows], *axes)
        empty = sum(not cell.entries for cell in cells)
        shown = [CoverageCell(**{name: getattr(cell, name) for name in cell.__dataclass_fields__}) for cell in cells]
        return KnowledgeCoverage(concerns=axes[0], stages=axes[1], industries=axes[2], empty=empty, cells=shown)

    @computed("Questions without a good hit, gathered by what they ask; a manager's are those of their territories.")
    async def knowledge_gaps(self, info: Info, days: Days = 90, first: First = 20) -> KnowledgeGaps | None:
        """Cluster the different questions that were asked most."""
        context = info.context
        _check(context)
        check_size(context, first, "first")
        since, mine = _since(context, days), _mine(context)
        (counts,) = await context.rows(gaps.totals(since, mine), SYSTEM)
        asked = [gaps.Question(**row) for row in await context.rows(gaps.questions(since, mine), SYSTEM)]
        embedder = None if context.library is None else context.library.serving_embedder
        found = await asyncio.to_thread(gaps.clustered, asked, embedder)
        tests = await _tests(context, {question.words for question in asked})
        method = LikenessMethod.WORDS if embedder is None else LikenessMethod.MEANING
        shown = [
            KnowledgeGap(
                asked=gap.asked, questions=len(gap.questions), examples=list(gap.examples), concern=gap.concern, last_at=gap.last_at,
                empty=sum(question.empty for question in gap.questions), tests=sum(tests[question.words] for question in gap.questions),
            )
            for gap in found[:first]
        ]  # fmt: skip
        return KnowledgeGaps(**counts, clustered_by=method, gaps=shown)

    @computed("Entries in use that have expired, whose review is due, or that nobody looked at for a year.")
    async def stale_knowledge(self, info: Info, first: First = 20) -> StaleEntries | None:
        """Those that the reader sees."""
        context = info.context
        _check(context)
        check_size(context, first, "first")
        asked = board.stale(context.now).where(_visible(context))
        rows = await context.rows(asked.limit(first))
        (total,) = await context.rows(board.counted(asked))
        entries = [
            StaleEntry(item=item, reason=Staleness(row["reason"]), since=row["since"])
            for row, item in zip(rows, await _items(context, rows), strict=True) if item is not None
        ]  # fmt: skip
        return StaleEntries(total_count=next(iter(total.values())), entries=entries)

    @computed("Entries that have been in use for a time without a search bringing them up.")
    async def unused_knowledge(self, info: Info, days: Days = 90, first: First = 20) -> UnusedEntries | None:
        """Those that the reader sees."""
        context = info.context
        _check(context)
        check_size(context, first, "first")
        asked = board.unused(_since(context, days)).where(_visible(context))
        # The log of searches is behind the wall for everybody: it is read for the reader, over entries that the reader sees.
        rows = await context.rows(asked.limit(first), SYSTEM)
        (total,) = await context.rows(board.counted(asked), SYSTEM)
        entries = [
            UnusedEntry(item=item, last_at=row["last_at"])
            for row, item in zip(rows, await _items(context, rows), strict=True) if item is not None
        ]  # fmt: skip
        return UnusedEntries(total_count=next(iter(total.values())), entries=entries)


class _Row:
    """A mapping whose keys are attributes."""

    def __init__(self, row: Any) -> None:
        self.__dict__.update(row)


# ---- stored findings -------------------------------------------------------------------------------------------------


@node(knowledge.KnowledgeLikeness, order=by("-similarity", "-id"))
class KnowledgeLikeness(Node):
    """Two entries in use that say nearly the same, compared each night; to be checked where their figures differ."""

    item: KnowledgeItem | None = to_one("item_id", "The one entry.")
    other_item: KnowledgeItem | None = to_one("other_item_id", "The other entry.")
    passage: str = column("What the one says.")
    other_passage: str = column("What the other says.")
    similarity: float = column("The cosine of the two passages.")
    method: LikenessMethod = column("By what they were compared.")
    contradicts: bool = column(
        "Whether they fit the same concern and situation and say it with other figures: to be checked."
    )
    figures: list[str] = column("The figures of the one that the other says otherwise.")
    other_figures: list[str] = column("The figures of the other.")
    computed_at: datetime = column("When they were compared.")


@strawberry.input(description="Which look-alikes; all conditions hold together.")
class KnowledgeLikenessFilter:
    """Conditions on look-alikes."""

    contradicts: bool | None = equals("contradicts", "Those whose figures differ, or those whose do not.")
    item_id: strawberry.ID | None = names("KnowledgeItem", "item_id", "The one entry.")


@node(knowledge.RetirementProposal, hidden=STAMPS - {"version", "created_at"})
class RetirementProposal(Node):
    """An entry that is proposed for retirement, with the evidence; a curator decides."""

    item: KnowledgeItem | None = to_one("item_id", "The entry.")
    version_number: int = column("The version that the evidence speaks of.")
    ground: RetirementGround = column("Why.")
    evidence: JSON = column("The figures that speak for it, by name.")
    state: RetirementState = column("What became of it.")
    decided_by: User | None = to_one("decided_by_id", "Who decided.")
    decided_at: datetime | None = column("When.")
    decision: str | None = column("With what words.")
    created_at: datetime = column("When it was made.")
    version: int = column("Grows with every stored change; what `expectedVersion` compares.")


@strawberry.input(description="Which proposals; all conditions hold together.")
class RetirementProposalFilter:
    """Conditions on proposals."""

    state: RetirementState | None = equals("state", "What became of it.")
    ground: RetirementGround | None = equals("ground", "Why.")
    item_id: strawberry.ID | None = names("KnowledgeItem", "item_id", "The entry.")


@roots
class BoardLists:
    """What jobs have found."""

    knowledge_likenesses: Connection[KnowledgeLikeness] = listing(
        "Entries that say nearly the same, the nearest first; for who keeps the knowledge.",
        filter=KnowledgeLikenessFilter,
    )
    retirement_proposals: Connection[RetirementProposal] = listing(
        "Entries that are proposed for retirement, newest first.", filter=RetirementProposalFilter
    )


# ---- decisions -------------------------------------------------------------------------------------------------------


@strawberry.input(description="A proposal that is accepted: its entry is retired.")
class AcceptRetirementProposalInput:
    """What accepting takes."""

    id: strawberry.ID = strawberry.field(description="The proposal.")
    expected_version: int = strawberry.field(description="The `version` on which it is decided.")
    comment: str | None = text("Why.", 2000)


@strawberry.input(description="A proposal that is rejected: its entry is kept.")
class RejectRetirementProposalInput:
    """What rejecting takes."""

    id: strawberry.ID = strawberry.field(description="The proposal.")
    expected_version: int = strawberry.field(description="The `version` on which it is decided.")
    reason: str = text("Why it is kept.", 2000, required=True)


@strawberry.type(description="The proposal as it is now, or why it was not decided.")
class RetirementProposalPayload:
    """The answer to a decision."""

    proposal: RetirementProposal | None = strawberry.field(default=None, description="The proposal.")
    broken_tests: BrokenTests = strawberry.field(
        default=None,
        description="After accepting: the retrieval tests that passed before and fail since; null where that was not found out.",
    )
    errors: list[UserError] = refusals()


@strawberry.type
class BoardMutations:
    """What curators decide."""

    @mutation("Retire the entry of a proposal.", *CURATING)
    async def accept_retirement_proposal(
        self,
        info: Info,
        input: Annotated[AcceptRetirementProposalInput, strawberry.argument(description="The proposal.")],
    ) -> RetirementProposalPayload | None:
        """Accept it, and read it as the caller sees it."""
        id = expect("RetirementProposal", input.id, "id")
        context = info.context
        of_proposal = select(retirement.RetirementProposal.item_id).where(retirement.RetirementProposal.id == id)
        found = [row["item_id"] for row in await context.rows(of_proposal)]
        broken = await broken_by(context, found[0], PublicationChange.WITHDRAW) if found else None
        async with context.open_uow() as uow:
            proposal = await retirement.accept(uow, id, input.expected_version, given(input.comment))
            note_broken(uow, proposal.item_id, broken)
        tests = await shown_tests(context, broken)
        return RetirementProposalPayload(proposal=selected(info, RetirementProposal, id), broken_tests=tests)

    @mutation("Keep the entry of a proposal; it is not proposed again for 90 days.", *CURATING)
    async def reject_retirement_proposal(
        self,
        info: Info,
        input: Annotated[RejectRetirementProposalInput, strawberry.argument(description="The proposal.")],
    ) -> RetirementProposalPayload | None:
        """Reject it, and read it as the caller sees it."""
        id = expect("RetirementProposal", input.id, "id")
        async with info.context.open_uow() as uow:
            await retirement.reject(uow, id, input.expected_version, input.reason)
        return RetirementProposalPayload(proposal=selected(info, RetirementProposal, id))
