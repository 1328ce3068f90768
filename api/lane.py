"""The short way of plain requests: JSON by POST of people's own programs and pages, which is nearly all there is."""

from functools import lru_cache

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.bodies import JSON, RESPONSE_JSON, Asked, Refused, media_type, read, taken
from api.callers import Caller
from api.context import preferred_language
from api.http import Endpoint
from api.patience import ClientGone, Patience
from api.responses import GONE, refused
from api.settings import Settings
from domain.kernel import SalesError

PLAIN = frozenset({b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"})
HEADERS_KEPT = 512


class Fork:
    """Where plain requests leave for the short way, and all others for the long one."""

    def __init__(self, lane: "Lane", short: ASGIApp, long: ASGIApp) -> None:
        self._lane = lane
        self._short = short
        self._long = long

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send a request one way or the other."""
        await (self._short if self._lane.takes(scope) else self._long)(scope, receive, send)


class Lane:
    """The endpoint without the router, and with the headers that clients repeat each time understood once.

    It takes what needs no refusal by its head; every other request goes where refusals are worded.
    """

    def __init__(self, endpoint: Endpoint, path: str, settings: Settings) -> None:
        self._endpoint = endpoint
        self._path = path
        self._settings = settings
        self._wanted = lru_cache(HEADERS_KEPT)(_wanted)
        self._is_ours = lru_cache(HEADERS_KEPT)(endpoint.is_ours)

    def takes(self, scope: Scope) -> bool:
        """Whether a request is plain."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != self._path:
            return False
        headers = _first(scope)
        length = headers.get(b"content-length", b"")
        return (
            headers.get(b"content-type") in PLAIN
            and b"content-encoding" not in headers
            and length.isdigit()
            and int(length[:16]) <= self._settings.body_bytes
            and self._wanted(_text(headers, b"accept")) is not None
            and self._is_ours(_text(headers, b"origin"), _text(headers, b"host"))
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one plain request."""
        headers = _first(scope)
        languages = _text(headers, b"accept-language")
        try:
            response = await self._answer(scope, receive, headers, languages)
        except (Refused, SalesError) as error:
            response = refused(error, preferred_language(languages))
        except ClientGone:
            response = Response(status_code=GONE)
        await response(scope, receive, send)

    async def _answer(
        self, scope: Scope, receive: Receive, headers: dict[bytes, bytes], languages: str | None
    ) -> Response:
        client = scope["client"]
        caller = Caller(_text(headers, b"authorization"), languages, client[0] if client else "")
        wanted = self._wanted(_text(headers, b"accept")) or JSON
        async with Patience(receive, self._settings.body_seconds) as patience:
            asked = await self._asked(scope, receive)
            return await self._endpoint.operate(asked, caller, wanted, patience)

    async def _asked(self, scope: Scope, receive: Receive) -> Asked:
        body = await _whole(receive)
        try:
            found = orjson.loads(body)
        except orjson.JSONDecodeError:
            return await read(Request(scope, _again(body)), self._settings.body_bytes)
        return taken(found)


def _first(scope: Scope) -> dict[bytes, bytes]:
    """The headers by name, of several the first."""
    return dict(scope["headers"][::-1])


def _text(headers: dict[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


def _wanted(accept: str | None) -> str | None:
    """The media type of the answer where it is one of JSON."""
    try:
        found = media_type(accept)
    except Refused:
        return None
    return found if found in {JSON, RESPONSE_JSON} else None


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
