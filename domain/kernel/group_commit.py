"""Group commit on SQLite: units of work take turns in one transaction, and one commit has all of them on the disk."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.kernel.finishing import finish
from domain.kernel.sessions import UnitSession
from domain.kernel.sqlite import Connection, SqliteTransaction, savepoint


@dataclass
class Group:
    """One transaction that several units share, and the commit for which they wait."""

    connection: AsyncConnection
    driver: Connection
    until: float
    committed: asyncio.Future[None]
    session: UnitSession
    units: int = field(default=0)
    news: list[str] = field(default_factory=list)

    def fail(self, error: BaseException) -> None:
        """Tell every unit that nothing of the group was kept."""
        if not self.committed.done():
            self.committed.set_exception(error)


class GroupCommit:
    """The one writer of a SQLite database: units take turns in its transaction.

    A group takes in who waits meanwhile, up to a number of units and for a time; nobody is told of success before the
    commit.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        lock_timeout_seconds: float,
        *,
        tell: Callable[[str], None],
        most_units: int = 64,
        longest_seconds: float = 0.05,
    ) -> None:
        self._engine = engine
        self._lock_timeout_seconds = lock_timeout_seconds
        self._most_units = most_units
        self._longest_seconds = longest_seconds
        self._tell = tell
        # Fair: who waits is served in the order in which they came, and so is the one who commits.
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._group: Group | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def unit(self, *, alone: bool = False) -> AsyncIterator[UnitSession]:
        """The session of one unit, in a turn of its own; leaving the block waits for the group's commit.

        A unit that fails is rolled back to where it began. With `alone` it has a group of its own: nobody waits for a commit
        behind a long import. Raises what the commit raised.
        """
        async with self._next_turn():
            if alone:
                await finish(self._commit())
            group = self._group or await self._begin()
            try:
                with savepoint(group.driver):
                    group.session.enter(SqliteTransaction(group.driver, self._engine.dialect))
                    yield group.session
            except BaseException as error:
                if not group.driver.in_transaction:
                    group.fail(error)
                    await finish(self._commit())
                raise
            group.units += 1
            if group.session.transaction.news:
                group.news.append(group.session.transaction.news)
            if alone or group.units >= self._most_units or asyncio.get_running_loop().time() >= group.until:
                await finish(self._commit())
        await asyncio.shield(group.committed)

    @asynccontextmanager
    async def _next_turn(self) -> AsyncIterator[None]:
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turn.release()

    async def _begin(self) -> Group:
        loop = asyncio.get_running_loop()
        connection = await self._begin_immediate(loop.time() + self._lock_timeout_seconds)
        driver: Any = (await connection.get_raw_connection()).driver_connection
        group = Group(
            connection, driver, loop.time() + self._longest_seconds, loop.create_future(), UnitSession(connection)
        )
        # Where every unit of it failed or was cancelled, nobody asks how the commit went.
        group.committed.add_done_callback(lambda committed: committed.exception())
        self._group = group
        task = loop.create_task(self._commit_when_quiet(group))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return group

    async def _begin_immediate(self, until: float) -> AsyncConnection:
        """Begin; another process that writes is waited for without holding up anybody else here."""
        while True:
            connection = await self._engine.connect()
            try:
                await connection.begin()
            except OperationalError as error:
                await connection.close()
                if "locked" not in str(error.orig) or asyncio.get_running_loop().time() >= until:
                    raise
                await asyncio.sleep(0.005)
            else:
                return connection

    async def _commit_when_quiet(self, group: Group) -> None:
        """Take turns like a unit until nobody waits behind; then commit."""
        while group is self._group:
            async with self._turn:
                if group is self._group and not self._waiting:
                    await self._commit()

    async def _commit(self) -> None:
        group, self._group = self._group, None
        if group is None:
            return
        try:
            if group.units and not group.committed.done():
                await group.connection.commit()
        except Exception as error:  # noqa: BLE001 - each unit raises it
            group.fail(error)
        finally:
            # After a commit that failed the transaction is still open.
            if group.driver.in_transaction:
                await group.driver.rollback()
            await group.connection.close()
        if not group.committed.done():
            group.committed.set_result(None)
            for payload in group.news:
                self._tell(payload)

    async def close(self) -> None:
        """Wait for what is under way."""
        async with self._turn:
            await self._commit()
