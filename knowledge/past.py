"""The knowledge as it was: what was in use at an instant, and what one answer was offered; made for looking back, kept nowhere."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Select, and_, cast, literal, null, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.kernel import SYSTEM, Actor, Database, rows_visible
from knowledge.lexical import LexicalIndex
from knowledge.library import Library, Serving
from knowledge.model import KnowledgeItem, KnowledgePeriod, KnowledgeState, KnowledgeVersion, Retrieval
from knowledge.retrieval import FACETS, Entry, Found, Piece, Stock
from knowledge.supposing import Change, Supposed, exchanged, with_vectors
from knowledge.usage import LoggedSearch


class Past(Supposed):
    """A library of what was in use at an instant, searched as those may who see it by today's rules."""

    def __init__(self, database: Database, serving: Serving, at: datetime) -> None:
        super().__init__(database, serving)
        self._at = at

    async def _visible(self, actor: Actor) -> set[UUID]:
        """What the actor would have seen then: their reach and its audience are those of today."""
        rows = KnowledgeItem.__table__
        never = cast(null(), DateTime(timezone=True))
        replaced = {
            "state": literal(KnowledgeState.PUBLISHED, rows.c.state.type), "effective_from": never, "expires_at": never,
        }  # fmt: skip
        columns = [replaced.get(one.name, one).label(one.name) for one in rows.c]
        then = select(*columns).where(rows.c.id.in_(_in_use(self._at).with_only_columns(KnowledgeItem.id))).subquery()
        seen = select(then.c.id).where(rows_visible(KnowledgeItem, actor, then))
        # The rules are asked of rows as they were: the wall lets the actor see what is there now alone.
        async with self._database.read(SYSTEM) as connection:
            return set((await connection.execute(seen)).scalars())


async def as_of(database: Database, library: Library, at: datetime) -> Past:
    """The library of what was in use at an instant; vectors come from the cache, else from the model that serves now."""
    async with database.read(SYSTEM) as connection:
        entries = {row.id: _entry(row, at) for row in await connection.execute(_in_use(at))}
    serving = await library.serving()
    pieces: dict[int, Piece] = {}
    for entry in entries.values():
        first = max(serving.stock.pieces, default=0) + len(pieces) + 1
        pieces |= {piece.number: piece for piece in Change(entry.id, entry).pieces(first)}
    coming = list(pieces.values())
    lexical = await asyncio.to_thread(exchanged, LexicalIndex(), (), coming)
    dense = serving.dense
    if dense is not None:
        dense = await with_vectors(database, dense, set(serving.stock.pieces), coming)
    return Past(database, serving.having(Stock(serving.stock.publication, entries, pieces), lexical, dense), at)


def _in_use(at: datetime) -> Select[Any]:
    """The entries of which a version was in use and in date, with that version."""
    period, version = KnowledgePeriod, KnowledgeVersion
    then = and_(period.begun_at <= at, or_(period.ended_at.is_(None), period.ended_at > at))
    begun = or_(period.effective_from.is_(None), period.effective_from <= at)
    runs = or_(period.expires_at.is_(None), period.expires_at > at)
    columns = (
        *KnowledgeItem.__table__.c, version.number.label("then"), version.title, version.body, version.facets, version.published_at,
        version.let_through_at,
    )  # fmt: skip
    return (
        select(*columns).join(period, period.item_id == KnowledgeItem.id).join(version, version.id == period.version_id)
        .where(then, begun, runs)
    )  # fmt: skip


def _entry(row: Any, at: datetime) -> Entry:
    return Entry(
        row.id, row.version, row.then, row.kind, row.language, row.title, row.body, row.source, row.licence, _facets(row.facets), None, None, row.published_at,
        let_through=row.let_through_at is not None and row.let_through_at <= at,
    )  # fmt: skip


def _facets(stored: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(stored.get(name) or ()) for name in FACETS}


async def offered(connection: AsyncConnection, generation_id: UUID) -> dict[str, list[Found]] | None:
    """The versions that retrieval offered for an answer, by what they were wanted as and in their ranks, in their stored words.

    None where its searches are not in the log: knowledge came too late for it, or they are older than the log.
    """
    searches = select(LoggedSearch.wanted_as).where(LoggedSearch.generation_id == generation_id)
    found: dict[str, list[Found]] = {name: [] for name in (await connection.execute(searches)).scalars()}
    if not found:
        return None
    version = and_(KnowledgeVersion.item_id == Retrieval.item_id, KnowledgeVersion.number == Retrieval.version_number)
    rows = (
        select(
            *KnowledgeItem.__table__.c, Retrieval.wanted_as, Retrieval.score, Retrieval.at, KnowledgeVersion.number.label("then"), KnowledgeVersion.title,
            KnowledgeVersion.body, KnowledgeVersion.facets, KnowledgeVersion.published_at, KnowledgeVersion.let_through_at,
        )
        .join(KnowledgeItem, KnowledgeItem.id == Retrieval.item_id).join(KnowledgeVersion, version)
        .where(Retrieval.generation_id == generation_id).order_by(Retrieval.wanted_as, Retrieval.rank)
    )  # fmt: skip
    for row in await connection.execute(rows):
        found.setdefault(row.wanted_as, []).append(_entry(row, row.at).found(row.score or 0.0))
    return found
