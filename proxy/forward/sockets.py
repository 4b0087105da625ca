"""Small things about sockets and time that both sides of the hot path share."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import ssl
import struct
from typing import Final

TICK_S: Final = 0.1
"""How often deadlines are looked at: a timer for each request would cost more than its parsing."""


FILES_KEPT: Final = 128
"""Open files for the journal, the admin API, the mirror and the checks."""
CLIENTS_MIN: Final = 16


def raise_open_files() -> int:
    """Let this process open as many files as the system allows it at all; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # what is not allowed stays as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return FILES_UNBOUNDED if soft == resource.RLIM_INFINITY else soft


FILES_UNBOUNDED: Final = 1 << 30


def clients_for(open_files: int) -> int:
    """How many clients may be connected, so that each of them can still be given a connection to an upstream."""
    return max(CLIENTS_MIN, (open_files - FILES_KEPT) // 2)


class Tick:
    """The time as of the last tick, in the clock's seconds: near enough for time-outs, and free to read."""

    __slots__ = ("now_s",)

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s


def keep_alive(transport: asyncio.Transport) -> None:
    """TCP's own keep-alive: the only thing that notices a dead host under a silent stream or tunnel."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def reset(transport: asyncio.Transport) -> None:
    """End the connection so that the peer sees a reset: `abort` alone may look like an orderly end."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def can_half_close(transport: asyncio.Transport) -> bool:
    """Whether one direction can end while the other goes on. With TLS the whole connection ends."""
    return transport.can_write_eof()


def is_tls_cut(transport: asyncio.Transport) -> bool:
    """At the end of what a peer sends: whether TLS did not say that it is the end (no close_notify)."""
    connection = transport.get_extra_info("ssl_object")
    if connection is None:
        return False
    try:
        connection.read(1)
    except ssl.SSLZeroReturnError:
        return False
    except ssl.SSLError:
        return True
    return False


def pause(transport: asyncio.Transport) -> None:
    """Stop reading, unless there is nothing left to read: uvloop raises on transports that are closed."""
    if not transport.is_closing():
        transport.pause_reading()


def resume(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.resume_reading()
