"""The edge of HTTP at the admin's port: what cannot be parsed as a request is answered like every other error, as problem+json.

aiohttp's own answer to it is plain text, and a trace in the log for every stranger's garbage.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from aiohttp import web

from proxy.control.bodies import problem


class AdminConnection(web.RequestHandler):
    """One connection of the admin API's server."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Called for what is no request (400, ``message`` says why), and as the last resort where an answer could not be made."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun; there is no second one")
        if status < 500:
            said = (message or "").partition("\n")[0].rstrip(":.")
            response = problem(
                status,
                "bad-request",
                f"that is no HTTP request: {said}",
                "docs/reference/admin-api.md says what can be asked",
            )
        else:
            self.log_exception("no answer could be made", exc_info=exc)
            response = problem(500, "internal", "a fault in the proxy; its log has the trace")
        response.force_close()
        return response


async def listen(runner: web.AppRunner, host: str, port: int, stack: contextlib.AsyncExitStack) -> int:
    """Accept connections for a runner that is set up, until ``stack`` ends; the real port. OSError where that cannot be."""
    manager = runner.server
    assert manager is not None
    loop = asyncio.get_running_loop()
    quiet: dict[str, Any] = {"access_log": None}

    def connection() -> AdminConnection:
        return AdminConnection(manager, loop=loop, auto_decompress=False, **quiet)

    listening = await loop.create_server(connection, host, port)
    stack.callback(listening.close)
    return int(listening.sockets[0].getsockname()[1])
