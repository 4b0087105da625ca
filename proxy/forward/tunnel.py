"""A tunnel after 101: bytes both ways, each side's end passed on, neither side faster than the other reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from proxy.forward.sockets import can_half_close, pause, resume


class Tunnel:
    """Between two transports, until both sides have ended or one is lost. A silent tunnel lives as long as its peers do."""

    __slots__ = (
        "_can_half_close",
        "_client",
        "_client_ended",
        "_is_client_open",
        "_is_upstream_open",
        "_on_end",
        "_upstream",
        "_upstream_ended",
    )

    def __init__(
        self, client: asyncio.Transport, upstream: asyncio.Transport, on_end: Callable[[], None]
    ) -> None:
        self._client = client
        self._upstream = upstream
        self._on_end = on_end
        self._is_client_open = True
        self._is_upstream_open = True
        self._client_ended = False
        self._upstream_ended = False
        self._can_half_close = can_half_close(client) and can_half_close(upstream)
        """With TLS on either side there is no half: what one side said last is sent on, then both end."""

    def from_client(self, data: bytes) -> None:
        if self._is_upstream_open:
            self._upstream.write(data)

    def from_upstream(self, data: bytes) -> None:
        if self._is_client_open:
            self._client.write(data)

    # -- ends: half-close is kept (RFC 9293 section 3.6); True keeps the other direction open ----------

    def client_ended(self) -> bool:
        self._client_ended = True
        if self._is_upstream_open and not self._upstream_ended and self._can_half_close:
            self._upstream.write_eof()
            return True
        return self._both_ended()

    def upstream_ended(self) -> bool:
        self._upstream_ended = True
        if self._is_client_open and not self._client_ended and self._can_half_close:
            self._client.write_eof()
            return True
        return self._both_ended()

    def _both_ended(self) -> bool:
        """What one side said last is still on its way to the other: closing sends it first."""
        if self._is_upstream_open:
            self._upstream.close()
        if self._is_client_open:
            self._client.close()
        return self._can_half_close

    def client_lost(self) -> None:
        self._is_client_open = False
        if self._is_upstream_open:
            self._upstream.close()
        else:
            self._on_end()

    def upstream_lost(self) -> None:
        self._is_upstream_open = False
        if self._is_client_open:
            self._client.close()
        else:
            self._on_end()

    # -- back-pressure ------------------------------------------------------------------------------

    def client_full(self) -> None:
        if self._is_upstream_open:
            pause(self._upstream)

    def client_writable(self) -> None:
        if self._is_upstream_open:
            resume(self._upstream)

    def upstream_full(self) -> None:
        if self._is_client_open:
            pause(self._client)

    def upstream_writable(self) -> None:
        if self._is_client_open:
            resume(self._client)
