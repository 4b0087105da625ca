"""The edge of HTTP itself: what cannot be parsed as a request is answered like every other error, as problem+json.

aiohttp's own answer to it is plain text, and a trace in the log for every stranger's garbage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from multidict import CIMultiDict

from backends.contract import problems
from backends.store import Answer

HEAD_BYTES_MAX = 64 << 10
"""Of a request line, and of a header: no less than what the proxy lets through."""
HEADERS_MAX = 256
KEEPALIVE_S = 75.0
"""Above every common idle time of a proxy's pool, so that the client is the one to close."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
_log = structlog.stdlib.get_logger("backends.http")


class _Connection(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Called for what is no request (400), and as the last resort for a fault of a handler."""
        if request.writer.output_size > 0:
            raise ConnectionError("The answer has begun; there is no second one.")
        if status < 500:
            is_long = isinstance(exc, LineTooLong)
            detail = f"A line of the head is over {HEAD_BYTES_MAX} bytes." if is_long else "This is not HTTP."
            problem = problems.bad_request(detail)
            _log.info("bad_request", error=type(exc).__name__)
        else:
            _log.error("request_failed", message=message, exc_info=exc)
            problem = problems.internal()
        response = response_of(problem.answer())
        response.force_close()
        return response


class HttpServer(web.Server):
    """Connections that send every request to one handler."""

    def __init__(self, handler: Handler) -> None:
        super().__init__(handler, handler_cancellation=False)
        self._loop = asyncio.get_running_loop()

    def __call__(self) -> web.RequestHandler:
        limits: dict[str, Any] = {"max_line_size": HEAD_BYTES_MAX, "max_field_size": HEAD_BYTES_MAX}
        return _Connection(
            self,
            loop=self._loop,
            keepalive_timeout=KEEPALIVE_S,
            max_headers=HEADERS_MAX,
            auto_decompress=False,
            **limits,
        )


def response_of(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, headers=CIMultiDict(answer.headers), body=answer.body or None)
