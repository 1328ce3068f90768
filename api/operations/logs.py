"""Logs: one line an event, as JSON or for a terminal, with the correlation id of its request and without personal data."""

import logging
import re
import sys
import traceback
from collections import deque
from collections.abc import MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import datetime
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import Processor, WrappedLogger

from api.operations.later import later
from api.settings import LogFormat, Settings
from assistant.masking import Masking

Event = MutableMapping[str, Any]
_VALUES = re.compile(r"\n?(?:DETAIL|CONTEXT|\[parameters|\[SQL|Key \().*", re.DOTALL)
"""Where a database's message begins to repeat values of rows."""
_LEVELS = {logging.INFO: "info", logging.WARNING: "warning"}
_OWN = ("timestamp", "level", "logger", "correlation_id")

correlation: ContextVar[str | None] = ContextVar("correlation", default=None)
"""The id of the request under way."""


class Lines:
    """Lines of requests on their way to a stream: a write for each would cost more than most requests do."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: deque[bytes] = deque()

    def add(self, line: bytes) -> None:
        """Have a line written with the next ones."""
        self._waiting.append(line)

    def flush(self) -> None:
        """Write what waits, from whatever thread."""
        lines = []
        while self._waiting:
            with suppress(IndexError):  # another thread was faster
                lines.append(self._waiting.popleft())
        if lines:
            with suppress(OSError, ValueError):  # who reads our stderr has gone: that stops no request
                self._stream.write(b"".join(lines).decode())
                self._stream.flush()


class _Orderly(logging.StreamHandler[TextIO]):
    """The handler of every other line: what was said before it is written before it, at the latest when the process ends."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != _requests.name:
            later.settle()
        super().emit(record)

    def flush(self) -> None:
        later.finish()
        super().flush()

    def close(self) -> None:
        later.settle()
        super().close()


_requests = logging.getLogger("sortie.requests")
_lines: Lines | None = None


def tell_request(level: int, name: str, at: datetime, said: dict[str, Any]) -> None:
    """Log one request that ended then; its words come from small closed sets, so nothing in them needs masking."""
    if not _requests.isEnabledFor(level):
        return
    if _lines is None:
        _requests.log(level, "request", extra={"correlation_id": name, **said})
        return
    head = {"event": "request", "correlation_id": name, "level": _LEVELS[level], "logger": _requests.name}
    _lines.add(orjson.dumps(head | said | {"timestamp": at}, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE))


def configure(settings: Settings) -> None:
    """Have every logger of the process write to stderr in the form that the settings ask for."""
    global _lines  # noqa: PLW0603 - logging itself is of the whole process
    shared: list[Processor] = [
        _with_correlation,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        told_without_values,
        impersonal,
    ]
    lines = Lines(sys.stderr)
    _lines = lines if settings.log_format is LogFormat.JSON else None
    later.finish = lines.flush
    handler = _Orderly(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(settings.log_format)],
        )
    )
    handler.addFilter(_ours_or_serious)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("sortie").setLevel(settings.log_level)


def _with_correlation(_logger: WrappedLogger, _method: str, event: Event) -> Event:
    name = correlation.get()
    if name is not None:
        event["correlation_id"] = name
    return event


def _ours_or_serious(record: logging.LogRecord) -> bool:
    """Let of libraries only warnings pass: some set themselves to DEBUG when they are imported."""
    return record.levelno >= logging.WARNING or record.name.startswith("sortie")


def _renderer(format: LogFormat) -> Processor:
    if format is LogFormat.CONSOLE:
        return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    return structlog.processors.JSONRenderer(
        serializer=lambda event, **_rest: orjson.dumps(event, default=str).decode()
    )


def told_without_values(_logger: WrappedLogger, _method: str, event: Event) -> Event:
    """Put an exception's type, message and places into the event; the values of rows and locals stay out."""
    found = event.pop("exc_info", None)
    if found is True:
        found = sys.exc_info()
    error = found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        event["error"] = f"{type(error).__name__}: {_VALUES.sub('', str(error))[:500]}"
        frames = traceback.extract_tb(error.__traceback__)
        event["at"] = [f"{_module(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames[-12:]]
    return event


def _module(path: str) -> str:
    """The last parts of a file's path: where it lies on this machine is nobody's business."""
    return "/".join(path.replace("\\", "/").rsplit("/", 2)[-2:])


def impersonal(_logger: WrappedLogger, _method: str, event: Event) -> Event:
    """Replace every telephone number, address, identity number and the like in an event's words."""
    masking = Masking()
    for name, value in event.items():
        if isinstance(value, str) and name not in _OWN:
            event[name] = masking.mask(value)
    return event
