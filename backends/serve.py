"""Runs one server in the foreground: its store, its HTTP application, its signals. One JSON log line an event."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import structlog
from aiohttp import web

from backends.app import ServerOptions, make_server
from backends.errors import StartError
from backends.store import Store

SHUTDOWN_S_MAX = 10.0
BACKLOG = 1024

_log = structlog.stdlib.get_logger("backends")

StoreContext = Callable[[], AbstractAsyncContextManager[Callable[[], Awaitable[Store]]]]
"""What the store needs beside it (a database server), as a context; inside, how it is opened."""


async def serve(around: StoreContext, options: ServerOptions, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT, then end cleanly. StartError where it cannot start. Port 0: any free one."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    listening = _bind(host, port)
    try:
        async with around() as open_store:
            store = await open_store()
            runner = web.ServerRunner(make_server(store, options), shutdown_timeout=SHUTDOWN_S_MAX)
            try:
                await runner.setup()
                await web.SockSite(runner, listening, backlog=BACKLOG).start()
                real: tuple[str, int] = listening.getsockname()[:2]
                _log.info("ready", server=options.name, host=real[0], port=real[1], pid=os.getpid())
                await stopped.wait()
                _log.info("stopping", server=options.name)
            finally:
                await runner.cleanup()
                await store.close()
    finally:
        listening.close()
    _log.info("stopped", server=options.name)


def json_context(path: Path, *, read_only: bool, id_field: str | None = None) -> StoreContext:
    """A JSON store on a data.json; ``id_field`` is where its records have their ids, if not in ``id``."""

    async def open_store() -> Store:
        from backends.json_store import JsonStore

        return await JsonStore.open(path, read_only=read_only, id_field=id_field)

    @asynccontextmanager
    async def around() -> AsyncGenerator[Callable[[], Awaitable[Store]]]:
        yield open_store

    return around


def postgres_context(url: str | None, folder: Path, port: int = 0) -> StoreContext:
    """A Postgres store on a database, or on an embedded server of its own in ``folder``, at ``port`` (0: any free one)."""

    @asynccontextmanager
    async def around() -> AsyncGenerator[Callable[[], Awaitable[Store]]]:
        from backends.postgres_store import PostgresStore

        given = url
        if given is not None:
            yield lambda: PostgresStore.open(given)
            return
        from backends.embedded import EmbeddedPostgres

        server = EmbeddedPostgres(folder, port=port)
        own_url = await server.start()
        _log.info(
            "postgres_started",
            folder=str(folder),
            port=server.port,
            url=server.public_url,
            password_file=str(server.password_file),
        )
        try:
            yield lambda: PostgresStore.open(own_url)
        finally:
            await server.stop()

    return around


def _bind(host: str, port: int) -> socket.socket:
    """Taken before the store is opened, so that a port in use is told at once."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"Port {port} on {host} is in use by another process.",
                f"Stop it, or choose another one: --listen {host}:{port + 1}",
            ) from None
        raise StartError(f"Cannot listen on {host}:{port}: {error.strerror or error}.") from None
    return listening
