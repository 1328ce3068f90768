"""Whether this process lives, and whether it can serve: what a load balancer and an orchestrator ask."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import func, select
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from api.notary import Notary
from api.operations.later import later
from api.settings import Settings
from domain.kernel import SYSTEM, Database, OutboxEvent, Text
from domain.kernel.replica import Replica
from domain.ledger import AuditEvent
from knowledge import Library
from migrations import newest_steps, stored_steps

FRESH_SECONDS = 1.0
"""How long a verdict holds: however many ask, the database is asked once."""
CHECK_SECONDS = 2.0
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
SERVING, DRAINING = "serving", "draining"
UNKNOWN = Text("尚未用到副本", "the replica was not needed yet")


class Health:
    """What a process knows of its own state."""

    def __init__(
        self,
        database: Database,
        notary: Notary,
        library: Library,
        settings: Settings,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._notary = notary
        self._library = library
        self._settings = settings
        self._timer = timer
        self._newest = newest_steps()
        self._verdict: tuple[float, bool, dict[str, Any]] = (float("-inf"), False, {})
        self._asking = asyncio.Lock()
        self._waiting = {"ledger": 0, "outbox": 0}
        self.draining = False
        meter = metrics.get_meter("sortie.operations")
        meter.create_observable_gauge(
            "sortie.ledger.waiting", [self._count("ledger")], "{event}", "Events that wait to be sealed."
        )
        meter.create_observable_gauge(
            "sortie.outbox.waiting", [self._count("outbox")], "{event}", "Events that wait to be handed over."
        )
        if database.replica is not None:
            _measure(meter, database.replica)

    def routes(self) -> list[BaseRoute]:
        """The addresses at which it tells."""
        return [Route("/livez", self.live), Route("/readyz", self.ready), Route("/metrics", self.metrics)]

    async def live(self, _request: Request) -> Response:
        """200 while the process answers at all."""
        return _told(200, {"status": "live"})

    async def ready(self, _request: Request) -> Response:
        """200 when requests can be served; 503 with what is missing, and from the first moment of a shutdown on."""
        whole, checks = await self.verdict()
        serving = whole and not self.draining
        return _told(
            200 if serving else 503,
            {"ready": serving, "state": DRAINING if self.draining else SERVING, "checks": checks},
        )

    async def metrics(self, request: Request) -> Response:
        """The measures in Prometheus' form, for who holds the token; without a token set, outside production alone."""
        token = self._settings.metrics_token
        if token is None and self._settings.production:
            return _told(404, {"error": "Not Found"})
        given = request.headers.get("authorization", "").encode()
        if token is not None and not hmac.compare_digest(given, f"Bearer {token}".encode()):
            return Response(status_code=401, headers=HEADERS | {"WWW-Authenticate": "Bearer"})
        await self._count_waiting()
        later.settle()
        return Response(await asyncio.to_thread(generate_latest), headers=HEADERS, media_type=CONTENT_TYPE_LATEST)

    async def verdict(self) -> tuple[bool, dict[str, Any]]:
        """Whether everything that is needed is there, and what was found of each part."""
        async with self._asking:
            at, whole, checks = self._verdict
            if self._timer() - at >= FRESH_SECONDS:
                named = {"database": self._schema, "ledger": self._ledger, "search": self._search}
                checks = {name: await _checked(look) for name, look in named.items()}
                whole = all(check["ok"] for check in checks.values())
                if (replica := self._database.replica) is not None:
                    # Without it the primary answers: nothing is missing.
                    state = UNKNOWN if replica.state is None else replica.state
                    checks["replica"] = {"ok": replica.usable, "found": state.en}
                self._verdict = (self._timer(), whole, checks)
            return whole, checks

    async def _schema(self) -> str:
        async with self._database.read(SYSTEM) as connection:
            stored = await connection.run_sync(stored_steps)
        if stored != self._newest:
            raise NotReadyError(Text("数据库结构不是最新的", "the database has another schema"))
        return "migrated"

    async def _ledger(self) -> str:
        problem = await self._notary.head_problem()
        if problem is not None:
            raise NotReadyError(problem)
        return "head matches"

    async def _search(self) -> dict[str, str | None]:
        """Words suffice; vectors are told apart, with who searches them."""
        if not self._library.searchable:
            raise NotReadyError(Text("知识索引尚未就绪", "the knowledge index is not ready"))
        return {"words": "ready", "vectors": self._library.vectors, "engine": self._library.engine}

    def _count(self, name: str) -> Callable[[CallbackOptions], list[Observation]]:
        return lambda _options: [Observation(self._waiting[name])]

    async def _count_waiting(self) -> None:
        unsealed = select(func.count()).select_from(AuditEvent).where(AuditEvent.sealed_at.is_(None))
        unhandled = select(func.count()).select_from(OutboxEvent).where(OutboxEvent.handled_at.is_(None))
        async with self._database.read(SYSTEM) as connection:
            self._waiting["ledger"] = (await connection.execute(unsealed)).scalar_one()
            self._waiting["outbox"] = (await connection.execute(unhandled)).scalar_one()


def _measure(meter: Meter, replica: Replica) -> None:
    def usable(_options: CallbackOptions) -> list[Observation]:
        return [Observation(int(replica.usable))]

    def lag(_options: CallbackOptions) -> list[Observation]:
        return [Observation(replica.lease.lag_seconds)]

    def reads(_options: CallbackOptions) -> list[Observation]:
        return [
            Observation(replica.answered, {"server": "replica"}),
            Observation(replica.passed, {"server": "primary"}),
        ]

    meter.create_observable_gauge("sortie.replica.usable", [usable], "1", "Whether the replica answers reads.")
    meter.create_observable_gauge("sortie.replica.lag", [lag], "s", "How far the replica is behind, as last seen.")
    meter.create_observable_counter("sortie.replica.reads", [reads], "{read}", "Reads by the server that answered.")


class NotReadyError(Exception):
    """A part that is needed and is not there."""

    def __init__(self, text: Text) -> None:
        super().__init__(text.en)


async def _checked(look: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
    """What a look at one part finds: its words, or why it is not there, without anything of the inside."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return {"ok": True, "found": await look()}
    except NotReadyError as problem:
        return {"ok": False, "found": str(problem)}
    except TimeoutError:
        return {"ok": False, "found": f"no answer within {CHECK_SECONDS:g} s"}
    except Exception as error:  # noqa: BLE001 - whatever is wrong, the answer is that it cannot serve
        return {"ok": False, "found": type(error).__name__}


def _told(status: int, body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), status, HEADERS, media_type="application/json")
