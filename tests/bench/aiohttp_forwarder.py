"""The same rule on aiohttp's server and client: ``python -m tests.bench.aiohttp_forwarder LISTEN PRIMARY SECONDARY`` (ports).

The evidence for why Turnout forwards one level below aiohttp, so it is written as well as its users would write it:
uvloop, one session, streamed bodies, no access log. It is no gateway: names in Connection, trailers, upgrades and
1xx are not looked at, which only makes it faster.
"""

from __future__ import annotations

import itertools
import sys

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

HOP_BY_HOP = ("Connection", "Keep-Alive", "Transfer-Encoding", "TE", "Upgrade", "Proxy-Connection")
STREAMED_BYTES = 64 << 10


class Forwarder:
    """X-Canary: canary=true goes to the secondary, of the rest every tenth."""

    def __init__(self, primary: int, secondary: int) -> None:
        self._primary = f"http://127.0.0.1:{primary}"
        self._secondary = f"http://127.0.0.1:{secondary}"
        self._turn = itertools.count(1)
        self._session: aiohttp.ClientSession | None = None

    async def start(self, _: web.Application) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def stop(self, _: web.Application) -> None:
        if self._session is not None:
            await self._session.close()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        headers = CIMultiDict(request.headers)
        is_canary = headers.get("X-Canary") == "canary=true" or next(self._turn) % 10 == 0
        for name in HOP_BY_HOP:
            headers.popall(name, None)
        headers["X-Forwarded-For"] = request.remote or ""
        upstream = self._secondary if is_canary else self._primary
        async with self._session.request(
            request.method,
            URL(upstream + request.raw_path, encoded=True),
            headers=headers,
            data=request.content if request.body_exists else None,
            allow_redirects=False,
        ) as answer:
            response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=answer.headers)
            for name in HOP_BY_HOP:
                response.headers.popall(name, None)
            await response.prepare(request)
            async for piece in answer.content.iter_chunked(STREAMED_BYTES):
                await response.write(piece)
            await response.write_eof()
            return response


def main() -> None:
    listen, primary, secondary = map(int, sys.argv[1:])
    forwarder = Forwarder(primary, secondary)
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{path:.*}", forwarder.handle)
    app.on_startup.append(forwarder.start)
    app.on_cleanup.append(forwarder.stop)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=listen, access_log=None, print=None)


if __name__ == "__main__":
    main()
