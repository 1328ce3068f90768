"""One server process: its socket, its signals, and what it says when it is ready."""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType

import uvicorn
from uvicorn.loops.auto import auto_loop_factory

from api.app import ONE_PROCESS, PATH, opened, working
from api.connections import patient
from api.crew import Crew
from api.jobs import find_model
from api.operations import logs
from api.operations.health import Health
from api.operations.tracing import Telemetry
from api.settings import Settings
from api.storage import ensure_schema, load_demo
from domain.kernel import Invalid, Text, Unavailable
from knowledge.embedding import ModelUnusableError
from knowledge.packaged_model import Progress

Say = Callable[[Text], None]
"""Tells the person at the terminal how it goes."""
Bar = Callable[[Text], AbstractContextManager[Progress]]
"""Shows how far a long step has come."""

GRACE_SECONDS = 10
KEEP_ALIVE_SECONDS = 15
COLLECTED_AT = (10_000, 20, 50)
"""New objects at which the garbage collector runs, and after how many runs it looks at older ones: nearly all go without it."""


def prepare(settings: Settings, say: Say, bar: Bar) -> None:
    """Have the embedding model, the newest schema, and in an empty database the demo company.

    Without a model, search goes on by words alone.

    Raises Unavailable for a model directory that is named and cannot be used.
    """
    if settings.embeds:
        _prepare_model(settings, say, bar)
    with bar(Text("加载演示公司", "loading the demo company")) as progress:
        asyncio.run(load_demo(settings, progress, if_empty=True))


def _prepare_model(settings: Settings, say: Say, bar: Bar) -> None:
    try:
        with bar(Text("准备向量模型", "preparing the embedding model")) as progress:
            find_model(settings, progress)
    except ModelUnusableError as error:
        if settings.embedding_directory is not None:
            raise
        say(error.text)


def serve(settings: Settings, say: Say, processes: int = 1) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is under way; by several processes where that is asked.

    Raises Unavailable when the address is taken or no process comes up, Invalid for several processes on SQLite, and what
    `app.opened` raises.
    """
    if processes > 1 and settings.embedded:
        raise Invalid(ONE_PROCESS, ("SORTIE_DATABASE_URL",))
    logs.configure(settings)
    listener = _listener(settings.host, settings.port)
    try:
        if processes > 1:
            asyncio.run(ensure_schema(settings))
            asyncio.run(Crew(settings, listener, processes, lambda: say(_welcome(settings, listener))).run())
        else:
            serve_on(settings, listener, lambda: say(_welcome(settings, listener)))
    finally:
        listener.close()


def serve_on(settings: Settings, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Serve on a bound socket, as one of several processes or alone."""
    logs.configure(settings)
    telemetry = Telemetry()
    try:
        with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
            runner.run(_serve(settings, listener, ready))
    finally:
        telemetry.close()


def work(settings: Settings, say: Say) -> None:
    """Do jobs until SIGINT or SIGTERM, and serve nobody.

    Raises what `app.working` raises.
    """
    logs.configure(settings)
    telemetry = Telemetry()
    try:
        asyncio.run(_work(settings, say))
    finally:
        telemetry.close()


async def _work(settings: Settings, say: Say) -> None:
    await ensure_schema(settings)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with working(settings):
        say(Text("已就绪：本进程处理后台任务", "Ready: this process does jobs"))
        await stopped.wait()


async def _serve(settings: Settings, listener: socket.socket, ready: Callable[[], None]) -> None:
    await ensure_schema(settings)
    async with opened(settings) as service:
        config = uvicorn.Config(
            service.app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # Left alone, uvicorn believes whoever comes from this machine about where a request comes from.
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            timeout_graceful_shutdown=GRACE_SECONDS,
            ws_max_size=settings.body_bytes,
            http=patient(settings.header_seconds),
            limit_concurrency=settings.connections,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        server = _Server(config, ready, service.health, settings.drain_seconds)
        await server.serve(sockets=[listener])


def _listener(host: str, port: int) -> socket.socket:
    """A bound socket; it begins to listen when the server is ready, so that nobody waits for one that fails to start."""
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        zh = f"无法监听 {host}:{port}（{error.strerror or error}）；可用 --port 指定其他端口"
        en = f"cannot listen on {host}:{port} ({error.strerror or error}); --port chooses another port"
        raise Unavailable(Text(zh, en)) from error
    return listener


def _welcome(settings: Settings, listener: socket.socket) -> Text:
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    url = f"{shown}:{port}{PATH}"
    zh = [f"已就绪：http://{url}（POST、SSE），ws://{url}（graphql-transport-ws）"]
    en = [f"Ready: http://{url} (POST, SSE), ws://{url} (graphql-transport-ws)"]
    if not settings.production:
        zh.append(f"在浏览器中打开 http://{url} 使用 GraphiQL")
        en.append(f"Open http://{url} in a browser for GraphiQL")
    if settings.token_issuer is None:
        command = f"{_command()} token lei.zhang@example.com"
        zh.append(f"获取访问令牌：{command}")
        en.append(f"An access token: {command}")
    return Text("\n".join(zh), "\n".join(en))


def _command() -> str:
    """The command by which this process was started, as the person would type it again."""
    called = Path(sys.argv[0]).absolute()
    here = Path.cwd()
    return str(called.relative_to(here)) if called.is_relative_to(here) else called.name


class _Server(uvicorn.Server):
    """A uvicorn that says when it is ready, and returns after a signal so that the rest can be closed in order."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], health: Health, drain_seconds: float) -> None:
        super().__init__(config)
        self._ready = ready
        self._health = health
        self._drain_seconds = drain_seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen; what was made until now stays, so the garbage collector need not look at it again and again."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECTED_AT)
        self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGINT and SIGTERM; the stock server raises them again and would leave the last events unsealed."""
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Say at once that no more requests should come, serve those that still do for a while, then stop; twice stops now."""
        again, self._health.draining = self._health.draining, True
        pause = 0.0 if again else self._drain_seconds
        asyncio.get_running_loop().call_later(pause, self.handle_exit, number, frame)
