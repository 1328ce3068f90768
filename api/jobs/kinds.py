"""The kinds of jobs: what each is called, what begins it, and what it does."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from domain import commerce
from domain.kernel import Database, Text
from knowledge import KnowledgeChanged, Library

QUICK, LONG = "quick", "long"
"""The queues: what is done in a moment does not wait behind what takes minutes."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What jobs work with."""

    database: Database
    library: Library


Work = Callable[[Tools, Mapping[str, Any]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of job; its work may be done twice, after a crash, and comes to the same."""

    name: str
    text: Text
    work: Work
    queue: str = QUICK
    cron: str | None = None
    """When it is done by itself: minute, hour, day, month, weekday, UTC."""
    events: Mapping[str, Callable[[Mapping[str, Any]], timedelta]] = field(default_factory=dict)
    """The events that begin it, with how long after each."""


async def _expire_quotes(tools: Tools, _body: Mapping[str, Any]) -> int:
    return await commerce.expire_quotes(tools.database)


async def _embed(tools: Tools, _body: Mapping[str, Any]) -> int:
    return await tools.library.embed()


def at_once(_body: Mapping[str, Any]) -> timedelta:
    """Without waiting."""
    return timedelta(0)


KINDS = (
    Kind("expire_quotes", Text("报价到期", "Quotes expire"), _expire_quotes, cron="*/10 * * * *"),
    Kind(
        "embed_knowledge",
        Text("为知识计算向量", "Knowledge gets its vectors"),
        _embed,
        LONG,
        events={KnowledgeChanged.kind: at_once},
    ),
)


def due(instant: datetime) -> str:
    """A time as job inputs hold it."""
    return instant.isoformat()
