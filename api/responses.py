"""Responses of the endpoint: answers by the specification of GraphQL over HTTP, and refusals of what was not executed."""

from collections.abc import Mapping
from typing import Any

import orjson
from graphql import GraphQLError
from starlette.requests import Request
from starlette.responses import Response
from strawberry.types import ExecutionResult

from api.bodies import JSON, RESPONSE_JSON, Refused
from api.context import preferred_language
from api.operations.requests import correlation_id
from domain.kernel import ErrorCode, Language, SalesError

SAFE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
STATUS = {ErrorCode.UNAUTHENTICATED: 401, ErrorCode.RATE_LIMITED: 429, ErrorCode.UNAVAILABLE: 503}
GONE = 499
"""What nginx logs for a client that did not wait; nobody receives it."""


_SAFE = [(name.lower().encode(), value.encode()) for name, value in SAFE.items()]
_HEADERS = {
    JSON: [*_SAFE, (b"content-type", JSON.encode())],
    RESPONSE_JSON: [*_SAFE, (b"content-type", f"{RESPONSE_JSON}; charset=utf-8".encode())],
}


class Answered(Response):
    """The response whose body is there, in one of the two media types of JSON."""

    def __init__(self, body: bytes, wanted: str, status: int = 200) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [*_HEADERS[wanted], (b"content-length", b"%d" % len(body))]


def executed(result: ExecutionResult, wanted: str) -> Response:
    """The response to one operation.

    What was not executed at all is a 400 without `data` in the new media type, and a 200 in the old one.
    """
    errors = [error.formatted for error in result.errors or ()]
    whole = result.data is not None or any("path" in error for error in errors)
    body: dict[str, Any] = {"data": result.data} if whole or wanted == JSON else {}
    if errors:
        body["errors"] = errors
    if result.extensions:
        body["extensions"] = result.extensions
    return Answered(orjson.dumps(body), wanted, 200 if whole or wanted == JSON else 400)


def refusal(status: int, code: ErrorCode, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """A GraphQL response without data, for what was not executed."""
    body = {"errors": [{"message": message, "extensions": {"code": code.value}}]}
    known = SAFE | ({"WWW-Authenticate": "Bearer"} if status == 401 else {}) | dict(headers or {})  # noqa: PLR2004
    return Response(orjson.dumps(body), status, known, media_type=JSON)


def refused(error: Refused | SalesError, language: Language) -> Response:
    """The response to a request that was refused before it was executed."""
    words = error.text.words(language)
    if isinstance(error, Refused):
        return refusal(error.status, error.code, words, error.headers)
    seconds: int | None = getattr(error, "retry_after_seconds", None)
    headers = {} if seconds is None else {"Retry-After": str(seconds)}
    return refusal(STATUS.get(error.code, 400), error.code, words, headers)


def broken() -> Response:
    """The response to a request that met a bug outside of any operation: the server logs it with the request's id."""
    return refusal(500, ErrorCode.INTERNAL, f"Internal Server Error: {correlation_id()}")


async def refuse(request: Request, error: Exception) -> Response:
    """The response to a request that a layer or route refused by raising Refused."""
    assert isinstance(error, Refused)  # noqa: S101 - registered for nothing else
    return refused(error, preferred_language(request.headers.get("accept-language")))


def told(error: SalesError, language: Language) -> GraphQLError:
    """The error as one of an operation."""
    return GraphQLError(error.text.words(language), extensions={"code": error.code.value})
