"""What one request carries: the database, who is asking, in which language and when, and its loaders."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import strawberry
from sqlalchemy import Executable
from sqlalchemy.engine import RowMapping
from strawberry.dataloader import DataLoader

from api.limits import Limits
from api.operations.requests import correlation_id
from api.outbound import NO_WAY_OUT, Outbound
from api.rates import Rates
from assistant.pipeline import Desk
from domain.kernel import Actor, Database, Language, Ref, Text, Unauthenticated, Unavailable, UnitOfWork
from domain.ledger import Verification
from knowledge import Filter, Hit, Library

if TYPE_CHECKING:
    from api.jobs.board import Board

BATCH = 10_000
"""Keys of one statement at most: PostgreSQL takes 32,767 parameters."""

LANGUAGES = {"zh": Language.ZH, "en": Language.EN}

ANSWER_MARGIN_SECONDS = 5.0
"""What an operation may take beyond its answer's deadline, for checking and recording."""

NOBODY = Text("请先登录：缺少有效的访问令牌", "sign in first: there is no valid token")

NO_LIVE = Text("实时更新此刻不可用", "there are no live updates now")
NO_ASSISTANT = Text("助手此刻不可用", "the assistant does not serve now")


class Auditor(Protocol):
    """Who can verify the ledger: it knows the public key and the published heads."""

    async def verify(self) -> Verification:
        """Verify what is new since the last sound verification."""
        ...


class Watching(Protocol):
    """Who hands on what commits change."""

    def watching(self, refs: Iterable[Ref] = (), entities: Iterable[str] = ()) -> AbstractContextManager[Any]:
        """A watcher of these records and of all of these entities, until the block ends."""
        ...


class Searches(Protocol):
    """Who keeps what people look for in the knowledge."""

    def note(self, actor: Actor, query: str, wanted: Filter, hits: Iterable[Hit]) -> None:
        """Remember a search."""
        ...


class Timer(Protocol):
    """When an operation is stopped, by the loop's clock; `asyncio.Timeout` is one."""

    def when(self) -> float | None:
        """The instant, or None where it has no end."""
        ...

    def reschedule(self, when: float | None) -> None:
        """Another instant."""
        ...


@dataclass
class Context:
    """One request: fresh for each, never shared."""

    database: Database
    actor: Actor | None
    language: Language
    now: datetime
    auditor: Auditor | None = None
    desk: Desk | None = None
    library: Library | None = None
    board: "Board | None" = None
    outbound: Outbound = NO_WAY_OUT
    limits: Limits = field(default_factory=Limits)
    rates: Rates | None = None
    done: dict[str, Any] = field(default_factory=dict)
    """What became of a mutation's roots that were executed already, by their keys in the answer."""
    codes: list[str] = field(default_factory=list)
    """The code of every error that was reported, for the measures."""
    changes: bool = False
    """Whether the operation may change something: it is not stopped then when its client leaves."""
    timer: Timer | None = None
    """When the operation is stopped."""
    hopeful: bool = False
    """Whether units of work take client keys for fresh without looking: whoever says so runs them again where one was not."""
    hub: Watching | None = None
    searches: Searches | None = None
    ends_at: float | None = None
    """When the reader's token ends (Unix time)."""
    readmit: Callable[[], Awaitable["Context"]] | None = None
    """How the reader of a subscription is let in again."""
    correlation_id: str = field(default_factory=correlation_id)
    _loaders: dict[Hashable, DataLoader[Any, Any]] = field(default_factory=dict)

    @property
    def reader(self) -> Actor:
        """Who is asking.

        Raises Unauthenticated when nobody known is.
        """
        if self.actor is None:
            raise Unauthenticated(NOBODY)
        return self.actor

    @property
    def assistant(self) -> Desk:
        """The assistant of this process.

        Raises Unavailable in a process that has none.
        """
        if self.desk is None:
            raise Unavailable(NO_ASSISTANT)
        return self.desk

    @property
    def live(self) -> Watching:
        """The live updates of this process.

        Raises Unavailable in a process that has none.
        """
        if self.hub is None:
            raise Unavailable(NO_LIVE)
        return self.hub

    async def renew(self) -> None:
        """Go on as the reader stands now, with nothing of what was read before.

        Raises Unauthenticated when they may no longer be here.
        """
        self._loaders.clear()
        self.now = self.database.clock()
        if self.readmit is not None:
            fresh = await self.readmit()
            self.actor, self.ends_at, self.now = fresh.actor, fresh.ends_at, fresh.now

    async def begin_answer(self, deadline_seconds: float) -> None:
        """Count an answer that is asked for, and give the operation the time that it may take.

        Raises RateLimited when the reader has used their hour up.
        """
        if self.rates is not None:
            self.rates.count_answer(self.reader)
        if self.timer is not None:
            ends = asyncio.get_running_loop().time() + deadline_seconds + ANSWER_MARGIN_SECONDS
            self.timer.reschedule(max(ends, self.timer.when() or 0.0))

    async def rows(self, statement: Executable, actor: Actor | None = None) -> Sequence[RowMapping]:
        """The rows of one statement on its own connection, since siblings resolve concurrently.

        The database keeps them to what the reader may see, or the actor given.
        """
        async with self.database.read(actor or self.reader) as connection:
            times = {"sortie_now": self.now, "sortie_today": self.now.date()}
            return (await connection.execute(statement, times)).mappings().all()

    @asynccontextmanager
    async def open_uow(self) -> AsyncIterator[UnitOfWork]:
        """A unit of work of the reader; what was loaded before is forgotten, because it may have changed."""
        async with self.database.open_uow(self.reader, hopeful=self.hopeful) as uow:
            yield uow
        self._loaders.clear()

    async def load(
        self, key: Hashable, id: Any, fetch: Callable[[list[Any]], Awaitable[Mapping[Any, Any]]], absent: Any = None
    ) -> Any:
        """The value of one id, fetched together with every other id that is asked under the same key now."""
        loader = self._loaders.get(key)
        if loader is None:

            async def batch(ids: list[Any]) -> list[Any]:
                found = await fetch(ids)
                return [found.get(id, absent) for id in ids]

            loader = self._loaders[key] = DataLoader(batch, max_batch_size=BATCH)
        # Who waits for the same value waits for the same future: one who is stopped must not stop the others.
        return await asyncio.shield(loader.load(id))


Info = strawberry.Info[Context, None]


@lru_cache(maxsize=128)
def preferred_language(accept_language: str | None) -> Language:
    """The first language of an Accept-Language header that people read here, by weight; Chinese without one."""
    weighed = []
    for position, part in enumerate((accept_language or "").split(",")):
        match = re.fullmatch(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]*)?\s*(?:;\s*q\s*=\s*([0-9.]{1,5}))?\s*", part)
        weight = _weight(match.group(2)) if match else 0.0
        if match and weight > 0 and match.group(1).lower() in LANGUAGES:
            weighed.append((-weight, position, LANGUAGES[match.group(1).lower()]))
    return min(weighed)[2] if weighed else Language.ZH


def _weight(words: str | None) -> float:
    try:
        return 1.0 if words is None else float(words)
    except ValueError:
        return 0.0
