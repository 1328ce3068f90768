"""The battlecards of each competitor in the schema, with the deals against it and whether they are to be refreshed."""

import asyncio
from datetime import datetime
from typing import Annotated, cast

import strawberry

from api.context import Context, Info
from api.knowledge.entries import KnowledgeItem
from api.reads import Money, computed, load_one, roots, shape_of
from api.scalars import enum
from assistant import battlecards
from assistant.battlecards import RefreshReason

enum(
    RefreshReason,
    "Why the battlecards of a competitor are to be looked at.",
    NO_CARD="There is none in use.",
    OVERDUE="One should have been looked at by now.",
    NEVER_REVIEWED="One came in from elsewhere, and nobody has let it out.",
    LOST_SINCE="A deal was lost against the competitor since the newest one came into use.",
)


@strawberry.type(description="What we know of one competitor, and how we stand against it.")
class BattlecardSet:
    """One competitor."""

    competitor: str = strawberry.field(description="The competitor's key.")
    label: str = strawberry.field(description="Its name, in the reader's language.")
    cards: list[KnowledgeItem] = strawberry.field(
        description="The battlecards in use that the reader sees, newest first."
    )
    review_at: datetime | None = strawberry.field(
        description="When the first of them is to be looked at; for those who keep the knowledge."
    )
    overdue: bool | None = strawberry.field(
        description="Whether that is past; null for those who do not keep the knowledge."
    )
    open_deals: int = strawberry.field(description="The reader's open deals in which it is the primary competitor.")
    open_amounts: list[Money] = strawberry.field(description="What they are worth, one total a currency.")
    won: int = strawberry.field(description="The reader's deals that were won against it.")
    lost: int = strawberry.field(description="The reader's deals that were lost against it.")
    needs_refresh: bool = strawberry.field(description="Whether the content is to be looked at, for any reason.")
    reasons: list[RefreshReason] = strawberry.field(
        description="Why; of every card and deal, whoever sees them, and the same for everybody."
    )


async def _shown(context: Context, found: battlecards.BattlecardSet) -> BattlecardSet:
    cards = await asyncio.gather(*(load_one(context, shape_of(KnowledgeItem), id) for id in found.card_ids))
    return BattlecardSet(
        competitor=found.key, label=found.label.words(context.language), cards=[card for card in cards if card is not None],
        review_at=found.review_at, overdue=found.overdue, open_deals=found.deals.open, open_amounts=cast("list[Money]", list(found.deals.amounts)),
        won=found.deals.won, lost=found.deals.lost, needs_refresh=bool(found.reasons), reasons=list(found.reasons),
    )  # fmt: skip


@roots
class BattlecardQueries:
    """What is asked of battlecards."""

    @computed("The battlecards of each competitor, the deals against it, and whether they are to be refreshed.")
    async def battlecard_sets(
        self,
        info: Info,
        competitor: Annotated[
            str | None, strawberry.argument(description="The key of one competitor; without it, of every one.")
        ] = None,
    ) -> list[BattlecardSet]:
        """Read them, and the cards as the reader sees them."""
        context = info.context
        found = await battlecards.battlecard_sets(context.database, context.reader, competitor)
        return list(await asyncio.gather(*(_shown(context, one) for one in found)))
