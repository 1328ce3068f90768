"""The routes of the content API: who may ask, how often, what was asked, and the answer with its tag."""

import asyncio
import base64
import binascii
import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from api.auth import Door
from api.bodies import Refused
from api.content import calculator, shelf
from api.content.described import DOCUMENT
from api.content.problems import SAFE, problem, refused
from api.context import preferred_language
from api.rates import Rates
from api.reads import expect
from api.responses import GONE
from api.scalars import instant_words, read_instant
from domain.kernel import (
    SYSTEM,
    Database,
    Forbidden,
    Invalid,
    Language,
    SalesError,
    Scope,
    Text,
    Unauthenticated,
)
from knowledge import SHARED_KINDS, ContentRequest, Filter, KnowledgeKind, Library, log_requests

logger = logging.getLogger(__name__)
ROOT = "/content/v1"
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
PAGE, LARGEST_PAGE, LONGEST_QUERY = 20, 50, 2_000
NO_KEY = Text(
    "请用“Authorization: Bearer 密钥”，密钥须有 CONTENT 用途",
    "send “Authorization: Bearer key” with a key of scope CONTENT",
)
NO_SCOPE = Text("此密钥没有 CONTENT 用途", "the key has not the scope CONTENT")
E = TypeVar("E", bound=StrEnum)


@dataclass(slots=True)
class Asking:
    """One request of a customer's system: in which language it reads, and of which entry it turns out to be."""

    request: Request
    language: Language
    item_id: UUID | None = None

    def text(self, name: str) -> str | None:
        """A parameter; None where it is left out or empty."""
        return self.request.query_params.get(name) or None

    def named(self, name: str, kind: type[E], among: frozenset[E] | None = None) -> E | None:
        """A parameter that is one of some names.

        Raises Invalid for any other.
        """
        given = self.text(name)
        known = sorted(each.value for each in among or kind)
        if given is not None and given not in known:
            listed = ", ".join(known)
            raise Invalid(Text(f"{name} 须是其中之一：{listed}", f"{name} is one of: {listed}"), (name,))
        return None if given is None else kind(given)

    def limit(self) -> int:
        """How many entries a page may have.

        Raises Invalid for what is no number from 1 to LARGEST_PAGE.
        """
        given = self.text("limit") or str(PAGE)
        if not given.isascii() or not given.isdigit() or not 1 <= int(given[:9]) <= LARGEST_PAGE:
            words = Text(f"limit 须在 1 到 {LARGEST_PAGE} 之间", f"limit is a number from 1 to {LARGEST_PAGE}")
            raise Invalid(words, ("limit",))
        return int(given)

    def named_item(self) -> UUID:
        """The entry in the path.

        Raises NotFound for what is no id of an entry.
        """
        self.item_id = expect("KnowledgeItem", self.request.path_params["id"], "id")
        return self.item_id


Answer = Callable[[Asking], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class ContentApi:
    """The door for customers' own systems: only what a curator has marked shareable goes through it."""

    database: Database
    library: Library
    door: Door
    rates: Rates

    def routes(self) -> list[BaseRoute]:
        """Where it answers."""
        paths: tuple[tuple[str, str, Answer], ...] = (
            ("/items", "GET", self._items), ("/items/{id}", "GET", self._item), ("/search", "GET", self._search), ("/roi/{id}", "GET", self._model),
            ("/roi/{id}/calculations", "POST", self._calculation),
        )  # fmt: skip
        known: list[BaseRoute] = [Route(f"{ROOT}/openapi.json", _described)]
        known += [
            Route(ROOT + path, self._guarded(method, answer), methods=METHODS, name=path)
            for path, method, answer in paths
        ]
        return [*known, Route(ROOT + "/{rest:path}", _nowhere, methods=METHODS)]

    def _guarded(self, method: str, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            asking = Asking(request, preferred_language(request.headers.get("accept-language")))
            try:
                key_id = await self._key(request)
                response = await self._answered(asking, method, answer)
                await self._log(key_id, asking, response.status_code)
            except SalesError as error:
                return refused(error, asking.language)
            except ClientDisconnect:
                return Response(status_code=GONE)
            return response

        return respond

    async def _key(self, request: Request) -> UUID:
        """The key with which a request comes, counted.

        Raises Unauthenticated without a good one, Forbidden for one of other scopes, RateLimited.
        """
        address = request.client.host if request.client else ""
        try:
            admission = await self.door.admit(request.headers.get("authorization"))
        except Unauthenticated:
            self.rates.count_refusal(address)
            raise
        if admission is None:
            self.rates.count_request(None, address)
            raise Unauthenticated(NO_KEY)
        if admission.key_id is None or not admission.actor.may(Scope.CONTENT):
            self.rates.count_request(admission.actor, address)
            raise Forbidden(NO_SCOPE if admission.key_id else NO_KEY)
        self.rates.count_content(admission.key_id)
        return admission.key_id

    async def _answered(self, asking: Asking, method: str, answer: Answer) -> Response:
        """The answer, or the refusal that is logged as an answer is."""
        methods = {method, "HEAD"} if method == "GET" else {method}
        if asking.request.method not in methods:
            return problem(405, None, asking.language, {"Allow": ", ".join(sorted(methods))})
        try:
            return await answer(asking)
        except ClientDisconnect:
            raise
        except SalesError as error:
            return refused(error, asking.language)
        except Refused as error:
            return problem(error.status, error.text, asking.language, error.headers)
        except Exception:
            logger.exception("content API")
            return problem(500, None, asking.language)

    async def _log(self, key_id: UUID, asking: Asking, status: int) -> None:
        # The path without its query: what people look for is nobody's business.
        path = asking.request.url.path
        made = ContentRequest(
            id=self.database.new_id(), key_id=key_id, path=path[:200], item_id=asking.item_id, status=status, at=self.database.clock()
        )  # fmt: skip
        await log_requests(self.database, [made])

    # ---- what is asked -----------------------------------------------------------------------------------------------

    async def _items(self, asking: Asking) -> Response:
        since = asking.text("updated_since")
        wanted = shelf.conditions(
            asking.named("kind", KnowledgeKind, SHARED_KINDS), asking.named("language", Language), _instant(since)
        )
        limit = asking.limit()
        rows = await shelf.page(self.database, wanted, _read_cursor(asking.text("cursor")), limit)
        shown = rows[:limit]
        items = await asyncio.to_thread(lambda: [shelf.written(row) for row in shown])
        cursor = _cursor(shown[-1].updated_at, shown[-1].id) if len(rows) > limit else None
        return _tagged(asking, {"items": items, "nextCursor": cursor})

    async def _item(self, asking: Asking) -> Response:
        row = await shelf.one(self.database, asking.named_item())
        return _tagged(asking, await asyncio.to_thread(shelf.written, row))

    async def _search(self, asking: Asking) -> Response:
        query = (asking.text("q") or "").strip()
        if not query or len(query) > LONGEST_QUERY:
            words = Text(f"q 须有 1 到 {LONGEST_QUERY} 个字符", f"q has 1 to {LONGEST_QUERY} characters")
            raise Invalid(words, ("q",))
        wanted = shelf.conditions(
            asking.named("kind", KnowledgeKind, SHARED_KINDS), asking.named("language", Language), None
        )
        only = Filter(only=await shelf.shared_ids(self.database, wanted))
        found = await self.library.search(SYSTEM, query, only, asking.limit())
        rows = await shelf.of_ids(self.database, [hit.item_id for hit in found.hits])
        # Whatever was taken back while the search ran is not there any more.
        hits = [
            (rows[hit.item_id], hit)
            for hit in found.hits
            if hit.item_id in rows and rows[hit.item_id].number == hit.version
        ]
        items = await asyncio.to_thread(
            lambda: [{"item": shelf.written(row), "passage": hit.passage, "score": hit.score} for row, hit in hits]
        )
        degraded = found.degraded.words(asking.language) if found.degraded else None
        return _tagged(asking, {"hits": items, "methods": list(found.methods), "degraded": degraded})

    async def _model(self, asking: Asking) -> Response:
        row = await shelf.one(self.database, asking.named_item(), KnowledgeKind.ROI_MODEL)
        model = await asyncio.to_thread(calculator.model_of, row)
        return _tagged(asking, calculator.described(row, model, asking.language))

    async def _calculation(self, asking: Asking) -> Response:
        row = await shelf.one(self.database, asking.named_item(), KnowledgeKind.ROI_MODEL)
        given = calculator.asked(await asking.request.body())
        model = await asyncio.to_thread(calculator.model_of, row)
        done, told = await asyncio.to_thread(calculator.computed, model, given, asking.language)
        if done.questions or done.refused:
            words = Text("缺少输入或输入被拒绝", "inputs are missing or were refused")
            return problem(422, words, asking.language, **told)
        return _tagged(asking, {"id": asking.request.path_params["id"], "version": row.number, **told})


def _tagged(asking: Asking, body: Any) -> Response:
    """The answer with a tag of its content; 304 for a client that has it."""
    whole = orjson.dumps(body)
    tag = f'"{hashlib.sha256(whole).hexdigest()[:32]}"'
    headers = SAFE | {
        "ETag": tag,
        "Cache-Control": "private, no-cache",
        "Content-Language": asking.language.value.lower(),
    }
    known = {part.strip().removeprefix("W/") for part in asking.request.headers.get("if-none-match", "").split(",")}
    if asking.request.method != "POST" and known & {tag, "*"}:
        return Response(status_code=304, headers=headers)
    return Response(whole, 200, headers, media_type="application/json")


def _instant(written: str | None) -> datetime | None:
    # A plus sign that nobody escaped comes as a space.
    try:
        return None if written is None else read_instant(written.replace(" ", "+"))
    except Invalid as error:
        raise Invalid(error.text, ("updated_since",)) from error


def _cursor(updated_at: datetime, id: UUID) -> str:
    return base64.urlsafe_b64encode(f"{instant_words(updated_at)} {id.hex}".encode()).decode().rstrip("=")


def _read_cursor(written: str | None) -> shelf.After | None:
    if written is None:
        return None
    try:
        whole = base64.urlsafe_b64decode(written + "=" * (-len(written) % 4)).decode()
        at, _, id = whole.partition(" ")
        return shelf.After(read_instant(at), UUID(hex=id))
    except (ValueError, binascii.Error, Invalid) as error:
        raise Invalid(Text("cursor 不是此接口给出的游标", "cursor is none that this API gave"), ("cursor",)) from error


async def _described(_request: Request) -> Response:
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "max-age=3600"}
    return Response(orjson.dumps(DOCUMENT), 200, headers, media_type="application/json")


async def _nowhere(request: Request) -> Response:
    return problem(404, None, preferred_language(request.headers.get("accept-language")))
