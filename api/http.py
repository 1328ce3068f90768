"""The GraphQL endpoint: POST, GET, WebSocket and event streams, each operation with a context of its own."""

import asyncio
import copy
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeGuard, TypeVar, cast
from urllib.parse import urlsplit

import orjson
from graphql import GraphQLError
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http import GraphQLRequestData
from strawberry.http.streaming import SSETransport
from strawberry.schema.base import BaseSchema
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.subscriptions import GRAPHQL_SSE_PROTOCOL, GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler, Operation
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType
from strawberry.types.unset import UnsetType

from api.bodies import EVENTS, JSON, RESPONSE_JSON, Asked, Refused, media_type, read, taken
from api.context import Context, preferred_language
from api.settings import Settings
from domain.kernel import ErrorCode, Language, RateLimited, SalesError, Text

T = TypeVar("T")

IDE = Path(__file__).parent / "ide"
IDE_FILES = frozenset({"graphiql.js", "graphiql.css", "page.css", "LICENSES.txt"})

SAFE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
STATUS = {ErrorCode.UNAUTHENTICATED: 401, ErrorCode.RATE_LIMITED: 429, ErrorCode.UNAVAILABLE: 503}
INIT_SECONDS = 10
SOCKET_OPERATIONS = 100
REASON_BYTES = 120
"""A closing frame holds 123."""
GONE = 499
"""What nginx logs for a client that did not wait; nobody receives it."""

TOO_LATE = Text("操作超过 {seconds:g} 秒，已中止", "the operation took longer than {seconds:g} seconds and was stopped")
FOREIGN = Text(
    "不接受来自其他网站的请求；可在 SORTIE_CORS_ORIGINS 中允许",
    "requests from other sites are not taken; SORTIE_CORS_ORIGINS allows some",
)
AT_ONCE = Text("同一连接上进行中的操作太多", "too many operations are under way on this socket")
NO_METHOD = Text("GraphQL 只支持 GET 和 POST", "GraphQL is asked by GET or POST")
NO_OPERATION = Text(
    "没有名为 {name} 的操作，或需要指定 operationName", "there is no operation {name}, or operationName is needed"
)
NOT_BY_GET = Text("GET 只能用于查询", "by GET there are queries only")
NOT_ALONE = Text("订阅请使用 WebSocket 或事件流", "subscriptions go over a WebSocket or an event stream")

MakeContext = Callable[[str | None, str | None, str], Awaitable[tuple[Context, float | None]]]
"""Makes the context of one operation from the Authorization and Accept-Language headers and the caller's address; with it
the second (Unix time) at which the token ends."""


class EventStream(SSETransport):
    """Event streams for clients that ask for them first: many list the type last without meaning it."""

    def accepts(self, accept: str) -> bool:
        """Whether the first type listed is an event stream."""
        return super().accepts(accept.split(",", 1)[0])


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
            taken(message["payload"])
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
        await super()._send_result_stream(operation, _in_time(result_source, self.context))

    async def run_operation(self, operation: Operation[Any, None]) -> None:
        """Run one operation with a context of its own."""
        try:
            context = await self.context["fresh"]()
        except SalesError as error:
            await operation.send_initial_errors([_told(error, self.context["language"])])
            return
        # The library passes its own context to every operation of a socket: a copy of the handler passes another.
        own = copy.copy(self)
        own.context = context
        await BaseGraphQLTransportWSHandler.run_operation(own, operation)


class Endpoint(GraphQL[Any, None]):
    """The one address of the API."""

    graphql_transport_ws_handler_class = SocketHandler
    stream_transport_classes_by_protocol = {GRAPHQL_SSE_PROTOCOL: EventStream}  # noqa: RUF012 - declared so above us

    def __init__(self, schema: BaseSchema, make_context: MakeContext, settings: Settings) -> None:
        self._ide = not settings.production
        super().__init__(
            schema,
            graphql_ide="graphiql" if self._ide else None,
            subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL, GRAPHQL_SSE_PROTOCOL),
            connection_init_wait_timeout=timedelta(seconds=INIT_SECONDS),
            max_subscriptions_per_connection=SOCKET_OPERATIONS,
            allowed_origins=settings.cors_origins,
        )
        self._make_context = make_context
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket; what stops it before it is executed is told as a GraphQL response."""
        if scope["type"] == "websocket":
            await self.run(WebSocket(scope, receive=receive, send=send))
            return
        request = Request(scope, receive=receive)
        language = preferred_language(request.headers.get("accept-language"))
        try:
            response = await self._answer(request)
        except Refused as refused:
            response = refusal(refused.status, refused.code, refused.text.words(language), refused.headers)
        except SalesError as error:
            response = refused_by(error, language)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={**SAFE, "Allow": "GET, POST, OPTIONS"})
        if request.method not in {"GET", "POST"}:
            raise Refused(405, ErrorCode.INVALID, NO_METHOD, {"Allow": "GET, POST, OPTIONS"})
        self._check_origin(request)
        if self._wants_page(request):
            return FileResponse(
                IDE / "page.html", headers={**SAFE, "Content-Security-Policy": PAGE_POLICY, "X-Frame-Options": "DENY"}
            )
        wanted = media_type(request.headers.get("accept"))
        asked = await read(request, self._settings.body_bytes)
        context, _ = await self._make_context(*_caller(request))
        if wanted == EVENTS:
            return await self._stream(request, asked, context)
        return await self._execute(request, asked, context, wanted)

    def _check_origin(self, request: Request) -> None:
        """Another site's page may not ask in the name of who sits before the browser.

        Raises Refused (403).
        """
        origin = request.headers.get("origin")
        if origin is None or origin in self._settings.cors_origins:
            return
        if urlsplit(origin).netloc != request.headers.get("host", ""):
            raise Refused(403, ErrorCode.FORBIDDEN, FOREIGN)

    def _wants_page(self, request: Request) -> bool:
        return (
            self._ide
            and request.method == "GET"
            and "query" not in request.query_params
            and "text/html" in request.headers.get("accept", "")
        )

    async def _execute(self, request: Request, asked: Asked, context: Context, wanted: str) -> Response:
        """Execute one operation within its time; a query whose client is gone is stopped."""
        allowed = {OperationType.QUERY} if request.method == "GET" else {OperationType.QUERY, OperationType.MUTATION}

        async def run() -> ExecutionResult:
            async with asyncio.timeout(context.limits.seconds) as timer:
                context.timer = timer
                return await self.schema.execute(
                    asked.query,
                    asked.variables,
                    context,
                    operation_name=asked.operation_name,
                    allowed_operation_types=allowed,
                )

        try:
            result = await _while_connected(run(), request, context)
        except TimeoutError as error:
            raise Refused(504, ErrorCode.UNAVAILABLE, _too_late(context)) from error
        except CannotGetOperationTypeError as error:
            name = f"“{asked.operation_name}”" if asked.operation_name else ""
            words = Text(NO_OPERATION.zh.format(name=name), NO_OPERATION.en.format(name=name))
            raise Refused(400, ErrorCode.INVALID, words) from error
        except InvalidOperationTypeError as error:
            if request.method == "GET":
                raise Refused(405, ErrorCode.INVALID, NOT_BY_GET, {"Allow": "POST"}) from error
            raise Refused(400, ErrorCode.INVALID, NOT_ALONE) from error
        if result is None:
            return Response(status_code=GONE)
        return _response(result, wanted)

    async def _stream(self, request: Request, asked: Asked, context: Context) -> Response:
        """One operation as an event stream, by the library's own transport."""
        data = GraphQLRequestData(asked.query, asked.variables, asked.operation_name, None, EventStream.protocol)
        adapter, sub_response = self.request_adapter_class(request), await self.get_sub_response(request)
        try:
            result: Any = await self.execute_operation(request, adapter, data, context, None, sub_response)
        except (CannotGetOperationTypeError, InvalidOperationTypeError) as error:
            raise Refused(
                400, ErrorCode.INVALID, Text(NO_OPERATION.zh.format(name=""), NO_OPERATION.en.format(name=""))
            ) from error
        results: Any = _in_time(result, context)
        response = await self._create_streaming_response(request, results, EventStream.protocol, sub_response)
        response.headers.update(SAFE)
        return response

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Any:
        """For a socket, what its operations need to make their contexts."""
        authorization, languages, address = _caller(request)
        return {
            "authorization": authorization,
            "languages": languages,
            "address": address,
            "language": preferred_language(languages),
        }

    async def on_ws_connect(self, context: Any) -> UnsetType | dict[str, object] | None:
        """Admit a socket by the Authorization of its first message, or of its handshake, until that ends."""
        named = {str(key).lower(): value for key, value in context.get("connection_params", {}).items()}
        authorization = named.get("authorization", context["authorization"])
        if authorization is not None and not isinstance(authorization, str):
            raise ConnectionRejectionError

        async def fresh() -> Context:
            made, _ = await self._make_context(authorization, context["languages"], context["address"])
            return made

        try:
            made, ends_at = await self._make_context(authorization, context["languages"], context["address"])
        except SalesError as error:
            raise ConnectionRejectionError from error
        context["fresh"] = fresh
        if ends_at is not None:
            pause = max(0.0, ends_at - made.now.timestamp())
            context["end"] = asyncio.create_task(_close_after(pause, context["close"]))
        return await super().on_ws_connect(context)

    def decode_json(self, data: str | bytes) -> object:
        """Read JSON strictly: no NaN, no half surrogate pairs, no nesting beyond 1,024."""
        return orjson.loads(data)

    def encode_json(self, data: object) -> str:
        """Write JSON; as text, because browsers take what a socket sends as bytes for files."""
        return orjson.dumps(data).decode()

    def is_websocket_request(self, request: Request | WebSocket) -> TypeGuard[WebSocket]:
        """Whether this is a socket."""
        return isinstance(request, WebSocket)


def _reason(words: str) -> str:
    return words.encode()[:REASON_BYTES].decode("utf-8", "ignore")


async def _in_time(results: AsyncGenerator[Any, None], context: Context) -> AsyncGenerator[Any, None]:
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
                words = _too_late(context).words(context.language)
                yield ExecutionResult(None, [GraphQLError(words, extensions={"code": ErrorCode.UNAVAILABLE.value})])
                return
            yield result
            waiting = None


def _too_late(context: Context) -> Text:
    seconds = context.limits.seconds
    return Text(TOO_LATE.zh.format(seconds=seconds), TOO_LATE.en.format(seconds=seconds))


async def _close_after(seconds: float, close: Callable[[int, str], Awaitable[None]]) -> None:
    await asyncio.sleep(seconds)
    with suppress(RuntimeError):  # it was closed at this very moment
        await close(4401, "Unauthorized: the token has expired")


def _caller(request: Request | WebSocket) -> tuple[str | None, str | None, str]:
    headers = request.headers
    return headers.get("authorization"), headers.get("accept-language"), request.client.host if request.client else ""


async def _while_connected(work: Coroutine[Any, Any, T], request: Request, context: Context) -> T | None:
    """What the work comes to; None when it was stopped because the client has gone. What changes something is never stopped."""
    running, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({running, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done() and context.changes:
            await asyncio.wait({running})
        if not running.done():
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            return None
        return running.result()
    finally:
        leaving.cancel()
        running.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _response(result: ExecutionResult, wanted: str) -> Response:
    """The response to one operation, by the specification of GraphQL over HTTP.

    What was not executed at all is a 400 without `data` in the new media type, and a 200 in the old one.
    """
    errors = [error.formatted for error in result.errors or ()]
    executed = result.data is not None or any("path" in error for error in errors)
    body: dict[str, Any] = {"data": result.data} if executed or wanted == JSON else {}
    if errors:
        body["errors"] = errors
    if result.extensions:
        body["extensions"] = result.extensions
    status = 200 if executed or wanted == JSON else 400
    return Response(
        orjson.dumps(body), status, SAFE, media_type=f"{wanted}; charset=utf-8" if wanted == RESPONSE_JSON else wanted
    )


async def ide_file(request: Request) -> Response:
    """One file of the IDE."""
    name = request.path_params["name"]
    if name not in IDE_FILES:
        return refusal(404, ErrorCode.NOT_FOUND, "Not Found")
    return FileResponse(IDE / name, headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "max-age=3600"})


def refusal(status: int, code: ErrorCode, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """A GraphQL response without data, for what was not executed."""
    body = {"errors": [{"message": message, "extensions": {"code": code.value}}]}
    known = SAFE | ({"WWW-Authenticate": "Bearer"} if status == 401 else {}) | dict(headers or {})  # noqa: PLR2004
    return Response(orjson.dumps(body), status, known, media_type=JSON)


async def refuse(request: Request, error: Exception) -> Response:
    """The response to a request that a layer or route refused by raising Refused."""
    assert isinstance(error, Refused)  # noqa: S101 - registered for nothing else
    language = preferred_language(request.headers.get("accept-language"))
    return refusal(error.status, error.code, error.text.words(language), error.headers)


def refused_by(error: SalesError, language: Language) -> Response:
    """The response to a request that was refused before it was executed."""
    headers = {"Retry-After": str(error.retry_after_seconds)} if isinstance(error, RateLimited) else {}
    return refusal(STATUS.get(error.code, 400), error.code, error.text.words(language), headers)


def _told(error: SalesError, language: Language) -> GraphQLError:
    return GraphQLError(error.text.words(language), extensions={"code": error.code.value})
