"""Connections with slow or endless senders: the head of a request comes within a time and a size, or the connection is cut."""

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD_BYTES = 32 * 1024


class Patient(HttpToolsProtocol):
    """One connection; the stock protocol waits for a head for ever, and takes one of any size."""

    header_seconds: ClassVar[float]
    _cut: asyncio.TimerHandle | None = None
    _begins = _coming = False
    """Whether a head began in the piece that came last, and whether its end has not come yet."""
    _received = 0
    """Bytes that came since the head began, those of the first piece left out: a whole request may lie before it there."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request, and wait for the rest of its head while that is not whole."""
        self._begins, self._piece = False, len(data)
        super().data_received(data)
        if not self._coming:
            return
        if not self._begins:
            self._received += len(data)
        if self._cut is None:
            self._wait()
        if self._received > LARGEST_HEAD_BYTES:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._begins = self._coming = True
        self._received = 0

    def on_headers_complete(self) -> None:
        """Stop waiting: from here on the body's own time runs."""
        self._coming = False
        self._rest()
        if self._received + self._piece > LARGEST_HEAD_BYTES and self._size() > LARGEST_HEAD_BYTES:
            self.transport.abort()
        super().on_headers_complete()

    def _size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._coming = False
        self._rest()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._rest()
        self._cut = self.loop.call_later(self.header_seconds, self.transport.abort)

    def _rest(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None


def patient(header_seconds: float) -> type[Patient]:
    """The protocol that waits so long for a head."""
    return type("Patient", (Patient,), {"header_seconds": header_seconds})
