"""The published knowledge as the database has it: which publication, which entries and passages, and who sees which."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.kernel import SYSTEM, Actor, Database, rows_visible
from knowledge.model import KnowledgeItem, KnowledgeState, KnowledgeVersion, Passage, Publication
from knowledge.retrieval import Entry, Piece
from knowledge.vector_cache import asked


@asynccontextmanager
async def one_instant(database: Database) -> AsyncIterator[AsyncConnection]:
    """A connection whose statements all see the database as of the first one; SQLite's do so by themselves."""
    async with database.read(SYSTEM) as connection:
        if not database.embedded:
            await connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


async def publication_number(connection: AsyncConnection) -> int:
    """The count of publications and withdrawals."""
    return (await connection.execute(select(Publication.number))).scalar_one_or_none() or 0


async def read_entries(connection: AsyncConnection, known: Mapping[UUID, Entry]) -> dict[UUID, Entry]:
    """The published entries; those that did not change since they were read are not read again."""
    published = select(KnowledgeItem.id, KnowledgeItem.version).where(KnowledgeItem.state == KnowledgeState.PUBLISHED)
    versions = {row.id: row.version for row in await connection.execute(published)}
    entries = {id: entry for id, entry in known.items() if versions.get(id) == entry.row_version}
    version = (KnowledgeVersion.item_id == KnowledgeItem.id) & (
        KnowledgeVersion.number == KnowledgeItem.published_number
    )
    shown = (
        KnowledgeVersion.title,
        KnowledgeVersion.body,
        KnowledgeVersion.published_at,
        KnowledgeVersion.let_through_at,
    )
    columns = (*KnowledgeItem.__table__.c, *shown)
    whole = select(*columns).join(KnowledgeVersion, version)
    for row in await asked(connection, whole, KnowledgeItem.id, sorted(versions.keys() - entries.keys())):
        entries[row.id] = Entry.of(row)
    return entries


async def read_pieces(connection: AsyncConnection, known: Mapping[int, Piece]) -> dict[int, Piece]:
    """The passages of published entries; a number never holds another text, so known ones are not read again."""
    published = (KnowledgeItem.id == Passage.item_id) & (KnowledgeItem.state == KnowledgeState.PUBLISHED)
    numbers = set((await connection.execute(select(Passage.number).join(KnowledgeItem, published))).scalars())
    pieces = {number: piece for number, piece in known.items() if number in numbers}
    whole = select(*Passage.__table__.c)
    for row in await asked(connection, whole, Passage.number, sorted(numbers - pieces.keys())):
        pieces[row.number] = Piece.of(row)
    return pieces


async def visible_entries(database: Database, actor: Actor) -> set[UUID]:
    """The published entries that somebody sees."""
    seen = select(KnowledgeItem.id).where(
        KnowledgeItem.state == KnowledgeState.PUBLISHED, rows_visible(KnowledgeItem, actor)
    )
    async with database.read(actor) as connection:
        return set((await connection.execute(seen)).scalars())
