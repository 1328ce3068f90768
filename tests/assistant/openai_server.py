"""A real HTTP server on loopback that speaks OpenAI's chat completions as it is told to."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Body = dict[str, Any]
Step = Callable[[Body], Awaitable[Response]]

USAGE = {"prompt_tokens": 21, "completion_tokens": 13, "total_tokens": 34}


def says(
    text: str | None, *, finish_reason: str | None = "stop", usage: bool = True, refusal: str | None = None
) -> Step:
    async def step(body: Body) -> Response:
        message = {"role": "assistant", "content": text, "refusal": refusal}
        choice = {"index": 0, "message": message, "finish_reason": finish_reason}
        answer = {"id": "c1", "object": "chat.completion", "created": 1, "model": "loopback-1", "choices": [choice]}
        return JSONResponse(answer | ({"usage": USAGE} if usage else {}))

    return step


def streams(
    text: str, *, finish_reason: str | None = "stop", piece: int = 5, error: str | None = None, pause_seconds: float = 0
) -> Step:
    """Send the text in pieces and never a usage figure; without a finish reason the stream just ends."""

    def event(delta: Body, reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        chunk = {
            "id": "c1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "loopback-1",
            "choices": [choice],
        }
        return f"data: {json.dumps(chunk)}\n\n"

    async def events() -> AsyncIterator[str]:
        yield event({"role": "assistant"})
        for start in range(0, len(text), piece):
            yield event({"content": text[start : start + piece]})
            await asyncio.sleep(pause_seconds)
        if error:
            yield f"data: {json.dumps({'error': {'message': error}})}\n\n"
        if finish_reason:
            yield event({}, finish_reason)
            yield "data: [DONE]\n\n"

    async def step(body: Body) -> Response:
        return StreamingResponse(events(), media_type="text/event-stream")

    return step


def fails(
    status: int, *, code: str | None = None, param: str | None = None, message: str = "no", **headers: str
) -> Step:
    async def step(body: Body) -> Response:
        error = {"message": message, "type": "error", "code": code, "param": param}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return JSONResponse({"error": error}, status, headers=named)

    return step


def sends(content: str, media_type: str = "application/json") -> Step:
    async def step(body: Body) -> Response:
        return Response(content, media_type=media_type)

    return step


def hangs(seconds: float, then: Step) -> Step:
    async def step(body: Body) -> Response:
        await asyncio.sleep(seconds)
        return await then(body)

    return step


def takes_only(formats: set[str], reply: Step, otherwise: Step) -> Step:
    """Reply where the request's response format is among `formats` ("text" is the absence of one)."""

    async def step(body: Body) -> Response:
        asked = body.get("response_format", {"type": "text"})["type"]
        return await (reply if asked in formats else otherwise)(body)

    return step


class OpenAIServer:
    """A running server; `script` is what it does with the requests in turn, its last step for all that follow."""

    def __init__(self) -> None:
        self.script: list[Step] = []
        self.bodies: list[Body] = []
        self.keys: list[str] = []
        self.asked_at: list[float] = []
        app = Starlette(routes=[Route("/v1/chat/completions", self._answer, methods=["POST"])])
        config = uvicorn.Config(
            app, log_config=None, lifespan="off", date_header=False, ws="none", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"

    @property
    def formats(self) -> list[str]:
        """The response formats asked for so far."""
        return [body.get("response_format", {"type": "text"})["type"] for body in self.bodies]

    async def _answer(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        self.keys.append(request.headers["authorization"])
        self.asked_at.append(time.perf_counter())
        return await self.script[min(len(self.bodies), len(self.script)) - 1](body)

    def plays(self, *script: Step) -> None:
        """Start a new script and forget what was asked before."""
        self.script = list(script)
        self.bodies.clear()
        self.keys.clear()
        self.asked_at.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=5)
