"""How often somebody may ask, at every door, and that nobody waits for a client who has gone."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import httpx2
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from api.rates import Rates, SlidingWindow
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


def test_answers_are_counted_by_the_hour() -> None:
    rates = Rates(Settings(answers_per_hour=2))
    lei, na = Actor(ActorKind.USER, new_id()), Actor(ActorKind.USER, new_id())
    for _ in range(2):
        rates.count_answer(lei)
    with pytest.raises(RateLimited) as refused:
        rates.count_answer(lei)
    assert 1 <= refused.value.retry_after_seconds <= 3600
    rates.count_answer(na)


@dataclass
class Timer:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_at_no_moment_have_many_more_than_the_most_come_in_the_last_window() -> None:
    """A counter that begins anew every minute lets twice as many through at the turn of two."""
    timer = Timer()
    window = SlidingWindow(10, 60, timer)
    taken: list[float] = []
    while timer.now < 1_600:
        if window.hit("张磊") is None:
            taken.append(timer.now)
        timer.now += 0.7
    assert 80 <= len(taken) <= 110, "ten a minute for ten minutes"
    assert max(sum(1 for at in taken if end - 60 < at <= end) for end in taken) <= 12


def test_who_waits_as_long_as_they_were_told_is_taken() -> None:
    timer = Timer()
    window = SlidingWindow(3, 60, timer)
    for _ in range(20):
        while (wait := window.hit("李娜")) is None:
            timer.now += 1
        assert 0 <= wait <= 60
        timer.now += wait + 21
        assert window.hit("李娜") is None
    assert window.hit("王敏") is None, "each name has its own count"


def test_names_that_do_not_come_again_are_forgotten() -> None:
    """Otherwise a stranger with many addresses would fill the memory."""
    timer = Timer()
    window = SlidingWindow(10, 60, timer)
    for number in range(1_000):
        window.hit(f"203.0.113.{number}")
    timer.now += 200
    window.hit("张磊")
    assert len(window) == 1


@pytest.mark.parametrize(("env", "requests", "answers"), [("development", 6_000, 3_000), ("production", 300, 60)])
def test_the_ceilings_of_each_environment(env: str, requests: int, answers: int) -> None:
    settings = Settings(env=env)  # type: ignore[arg-type]
    assert (settings.request_rate, settings.answer_rate) == (requests, answers)
    assert Settings(requests_per_minute=7).request_rate == 7
