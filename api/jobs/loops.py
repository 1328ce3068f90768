"""Steps that are taken again and again, and until they succeed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from domain.kernel import SalesError

log = logging.getLogger("sortie.jobs")

TICK_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0


async def repeat(name: str, step: Callable[[], Awaitable[object]], pause: float = TICK_SECONDS) -> None:
    """Take a step again and again, with a pause in seconds between."""
    while True:
        await persist(name, step)
        await asyncio.sleep(pause)


async def persist(name: str, step: Callable[[], Awaitable[object]]) -> None:
    """Take a step until it succeeds, with growing pauses; each failure is logged."""
    pause = TICK_SECONDS
    while True:
        try:
            await step()
        except SalesError as error:
            log.warning("%s: %s", name, error)
        except Exception:
            log.exception("%s failed", name)
        else:
            return
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
