"""Jobs in the schema: what waits, runs and failed, and what ADMIN does about it."""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any

import strawberry

from api.context import Context, Info
from api.jobs.board import Board, JobFacts, JobStatus
from api.jobs.names import LABELS
from api.mutations import UserError, mutation, refusals, text
from api.reads import check_size, computed, roots
from api.scalars import enum
from domain.kernel import Forbidden, Invalid, Ref, Role, Text, Unavailable

NO_LOOKING = Text("只有管理员可以查看后台任务", "only administrators see jobs")
NO_JOBS = Text("此进程没有任务看板", "this process has no board of jobs")
NO_CURSOR = Text("after 不是任务列表给出的游标", "after is no cursor of a list of jobs")
LONGEST_ID = 200

enum(
    JobStatus,
    "Where a job stands.",
    WAITING="It waits for its time or for its turn.",
    RUNNING="It is being done.",
    DONE="It was done.",
    FAILED="It was tried and could not be done.",
    CANCELLED="Somebody cancelled it.",
)


@strawberry.type(description="Something that is done beside requests, once or by a schedule.")
class Job:
    """One job as the schema shows it."""

    id: strawberry.ID = strawberry.field(description="Its id.")
    kind: str = strawberry.field(description="What is done, such as `remind_of_lead`.")
    label: str = strawberry.field(description="What is done, in the reader's language.")
    status: JobStatus = strawberry.field(description="Where it stands.")
    created_at: datetime = strawberry.field(description="When it was asked for.")
    due_at: datetime | None = strawberry.field(description="When it is due; null for as soon as can be.")
    started_at: datetime | None = strawberry.field(description="When it was last begun.")
    ended_at: datetime | None = strawberry.field(description="When it ended.")
    attempts: int = strawberry.field(description="How often it was begun.")
    executor: str | None = strawberry.field(description="The process that has or had it.")
    error: str | None = strawberry.field(description="Why it failed.")


@strawberry.type(description="Some jobs, the newest first.")
class JobList:
    """One page."""

    jobs: list[Job] = strawberry.field(description="The jobs.")
    end_cursor: str | None = strawberry.field(description="What `after` takes for the next page; null at the end.")


def _shown(facts: JobFacts, context: Context) -> Job:
    label = LABELS.get(facts.kind)
    return Job(
        id=strawberry.ID(facts.id), kind=facts.kind, label=facts.kind if label is None else label.words(context.language), status=facts.status,
        created_at=facts.created_at, due_at=facts.due_at, started_at=facts.started_at, ended_at=facts.ended_at, attempts=facts.attempts,
        executor=facts.executor, error=facts.error,
    )  # fmt: skip


def _board(context: Context) -> Board:
    if context.board is None:
        raise Unavailable(NO_JOBS)
    return context.board


def _argument(description: str) -> Any:
    return strawberry.argument(description=description)


@roots
class JobQueries:
    """The roots of this room."""

    @computed("What is done beside requests, for administrators: the newest first.")
    async def jobs(
        self,
        info: Info,
        status: Annotated[JobStatus | None, _argument("Those that stand so.")] = None,
        kind: Annotated[str | None, _argument("Those of this kind.")] = None,
        first: Annotated[int, _argument("How many at most: 1 to 100.")] = 20,
        after: Annotated[str | None, _argument("The `endCursor` of the page before.")] = None,
    ) -> JobList | None:
        """Read them."""
        context = info.context
        if not context.reader.has(Role.ADMIN):
            raise Forbidden(NO_LOOKING)
        check_size(context, first, "first")
        offset = 0 if after is None else _offset(after)
        found = await _board(context).jobs(status, kind, first + 1, offset)
        more = len(found) > first
        return JobList(
            jobs=[_shown(one, context) for one in found[:first]], end_cursor=_cursor(offset + first) if more else None
        )


def _cursor(offset: int) -> str:
    return base64.urlsafe_b64encode(f"jobs {offset}".encode()).decode()


def _offset(cursor: str) -> int:
    try:
        words = base64.urlsafe_b64decode(cursor.encode()).decode().removeprefix("jobs ")
    except (binascii.Error, UnicodeError):
        words = ""
    if not words.isdecimal():
        raise Invalid(NO_CURSOR, ("after",))
    return int(words[:9])


@strawberry.input(description="A job.")
class JobInput:
    """Which job."""

    id: str = text("The job's id.", LONGEST_ID, required=True)


@strawberry.type(description="What became of a job.")
class JobPayload:
    """The job, or why the input was not taken."""

    job: Job | None = strawberry.field(default=None, description="The job as it stands now.")
    errors: list[UserError] = refusals()


Chosen = Annotated[JobInput, strawberry.argument(description="The job.")]


@strawberry.type
class JobMutations:
    """What ADMIN does about jobs."""

    @mutation("Have a job that failed or was cancelled done again.", Role.ADMIN)
    async def retry_job(self, info: Info, input: Chosen) -> JobPayload | None:
        """Retry it."""
        return await _done(info, "job.retried", input.id, _board(info.context).retry)

    @mutation("Cancel a job that waits or runs.", Role.ADMIN)
    async def cancel_job(self, info: Info, input: Chosen) -> JobPayload | None:
        """Cancel it."""
        return await _done(info, "job.cancelled", input.id, _board(info.context).cancel)


async def _done(info: Info, action: str, id: str, change: Any) -> JobPayload:
    context = info.context
    facts: JobFacts = await change(id)
    assert context.reader.user_id is not None  # noqa: S101 - whoever holds a role is a user
    async with context.open_uow() as uow:
        uow.note(action, Ref("User", context.reader.user_id), {"job": facts.id, "kind": facts.kind})
    return JobPayload(job=_shown(facts, context))
