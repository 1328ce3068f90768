"""Refusals of the content API: problem documents by RFC 9457, in the reader's language."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from api.operations.requests import correlation_id
from domain.kernel import ErrorCode, Language, SalesError, Text

PROBLEM = "application/problem+json"
STATUS = {
    ErrorCode.UNAUTHENTICATED: 401, ErrorCode.FORBIDDEN: 403, ErrorCode.NOT_FOUND: 404, ErrorCode.INVALID: 400, ErrorCode.CONFLICT: 409,
    ErrorCode.RATE_LIMITED: 429, ErrorCode.UNAVAILABLE: 503,
}  # fmt: skip
TITLES = {
    400: Text("请求有误", "The request cannot be taken"),
    401: Text("需要密钥", "A key is needed"),
    403: Text("密钥没有此权限", "The key does not allow this"),
    404: Text("没有找到", "Not found"),
    405: Text("不支持的方法", "The method is not supported"),
    408: Text("请求太慢", "The request came too slowly"),
    413: Text("请求太大", "The request is too large"),
    409: Text("现在不能这样做", "This cannot be done now"),
    422: Text("无法计算", "This cannot be computed"),
    429: Text("请求过于频繁", "Too many requests"),
    500: Text("服务器内部错误", "Internal server error"),
    503: Text("暂不可用", "Not available now"),
}
SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Vary": "Accept-Language, Authorization"}


def problem(
    status: int, detail: Text | None, language: Language, headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """One refusal; `more` are further members of the document."""
    body = {
        "type": "about:blank",
        "title": TITLES[status].words(language),
        "status": status,
        "requestId": correlation_id(),
    }
    body |= {} if detail is None else {"detail": detail.words(language)}
    known = SAFE | {"Cache-Control": "no-store", "Content-Language": language.value.lower()} | dict(headers or {})
    return Response(orjson.dumps(body | more), status, known, media_type=PROBLEM)


def refused(error: SalesError, language: Language) -> Response:
    """The refusal that an error tells; `field` names what of the request it is about."""
    status = STATUS.get(error.code, 400)
    seconds: int | None = getattr(error, "retry_after_seconds", None)
    headers = {} if seconds is None else {"Retry-After": str(seconds)}
    if error.code is ErrorCode.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    more = {"field": ".".join(error.path)} if error.path else {}
    return problem(status, error.text, language, headers, code=error.code.value, **more)
