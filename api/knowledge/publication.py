"""What a publication or withdrawal would do to the saved questions, in the schema: asked before it is done."""

from collections.abc import Iterable
from typing import Annotated, Any

import strawberry

from api.context import Context, Info
from api.knowledge.entries import KnowledgeItem
from api.knowledge.question_runs import PublicationChange, effects_of
from api.knowledge.questions import RetrievalTest
from api.reads import computed, expect, load_one, roots, shape_of
from api.scalars import enum
from domain.kernel import Forbidden, Text
from knowledge import CURATING
from knowledge.supposing import Effect

NO_SIGHT = Text("您的角色不能查看检索测试", "your role does not see retrieval tests")

enum(
    PublicationChange,
    "What is done to an entry that changes what may be found.",
    PUBLISH="Its pending version takes the place of the published one.",
    WITHDRAW="It is suspended or retired.",
)


@strawberry.type(description="Where an entry that a test names would come.")
class RetrievalRankChange:
    """One entry before and after."""

    item: KnowledgeItem | None = strawberry.field(description="The entry.")
    comes: bool = strawberry.field(description="Whether it should come.")
    before: int | None = strawberry.field(description="Its rank as it is, from 1; null where it does not come.")
    after: int | None = strawberry.field(description="Its rank as it would be.")


@strawberry.type(description="What a change would do to a test.")
class RetrievalTestEffect:
    """One test before and after."""

    test: RetrievalTest | None = strawberry.field(description="The test.")
    passes: bool = strawberry.field(description="Whether it passes as it is.")
    would_pass: bool = strawberry.field(description="Whether it would pass.")
    ranks: list[RetrievalRankChange] = strawberry.field(description="Where each entry that it names comes, and would.")


@strawberry.type(
    description="What publishing or withdrawing an entry would do to the saved tests; nothing was changed to find out."
)
class PublicationPreview:
    """The effects of one change."""

    tests: int = strawberry.field(description="How many tests were run, each twice.")
    failing_before: int = strawberry.field(description="How many fail as it is.")
    failing_after: int = strawberry.field(description="How many would fail.")
    newly_failing: list[RetrievalTestEffect] = strawberry.field(description="Those that pass and would fail.")
    newly_passing: list[RetrievalTestEffect] = strawberry.field(description="Those that fail and would pass.")
    moved: list[RetrievalTestEffect] = strawberry.field(
        description="The others in which an entry would have another rank."
    )
    methods: list[str] = strawberry.field(description="The methods that served.")
    degraded: str | None = strawberry.field(description="Why not every method served; null when all did.")


async def _effects(context: Context, effects: Iterable[Effect]) -> list[RetrievalTestEffect]:
    shown = []
    for effect in effects:
        question = effect.before.question
        ranks = [
            RetrievalRankChange(item=await load_one(context, shape_of(KnowledgeItem), id), comes=question.named[id], before=rank, after=effect.after.ranks[id])
            for id, rank in effect.before.ranks.items()
        ]  # fmt: skip
        test: Any = await load_one(context, shape_of(RetrievalTest), question.test_id)
        shown.append(
            RetrievalTestEffect(test=test, passes=effect.before.passed, would_pass=effect.after.passed, ranks=ranks)
        )
    return shown


@roots
class PublicationQueries:
    """What is asked before a publication."""

    @computed("What publishing the pending version of an entry, or withdrawing it, would do to the saved tests.")
    async def publication_preview(
        self,
        info: Info,
        item_id: Annotated[strawberry.ID, strawberry.argument(description="The entry.")],
        change: Annotated[
            PublicationChange, strawberry.argument(description="What would be done to it.")
        ] = PublicationChange.PUBLISH,
    ) -> PublicationPreview | None:
        """Run the tests as it is and as it would be."""
        context = info.context
        if not context.reader.has(*CURATING):
            raise Forbidden(NO_SIGHT)
        effects = await effects_of(context, expect("KnowledgeItem", item_id, "itemId"), change)
        last = effects[-1].after.result if effects else None
        others = [one for one in effects if one.moves and not one.breaks and not one.mends]
        return PublicationPreview(
            tests=len(effects),
            failing_before=sum(not one.before.passed for one in effects),
            failing_after=sum(not one.after.passed for one in effects),
            newly_failing=await _effects(context, (one for one in effects if one.breaks)),
            newly_passing=await _effects(context, (one for one in effects if one.mends)),
            moved=await _effects(context, others),
            methods=list(last.methods) if last else [],
            degraded=last.degraded.words(context.language) if last and last.degraded else None,
        )
