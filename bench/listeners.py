"""A listener to live updates that comes back when it is cut, and reads again what it may have missed."""

import asyncio
import itertools
import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from bench.load import Connection

WATCH = "subscription { recordsChanged(kinds: [LEAD]) { kind id } }"
LEADS = "query($after: String) { leads(first: 100, after: $after) { edges { node { id } } pageInfo { hasNextPage endCursor } } }"
PAUSE_SECONDS = 0.2
PROTOCOL = Subprotocol("graphql-transport-ws")


@dataclass(eq=False)
class Listener:
    """One client that shows all leads: those it was told of, and those it read when it could have missed some."""

    name: str
    port: int
    token: str
    made: dict[str, float] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    resyncs: int = 0
    cuts: int = 0
    listening: asyncio.Event = field(default_factory=asyncio.Event)
    _reading: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Listen until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read_again())
            for number in itertools.count():
                with suppress(OSError, TimeoutError, WebSocketException):
                    await self._listen()
                self.cuts += 1
                await asyncio.sleep(PAUSE_SECONDS if number else 0)

    async def _listen(self) -> None:
        async with connect(f"ws://127.0.0.1:{self.port}/graphql", subprotocols=[PROTOCOL]) as socket:
            await _send(socket, "connection_init", {"authorization": f"Bearer {self.token}"})
            await socket.recv()
            await _send(socket, "subscribe", {"query": WATCH}, "1")
            # What came before the subscription was not told to it.
            self._reading.set()
            self.listening.set()
            async for message in socket:
                self._take(json.loads(message))

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] != "next":
            return
        change = (message["payload"].get("data") or {}).get("recordsChanged")
        if change is None or change["kind"] == "RESYNC":
            self.resyncs += 1
            self._reading.set()
        else:
            self.known.add(change["id"])
            if change["kind"] == "MADE":
                self.made[change["id"]] = time.monotonic()

    async def _read_again(self) -> None:
        while True:
            await self._reading.wait()
            self._reading.clear()
            try:
                await self._read_all()
            except (OSError, TypeError, KeyError):
                self._reading.set()
                await asyncio.sleep(PAUSE_SECONDS)

    async def _read_all(self) -> None:
        connection, after, more = Connection(self.port, self.token), None, True
        try:
            while more:
                _, answer = await connection.ask(LEADS, after=after)
                page = answer["data"]["leads"]
                self.known |= {edge["node"]["id"] for edge in page["edges"]}
                after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
        finally:
            connection.close()

    def missing(self, ids: Iterable[str]) -> set[str]:
        """Those that it neither heard of nor read."""
        return set(ids) - self.known

    def heard_late(self, answered: Mapping[str, float]) -> list[float]:
        """Seconds after the writer's answer, of all that it was told were made."""
        return [self.made[id] - at for id, at in answered.items() if id in self.made]


async def _send(socket: ClientConnection, kind: str, payload: dict[str, Any], id: str | None = None) -> None:
    await socket.send(json.dumps({"type": kind, "payload": payload} | ({} if id is None else {"id": id})))
