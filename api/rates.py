"""How often somebody may ask: requests a minute and answers an hour, counted at every door."""

import time

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from api.settings import Settings
from domain.kernel import Actor, RateLimited, Text

ANONYMOUS_SHARE = 10
"""An address without a token may ask a tenth as often as a user: behind one address there may be an office."""

TOO_MANY = Text("请求过于频繁，请在 {seconds} 秒后重试", "too many requests: try again in {seconds} seconds")
TOO_MANY_ANSWERS = Text(
    "本小时生成次数已用完，请在 {seconds} 秒后重试", "too many answers this hour: try again in {seconds} seconds"
)


class Rates:
    """The counters of one process; users are told apart by id, callers without a token by address."""

    def __init__(self, settings: Settings) -> None:
        self._counter = SlidingWindowCounterRateLimiter(MemoryStorage())
        requests, answers = settings.request_rate, settings.answer_rate
        self._requests = RateLimitItemPerMinute(requests, namespace="requests")
        self._anonymous = RateLimitItemPerMinute(max(1, requests // ANONYMOUS_SHARE), namespace="anonymous")
        self._answers = RateLimitItemPerHour(answers, namespace="answers")

    async def count_request(self, actor: Actor | None, address: str) -> None:
        """Count one operation.

        Raises RateLimited when the caller has used their minute up.
        """
        if actor is None:
            await self._count(self._anonymous, address, TOO_MANY)
        else:
            await self._count(self._requests, str(actor.user_id), TOO_MANY)

    async def count_refusal(self, address: str) -> None:
        """Count one request whose token was refused: guessing is held to the rate of strangers.

        Raises RateLimited when the address has used its minute up.
        """
        await self._count(self._anonymous, address, TOO_MANY)

    async def count_answer(self, actor: Actor) -> None:
        """Count one answer that is asked for.

        Raises RateLimited when the user has used their hour up.
        """
        await self._count(self._answers, str(actor.user_id), TOO_MANY_ANSWERS)

    async def _count(self, rate: RateLimitItem, name: str, text: Text) -> None:
        if await self._counter.hit(rate, name):
            return
        window = await self._counter.get_window_stats(rate, name)
        seconds = max(1, round(window.reset_time - time.time()))
        raise RateLimited(Text(text.zh.format(seconds=seconds), text.en.format(seconds=seconds)), seconds)
