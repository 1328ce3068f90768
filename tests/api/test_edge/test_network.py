"""On a network: whom the server believes, what production refuses, and what clients leave behind."""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, cast

import httpx2
import pytest
from pydantic import ValidationError

from api.bodies import Refused
from api.context import Context
from api.limits import Limits
from api.patience import ClientGone, Patience
from api.settings import Settings
from domain.kernel import Database, Language
from tests.installation import Home, running

QUERY = {"query": "{__typename}"}


def _ask(address: str, **headers: str) -> httpx2.Response:
    return httpx2.post(f"http://{address}/graphql", json=QUERY, headers=headers)


def _forwarded(address: str) -> list[int]:
    return [_ask(address, **{"x-forwarded-for": f"203.0.113.{number}"}).status_code for number in range(4)]


def test_a_forwarded_address_is_believed_from_named_proxies_alone(edge_home: Home) -> None:
    """uvicorn believes every process of the same machine, and a stranger would have as many addresses as they like to write."""
    with running(edge_home, SORTIE_REQUESTS_PER_MINUTE="30") as address:
        assert _forwarded(address) == [200, 200, 200, 429]
    with running(edge_home, SORTIE_REQUESTS_PER_MINUTE="30", SORTIE_TRUSTED_PROXIES="127.0.0.1,10.0.0.0/8") as address:
        assert _forwarded(address) == [200] * 4


def test_other_names_than_ours_are_refused_where_ours_are_named(edge_home: Home) -> None:
    with running(edge_home, SORTIE_HOSTS="crm.example.cn") as address:
        assert _ask(address, host="evil.example").status_code == 400
        assert _ask(address, host="crm.example.cn").status_code == 200


def test_connections_beyond_the_cap_are_turned_away_and_come_back_when_others_leave(edge_home: Home) -> None:
    with running(edge_home, SORTIE_CONNECTIONS="4") as address, ExitStack() as idle:
        host, port = address.split(":")
        for _ in range(4):
            idle.enter_context(socket.create_connection((host, int(port))))
        assert _ask(address).status_code == 503
        idle.close()
        for _ in range(50):
            if (status := _ask(address).status_code) == 200:
                break
        assert status == 200


@pytest.mark.parametrize(
    "given",
    [
        {"cors_origins": "*"}, {"cors_origins": "crm.example.cn"}, {"cors_origins": "https://crm.example.cn/"}, {"trusted_proxies": "*"},
        {"trusted_proxies": "proxy"}, {"limits": {"nonsense": 1}}, {"limits": {"depth": 0}}, {"body_bytes": 1}, {"requests_per_minute": 0},
        {"env": "production", "token_issuer": "https://id", "token_audience": "a", "token_jwks_url": "http://id/jwks"},
    ],
)  # fmt: skip
def test_careless_settings_are_refused(given: Mapping[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**given)


def test_production_wants_named_keys_and_shows_no_page(edge_home: Home) -> None:
    """With a key that was made by itself nobody has put one copy where a lost disk does not take it."""
    token_key, ledger_key = edge_home.path / "token.key", edge_home.path / "ledger.key"
    own = {"SORTIE_ENV": "production", "SORTIE_TOKEN_KEY_FILE": str(token_key)}
    refused = edge_home.run("serve", "--port", "0", **own)
    assert refused.returncode == 1
    assert "SORTIE_LEDGER_KEY_FILE" in refused.stderr
    with running(edge_home, **own, SORTIE_LEDGER_KEY_FILE=str(ledger_key)) as address:
        assert _ask(address).status_code == 200
        page = httpx2.get(f"http://{address}/graphql", headers={"accept": "text/html"})
        assert "<html" not in page.text
        for path in ("/graphql/ide/graphiql.js", "/no/such", "/docs"):
            absent = httpx2.get(f"http://{address}{path}")
            assert absent.status_code == 404
            assert absent.json()["errors"][0]["extensions"]["code"] == "NOT_FOUND"
            assert absent.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("changes", [False, True])
async def test_who_leaves_frees_what_they_hold_unless_something_is_being_changed(changes: bool) -> None:
    """Without it a query goes on for its whole time for nobody; a change that was begun is brought to its end."""
    context = Context(cast("Database", None), None, Language.ZH, datetime(2026, 3, 2, tzinfo=UTC), changes=changes)
    ends: list[str] = []

    async def work() -> str:
        try:
            await asyncio.sleep(0.2)
        except asyncio.CancelledError:
            ends.append("stopped")
            raise
        ends.append("finished")
        return "答"

    async def receive() -> dict[str, str]:
        await asyncio.sleep(0.02)
        return {"type": "http.disconnect"}

    async def served() -> str:
        async with Patience(receive, body_seconds=1) as patience:
            patience.serve(context)
            return await work()

    if changes:
        assert (await served(), ends) == ("答", ["finished"])
    else:
        with pytest.raises(ClientGone):
            await served()
        assert ends == ["stopped"]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.parametrize("serves", [False, True])
async def test_a_time_that_is_up_stops_what_is_under_way(serves: bool) -> None:
    """A body has its time, an operation another."""
    context = Context(cast("Database", None), None, Language.ZH, datetime(2026, 3, 2, tzinfo=UTC))
    context.limits = Limits(seconds=0.1)

    async def receive() -> dict[str, str]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def served() -> None:
        async with Patience(receive, body_seconds=0.1) as patience:
            if serves:
                patience.serve(context)
            await receive()

    started = asyncio.get_running_loop().time()
    with pytest.raises(Refused) as refused:
        await served()
    assert (refused.value.status, "已中止" in refused.value.text.zh) == ((504, True) if serves else (408, False))
    assert asyncio.get_running_loop().time() - started < 5


@pytest.mark.parametrize("before", [False, True])
async def test_an_operation_that_is_given_more_time_has_it(before: bool) -> None:
    """An answer's deadline begins when it is asked for, before or after somebody first looks at the time."""
    context = Context(cast("Database", None), None, Language.ZH, datetime(2026, 3, 2, tzinfo=UTC), changes=True)
    context.limits = Limits(seconds=0.15)

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    loop = asyncio.get_running_loop()
    async with Patience(receive, body_seconds=1) as patience:
        patience.serve(context)
        await asyncio.sleep(0 if before else 0.1)
        assert context.timer is patience
        patience.reschedule(loop.time() + 5)
        await asyncio.sleep(0.2)
        patience.reschedule(None)
        assert patience.when() is None


async def test_who_is_stopped_from_outside_is_not_told_of_a_time() -> None:
    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def served() -> None:
        async with Patience(receive, body_seconds=60):
            await asyncio.sleep(60)

    task = asyncio.create_task(served())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
