"""A connection that says nothing is closed: half a request must not hold a descriptor for ever."""

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

REQUEST_S = 10.0
"""The head of a request must be there so long after the connection was made, or after its first byte."""

MOST_CONNECTIONS = 700
"""Beyond these new requests are answered with 503; a process has 1,024 descriptors as a rule."""


class ImpatientProtocol(AutoHTTPProtocol):  # type: ignore[misc,valid-type]
    """uvicorn's own protocol, with a time limit for the head of a request."""

    request_s = REQUEST_S

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._last_cycle: Any = None
        self._waiting: asyncio.TimerHandle | None = self.loop.call_later(self.request_s, self._give_up)

    def data_received(self, data: bytes) -> None:
        """Stop waiting once the head of a request is complete; begin again with the first byte of the next one."""
        super().data_received(data)
        if self.cycle is not None and self.cycle is not self._last_cycle:
            self._last_cycle = self.cycle
            self._stop_waiting()
        elif self._waiting is None and (self.cycle is None or self.cycle.response_complete):
            self._waiting = self.loop.call_later(self.request_s, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        if not self.transport.is_closing():
            self.transport.close()
