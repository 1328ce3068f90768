"""What jobs there are, for whoever looks after an installation: what waits, runs, failed; tried again or cancelled."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from api.settings import Settings
from domain.kernel import Conflict, NotFound, Text

T = TypeVar("T")


class JobStatus(StrEnum):
    """Where a job stands."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


_STATUSES = {
    JobStatus.WAITING: ("DELAYED", "ENQUEUED"),
    JobStatus.RUNNING: ("PENDING",),
    JobStatus.DONE: ("SUCCESS",),
    JobStatus.FAILED: ("ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"),
    JobStatus.CANCELLED: ("CANCELLED",),
}
_READ = {name: status for status, names in _STATUSES.items() for name in names}

ABSENT = Text("没有这个任务", "there is no such job")
NOT_OVER = Text("只有失败或已取消的任务可以重试", "only a job that failed or was cancelled is tried again")
OVER = Text("任务已经结束，无法取消", "the job has ended and cannot be cancelled")


@dataclass(frozen=True, slots=True)
class JobFacts:
    """One job; its instants are in UTC."""

    id: str
    kind: str
    status: JobStatus
    created_at: datetime
    due_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    attempts: int
    executor: str | None
    error: str | None


class Board:
    """The jobs of an installation, as every process sees them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opening = threading.Lock()
        self._client: Any = None

    async def jobs(self, status: JobStatus | None, kind: str | None, first: int, offset: int) -> list[JobFacts]:
        """Some jobs, the newest first."""
        wanted: dict[str, Any] = {"limit": first, "offset": offset, "sort_desc": True, "load_input": False}
        if status is not None:
            wanted["status"] = list(_STATUSES[status])
        if kind is not None:
            wanted["name"] = kind
        return [_facts(one) for one in await self._ask(lambda client: client.list_workflows(**wanted))]

    async def unfinished(self) -> list[tuple[JobFacts, Any]]:
        """Every job that has not ended, and what it was begun with."""
        statuses = [*_STATUSES[JobStatus.WAITING], *_STATUSES[JobStatus.RUNNING]]
        found = await self._ask(lambda client: client.list_workflows(status=statuses))
        return [(_facts(one), next(iter((one.input or {}).get("args", ())), None)) for one in found]

    async def job(self, id: str) -> JobFacts:
        """One job.

        Raises NotFound.
        """
        found = await self._ask(lambda client: client.list_workflows(workflow_ids=[id], load_input=False))
        if not found:
            raise NotFound(ABSENT, ("id",))
        return _facts(found[0])

    async def retry(self, id: str) -> JobFacts:
        """Have a job that failed or was cancelled done again.

        Raises NotFound, and Conflict for one that did not.
        """
        found = await self.job(id)
        if found.status is JobStatus.FAILED:
            await self._ask(lambda client: client.rewind_workflow(id))
        elif found.status is JobStatus.CANCELLED:
            await self._ask(lambda client: client.resume_workflow(id))
        else:
            raise Conflict(NOT_OVER, ("id",))
        return await self.job(id)

    async def cancel(self, id: str) -> JobFacts:
        """Have a job not done, or not go on after the step that it is at.

        Raises NotFound, and Conflict for one that has ended.
        """
        found = await self.job(id)
        if found.status not in {JobStatus.WAITING, JobStatus.RUNNING}:
            raise Conflict(OVER, ("id",))
        await self._ask(lambda client: client.cancel_workflow(id))
        return await self.job(id)

    async def close(self) -> None:
        """Give its connections back."""
        client, self._client = self._client, None
        if client is not None:
            await asyncio.to_thread(client.destroy)

    async def _ask(self, question: Callable[[Any], T]) -> T:
        return await asyncio.to_thread(lambda: question(self._opened()))

    def _opened(self) -> Any:
        # Whoever never asks for jobs is spared what the client takes: 25 MB.
        with self._opening:
            if self._client is None:
                from dbos import DBOSClient

                from api.jobs.engine import SCHEMA, jobs_url

                self._client = DBOSClient(
                    system_database_url=jobs_url(self._settings),
                    dbos_system_schema=SCHEMA,
                    retry_connection_errors=False,
                )
            return self._client


def _facts(one: Any) -> JobFacts:
    return JobFacts(
        one.workflow_id, one.name, _READ[one.status], _at(one.created_at) or datetime.fromtimestamp(0, UTC), _at(one.delay_until_epoch_ms),
        _at(one.dequeued_at), _at(one.completed_at), one.recovery_attempts or 0, one.executor_id or None, _why(one.error),
    )  # fmt: skip


def _why(error: Exception | None) -> str | None:
    """What is said of a failure: of one that was tried several times, the last."""
    last = (getattr(error, "errors", None) or [error])[-1]
    return None if last is None else f"{type(last).__name__}: {last}"


def _at(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
