"""Following a replica: the connections that ask primary and replica how far they are, and what waits for the answer."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncpg
from sqlalchemy import SmallInteger
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel.errors import Text, Unavailable
from domain.kernel.orm import Base
from domain.kernel.outages import GONE
from domain.kernel.read_pool import PostgreSQLReads, ReadPool
from domain.kernel.replica.lease import LEASE_SECONDS, OVER_SECONDS, Lease, Waiter

logger = logging.getLogger(__name__)

FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
ASK_SECONDS = LEASE_SECONDS / 4
"""How often the lease is renewed."""
ANSWER_SECONDS, CONNECT_SECONDS = 2.0, 2.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.0005, 0.01
IDLE_PAUSE_SECONDS, AWAY_PAUSE_SECONDS = 0.05, 0.25
RECONNECT_SECONDS = 1.0

WHO = """SELECT (SELECT system_identifier FROM pg_control_system()) || ' ' || current_database() AS cluster,
 pg_is_in_recovery() AS follows, pg_postmaster_start_time()::text AS server"""
# Commits that were told of are flushed, and no more than that is sent to a replica; where flushing is left for later,
# they are somewhere before the end.
WRITTEN = """SELECT (CASE current_setting('synchronous_commit') WHEN 'off' THEN pg_current_wal_insert_lsn()
 ELSE pg_current_wal_flush_lsn() END - '0/0'::pg_lsn)::bigint, coalesce((SELECT turn FROM replica_turns WHERE id = 1), 0)"""
REPLAYED = "SELECT CASE WHEN pg_is_in_recovery() THEN (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint END"
TURN = """INSERT INTO replica_turns AS kept (id, turn) VALUES (1, $1 + 1)
 ON CONFLICT (id) DO UPDATE SET turn = kept.turn + 1 WHERE kept.turn = $1"""

ANSWERS = Text("副本正在应答读取", "the replica answers reads")
BEHIND = Text("副本落后，由主库应答", "the replica is behind: the primary answers")
AWAY = Text("无法连接副本，由主库应答", "the replica cannot be reached: the primary answers")
SILENT = Text("主库没有应答，暂不读取副本", "the primary does not answer: nothing is read from the replica")
NO_REPLICA = Text(
    "SORTIE_REPLICA_URL 不是只读副本，由主库应答", "SORTIE_REPLICA_URL names no replica: the primary answers"
)
ANOTHER = Text(
    "SORTIE_REPLICA_URL 指向另一个数据库，由主库应答", "SORTIE_REPLICA_URL names another database: the primary answers"
)


class ReplicaTurn(Base):
    """Whether processes may read from the replica: while the turn is odd, none may."""

    __tablename__ = "replica_turns"
    __unledgered__ = "how the machines stand now; nothing that anybody decided"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    turn: Mapped[int]


class Replica:
    """One replica as one process follows it, from the first read or commit on."""

    def __init__(
        self, url: str, primary_url: str, *, lag_seconds: float, read_seconds: float, connections: int
    ) -> None:
        self._url = url
        self._connections = connections
        self._primary_options = _options(primary_url)
        self._options = _options(url)
        self._read_seconds = read_seconds
        self.lease = Lease(lag_seconds)
        self.answered = self.passed = 0
        """Reads that the replica answered, and that the primary answered instead."""
        self.state: Text | None = None
        """How it stands, in words; None before anything is known."""
        self._problem: Text | None = None
        self._silent = False
        """Whether the primary does not answer."""
        self._primary: Any = None
        self._cluster = ""
        self._link: Any = None
        self._server = ""
        self._pool: PostgreSQLReads | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._connect_at = self._ask_at = 0.0
        self._fresh: list[Waiter] = []
        self._later: list[Callable[[], None]] = []
        self._pause = FIRST_PAUSE_SECONDS
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # ---- what others ask of it -----------------------------------------------------------------------------------

    def pool(self) -> ReadPool | None:
        """The pool of the replica where it has every commit that anybody was told of until now; None where that is not known."""
        if time.monotonic() < self.lease.until:
            return self._pool
        self._start()
        return None

    @property
    def usable(self) -> bool:
        """Whether it may answer now."""
        return self._pool is not None and time.monotonic() < self.lease.until

    async def caught_up(self) -> None:
        """Wait until nobody reads a state of before this moment: the replica has what was committed, or is not asked any more."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._fresh.append(waiter)
        self._woken.set()
        self._start()
        # By then no process reads from a replica that has not been asked for this moment.
        with suppress(TimeoutError):
            async with asyncio.timeout(OVER_SECONDS):
                await waiter

    def afterwards(self, act: Callable[[], None]) -> None:
        """Have something done, in its turn, once nobody reads a state of before this moment."""
        self._later.append(act)
        if len(self._later) == 1:
            self._begin(self._act())

    def failed(self, error: Exception) -> None:
        """A read that the replica did not answer: where it is gone, no other is tried before it is back."""
        logger.debug("replica: a read goes to the primary (%s)", error)
        if isinstance(error, Unavailable) and error.text is GONE:
            self.lease.end(time.monotonic())

    async def close(self) -> None:
        """Follow no more, and give every connection back."""
        tasks = [task for task in (self._task, self._connecting, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._task = self._connecting = None
        for connection in (self._primary, self._link):
            if connection is not None:
                connection.terminate()
        self._primary = self._link = None
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    # ---- following -----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._follow())

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _act(self) -> None:
        while self._later:
            acts = list(self._later)
            await self.caught_up()
            for act in acts:
                try:
                    act()
                except Exception:  # what is told to one must not be lost for the next
                    logger.exception("replica: what was to be done afterwards failed")
            del self._later[: len(acts)]

    async def _follow(self) -> None:
        while True:
            try:
                await self._go_round()
                self._silent = False
            except Exception as error:  # noqa: BLE001 - whatever it is, to follow must not end
                if not self._silent:
                    logger.warning("replica: the primary was asked in vain (%s: %s)", type(error).__name__, error)
                self._silent = True
                if self._primary is not None:
                    self._primary.terminate()
                await asyncio.sleep(AWAY_PAUSE_SECONDS)
            self._tell()
            await self._rest()

    async def _go_round(self) -> None:
        """Ask the primary where that is due, then the replica where something is open, and turn where it is time to."""
        if self._fresh or time.monotonic() >= self._ask_at:
            await self._ask()
        if not self.lease.behind:
            return
        position = await self._look()
        now = time.monotonic()
        self.lease.reached(now, position)
        if self.lease.must_bar(now) or self.lease.may_lift(now):
            await self._primary.execute(TURN, self.lease.turn, timeout=ANSWER_SECONDS)
            self._ask_at = 0.0

    async def _ask(self) -> None:
        if self._primary is None or self._primary.is_closed():
            self._primary = await asyncpg.connect(**self._primary_options)
            self._cluster = (await self._primary.fetchrow(WHO, timeout=ANSWER_SECONDS))["cluster"]
        at, fresh = time.monotonic(), self._fresh
        self._fresh = []
        try:
            position, turn = await self._primary.fetchrow(WRITTEN, timeout=ANSWER_SECONDS)
        except BaseException:
            self._fresh = fresh + self._fresh
            raise
        self._ask_at, self._pause = at + ASK_SECONDS, FIRST_PAUSE_SECONDS
        self.lease.told(at, position, turn, fresh)
        # Whoever need not wait for the replica does not wait for its answer either.
        self.lease.reached(time.monotonic(), None)

    async def _look(self) -> int | None:
        """How far the replica has replayed; None where it does not answer."""
        if self._link is None or self._link.is_closed():
            if self._connecting is None and time.monotonic() >= self._connect_at:
                self._connecting = asyncio.create_task(self._connect())
            return None
        try:
            position: int | None = await self._link.fetchval(REPLAYED, timeout=ASK_SECONDS)
        except FAILURES:
            position = None
        if position is None:
            self._link.terminate()
        return position

    async def _connect(self) -> None:
        try:
            self._problem = await self._join()
        except FAILURES as error:
            logger.debug("replica: no connection (%s)", type(error).__name__)
            self._problem = AWAY
        finally:
            self._connecting, self._connect_at = None, time.monotonic() + RECONNECT_SECONDS
        if self._problem is not None:
            self._leave_pool()
        self._woken.set()

    async def _join(self) -> Text | None:
        """Open a connection to the replica; what speaks against it."""
        link = await asyncpg.connect(**self._options)
        try:
            who = await link.fetchrow(WHO, timeout=ANSWER_SECONDS)
        except BaseException:
            link.terminate()
            raise
        if not who["follows"] or who["cluster"] != self._cluster:
            link.terminate()
            return ANOTHER if who["cluster"] != self._cluster else NO_REPLICA
        if who["server"] != self._server:
            # One that began anew may have less than it had before, so that nothing is known of it yet.
            self.lease.end(time.monotonic())
            self._leave_pool()
        if self._pool is None:
            self._server = who["server"]
            self._pool = PostgreSQLReads(
                self._url, connections=self._connections, seconds=self._read_seconds, server=self._server
            )
        # A server that mends itself after a crash has not begun anew, and may have less than it had.
        link.add_termination_listener(lambda _link: self.lease.end(time.monotonic()))
        self._link = link
        return None

    def _leave_pool(self) -> None:
        """Have reads that are under way there go to the primary, in the end."""
        self.lease.end(time.monotonic())
        pool, self._pool = self._pool, None
        if pool is not None:
            self._begin(pool.close())

    def _tell(self) -> None:
        """Say it once when the replica comes or goes."""
        late = BEHIND if self.lease.late else self.state
        state = ANSWERS if self.usable else SILENT if self._silent else self._problem or late
        if state is not None and state is not self.state:
            logger.log(logging.INFO if state is ANSWERS else logging.WARNING, "%s", state.en)
            self.state = state

    async def _rest(self) -> None:
        now = time.monotonic()
        if self._fresh:
            return
        pause = self._ask_at - now
        if self.lease.behind:
            pause = min(pause, self._patience())
        self._woken.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(pause, 0.0)):
                await self._woken.wait()

    def _patience(self) -> float:
        if self._link is None or self._link.is_closed():
            return IDLE_PAUSE_SECONDS if self.lease.awaited else AWAY_PAUSE_SECONDS
        if not self.lease.awaited:
            return IDLE_PAUSE_SECONDS
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        return pause


def _options(url: str) -> dict[str, Any]:
    parsed = make_url(url)
    options: dict[str, Any] = dict(parsed.get_dialect()().create_connect_args(parsed)[1])
    return options | {"timeout": CONNECT_SECONDS, "server_settings": {"application_name": "sortie replica"}}
