"""The short way of plain requests: JSON by POST of people's own programs and pages, which is nearly all there is."""

from collections.abc import Sequence
from functools import lru_cache

import orjson
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.bodies import JSON, RESPONSE_JSON, Asked, Refused, media_type, read, taken
from api.callers import Caller
from api.context import preferred_language
from api.http import Endpoint
from api.patience import ClientGone, Patience
from api.responses import GONE, broken, refused
from api.settings import Settings
from domain.kernel import SalesError

PLAIN = frozenset({"application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"})
NAMED = (b"content-type", b"content-encoding", b"accept", b"origin", b"host")
HEADS_KEPT = 512
HEAD = "sortie.head"
"""Where a request's scope has its headers by name."""


class Lane:
    """The endpoint without the router, and with the headers that clients repeat each time understood once.

    It takes what needs no refusal by its head; every other request goes where refusals are worded.
    """

    def __init__(
        self, endpoint: Endpoint, path: str, settings: Settings, layers: Sequence[Middleware], long_way: ASGIApp
    ) -> None:
        self._endpoint = endpoint
        self._path = path
        self._settings = settings
        self._short_way: ASGIApp = self._serve
        for layer in reversed(layers):
            self._short_way = layer.cls(self._short_way, *layer.args, **layer.kwargs)
        self._long_way = long_way
        self._media_type = lru_cache(HEADS_KEPT)(self._chosen)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request on one way or the other."""
        await (self._short_way if self._takes(scope) else self._long_way)(scope, receive, send)

    def _takes(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != self._path:
            return False
        headers = _first(scope)
        length = headers.get(b"content-length", b"")
        scope[HEAD] = headers
        return (
            length.isdigit()
            and int(length[:16]) <= self._settings.body_bytes
            and self._media_type(*map(headers.get, NAMED)) is not None
        )

    def _chosen(self, *head: bytes | None) -> str | None:
        """The media type of the answer to requests with such heads; None where they are not plain."""
        kind, encoding, accept, origin, host = (None if value is None else value.decode("latin-1") for value in head)
        if kind not in PLAIN or encoding is not None or not self._endpoint.is_ours(origin, host):
            return None
        try:
            found = media_type(accept)
        except Refused:
            return None
        return found if found in {JSON, RESPONSE_JSON} else None

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = scope[HEAD]
        languages = _text(headers, b"accept-language")
        try:
            response = await self._answer(scope, receive, headers, languages)
        except (Refused, SalesError) as error:
            response = refused(error, preferred_language(languages))
        except ClientGone:
            response = Response(status_code=GONE)
        except Exception:
            await broken()(scope, receive, send)
            raise
        await response(scope, receive, send)

    async def _answer(
        self, scope: Scope, receive: Receive, headers: dict[bytes, bytes], languages: str | None
    ) -> Response:
        client = scope["client"]
        caller = Caller(_text(headers, b"authorization"), languages, client[0] if client else "")
        wanted = self._media_type(*map(headers.get, NAMED)) or JSON
        async with Patience(receive, self._settings.body_seconds) as patience:
            asked = await self._asked(scope, receive)
            return await self._endpoint.operate(asked, caller, wanted, patience)

    async def _asked(self, scope: Scope, receive: Receive) -> Asked:
        body = await _whole(receive)
        try:
            found = orjson.loads(body)
        except orjson.JSONDecodeError:
            return await read(Request(scope, _again(body)), self._settings.body_bytes, self._endpoint.trusted)
        return taken(found, self._endpoint.trusted)


def _first(scope: Scope) -> dict[bytes, bytes]:
    """The headers by name, of several the first."""
    return dict(scope["headers"][::-1])


def _text(headers: dict[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


async def _whole(receive: Receive) -> bytes:
    """A request's body, as long as its head has said.

    Raises ClientGone where it ends before.
    """
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise ClientGone
    return body


def _again(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
