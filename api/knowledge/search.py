"""The search over the published knowledge in the schema."""

import asyncio
from typing import Annotated, cast

import strawberry

from api.context import Context, Info
from api.knowledge.entries import KnowledgeFilter, KnowledgeItem
from api.mutations import given
from api.reads import check_size, computed, load_one, roots, shape_of
from domain.kernel import Invalid, Text, Unavailable
from knowledge import Filter, Hit, KnowledgeState

QUERY_LENGTH = 2000


@strawberry.type(description="What one method said of a passage.")
class PassageScore:
    """One line of the explanation."""

    method: str = strawberry.field(description="The method.")
    rank: int | None = strawberry.field(description="The rank in its list, from 1; null where it is not in it.")
    score: float = strawberry.field(description="The method's own score.")
    weight: float = strawberry.field(description="What it weighs in the sum.")


@strawberry.type(description="An entry that was found, with its best passage.")
class KnowledgeHit:
    """One answer of a search."""

    item: KnowledgeItem = strawberry.field(description="The entry.")
    version_number: int = strawberry.field(description="The version that was found.")
    passage: str = strawberry.field(description="The best passage.")
    score: float = strawberry.field(description="The fused score, 0 to 1.")
    explanation: list[PassageScore] = strawberry.field(description="What each method said.")
    folded: list[KnowledgeItem] = strawberry.field(
        description="Entries that say the same with the same figures, and would have come after it."
    )


@strawberry.type(description="What a search found, and how.")
class KnowledgeSearch:
    """The answer to a search."""

    hits: list[KnowledgeHit] = strawberry.field(description="The entries, best first.")
    methods: list[str] = strawberry.field(description="The methods that served.")
    degraded: str | None = strawberry.field(description="Why not every method served; null when all did.")


def _filter(filter: KnowledgeFilter | None) -> Filter:
    names = ("kind", "language", "concern", "stage", "role", "industry", "competitor")
    return Filter(**{name: given(getattr(filter, name)) for name in names}) if filter else Filter()


async def hits_of(context: Context, hits: tuple[Hit, ...]) -> list[KnowledgeHit]:
    """Hits with their entries as the reader sees them."""
    ids = [id for hit in hits for id in (hit.item_id, *hit.folded)]
    loaded = await asyncio.gather(*(load_one(context, shape_of(KnowledgeItem), id) for id in ids))
    items = {id: item for id, item in zip(ids, loaded, strict=True) if item is not None}
    return [
        KnowledgeHit(
            item=items[hit.item_id], version_number=hit.version, passage=hit.passage, score=hit.score,
            explanation=cast("list[PassageScore]", list(hit.explanation)), folded=[items[id] for id in hit.folded if id in items],
        )
        for hit in hits if hit.item_id in items
    ]  # fmt: skip


def _check_query(query: str) -> None:
    if not query.strip():
        raise Invalid(Text("查询不能为空", "the query cannot be empty"), ("query",))
    if len(query) > QUERY_LENGTH:
        words = Text(f"查询不能超过 {QUERY_LENGTH} 个字符", f"a query takes at most {QUERY_LENGTH} characters")
        raise Invalid(words, ("query",))


@roots
class SearchQueries:
    """The search."""

    @computed(
        "The published entries nearest to a query in words and meaning that the reader sees and that are in date."
    )
    async def search_knowledge(
        self,
        info: Info,
        query: Annotated[str, strawberry.argument(description="What is looked for, in either language.")],
        filter: Annotated[KnowledgeFilter | None, strawberry.argument(description="Which entries.")] = strawberry.UNSET,
        first: Annotated[int, strawberry.argument(description="How many at most: 1 to 100.")] = 5,
    ) -> KnowledgeSearch:
        """Search, and load what was found as the reader sees it."""
        context = info.context
        check_size(info.context, first, "first")
        _check_query(query)
        if context.library is None:
            raise Unavailable(Text("知识检索此刻不可用", "knowledge search does not serve now"))
        found = await context.library.search(context.reader, query, _filter(filter), first)
        never = filter and given(filter.state) not in {None, KnowledgeState.PUBLISHED}
        if context.searches is not None and not never:
            context.searches.note(context.reader, query, _filter(filter), found.hits)
        hits = [] if never else await hits_of(context, found.hits)
        return KnowledgeSearch(
            hits=hits,
            methods=list(found.methods),
            degraded=found.degraded.words(context.language) if found.degraded else None,
        )
