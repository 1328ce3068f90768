"""WebSockets: each operation with a context of its own, each socket until its token ends."""

import asyncio
import copy
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any, cast

from graphql import GraphQLError
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler, Operation
from strawberry.types import ExecutionResult

from api.bodies import Refused, taken
from api.context import Context
from api.patience import too_late
from api.responses import told
from domain.kernel import ErrorCode, SalesError, Text

SOCKET_OPERATIONS = 100
REASON_BYTES = 120
"""A closing frame holds 123."""
AT_ONCE = Text("同一连接上进行中的操作太多", "too many operations are under way on this socket")


class SocketHandler(BaseGraphQLTransportWSHandler[Any, None]):
    """One WebSocket, whose operations each get a fresh context and thereby today's grants; it ends with its token."""

    async def handle(self) -> None:
        """Serve the socket, and close it when its token ends."""
        self.context["close"] = self.websocket.close
        try:
            await super().handle()
        finally:
            if (end := self.context.pop("end", None)) is not None:
                end.cancel()

    async def handle_message(self, message: Any) -> None:
        """Take one message; what is none closes the socket, an operation that is not taken is refused with a code."""
        kind = message.get("type") if isinstance(message, dict) else None
        asks = kind == "subscribe"
        if not isinstance(message, dict) or (
            kind in {"subscribe", "complete"} and not isinstance(message.get("id"), str)
        ):
            await self.handle_invalid_message("a message is a JSON object with a text for an id")
        elif asks and not isinstance(message.get("payload"), dict):
            await self.handle_invalid_message("the payload of subscribe is a JSON object")
        elif asks and self.connection_acknowledged and (error := self._refusal(message)):
            await self.send_message({"id": message["id"], "type": "error", "payload": [error.formatted]})
        else:
            await super().handle_message(cast("Any", message))

    def _refusal(self, message: dict[str, Any]) -> GraphQLError | None:
        try:
            # The library knows texts alone.
            message["payload"]["query"] = taken(message["payload"], self.context["trusted"]).query
        except Refused as refused:
            words = refused.text.words(self.context["language"])
            return GraphQLError(words, extensions={"code": refused.code.value})
        if len(self.operations) >= SOCKET_OPERATIONS and message["id"] not in self.operations:
            words = AT_ONCE.words(self.context["language"])
            return GraphQLError(words, extensions={"code": ErrorCode.RATE_LIMITED.value})
        return None

    async def handle_invalid_message(self, error_message: str) -> None:
        """Close the socket; the reason fits into the frame that carries it."""
        await super().handle_invalid_message(_reason(error_message))

    @staticmethod
    def _get_pre_execution_close_reason(error: GraphQLError) -> str | None:
        reason = BaseGraphQLTransportWSHandler._get_pre_execution_close_reason(error)  # noqa: SLF001 - what we shorten
        return None if reason is None else _reason(reason)

    async def _send_result_stream(self, operation: Operation[Any, None], result_source: Any) -> None:
        await super()._send_result_stream(operation, in_time(result_source, self.context))

    async def run_operation(self, operation: Operation[Any, None]) -> None:
        """Run one operation with a context of its own."""
        try:
            context = await self.context["fresh"]()
        except SalesError as error:
            await operation.send_initial_errors([told(error, self.context["language"])])
            return
        # The library passes its own context to every operation of a socket: a copy of the handler passes another.
        context.readmit = self.context["readmit"]
        own = copy.copy(self)
        own.context = context
        await BaseGraphQLTransportWSHandler.run_operation(own, operation)


def _reason(words: str) -> str:
    return words.encode()[:REASON_BYTES].decode("utf-8", "ignore")


async def in_time(results: AsyncGenerator[Any, None], context: Context) -> AsyncGenerator[Any, None]:
    """Each result as it comes; an operation whose first one takes too long ends with the error that says so.

    The limits take the time off a subscription as soon as they know that it is one.
    """
    waiting: float | None = context.limits.seconds
    async with aclosing(results):
        while True:
            try:
                async with asyncio.timeout(waiting) as timer:
                    context.timer = timer if waiting else None
                    result = await anext(results)
            except StopAsyncIteration:
                return
            except TimeoutError:
                words = too_late(context).words(context.language)
                yield ExecutionResult(None, [GraphQLError(words, extensions={"code": ErrorCode.UNAVAILABLE.value})])
                return
            yield result
            waiting = None


async def close_after(seconds: float, close: Callable[[int, str], Awaitable[None]]) -> None:
    """Close a socket with its token."""
    await asyncio.sleep(seconds)
    with suppress(RuntimeError):  # it was closed at this very moment
        await close(4401, "Unauthorized: the token has expired")
