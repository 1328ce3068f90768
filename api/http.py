"""The GraphQL endpoint: POST, GET, WebSocket and event streams, each operation with a context of its own."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypeGuard
from urllib.parse import urlsplit

import orjson
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
from strawberry.types.graphql import OperationType
from strawberry.types.unset import UnsetType

from api.bodies import EVENTS, Asked, Refused, media_type, read
from api.callers import Caller, Callers, Entry
from api.context import Context, preferred_language
from api.operations.graphql import observe
from api.operations.tracing import traced
from api.patience import ClientGone, Patience
from api.responses import GONE, SAFE, Answered, executed, refusal, refused
from api.settings import Settings
from api.sockets import SOCKET_OPERATIONS, SocketHandler, close_after, in_time
from api.standing import Standing, StandingChanged
from api.trusted import NONE, Trusted
from domain.kernel import ErrorCode, SalesError, Text

IDE = Path(__file__).parent / "ide"
IDE_FILES = frozenset({"graphiql.js", "graphiql.css", "page.css", "LICENSES.txt"})

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
INIT_SECONDS = 10

FOREIGN = Text(
    "不接受来自其他网站的请求；可在 SORTIE_CORS_ORIGINS 中允许",
    "requests from other sites are not taken; SORTIE_CORS_ORIGINS allows some",
)
NO_METHOD = Text("GraphQL 只支持 GET 和 POST", "GraphQL is asked by GET or POST")
NO_OPERATION = Text(
    "没有名为 {name} 的操作，或需要指定 operationName", "there is no operation {name}, or operationName is needed"
)
NOT_BY_GET = Text("GET 只能用于查询", "by GET there are queries only")
NOT_ALONE = Text("订阅请使用 WebSocket 或事件流", "subscriptions go over a WebSocket or an event stream")


class Answers(Protocol):
    """Who answers a query by one statement of the database."""

    async def answer(
        self, asked: Asked, context: Context, standing: Standing | None, *, queries_only: bool
    ) -> bytes | None:
        """The whole body of the response; None for what is left to the resolvers.

        Raises StandingChanged where the standing no longer holds, and what the database raises.
        """
        ...


class EventStream(SSETransport):
    """Event streams for clients that ask for them first: many list the type last without meaning it."""

    def accepts(self, accept: str) -> bool:
        """Whether the first type listed is an event stream."""
        return super().accepts(accept.split(",", 1)[0])


class Endpoint(GraphQL[Any, None]):
    """The one address of the API."""

    graphql_transport_ws_handler_class = SocketHandler
    stream_transport_classes_by_protocol = {GRAPHQL_SSE_PROTOCOL: EventStream}  # noqa: RUF012 - declared so above us

    def __init__(
        self, schema: BaseSchema, callers: Callers, settings: Settings, answers: Answers | None = None, trusted: Trusted = NONE,
    ) -> None:  # fmt: skip
        self._ide = not settings.production
        super().__init__(
            schema,
            graphql_ide="graphiql" if self._ide else None,
            subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL, GRAPHQL_SSE_PROTOCOL),
            connection_init_wait_timeout=timedelta(seconds=INIT_SECONDS),
            max_subscriptions_per_connection=SOCKET_OPERATIONS,
            allowed_origins=settings.cors_origins,
        )
        self._callers = callers
        self._settings = settings
        self._answers = answers
        self.trusted = trusted
        self._traced = traced()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket; what stops it before it is executed is told as a GraphQL response."""
        if scope["type"] == "websocket":
            await self.run(WebSocket(scope, receive=receive, send=send))
            return
        request = Request(scope, receive=receive)
        try:
            response = await self._answer(request)
        except (Refused, SalesError) as error:
            response = refused(error, preferred_language(request.headers.get("accept-language")))
        except ClientGone:
            response = Response(status_code=GONE)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={**SAFE, "Allow": "GET, POST, OPTIONS"})
        if request.method not in {"GET", "POST"}:
            raise Refused(405, ErrorCode.INVALID, NO_METHOD, {"Allow": "GET, POST, OPTIONS"})
        if not self.is_ours(request.headers.get("origin"), request.headers.get("host")):
            raise Refused(403, ErrorCode.FORBIDDEN, FOREIGN)
        if self._wants_page(request):
            return FileResponse(
                IDE / "page.html", headers={**SAFE, "Content-Security-Policy": PAGE_POLICY, "X-Frame-Options": "DENY"}
            )
        wanted = media_type(request.headers.get("accept"))
        asked = await read(request, self._settings.body_bytes, self.trusted)
        if wanted == EVENTS:
            return await self._stream(request, asked)
        async with Patience(request.receive, self._settings.body_seconds) as patience:
            return await self.operate(asked, _caller(request), wanted, patience, by_get=request.method == "GET")

    def is_ours(self, origin: str | None, host: str | None) -> bool:
        """Whether a request may come from where it does: another site's page may not ask in the name of who sits before it."""
        if origin is None or origin in self._settings.cors_origins:
            return True
        return urlsplit(origin).netloc == (host or "")

    def _wants_page(self, request: Request) -> bool:
        return (
            self._ide
            and request.method == "GET"
            and not request.query_params.keys() & {"query", "documentId", "id", "extensions"}
            and "text/html" in request.headers.get("accept", "")
        )

    async def operate(
        self, asked: Asked, caller: Caller, wanted: str, patience: Patience, *, by_get: bool = False
    ) -> Response:
        """Answer one operation: by one statement where that can be, else by resolvers.

        Raises Refused and SalesError for what is not executed.
        """
        entry = None if self._answers is None else self._callers.recalled(caller)
        known = entry is not None
        if entry is None:
            entry = await self._callers.admitted(caller)
        patience.serve(entry.context)
        if (body := await self._compiled(asked, caller, entry, queries_only=by_get)) is not None:
            return Answered(body, wanted)
        if known and not entry.context.done:
            # Nothing has proved that who came a moment ago may still be here.
            entry = await self._callers.admitted(caller, counted=True)
            patience.serve(entry.context)
        return await self._execute(asked, entry.context, wanted, by_get=by_get)

    async def _compiled(self, asked: Asked, caller: Caller, entry: Entry, *, queries_only: bool) -> bytes | None:
        if self._answers is None:
            return None
        answer = self._answers.answer(asked, entry.context, entry.standing, queries_only=queries_only)
        try:
            return await observe(answer, entry.context, spans=self._traced)
        except StandingChanged:
            self._callers.forget(caller)
            return None

    async def _execute(self, asked: Asked, context: Context, wanted: str, *, by_get: bool) -> Response:
        allowed = {OperationType.QUERY} if by_get else {OperationType.QUERY, OperationType.MUTATION}
        try:
            result = await self.schema.execute(
                asked.query,
                asked.variables,
                context,
                operation_name=asked.operation_name,
                allowed_operation_types=allowed,
            )
        except CannotGetOperationTypeError as error:
            name = f"“{asked.operation_name}”" if asked.operation_name else ""
            words = Text(NO_OPERATION.zh.format(name=name), NO_OPERATION.en.format(name=name))
            raise Refused(400, ErrorCode.INVALID, words) from error
        except InvalidOperationTypeError as error:
            if by_get:
                raise Refused(405, ErrorCode.INVALID, NOT_BY_GET, {"Allow": "POST"}) from error
            raise Refused(400, ErrorCode.INVALID, NOT_ALONE) from error
        return executed(result, wanted)

    async def _stream(self, request: Request, asked: Asked) -> Response:
        """One operation as an event stream, by the library's own transport."""
        caller = _caller(request)
        context = (await self._callers.admitted(caller)).context

        async def readmit() -> Context:
            return (await self._callers.admitted(caller, counted=True)).context

        context.readmit = readmit
        data = GraphQLRequestData(asked.query, asked.variables, asked.operation_name, None, EventStream.protocol)
        adapter, sub_response = self.request_adapter_class(request), await self.get_sub_response(request)
        try:
            result: Any = await self.execute_operation(request, adapter, data, context, None, sub_response)
        except (CannotGetOperationTypeError, InvalidOperationTypeError) as error:
            raise Refused(
                400, ErrorCode.INVALID, Text(NO_OPERATION.zh.format(name=""), NO_OPERATION.en.format(name=""))
            ) from error
        results: Any = in_time(result, context)
        response = await self._create_streaming_response(request, results, EventStream.protocol, sub_response)
        response.headers.update(SAFE)
        return response

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Any:
        """For a socket, what its operations need to make their contexts."""
        caller = _caller(request)
        return {"caller": caller, "language": preferred_language(caller.languages), "trusted": self.trusted}

    async def on_ws_connect(self, context: Any) -> UnsetType | dict[str, object] | None:
        """Admit a socket by the Authorization of its first message, or of its handshake, until that ends."""
        named = {str(key).lower(): value for key, value in context.get("connection_params", {}).items()}
        given: Caller = context["caller"]
        authorization = named.get("authorization", given.authorization)
        if authorization is not None and not isinstance(authorization, str):
            raise ConnectionRejectionError
        caller = given._replace(authorization=authorization)

        async def fresh() -> Context:
            return (await self._callers.admitted(caller)).context

        try:
            entry = await self._callers.admitted(caller)
        except SalesError as error:
            raise ConnectionRejectionError from error

        async def readmit() -> Context:
            return (await self._callers.admitted(caller, counted=True)).context

        context["fresh"], context["readmit"] = fresh, readmit
        if entry.expires_at is not None:
            pause = max(0.0, entry.expires_at - entry.context.now.timestamp())
            context["end"] = asyncio.create_task(close_after(pause, context["close"]))
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


def _caller(request: Request | WebSocket) -> Caller:
    headers = request.headers
    address = request.client.host if request.client else ""
    return Caller(headers.get("authorization"), headers.get("accept-language"), address)


async def ide_file(request: Request) -> Response:
    """One file of the IDE."""
    name = request.path_params["name"]
    if name not in IDE_FILES:
        return refusal(404, ErrorCode.NOT_FOUND, "Not Found")
    return FileResponse(IDE / name, headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "max-age=3600"})
