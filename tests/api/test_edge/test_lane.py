"""The short way of plain requests: like the long one wherever they can be compared, and by it wherever something is unusual."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, cast

import httpx2
import pytest
from sqlalchemy import event

from api.app import PATH
from api.auth import Door, LocalVerifier
from api.bodies import JSON, RESPONSE_JSON, Asked
from api.callers import Caller, Callers
from api.context import Context
from api.http import Endpoint
from api.lane import Lane
from api.operations.requests import Observed
from api.patience import ClientGone, Patience
from api.rates import Rates
from api.schema import schema
from api.settings import Settings
from api.standing import Standing, StandingChanged
from domain import people
from domain.kernel import SYSTEM, Actor, Database, Role, Unavailable
from tests.api.test_edge.conftest import Edge
from tests.factories import Clock, add_colleague

KEY = LocalVerifier(bytes(range(32)))
VIEWER = "{viewer{name}}"


class Engine:
    """Answers in a way that a test sets; it remembers whose standing it was given."""

    def __init__(self, answer: Callable[[Context, Standing | None], Awaitable[bytes | None]]) -> None:
        self._answer = answer
        self.given: list[Standing | None] = []

    async def answer(
        self, asked: Asked, context: Context, standing: Standing | None, *, queries_only: bool
    ) -> bytes | None:
        self.given.append(standing)
        return await self._answer(context, standing)


class Edges:
    """An endpoint with its lane over a database, asked without a socket."""

    def __init__(self, database: Database, engine: Engine | None, **settings: Any) -> None:
        given = Settings(**settings)
        self.callers = Callers(Door(database, KEY), Rates(given), given, database, *[cast("Any", None)] * 4)
        endpoint = Endpoint(schema, self.callers, given, engine)
        self.lane = Lane(endpoint, PATH, given, [], self._elsewhere)
        self.long: list[str] = []

    async def _elsewhere(self, scope: Any, _receive: Any, send: Any) -> None:
        self.long.append(scope["method"])
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask(self, token: str | None, query: str = VIEWER, **headers: str) -> httpx2.Response:
        given = {"authorization": f"Bearer {token}"} if token else {}
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(self.lane), base_url="http://crm.example.cn") as client:  # fmt: skip
            return await client.post(PATH, json={"query": query}, headers=given | headers)


def token_of(actor: Actor, clock: Clock) -> str:
    assert actor.user_id is not None
    return KEY.sign(actor.user_id, clock(), timedelta(hours=1))


@pytest.fixture
async def lei(database: Database) -> Actor:
    return await add_colleague(database, "张磊", Role.REP)


async def test_who_was_here_a_moment_ago_costs_no_read_of_the_edge(
    database: Database, clock: Clock, lei: Actor
) -> None:
    async def answer(context: Context, standing: Standing | None) -> bytes:
        return b'{"data":{}}'

    engine = Engine(answer)
    edges, token = Edges(database, engine), token_of(lei, clock)
    assert (await edges.ask(token)).status_code == 200
    seen: list[str] = []
    listened = database.reader.sync_engine

    def count(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    event.listen(listened, "before_cursor_execute", count)
    try:
        answered = await edges.ask(token, accept=RESPONSE_JSON)
        assert (answered.json(), answered.headers["content-type"]) == ({"data": {}}, f"{RESPONSE_JSON}; charset=utf-8")
        assert seen == []
    finally:
        event.remove(listened, "before_cursor_execute", count)
    first, second = engine.given
    assert first is not None
    assert first == second
    assert (first.user_id, first.session_id) == (lei.user_id, None)


async def test_what_the_engine_leaves_is_answered_after_the_door_was_asked(
    database: Database, clock: Clock, lei: Actor
) -> None:
    """The resolvers prove nobody's standing: who was disabled a moment ago must not pass by what is remembered."""

    async def nothing(context: Context, standing: Standing | None) -> None:
        return None

    edges, token = Edges(database, Engine(nothing)), token_of(lei, clock)
    for _ in range(2):
        assert (await edges.ask(token)).json()["data"] == {"viewer": {"name": "张磊"}}
    async with database.open_uow(SYSTEM) as uow:
        await people.disable_user(uow, lei.user_id)
    refused = await edges.ask(token, **{"accept-language": "zh-CN"})
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert "停用" in refused.json()["errors"][0]["message"]


async def test_a_standing_that_has_changed_is_looked_at_anew(database: Database, clock: Clock, lei: Actor) -> None:
    edges_standing: list[int] = []

    async def strict(context: Context, standing: Standing | None) -> bytes:
        assert standing is not None
        async with database.read() as connection:
            now = await people.standing(connection, standing.user_id)
        edges_standing.append(standing.epoch)
        if now != standing.epoch:
            raise StandingChanged
        roles = ",".join(sorted(context.reader.roles))
        return b'{"data":"' + roles.encode() + b'"}'

    edges, token = Edges(database, Engine(strict)), token_of(lei, clock)
    assert (await edges.ask(token)).json() == {"data": "REP"}
    async with database.open_uow(SYSTEM) as uow:
        await people.give_role(uow, await uow.session.get_one(people.User, lei.user_id), Role.LEGAL)
    assert (await edges.ask(token)).json()["data"] == {"viewer": {"name": "张磊"}}, "by the resolvers, this once"
    assert (await edges.ask(token)).json() == {"data": "LEGAL,REP"}
    assert edges_standing[0] == edges_standing[1] != edges_standing[2]


async def test_each_request_counts_once_whichever_way_it_takes(database: Database, clock: Clock, lei: Actor) -> None:
    async def nothing(context: Context, standing: Standing | None) -> None:
        return None

    edges, token = Edges(database, Engine(nothing), requests_per_minute=4), token_of(lei, clock)
    assert [(await edges.ask(token)).status_code for _ in range(5)] == [200, 200, 200, 200, 429]


async def test_a_crowded_pool_says_when_to_come_again(database: Database, clock: Clock, lei: Actor) -> None:
    class Crowded(Unavailable):
        retry_after_seconds = 2

    async def crowded(context: Context, standing: Standing | None) -> bytes:
        raise Crowded(people.NOBODY)

    refused = await Edges(database, Engine(crowded)).ask(token_of(lei, clock))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert refused.json()["errors"][0]["extensions"]["code"] == "UNAVAILABLE"


async def test_a_bug_is_told_by_a_number_alone(database: Database, clock: Clock, lei: Actor) -> None:
    async def broken(context: Context, standing: Standing | None) -> bytes:
        raise RuntimeError("诸葛清商")

    lane = Edges(database, Engine(broken)).lane
    transport = httpx2.ASGITransport(Observed(lane), raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {token_of(lei, clock)}", "x-request-id": "asked-1"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://crm.example.cn") as client:
        answer = await client.post(PATH, json={"query": VIEWER}, headers=headers)
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "asked-1")
    (error,) = answer.json()["errors"]
    assert error == {"message": "Internal Server Error: asked-1", "extensions": {"code": "INTERNAL"}}


async def test_a_query_whose_client_has_gone_is_stopped(database: Database, clock: Clock, lei: Actor) -> None:
    ended: list[str] = []

    async def slow(context: Context, standing: Standing | None) -> bytes:
        try:
            await asyncio.sleep(20)
        finally:
            ended.append("stopped")
        return b"{}"

    edges = Edges(database, Engine(slow))

    async def receive() -> Any:
        await asyncio.sleep(0.02)
        return {"type": "http.disconnect"}

    caller = Caller(f"Bearer {token_of(lei, clock)}", "zh", "127.0.0.1")

    async def served() -> None:
        async with Patience(receive, 5) as patience:
            await edges.lane._endpoint.operate(Asked(VIEWER, {}, None), caller, JSON, patience)

    with pytest.raises(ClientGone):
        await served()
    assert ended == ["stopped"]


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"}, {"content-encoding": "gzip"}, {"accept": "text/event-stream"}, {"accept": "text/html"},
        {"origin": "https://evil.example"}, {"content-type": "application/json; charset=gbk"}, {"content-length": "x"}, {"content-length": "9999999"},
    ],
)  # fmt: skip
async def test_what_is_unusual_goes_the_long_way(database: Database, headers: dict[str, str]) -> None:
    edges = Edges(database, None)
    assert (await edges.ask(None, **headers)).status_code == 404
    assert edges.long == ["POST"]
    assert (await edges.ask(None, origin="http://crm.example.cn")).status_code == 200
    assert edges.long == ["POST"]


@pytest.mark.parametrize("query", [VIEWER, "{nothing}", "{", "{accounts{totalCount}}", ""])
@pytest.mark.parametrize("accept", [JSON, RESPONSE_JSON])
def test_both_ways_answer_alike(edge: Edge, query: str, accept: str) -> None:
    """Without a length a body comes in pieces, which is not plain."""
    headers = {**edge.bearer, "accept": accept, "content-type": JSON, "accept-language": "zh-CN"}
    body = httpx2.Request("POST", edge.url, json={"query": query}).read()
    short = httpx2.post(edge.url, content=body, headers=headers)
    long = httpx2.post(edge.url, content=iter([body]), headers=headers)
    assert (short.status_code, short.content) == (long.status_code, long.content)
    told = [{name: value for name, value in one.headers.items() if name not in {"x-request-id", "date"}} for one in (short, long)]  # fmt: skip
    assert told[0] == told[1]
    assert short.headers["x-request-id"] != long.headers["x-request-id"]
