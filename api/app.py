"""The server put together: database, ledger, knowledge, assistant and endpoint, opened and closed in order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute

from api.auth import Door, SignIn, verifier_for
from api.context import Context, preferred_language
from api.http import Endpoint, ide_file
from api.jobs import Jobs
from api.notary import Notary
from api.operations.health import Health
from api.operations.requests import Observed
from api.schema import schema
from api.settings import Settings
from api.storage import open_database
from assistant.language_model import OpenAIModel
from assistant.pipeline import Desk
from domain import consent
from domain.kernel import SYSTEM, Database
from knowledge import Library
from knowledge.generations import GenerationStore

PATH = "/graphql"
SIGN_IN = "/auth/sign-in"


@dataclass(frozen=True, slots=True)
class Service:
    """One running server: its web application and what stands behind it."""

    app: Starlette
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
        notary = Notary.of(database, settings)
        library = Library(database, GenerationStore(settings.home / "index"))
        desk = Desk(database, library, model, settings.model)
        jobs = Jobs(database, notary, library, settings)

        async def context(authorization: str | None, languages: str | None) -> Context:
            admission = await door.admit(authorization)
            return Context(
                database=database,
                actor=admission.actor if admission else None,
                language=preferred_language(languages),
                now=database.clock(),
                auditor=notary,
                desk=desk,
                library=library,
            )

        endpoint = Endpoint(schema, context, ide=not settings.production)
        async with database.open_uow(SYSTEM) as uow:
            await consent.ensure_purposes(uow)
        await jobs.start()
        health = Health(database, notary, library, settings)
        routes = health.routes() + _routes(endpoint, ide=not settings.production)
        if settings.signs_tokens:
            routes += SignIn(database, settings, home=SIGN_IN if settings.production else PATH).routes()
        try:
            yield Service(
                Starlette(routes=routes, middleware=[Middleware(Observed)]), health, database, notary, library
            )
        finally:
            await jobs.stop()
    finally:
        if model is not None:
            await model.close()
        await database.close()


def _routes(endpoint: Endpoint, *, ide: bool) -> list[BaseRoute]:
    routes: list[BaseRoute] = [Route(PATH, endpoint), WebSocketRoute(PATH, endpoint)]
    if ide:
        routes.append(Route(f"{PATH}/ide/{{name}}", ide_file))
        routes.append(Route("/", RedirectResponse(PATH)))
    return routes
