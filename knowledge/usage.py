"""What was looked for in the knowledge and what it was offered: the log of searches, of people and for answers."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Index, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel import SYSTEM, Base, Database, Language, Role
from knowledge.fusion import DENSE, MethodScore
from knowledge.model import Retrieval
from knowledge.text import query_tokens, tokenise
from knowledge.vector_cache import ASKED_AT_ONCE

QUERY_LENGTH = 500
"""How much of a query is kept."""
KEPT = timedelta(days=400)
"""How long searches are kept: a little longer than effectiveness looks back."""
REMOVED_AT_ONCE = 10_000
LOOKED_AT = 3
"""How many of the first entries tell how much of the query is met."""
SPACE = re.compile(r"\s+")


class LoggedSearch(Base):
    """One search for knowledge: what was looked for, with personal data masked, on what occasion, and how near the best came."""

    __tablename__ = "knowledge_searches"
    __unledgered__ = "a search log; the answer that a search served names its citations in the ledger"
    __stays__ = "a search was made on an occasion that is past"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    generation_id: Mapped[UUID | None] = mapped_column(index=True)
    wanted_as: Mapped[str]
    query: Mapped[str]
    user_id: Mapped[UUID | None]
    role: Mapped[Role | None]
    territory_id: Mapped[UUID | None]
    opportunity_id: Mapped[UUID | None]
    industry: Mapped[str | None]
    stage: Mapped[str | None]
    concern: Mapped[str | None]
    language: Mapped[Language | None]
    found: Mapped[int]
    dense: Mapped[float | None]
    covered: Mapped[float]
    at: Mapped[datetime]

    __table_args__ = (Index("ix_knowledge_searches_at", "at", "id"),)


@dataclass(frozen=True, slots=True)
class Occasion:
    """Who looked for knowledge, when, and in which segment."""

    at: datetime
    user_id: UUID | None = None
    role: Role | None = None
    territory_id: UUID | None = None
    opportunity_id: UUID | None = None
    industry: str | None = None
    stage: str | None = None
    concern: str | None = None
    language: Language | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """One entry that a search offered, at its place: its text, and what each method said of it."""

    item_id: UUID
    version: int
    text: str
    score: float
    methods: tuple[MethodScore, ...]


def normalised(query: str) -> str:
    """A query as it is kept and compared: compatibility forms folded (NFKC), spaces single, at most QUERY_LENGTH characters."""
    return SPACE.sub(" ", unicodedata.normalize("NFKC", query)).strip()[:QUERY_LENGTH]


def covered(query: str, texts: Sequence[str]) -> float:
    """The share, 0-1, of a query's distinct words that one of the texts has: the most of any."""
    asked = set(query_tokens(query))
    return max((len(asked & set(tokenise(text))) / len(asked) for text in texts if asked), default=0.0)


def logged(
    new_id: Callable[[], UUID], occasion: Occasion, query: str, offers: Sequence[Offer],
    *, wanted_as: str, generation_id: UUID | None = None,
) -> Iterator[Base]:  # fmt: skip
    """The rows of one search: itself, and each entry that it offered with its rank from 1; the caller has masked the query."""
    search_id = new_id()
    nearest = [score.score for offer in offers for score in offer.methods if score.method == DENSE and score.rank]
    yield LoggedSearch(
        id=search_id, generation_id=generation_id, wanted_as=wanted_as, query=normalised(query), user_id=occasion.user_id, role=occasion.role,
        territory_id=occasion.territory_id, opportunity_id=occasion.opportunity_id, industry=occasion.industry, stage=occasion.stage,
        concern=occasion.concern, language=occasion.language, found=len(offers), dense=max(nearest, default=None),
        covered=covered(query, [offer.text for offer in offers[:LOOKED_AT]]), at=occasion.at,
    )  # fmt: skip
    for rank, offer in enumerate(offers, 1):
        yield Retrieval(
            id=new_id(), search_id=search_id, generation_id=generation_id, item_id=offer.item_id, version_number=offer.version, wanted_as=wanted_as,
            rank=rank, score=offer.score, at=occasion.at,
            methods=[{"method": one.method, "rank": one.rank, "score": one.score, "weight": one.weight} for one in offer.methods],
        )  # fmt: skip


async def remove_old(database: Database) -> int:
    """Remove searches with what they offered once they are older than KEPT, part by part; how many rows there were."""
    removed, before = 0, database.clock() - KEPT
    for model in (Retrieval, LoggedSearch):
        while part := await _remove(database, model, before):
            removed += part
    return removed


async def _remove(database: Database, model: type[Retrieval] | type[LoggedSearch], before: datetime) -> int:
    async with database.open_uow(SYSTEM) as uow:
        oldest = select(model.id).where(model.at < before).order_by(model.at).limit(REMOVED_AT_ONCE)
        ids = list((await uow.session.execute(oldest)).scalars())
        for start in range(0, len(ids), ASKED_AT_ONCE):
            part = model.id.in_(ids[start : start + ASKED_AT_ONCE])
            await uow.session.execute(delete(model).where(part), execution_options={"synchronize_session": False})
    return len(ids)
