"""The GraphQL endpoint: POST, GET, WebSocket and event streams, each request with a context of its own."""

import copy
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import orjson
from cross_web import AsyncHTTPRequestAdapter, HTTPException
from graphql import GraphQLError
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http import GraphQLHTTPResponse, GraphQLRequestData
from strawberry.http.streaming import SSETransport
from strawberry.schema import BaseSchema
from strawberry.subscriptions import GRAPHQL_SSE_PROTOCOL, GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler, Operation
from strawberry.types.unset import UnsetType

from api.context import Context, preferred_language
from domain.kernel import ErrorCode, SalesError, Text

IDE = Path(__file__).parent / "ide"
IDE_FILES = frozenset({"graphiql.js", "graphiql.css", "page.css", "LICENSES.txt"})

SAFE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
STATUS = {ErrorCode.UNAUTHENTICATED: 401, ErrorCode.UNAVAILABLE: 503}
NO_OBJECT = Text("请求正文应为一个 JSON 对象", "the body should be one JSON object")

MakeContext = Callable[[str | None, str | None], Awaitable[Context]]
"""Makes the context of one operation from the Authorization and Accept-Language headers."""


class EventStream(SSETransport):
    """Event streams for clients that ask for them first: many list the type last without meaning it."""

    def accepts(self, accept: str) -> bool:
        """Whether the first type listed is an event stream."""
        return super().accepts(accept.split(",", 1)[0])


class SocketHandler(BaseGraphQLTransportWSHandler[Any, None]):
    """One WebSocket, whose operations each get a fresh context and thereby today's grants."""

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

    def __init__(self, schema: BaseSchema, make_context: MakeContext, *, ide: bool) -> None:
        super().__init__(
            schema,
            graphql_ide="graphiql" if ide else None,
            subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL, GRAPHQL_SSE_PROTOCOL),
        )
        self._make_context = make_context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket; what stops it before it is executed is told as a GraphQL response."""
        if scope["type"] == "websocket":
            await self.run(WebSocket(scope, receive=receive, send=send))
            return
        request = Request(scope, receive=receive)
        try:
            response = await self.run(request)
        except HTTPException as error:
            response = refusal(error.status_code, ErrorCode.INVALID, str(error.reason))
        except SalesError as error:
            words = error.text.words(preferred_language(request.headers.get("accept-language")))
            response = refusal(STATUS.get(error.code, 400), error.code, words)
        await response(scope, receive, send)

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Any:
        """The context of a request; for a socket, what its operations need to make theirs."""
        authorization, languages = request.headers.get("authorization"), request.headers.get("accept-language")
        if isinstance(request, WebSocket):
            return {"authorization": authorization, "languages": languages, "language": preferred_language(languages)}
        return await self._make_context(authorization, languages)

    async def on_ws_connect(self, context: Any) -> UnsetType | dict[str, object] | None:
        """Admit a socket by the Authorization of its first message, or of its handshake."""
        named = {str(key).lower(): value for key, value in context.get("connection_params", {}).items()}
        authorization = named.get("authorization", context["authorization"])
        if authorization is not None and not isinstance(authorization, str):
            raise ConnectionRejectionError

        async def fresh() -> Context:
            return await self._make_context(authorization, context["languages"])

        try:
            await fresh()
        except SalesError as error:
            raise ConnectionRejectionError from error
        context["fresh"] = fresh
        return await super().on_ws_connect(context)

    async def parse_http_body(self, request: AsyncHTTPRequestAdapter) -> GraphQLRequestData | list[GraphQLRequestData]:
        """What the request asks.

        Raises HTTPException (400) for a body that is no JSON object.
        """
        if request.method == "POST" and (await request.get_body())[:64].lstrip()[:1] not in {b"{", b"["}:
            raise HTTPException(400, NO_OBJECT.en)
        return await super().parse_http_body(request)

    def decode_json(self, data: str | bytes) -> object:
        """Read JSON strictly: no NaN, no half surrogate pairs, no nesting beyond 1,024."""
        return orjson.loads(data)

    def encode_json(self, data: object) -> str:
        """Write JSON; as text, because browsers take what a socket sends as bytes for files."""
        return orjson.dumps(data).decode()

    def create_response(
        self, response_data: GraphQLHTTPResponse | list[GraphQLHTTPResponse], sub_response: Response
    ) -> Response:
        """The response to one operation."""
        response = super().create_response(response_data, sub_response)
        response.headers.update(SAFE)
        return response

    async def render_graphql_ide(self, request: Request) -> Response:
        """The page of the IDE, which loads nothing from elsewhere."""
        return FileResponse(IDE / "page.html", headers={**SAFE, "Content-Security-Policy": PAGE_POLICY})

    def is_websocket_request(self, request: Request | WebSocket) -> TypeGuard[WebSocket]:
        """Whether this is a socket."""
        return isinstance(request, WebSocket)


async def ide_file(request: Request) -> Response:
    """One file of the IDE."""
    name = request.path_params["name"]
    if name not in IDE_FILES:
        return refusal(404, ErrorCode.NOT_FOUND, "Not Found")
    return FileResponse(IDE / name, headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "max-age=3600"})


def refusal(status: int, code: ErrorCode, message: str) -> Response:
    """A GraphQL response without data, for what was not executed."""
    body = {"errors": [{"message": message, "extensions": {"code": code.value}}]}
    headers: Mapping[str, str] = SAFE | ({"WWW-Authenticate": "Bearer"} if status == 401 else {})  # noqa: PLR2004
    return Response(orjson.dumps(body), status, headers, media_type="application/json")


def _told(error: SalesError, language: str) -> GraphQLError:
    return GraphQLError(error.text.words(language), extensions={"code": error.code.value})
