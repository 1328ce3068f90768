"""Saved questions put to the library of this process: as it is, and as a publication or withdrawal would make it."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import exists, select

from api.context import Context
from domain.kernel import SYSTEM, Actor, ActorKind, Database, Reach, Ref, SalesError, Text, Unavailable, UnitOfWork
from domain.people import Territory, with_descendants
from knowledge import Library
from knowledge.retrieval_tests import (
    NOBODY,
    Outcome,
    Progress,
    Question,
    RetrievalTest,
    RetrievalTestRun,
    keep_outcomes,
    named_by,
    run,
)
from knowledge.supposing import Change, Effect, preview, publication_of, withdrawal_of

LOOKED_AT = timedelta(seconds=10)
"""How long a publication waits to learn which tests it breaks."""
NO_LIBRARY = Text("知识检索此刻不可用", "knowledge search does not serve now")


class PublicationChange(StrEnum):
    """What is done to an entry that changes what may be found."""

    PUBLISH = "PUBLISH"
    WITHDRAW = "WITHDRAW"


CHANGES: Mapping[PublicationChange, Callable[[UnitOfWork, UUID | None], Awaitable[Change]]] = {
    PublicationChange.PUBLISH: publication_of,
    PublicationChange.WITHDRAW: withdrawal_of,
}


async def questions_of(database: Database, ids: Collection[UUID] | None = None) -> list[Question]:
    """The saved tests, or some of them, oldest first, each with its asker: one of its role in its territory, for its brand."""
    async with database.open_uow(SYSTEM) as uow:
        kept = select(RetrievalTest).order_by(RetrievalTest.id)
        tests = (
            (await uow.session.execute(kept if ids is None else kept.where(RetrievalTest.id.in_(ids)))).scalars().all()
        )
        named = await named_by(uow, [test.id for test in tests])
        places = await uow.session.execute(select(Territory.id, Territory.parent_id))
        parents = {row.id: row.parent_id for row in places}
    return [
        Question(test.id, test.version, test.question, _asker(test, parents), test.filter, test.within, named.get(test.id, {}))
        for test in tests
    ]  # fmt: skip


def _asker(test: RetrievalTest, parents: dict[UUID, UUID | None]) -> Actor:
    within = with_descendants(parents, {test.territory_id}) if test.territory_id else frozenset[UUID]()
    brands = frozenset({test.brand_id} if test.brand_id else ())
    return Actor(ActorKind.USER, NOBODY, reaches=(Reach(test.asker_role, within, brands),))


async def run_tests(
    database: Database, library: Library, ids: Collection[UUID] | None = None, progress: Progress | None = None
) -> list[Outcome]:
    """Put saved tests to a library, and keep what came as their last runs."""
    questions = await questions_of(database, ids)
    if not questions:
        return []
    status = await library.status()
    outcomes = await run(library, questions, progress)
    async with database.open_uow(SYSTEM) as uow:
        await keep_outcomes(uow, outcomes, status.publication, _fingerprint(library))
    return outcomes


def _fingerprint(library: Library) -> str | None:
    model = library.serving_embedder
    return None if model is None else model.fingerprint


async def run_outdated(database: Database, library: Library) -> int:
    """Run all tests where one was not run since it or the published knowledge changed; how many ran."""
    status, ran, test = await library.status(), RetrievalTestRun, RetrievalTest
    same = (ran.id == test.id) & (ran.test_version == test.version) & (ran.publication == status.publication)
    fresh = exists().where(same, ran.model_fingerprint.is_not_distinct_from(_fingerprint(library)))
    async with database.read(SYSTEM) as connection:
        outdated = (await connection.execute(select(test.id).where(~fresh).limit(1))).first()
    return 0 if outdated is None else len(await run_tests(database, library))


async def effects_of(context: Context, item_id: UUID | None, change: PublicationChange) -> list[Effect]:
    """What a change of an entry would do to each saved test; nothing is stored.

    Raises what `publication_of` and `withdrawal_of` raise, Unavailable without a library.
    """
    if context.library is None:
        raise Unavailable(NO_LIBRARY)
    questions = await questions_of(context.database)
    async with context.open_uow() as uow:
        supposed = await CHANGES[change](uow, item_id)
    return await preview(context.database, context.library, supposed, questions)


async def broken_by(context: Context, item_id: UUID, change: PublicationChange) -> list[UUID] | None:
    """The tests that a change would break; None where that cannot be said, or not within LOOKED_AT."""
    async with context.database.read(SYSTEM) as connection:
        if (await connection.execute(select(RetrievalTest.id).limit(1))).first() is None:
            return []
    try:
        async with asyncio.timeout(LOOKED_AT.total_seconds()):
            return [one.before.question.test_id for one in await effects_of(context, item_id, change) if one.breaks]
    except (SalesError, TimeoutError):
        # What is wrong with the change itself, the change says.
        return None


def note_broken(uow: UnitOfWork, item_id: UUID, broken: Sequence[UUID] | None) -> None:
    """Have the ledger say which tests a change broke."""
    if broken:
        uow.note(
            "knowledge.retrieval_tests_broken", Ref("KnowledgeItem", item_id), {"tests": [id.hex for id in broken]}
        )
