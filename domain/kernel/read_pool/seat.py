"""One connection of PostgreSQL for reads: in a readers' role, with its statements kept prepared."""

import asyncio
from collections import OrderedDict
from contextlib import suppress
from typing import Any

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy.engine import make_url

from domain.kernel.errors import Text, Unavailable
from domain.kernel.outages import GONE, outage
from domain.kernel.read_pool.waiting import GRACE_SECONDS, Row, Values
from domain.kernel.reader import READER

PREPARED = 300
"""Statements that each connection keeps prepared, the least recently used forgotten first."""
CANCEL_SECONDS = 5.0
BEGAN = "SELECT pg_postmaster_start_time()::text"
DRIVER_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Seat:
    """A place for one connection, which is opened when it is first needed and anew when it broke."""

    __slots__ = ("_made", "_options", "_prepared", "_server", "raw", "role")

    def __init__(self, options: dict[str, Any], server: str | None = None) -> None:
        self.raw: asyncpg.Connection[Any] | None = None
        self.role = READER
        """The role in which its connection is."""
        self._options = options
        self._server = server
        self._prepared: OrderedDict[tuple[str, str], PreparedStatement[Any]] = OrderedDict()
        self._made = 0

    def knows(self, sql: str, role: str) -> bool:
        """Whether a statement is prepared."""
        return (sql, role) in self._prepared

    async def fetch(self, sql: str, values: Values, role: str) -> list[Row]:
        """The rows of a statement as that role sees them; asyncpg cancels it on the server with its caller."""
        raw = self.raw
        if raw is None or raw.is_closed():
            raw = await self._open()
        if role != self.role:
            await self._become(raw, role)
        # PostgreSQL plans a statement anew for another role: each has a plan of its own.
        key = (sql, role)
        statement = self._prepared.get(key)
        if statement is None:
            statement = await self._prepare(raw, key)
        else:
            self._prepared.move_to_end(key)
        try:
            return [tuple(row) for row in await statement.fetch(*values)]
        except (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError):
            # A migration has changed a table below it.
            del self._prepared[key]
            statement = await self._prepare(raw, key)
            return [tuple(row) for row in await statement.fetch(*values)]

    async def _open(self) -> "asyncpg.Connection[Any]":
        self._prepared.clear()
        try:
            raw = await asyncpg.connect(**self._options)
            if self._server is not None and await raw.fetchval(BEGAN) != self._server:
                raw.terminate()
                raise Unavailable(GONE)
            # The answer goes out as UTF-8, which is what the server sends.
            await raw.set_type_codec("text", schema="pg_catalog", encoder=str.encode, decoder=bytes, format="binary")
        except DRIVER_ERRORS as error:
            raise Unavailable(GONE) from error
        self.raw, self.role = raw, READER
        return raw

    async def _become(self, raw: "asyncpg.Connection[Any]", role: str) -> None:
        self.role = ""
        await raw.execute(f"SET ROLE {role}")
        self.role = role

    async def _prepare(self, raw: "asyncpg.Connection[Any]", key: tuple[str, str]) -> "PreparedStatement[Any]":
        self._made += 1
        try:
            # One without a name would be parsed and planned anew each time that it is asked.
            statement = await raw.prepare(key[0], name=f"read_{self._made}")
        except asyncio.CancelledError:
            # The server may hold a statement by now of which nobody knows.
            raw.terminate()
            raise
        self._prepared[key] = statement
        if len(self._prepared) > PREPARED:
            self._prepared.popitem(last=False)
        return statement

    async def settle(self) -> None:
        """Wait until a statement that was cancelled is over on the server; give the connection up where that takes long."""
        if self.raw is None or self.raw.is_closed():
            return
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                await self.raw.execute("SELECT 1")
        except (*DRIVER_ERRORS, asyncio.CancelledError):
            self.raw.terminate()

    async def close(self) -> None:
        """Close the connection, in peace where it is idle."""
        raw, self.raw = self.raw, None
        if raw is not None and not raw.is_closed():
            with suppress(*DRIVER_ERRORS):
                await raw.close(timeout=GRACE_SECONDS)

    def outage(self, error: Exception) -> Text | None:
        """What an error says of the database; None where it speaks of the statement. A connection in doubt is given up."""
        lost = isinstance(error, OSError | asyncpg.PostgresConnectionError | asyncpg.InternalClientError)
        wrong = isinstance(error, asyncpg.InterfaceError)
        text = GONE if lost or (wrong and self.raw is not None and self.raw.is_closed()) else outage(error)
        if text is GONE or wrong:
            self.terminate()
        return text

    def terminate(self) -> None:
        """Close the connection whatever it does."""
        if self.raw is not None:
            self.raw.terminate()


def options_of(url: str, seconds: float) -> dict[str, Any]:
    """What the driver connects with: the same of the address as units of work use."""
    parsed = make_url(url)
    options: dict[str, Any] = dict(parsed.get_dialect()().create_connect_args(parsed)[1])
    settings = {
        "role": READER, "default_transaction_read_only": "on", "jit": "off", "plan_cache_mode": "force_generic_plan",
        # Compiled reads look rows up by their keys, again and again: from memory, where a page costs what any other does.
        "random_page_cost": "1.1",
        "application_name": "sortie reads", "statement_timeout": str(max(1, int(seconds * 1000))),
        "client_connection_check_interval": "1s",
    }  # fmt: skip
    # The server's time-out tells first; the driver's is for a server that does not answer at all.
    return options | {
        "server_settings": settings, "statement_cache_size": 0, "timeout": seconds, "command_timeout": seconds + 1,
    }  # fmt: skip
