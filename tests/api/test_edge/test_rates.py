"""How often somebody may ask, at every door, and that nobody waits for a client who has gone."""

import json
from collections.abc import Callable

import httpx2
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from api.rates import Rates
from api.settings import Settings
from domain.kernel import Actor, ActorKind, RateLimited, new_id
from tests.installation import Home, running

QUERY = {"query": "{viewer{name}}"}


def test_every_door_counts_and_says_when_to_come_again(edge_home: Home) -> None:
    with running(edge_home, SORTIE_REQUESTS_PER_MINUTE="10") as address:
        url = f"http://{address}/graphql"
        bearer = {
            "authorization": f"Bearer {edge_home.run('token', 'lei.zhang@example.com').stdout.strip()}",
            "accept-language": "zh-CN",
        }
        doors: list[Callable[[], httpx2.Response]] = [
            lambda: httpx2.post(url, json=QUERY, headers=bearer),
            lambda: httpx2.get(url, params=QUERY, headers=bearer),
            lambda: httpx2.post(url, json=QUERY, headers={**bearer, "accept": "text/event-stream"}),
        ]
        assert [door().status_code for _ in range(3) for door in doors] == [200] * 9
        with connect(
            f"ws://{address}/graphql", subprotocols=[Subprotocol("graphql-transport-ws")], additional_headers=bearer
        ) as socket:
            socket.send('{"type": "connection_init"}')
            assert json.loads(socket.recv())["type"] == "connection_ack"
            socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": QUERY}))
            assert json.loads(socket.recv())["payload"][0]["extensions"]["code"] == "RATE_LIMITED"
        for door in doors:
            refused = door()
            assert refused.status_code == 429
            assert 1 <= int(refused.headers["retry-after"]) <= 60
            assert refused.json()["errors"][0]["extensions"]["code"] == "RATE_LIMITED"
            assert "请求过于频繁" in refused.json()["errors"][0]["message"]
        assert httpx2.post(url, json=QUERY).status_code == 200, "strangers are counted apart"
        guesses = {httpx2.post(url, json=QUERY, headers={"authorization": "Bearer x"}).status_code for _ in range(3)}
        assert guesses in ({401, 429}, {429})


async def test_answers_are_counted_by_the_hour() -> None:
    rates = Rates(Settings(answers_per_hour=2))
    lei, na = Actor(ActorKind.USER, new_id()), Actor(ActorKind.USER, new_id())
    for _ in range(2):
        await rates.count_answer(lei)
    with pytest.raises(RateLimited) as refused:
        await rates.count_answer(lei)
    assert 1 <= refused.value.retry_after_seconds <= 3600
    await rates.count_answer(na)


@pytest.mark.parametrize(("env", "requests", "answers"), [("development", 6_000, 3_000), ("production", 300, 60)])
def test_the_ceilings_of_each_environment(env: str, requests: int, answers: int) -> None:
    settings = Settings(env=env)  # type: ignore[arg-type]
    assert (settings.request_rate, settings.answer_rate) == (requests, answers)
    assert Settings(requests_per_minute=7).request_rate == 7
