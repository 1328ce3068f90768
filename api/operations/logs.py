"""Logs: one line an event, as JSON or for a terminal, with the correlation id of its request and without personal data."""

import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog
from structlog.typing import Processor, WrappedLogger

from api.settings import LogFormat, Settings
from assistant.masking import Masking

Event = MutableMapping[str, Any]
_VALUES = re.compile(r"\n?(?:DETAIL|CONTEXT|\[parameters|\[SQL|Key \().*", re.DOTALL)
"""Where a database's message begins to repeat values of rows."""
_OWN = ("timestamp", "level", "logger", "correlation_id")


def configure(settings: Settings) -> None:
    """Have every logger of the process write to stderr in the form that the settings ask for."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        told_without_values,
        impersonal,
    ]
    handler = logging.StreamHandler(sys.stderr)
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
