"""Connections with slow or endless senders: the head of a request comes within a time and a size, or the connection is cut."""

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD_BYTES = 32 * 1024


class Patient(HttpToolsProtocol):
    """One connection; the stock protocol waits for a head for ever, and takes one of any size."""

    header_seconds: ClassVar[float]
    _cut: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def on_message_begin(self) -> None:
        """Wait for the rest of a head."""
        super().on_message_begin()
        self._head_bytes = 0
        self._wait()

    def on_url(self, url: bytes) -> None:
        """Count a piece of the address."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """Stop waiting: from here on the body's own time runs."""
        self._rest()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._rest()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._rest()
        self._cut = self.loop.call_later(self.header_seconds, self.transport.abort)

    def _rest(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > LARGEST_HEAD_BYTES:
            self.transport.abort()


def patient(header_seconds: float) -> type[Patient]:
    """The protocol that waits so long for a head."""
    return type("Patient", (Patient,), {"header_seconds": header_seconds})
