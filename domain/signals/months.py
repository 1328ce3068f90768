"""Signals by the month of `occurred_at`: partitions on PostgreSQL, and the removal of old months on both databases."""

import os
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from domain.kernel import SYSTEM, Database, Ref, UnitOfWork
from domain.ledger import RowsDigest
from domain.signals.model import MonthRemoval, Signal, SignalKey

AHEAD = 3
"""How many months after this one have a partition."""
SCHEMA = "signal_months"
"""Where the partitions are: a schema that no reader may use, so that all go through the table and its policies."""
OTHERS = f"{SCHEMA}.others"
"""The partition of every month that has none of its own: nothing is ever turned away, and nobody who writes changes tables."""
BATCH = 5_000
LOCK = 0x6D6F_6E74_6873
WAIT = "500ms"
"""Shorter than the second after which PostgreSQL looks for deadlocks: it is we who give up, and never who writes."""


def month_of(instant: datetime) -> datetime:
    """The first instant of its month in UTC."""
    return instant.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def later(month: datetime, months: int) -> datetime:
    """The first instant of a month so many months after; before, for a negative number."""
    years, index = divmod(month.month - 1 + months, 12)
    return month.replace(year=month.year + years, month=index + 1)


async def ensure_months(database: Database) -> list[str]:
    """Give this month, the next AHEAD ones, and each that has signals in OTHERS a partition; return those made.

    SQLite has none. Raises Unavailable when somebody keeps the tables too long; then it is tried again later.
    """
    if database.embedded:
        return []
    async with database.open_uow(SYSTEM) as uow:
        connection = await uow.session.connection()
        await _take_turn(connection)
        now = month_of(uow.now)
        wanted = {later(now, ahead) for ahead in range(AHEAD + 1)} | await _unhoused(connection)
        made = sorted(wanted - set(await _housed(connection)))
        await connection.execute(text(f"SET LOCAL lock_timeout = '{WAIT}'"))
        if made:
            # In this order, which is that of writers: what signals refer to, then signals.
            await connection.execute(
                text("LOCK TABLE accounts, contacts, consent_receipts IN SHARE ROW EXCLUSIVE MODE")
            )
            await connection.execute(text(f"LOCK TABLE {OTHERS} IN ACCESS EXCLUSIVE MODE"))
        for month in made:
            await _house(connection, month)
    return [_name(month) for month in made]


async def remove_old_months(database: Database, months: int) -> int:
    """Remove the signals of every month that lies wholly more than so many months back, with their keys; return how many.

    The ledger says which month, how many rows and their digest. On PostgreSQL a month is one commit, on SQLite, where others
    wait for the one writer, BATCH rows are.
    """
    await ensure_months(database)
    total = 0
    while month := await _oldest(database, later(month_of(database.clock()), -months)):
        async with database.open_uow(SYSTEM) as uow:
            total += await (_remove_batch if database.embedded else _drop)(uow, month)
    return total


# ---- partitions ------------------------------------------------------------------------------------------------------


def _name(month: datetime) -> str:
    return f"{month.year:04}-{month.month:02}"


def _partition(month: datetime) -> str:
    return f"{SCHEMA}.m_{month.year:04}_{month.month:02}"


async def _take_turn(connection: AsyncConnection) -> None:
    await connection.execute(select(func.pg_advisory_xact_lock(LOCK)))


async def _housed(connection: AsyncConnection) -> list[datetime]:
    """The months that have a partition, the oldest first."""
    found = text(
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid "
        "WHERE inhparent = 'signals'::regclass AND relname ~ '^m_[0-9]{4}_[0-9]{2}$' ORDER BY relname"
    )
    names = (await connection.execute(found)).scalars()
    return [datetime(int(name[2:6]), int(name[7:]), 1, tzinfo=UTC) for name in names]


async def _unhoused(connection: AsyncConnection) -> set[datetime]:
    """The months of signals that lie in OTHERS."""
    found = await connection.execute(text(f"SELECT DISTINCT date_trunc('month', occurred_at, 'UTC') FROM {OTHERS}"))
    return {month_of(month) for month in found.scalars()}


async def _house(connection: AsyncConnection, month: datetime) -> None:
    """Make a month's partition, with what lies in OTHERS of it."""
    partition = _partition(month)
    bounds = f"'{month.isoformat()}'", f"'{later(month, 1).isoformat()}'"
    out = f"DELETE FROM {OTHERS} WHERE occurred_at >= {bounds[0]} AND occurred_at < {bounds[1]} RETURNING *"
    for statement in (
        f"CREATE TABLE {partition} (LIKE signals INCLUDING DEFAULTS)",
        f"WITH moved AS ({out}) INSERT INTO {partition} SELECT * FROM moved",
        f"ALTER TABLE signals ATTACH PARTITION {partition} FOR VALUES FROM ({bounds[0]}) TO ({bounds[1]})",
    ):
        await connection.exec_driver_sql(statement)


# ---- removal ---------------------------------------------------------------------------------------------------------


async def _oldest(database: Database, kept: datetime) -> datetime | None:
    """The oldest month before those that are kept of which there is anything."""
    async with database.read(SYSTEM) as connection:
        if not database.embedded:
            return next((month for month in await _housed(connection) if month < kept), None)
        oldest = await connection.scalar(select(func.min(SignalKey.occurred_at)))
        return month_of(oldest) if oldest is not None and oldest < kept else None


async def _drop(uow: UnitOfWork, month: datetime) -> int:
    """Take a month's partition off and away, and note what it held."""
    connection = await uow.session.connection()
    await _take_turn(connection)
    if month not in await _housed(connection):
        return 0
    # Nothing is added to it while it is read; whoever reads goes on until the end.
    await connection.exec_driver_sql(f"LOCK TABLE {_partition(month)} IN SHARE MODE")
    removal, last = _begun(uow, month), UUID(int=0)
    digest = RowsDigest(removal.salt)
    while rows := await _rows(uow, month, last):
        digest.add(rows)
        removal.row_count += len(rows)
        last = rows[-1]["id"]
    _note(uow, removal, digest)
    keys = delete(SignalKey).where(_within(SignalKey.occurred_at, month))
    await uow.session.execute(keys, execution_options={"synchronize_session": False})
    await connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{WAIT}'")
    await connection.exec_driver_sql(f"ALTER TABLE signals DETACH PARTITION {_partition(month)}")
    await connection.exec_driver_sql(f"DROP TABLE {_partition(month)}")
    return removal.row_count


async def _remove_batch(uow: UnitOfWork, month: datetime) -> int:
    """Delete up to BATCH signals of a month, and note what they were."""
    rows = await _rows(uow, month, UUID(int=0))
    ids = [row["id"] for row in rows]
    removal = _begun(uow, month)
    digest = RowsDigest(removal.salt)
    digest.add(rows)
    removal.row_count = len(rows)
    _note(uow, removal, digest)
    keys = SignalKey.signal_id.in_(ids) if len(rows) == BATCH else _within(SignalKey.occurred_at, month)
    for statement in (delete(SignalKey).where(keys), delete(Signal).where(Signal.id.in_(ids))):
        await uow.session.execute(statement, execution_options={"synchronize_session": False})
    return len(rows)


def _within(at: InstrumentedAttribute[datetime], month: datetime) -> ColumnElement[bool]:
    return (at >= month) & (at < later(month, 1))


async def _rows(uow: UnitOfWork, month: datetime, after: UUID) -> list[dict[str, Any]]:
    """The next BATCH signals of a month, by their ids."""
    found = (
        select(Signal.__table__)
        .where(_within(Signal.occurred_at, month), Signal.id > after)
        .order_by(Signal.id)
        .limit(BATCH)
    )
    return [dict(row) for row in (await uow.session.execute(found)).mappings()]


def _begun(uow: UnitOfWork, month: datetime) -> MonthRemoval:
    return MonthRemoval(id=uow.new_id(), month=_name(month), removed_at=uow.now, row_count=0, salt=os.urandom(32))


def _note(uow: UnitOfWork, removal: MonthRemoval, digest: RowsDigest) -> None:
    if removal.row_count == 0:
        return
    uow.session.add(removal)
    detail = {"month": removal.month, "rows": removal.row_count, "digest": digest.hex()}
    uow.note("signal.month_removed", Ref("MonthRemoval", removal.id), detail, covers=(Signal,))
