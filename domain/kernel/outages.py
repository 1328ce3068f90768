"""What a database cannot do now, in words that people read."""

import sqlite3

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from domain.kernel.errors import Text, Unavailable

LOCKED = Text("数据库正被其他进程占用，请稍后重试", "the database is locked by another process: try again shortly")
FULL = Text("磁盘或数据库空间已满，本次写入没有保存", "the disk or database is full: nothing of this change was saved")
GONE = Text("数据库现在无法连接，请稍后重试", "the database cannot be reached now: try again shortly")
SQLSTATES = {
    "53100": FULL,
    "53300": GONE,
    "57P01": GONE,
    "57P02": GONE,
    "57P03": GONE,
    "40P01": LOCKED,
    "40001": LOCKED,
    "55P03": LOCKED,
}
"""PostgreSQL's codes (Appendix A of its manual): disk full, too many connections, shutting down, crashed, starting, deadlock, serialization, lock."""
UNREACHED = (ConnectionError, PoolTimeoutError)
"""What is raised where no connection comes about."""


def outage(error: BaseException | None) -> Text | None:
    """What a driver's error says of the database; None where it speaks of the statement."""
    if isinstance(error, sqlite3.OperationalError):
        words = str(error)
        if "locked" in words or "busy" in words:
            return LOCKED
        return FULL if "full" in words else None
    return SQLSTATES.get(getattr(error, "sqlstate", None) or "")


def unavailable(error: DBAPIError) -> Exception:
    """The readable error for what the database cannot do now; the error itself where it says something else."""
    text = outage(error.orig)
    if text is None and error.connection_invalidated:
        text = GONE
    return error if text is None else Unavailable(text)
