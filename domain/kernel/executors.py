"""Processes that run jobs: each says again and again that it lives, so that others take over from one that does not."""

from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel.actors import SYSTEM
from domain.kernel.orm import Base
from domain.kernel.uow import Database

BEAT_SECONDS, DEAD_SECONDS = 3.0, 12.0
"""How often an executor says that it lives, and after how long a silence its jobs go to others."""


class JobExecutor(Base):
    """A process that runs jobs."""

    __tablename__ = "job_executors"
    __unledgered__ = "who is at work now; nothing that anybody decided"

    id: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]


async def beat(database: Database, id: str) -> None:
    """Say that an executor lives."""
    async with database.open_uow(SYSTEM) as uow:
        lives = update(JobExecutor).where(JobExecutor.id == id).values(seen_at=uow.now).returning(JobExecutor.id)
        if (await uow.session.execute(lives)).first() is None:
            uow.session.add(JobExecutor(id=id, started_at=uow.now, seen_at=uow.now))


async def leave(database: Database, id: str | None) -> None:
    """Forget an executor that has ended, or all."""
    async with database.open_uow(SYSTEM) as uow:
        gone = delete(JobExecutor) if id is None else delete(JobExecutor).where(JobExecutor.id == id)
        await uow.session.execute(gone, execution_options={"synchronize_session": False})


async def living(database: Database) -> set[str]:
    """The executors that have said so of late."""
    since = database.clock() - timedelta(seconds=DEAD_SECONDS)
    async with database.read(SYSTEM) as connection:
        return set(await connection.scalars(select(JobExecutor.id).where(JobExecutor.seen_at >= since)))
