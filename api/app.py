"""The server put together: database, ledger, knowledge, assistant and endpoint, opened and closed in order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp

from api.auth import Door, SignIn, verifier_for
from api.bodies import Bounded, Refused
from api.callers import Callers
from api.content import ContentApi
from api.http import Answers, Endpoint, ide_file
from api.jobs import Upkeep
from api.jobs.board import Board
from api.knowledge.log import SearchLog
from api.lane import Lane
from api.live import Hub
from api.notary import Notary
from api.operations.health import Health
from api.operations.requests import Observed
from api.outbound import outbound_of
from api.rates import Rates
from api.reads.answering import Answering
from api.responses import broken, refusal, refuse
from api.schema import graphql_schema, schema
from api.settings import Jobs, Settings
from api.storage import open_database
from api.trusted import NONE, Trusted, read_manifest
from assistant.language_model import OpenAIModel
from assistant.pipeline import Desk
from domain import consent
from domain.kernel import SYSTEM, Database, ErrorCode, Invalid, Text
from knowledge import KnowledgeChanged, Library
from knowledge.generations import GenerationStore

if TYPE_CHECKING:
    from api.jobs.background import Background

PATH = "/graphql"
SIGN_IN = "/auth/sign-in"
OWN_LEDGER_KEY = Text(
    "生产环境不能使用自动生成的账本密钥：请用 SORTIE_LEDGER_KEY_FILE 指定密钥文件",
    "production does not start with a generated ledger key: name a key file by SORTIE_LEDGER_KEY_FILE",
)

ONE_PROCESS = Text(
    "SQLite 只能由一个进程使用：请用 SORTIE_DATABASE_URL 指定 PostgreSQL",
    "SQLite is for one process: name a PostgreSQL by SORTIE_DATABASE_URL",
)


@dataclass(frozen=True, slots=True)
class Service:
    """One running server: its web application and what stands behind it."""

    app: ASGIApp
    health: Health
    database: Database
    notary: Notary
    library: Library


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Service]:
    """Open a server whose background work has begun; closing it ends that work and gives every connection back.

    Raises Conflict for a database with another schema, Unavailable for what cannot be used now, Invalid for settings
    that production does not allow.
    """
    database = open_database(settings)
    model = OpenAIModel(settings.model) if settings.model else None
    try:
        door = Door(database, verifier_for(settings))
        _check_ledger_key(settings)
        notary = Notary.of(database, settings)
        library = Library(database, GenerationStore(settings.home / "index"))
        desk = Desk(database, library, model, settings.model)
        upkeep = Upkeep(desk, settings)
        background = _background(database, notary, settings, upkeep) if settings.jobs is Jobs.INSIDE else None

        board = Board(settings)
        hub = Hub(database)
        rates, searches = Rates(settings), SearchLog(database)
        callers = Callers(door, rates, settings, database, notary, desk, library, board, hub, searches)
        trusted = _trusted(settings)
        outbound_of(settings.outbound)
        endpoint = Endpoint(schema, callers, settings, answering_of(database, trusted), trusted)
        async with database.open_uow(SYSTEM) as uow:
            await consent.ensure_purposes(uow)
        # Before anything else may be in a transaction: the job tables' first indexes wait for every one that is open, and the loop
        # stands still meanwhile.
        if background is not None:
            await background.start()
        await upkeep.start()
        hub.start()
        await searches.start()
        health = Health(database, notary, library, settings)
        routes = health.routes() + _routes(endpoint, ide=not settings.production)
        routes += ContentApi(database, library, door, rates).routes()
        if settings.signs_tokens:
            routes += SignIn(database, settings, home=SIGN_IN if settings.production else PATH).routes()
        try:
            yield Service(_application(routes, endpoint, settings), health, database, notary, library)
        finally:
            await hub.stop()
            await board.close()
            await searches.stop()
            await upkeep.stop()
            if background is not None:
                await background.stop()
    finally:
        if model is not None:
            await model.close()
        await database.close()


def _background(database: Database, notary: Notary, settings: Settings, upkeep: Upkeep | None = None) -> "Background":
    # A process that does no jobs is spared what they take: DBOS is 25 MB.
    from api.jobs.background import Background

    return Background(database, notary, settings, {} if upkeep is None else {KnowledgeChanged.kind: upkeep.look})


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[None]:
    """Do the jobs of an installation in this process, which serves nobody.

    Raises Conflict for a database with another schema, Invalid for SQLite, whose one process does its jobs itself.
    """
    if settings.embedded:
        raise Invalid(ONE_PROCESS, ("SORTIE_DATABASE_URL",))
    database = open_database(settings)
    try:
        _check_ledger_key(settings)
        background = _background(database, Notary.of(database, settings), settings)
        # It hears nothing; but what it commits is told by a connection of its own rather than within each commit.
        database.listen(lambda _payload: None, lambda: None)
        await background.start()
        try:
            yield
        finally:
            await background.stop()
    finally:
        await database.close()


def _check_ledger_key(settings: Settings) -> None:
    if settings.production and settings.ledger_key_file is None:
        raise Invalid(OWN_LEDGER_KEY, ("SORTIE_LEDGER_KEY_FILE",))


def _trusted(settings: Settings) -> Trusted:
    """The documents of the manifest that is named; a manifest that this release cannot serve stops the start."""
    if settings.trusted_documents is None:
        return NONE
    return Trusted(read_manifest(settings.trusted_documents, graphql_schema), settings.trusted_only)


def answering_of(database: Database, trusted: Trusted = NONE) -> Answers | None:
    """Who answers operations by one statement each."""
    schema.documents.trust(trusted.texts.values())
    return Answering(graphql_schema, database, schema.documents)


def _application(routes: list[BaseRoute], endpoint: Endpoint, settings: Settings) -> ASGIApp:
    """The routes behind what every request passes: it is observed, other sites are told what they may, errors are JSON."""
    layers: list[Middleware] = []
    if settings.hosts:
        layers.append(Middleware(TrustedHostMiddleware, allowed_hosts=settings.hosts, www_redirect=False))
    if settings.cors_origins:
        allowed = ["authorization", "content-type", "accept-language", "x-request-id", "traceparent"]
        layers.append(
            Middleware(
                CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["GET", "POST"], allow_headers=allowed,
                allow_credentials=True, expose_headers=["x-request-id", "retry-after"], max_age=600,
            )
        )  # fmt: skip
    handlers: dict[Any, Any] = {404: _absent, 405: _absent, Refused: refuse, Exception: _broken}
    bounded = Middleware(Bounded, settings.body_bytes, settings.body_seconds)
    whole = Starlette(routes=routes, middleware=[bounded, *layers], exception_handlers=handlers)
    return Observed(Lane(endpoint, PATH, settings, layers, whole))


async def _absent(_request: Request, _error: Exception) -> Response:
    return refusal(404, ErrorCode.NOT_FOUND, "Not Found")


async def _broken(_request: Request, _error: Exception) -> Response:
    return broken()


def _routes(endpoint: Endpoint, *, ide: bool) -> list[BaseRoute]:
    routes: list[BaseRoute] = [Route(PATH, endpoint), WebSocketRoute(PATH, endpoint)]
    if ide:
        routes.append(Route(f"{PATH}/ide/{{name}}", ide_file))
        routes.append(Route("/", RedirectResponse(PATH)))
    return routes
