"""Pools for reads of one statement: its row comes back as it is, without a transaction or an object round it."""

from domain.kernel.read_pool.postgresql import PostgreSQLReads
from domain.kernel.read_pool.sqlite import SQLiteReads
from domain.kernel.read_pool.waiting import SECONDS, Overloaded, ReadPool, Together

__all__ = ["Overloaded", "PostgreSQLReads", "ReadPool", "SQLiteReads", "Together", "open_reads"]


def open_reads(url: str, *, connections: int, seconds: float = SECONDS) -> ReadPool:
    """The pool for a database, whose statements take so many seconds at most; nothing is opened before the first read.

    SQLite has one connection for reads.
    """
    if url.startswith("sqlite"):
        return SQLiteReads(url, seconds=seconds)
    return PostgreSQLReads(url, connections=connections, seconds=seconds)
