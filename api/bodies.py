"""One GraphQL request as it comes in over HTTP: read up to a size and within a time, and taken strictly."""

import asyncio
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message as EmailMessage
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.trusted import NONE, Trusted, hash_of
from domain.kernel import ErrorCode, Text

JSON, RESPONSE_JSON, EVENTS = "application/json", "application/graphql-response+json", "text/event-stream"
CLOSE = {"Connection": "close"}
TOO_SLOW = Text("请求正文没有按时到达", "the body did not come in time")
NAMING = frozenset({"documentId", "id", "extensions"})
"""The fields of a request by which a document may be named."""
UNKNOWN = Text(
    "PersistedQueryNotFound：未登记的查询，请发送全文",
    "PersistedQueryNotFound: this query is not registered, send its text",
)
NOT_TRUSTED = Text(
    "本服务只执行已登记的文档，请用 documentId 指定", "only registered documents are taken here: name one by documentId"
)
FIELDS = frozenset({"query", "variables", "operationName", "extensions", "documentId", "id"})


class Refused(Exception):
    """A request that is not executed: its status, code and words, and headers that say more."""

    def __init__(self, status: int, code: ErrorCode, text: Text, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text.en)
        self.status = status
        self.code = code
        self.text = text
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks: a document, its variables, and the operation in it."""

    query: str
    variables: dict[str, Any]
    operation_name: str | None


def _invalid(zh: str, en: str, status: int = 400) -> Refused:
    return Refused(status, ErrorCode.INVALID, Text(zh, en))


def media_type(accept: str | None) -> str:
    """The media type of the answer: the one that the client likes best among ours; JSON where it does not care.

    An event stream only where it stands first: many clients list it last without meaning it. Raises Refused (406) for a
    client that takes none.
    """
    if accept is None or not accept.strip():
        return JSON
    best, found = 0.0, ""
    for position, part in enumerate(accept.split(",")):
        name, _, parameters = part.strip().partition(";")
        name, weight = name.strip().lower(), _weight(parameters)
        ours = {"*/*": JSON, "application/*": JSON}.get(name, name)
        if ours == EVENTS and position > 0:
            continue
        if ours in {JSON, RESPONSE_JSON, EVENTS} and weight > best:
            best, found = weight, ours
    if not found:
        raise _invalid(
            f"Accept 中没有本服务的类型：{RESPONSE_JSON}、{JSON}", f"Accept names none of {RESPONSE_JSON}, {JSON}", 406
        )
    return found


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


class Bounded:
    """The layer that gives every request's body a size and a time; beyond them reading it raises Refused (413, 408)."""

    def __init__(self, app: ASGIApp, most_bytes: int, seconds: float) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Bound one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        ends_at = asyncio.get_running_loop().time() + self._seconds
        whole, size = False, 0

        async def bounded() -> Message:
            nonlocal whole, size
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(ends_at):
                    message = await receive()
            except TimeoutError as error:
                raise Refused(408, ErrorCode.INVALID, TOO_SLOW, CLOSE) from error
            size += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if size > self._most_bytes:
                raise too_large(self._most_bytes)
            return message

        await self._app(scope, bounded, send)


def too_large(most_bytes: int) -> Refused:
    """The refusal of a body beyond the cap."""
    words = Text(f"请求正文超过 {most_bytes} 字节", f"the body is larger than {most_bytes} bytes")
    return Refused(413, ErrorCode.INVALID, words, CLOSE)


async def read(request: Request, most_bytes: int, trusted: Trusted = NONE) -> Asked:
    """What a request asks.

    Raises Refused: 400 for what is no such request, 413 for a body that says itself too large, 415 for another content type,
    charset or encoding; and what `Bounded` raises.
    """
    if request.method == "GET":
        return taken(_from_query(request), trusted)
    _check_headers(request, most_bytes)
    try:
        return taken(orjson.loads(await request.body()), trusted)
    except ClientDisconnect as error:
        raise _invalid("连接已断开", "the connection is gone") from error
    except orjson.JSONDecodeError as error:
        raise _invalid(f"请求正文不是 JSON：{error}", f"the body is no JSON: {error}") from error


def _from_query(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if name in FIELDS:
            if name in found:
                raise _invalid(f"参数 {name} 出现了两次", f"the parameter {name} comes twice")
            found[name] = value
    for name in ("variables", "extensions"):
        if found.get(name):
            try:
                found[name] = orjson.loads(found[name])
            except orjson.JSONDecodeError as error:
                raise _invalid(f"{name} 不是 JSON：{error}", f"{name} is no JSON: {error}") from error
        else:
            found.pop(name, None)
    return found


def _check_headers(request: Request, most_bytes: int) -> None:
    told = request.headers.get("content-length", "0")
    if not told.isascii() or not told.isdigit() or int(told[:16]) > most_bytes:
        raise too_large(most_bytes)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise _invalid(f"不支持的内容编码 {encoding!r}", f"the content encoding {encoding!r} is not taken", 415)
    header = EmailMessage()
    header["content-type"] = request.headers.get("content-type", "")
    if header.get_content_type() != JSON or "content-type" not in request.headers:
        raise _invalid(f"Content-Type 必须是 {JSON}", f"the Content-Type must be {JSON}", 415)
    charset = header.get_param("charset", "utf-8")
    if not isinstance(charset, str) or charset.strip("\"'").lower() not in {"utf-8", "utf8"}:
        raise _invalid("正文必须是 UTF-8", "the body must be UTF-8", 415)


def taken(found: Any, trusted: Trusted = NONE) -> Asked:
    """A request's parameters, checked; a document that is named by its id is the trusted one.

    Raises Refused: 400 for a batch, a query that is no text, variables or extensions that are no object, an id that is not known;
    403 for a document that is not trusted where only those are taken.
    """
    if isinstance(found, list):
        raise _invalid("不支持批量请求", "batches are not taken: send one operation")
    if not isinstance(found, dict):
        raise _invalid("请求正文应为一个 JSON 对象", "the body should be one JSON object")
    query, name = found.get("query"), found.get("operationName")
    if found.keys() & NAMING:
        query = _named(found, query, trusted)
    if not isinstance(query, str) or not query.strip():
        raise _invalid("缺少 query，或它不是文本", "there is no query, or it is no text")
    if name is not None and not isinstance(name, str):
        raise _invalid("operationName 必须是文本", "operationName must be a text")
    for part in ("variables", "extensions"):
        if not isinstance(found.get(part), dict | None):
            raise _invalid(f"{part} 必须是 JSON 对象", f"{part} must be a JSON object")
    if not trusted.takes(query):
        raise Refused(403, ErrorCode.FORBIDDEN, NOT_TRUSTED)
    return Asked(query, found.get("variables") or {}, name or None)


def _named(found: dict[str, Any], query: object, trusted: Trusted) -> object:
    """The document of a request that may name it: by `documentId`, as Relay does by `id`, or by Apollo's persistedQuery.

    Nothing is stored under a hash that a client sends: one that is not in the manifest is unknown, and one that comes with a
    query must be its own.
    """
    extensions = found.get("extensions")
    persisted = extensions.get("persistedQuery") if isinstance(extensions, dict) else None
    told = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
    given = [found[name] for name in ("documentId", "id") if found.get(name) is not None]
    if persisted is not None and isinstance(query, str):
        own = hash_of(query)
        if not isinstance(told, str) or not hmac.compare_digest(told.lower().encode(), own.encode()):
            raise _invalid(UNKNOWN.zh, UNKNOWN.en)
    elif persisted is not None:
        given.append(told)
    if not given:
        return query
    if len(given) > 1 or query is not None:
        raise _invalid(
            "文档只能用一种方式指定：query、documentId、id 或 persistedQuery",
            "name a document in one way: query, documentId, id or persistedQuery",
        )
    text = trusted.text_of(given[0]) if isinstance(given[0], str) else None
    if text is None:
        raise _invalid(UNKNOWN.zh, UNKNOWN.en)
    return text
