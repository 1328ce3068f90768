"""One GraphQL request as it comes in over HTTP: read up to a size and within a time, and taken strictly."""

import asyncio
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request

from domain.kernel import ErrorCode, Text

JSON, RESPONSE_JSON, EVENTS = "application/json", "application/graphql-response+json", "text/event-stream"
FIELDS = frozenset({"query", "variables", "operationName", "extensions", "id"})


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


async def read(request: Request, limit: int, seconds: float) -> Asked:
    """What a request asks.

    Raises Refused: 400 for what is no such request, 408 for a body that does not come, 413 for one that is too large, 415
    for another content type, charset or encoding.
    """
    if request.method == "GET":
        return taken(_from_query(request))
    _check_headers(request)
    try:
        async with asyncio.timeout(seconds):
            body = await _body(request, limit)
    except TimeoutError as error:
        headers = {"Connection": "close"}
        raise Refused(
            408, ErrorCode.INVALID, Text("请求正文没有按时到达", "the body did not come in time"), headers
        ) from error
    except ClientDisconnect as error:
        raise _invalid("连接已断开", "the connection is gone") from error
    try:
        return taken(orjson.loads(body))
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


def _check_headers(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise _invalid(f"不支持的内容编码 {encoding!r}", f"the content encoding {encoding!r} is not taken", 415)
    header = Message()
    header["content-type"] = request.headers.get("content-type", "")
    if header.get_content_type() != JSON or "content-type" not in request.headers:
        raise _invalid(f"Content-Type 必须是 {JSON}", f"the Content-Type must be {JSON}", 415)
    charset = header.get_param("charset", "utf-8")
    if not isinstance(charset, str) or charset.strip("\"'").lower() not in {"utf-8", "utf8"}:
        raise _invalid("正文必须是 UTF-8", "the body must be UTF-8", 415)


async def _body(request: Request, limit: int) -> bytes:
    too_large = Refused(
        413,
        ErrorCode.INVALID,
        Text(f"请求正文超过 {limit} 字节", f"the body is larger than {limit} bytes"),
        {"Connection": "close"},
    )
    told = request.headers.get("content-length", "0")
    if not told.isascii() or not told.isdigit() or int(told[:16]) > limit:
        raise too_large
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_large
        parts.append(part)
    return b"".join(parts)


def taken(found: Any) -> Asked:
    """A request's parameters, checked.

    Raises Refused (400) for a batch, a query that is no text, variables or extensions that are no object, a persisted query.
    """
    if isinstance(found, list):
        raise _invalid("不支持批量请求", "batches are not taken: send one operation")
    if not isinstance(found, dict):
        raise _invalid("请求正文应为一个 JSON 对象", "the body should be one JSON object")
    query, name = found.get("query"), found.get("operationName")
    _check_persisted(found, query)
    if not isinstance(query, str) or not query.strip():
        raise _invalid("缺少 query，或它不是文本", "there is no query, or it is no text")
    if name is not None and not isinstance(name, str):
        raise _invalid("operationName 必须是文本", "operationName must be a text")
    for part in ("variables", "extensions"):
        if not isinstance(found.get(part), dict | None):
            raise _invalid(f"{part} 必须是 JSON 对象", f"{part} must be a JSON object")
    return Asked(query, found.get("variables") or {}, name or None)


def _check_persisted(found: dict[str, Any], query: object) -> None:
    """Nothing is stored under a hash: one that comes alone is unknown, one that comes with a query must be its own."""
    extensions = found.get("extensions")
    persisted = extensions.get("persistedQuery") if isinstance(extensions, dict) else None
    if persisted is None and "id" not in found:
        return
    told = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
    own = hashlib.sha256(query.encode("utf-8", "replace")).hexdigest() if isinstance(query, str) else ""
    if not isinstance(told, str) or not hmac.compare_digest(told.lower().encode(), own.encode()):
        raise _invalid(
            "PersistedQueryNotFound：未登记的查询，请发送全文",
            "PersistedQueryNotFound: this query is not registered, send its text",
        )
