"""Reads that a replica answers while it may, and the primary otherwise."""

from collections.abc import Hashable

import asyncpg

from domain.kernel.errors import Unavailable
from domain.kernel.read_pool import Overloaded, ReadPool, Together
from domain.kernel.read_pool.waiting import TOO_SLOW, Row, Values
from domain.kernel.reader import READER
from domain.kernel.replica.follower import Replica


class ReplicaFirst:
    """The pool for what may be read from a replica; whatever goes wrong there is asked of the primary."""

    def __init__(self, replica: Replica, primary: ReadPool) -> None:
        self._replica = replica
        self._primary = primary

    async def fetch(
        self,
        sql: str,
        values: Values,
        share: Hashable | None = None,
        role: str = READER,
        together: Together | None = None,
    ) -> Row:
        """The one row of a statement.

        What takes too long on the replica, or waits behind too many, is told as it is: the primary would fare no better.
        """
        pool = self._replica.pool()
        if pool is not None:
            try:
                row = await pool.fetch(sql, values, share, role, together)
            except Unavailable as error:
                if isinstance(error, Overloaded) or error.text is TOO_SLOW:
                    raise
                self._replica.failed(error)
            except asyncpg.DataError:
                raise
            except asyncpg.PostgresError as error:
                self._replica.failed(error)
            else:
                self._replica.answered += 1
                return row
        self._replica.passed += 1
        return await self._primary.fetch(sql, values, share, role, together)

    async def close(self) -> None:
        """Nothing: whoever made the pools closes them."""
