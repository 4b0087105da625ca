"""Microseconds of one exchange without a socket: ``python -m tests.bench.hot_path [--profile]``.

The real forwarder between two transports that keep what was written: what is left is Turnout's own share of a request.
The kernel's share (two reads, two writes) is what tests/bench measures beside it.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import sys
import time
from collections.abc import Callable

from proxy.forward.listener import ClientConnection
from proxy.forward.upstream import UpstreamConnection
from tests.support.wires import asked, world

CALLS = 100
ROUNDS = 600
BODY = b'{"id":1,"note":"' + b"x" * 182 + b'"}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Wed, 25 Nov 2026 02:40:11 GMT\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\nConnection: keep-alive\r\nX-Upstream: primary\r\n\r\n" % len(BODY)
) + BODY
GET = b"GET /api/items/1 HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n\r\n"
POST = (
    b"POST /api/items/1 HTTP/1.1\r\nHost: 127.0.0.1:3000\r\nContent-Type: application/json\r\nContent-Length: 1024\r\n\r\n"
    + b"x" * 1024
)
BROWSER = (
    b"GET /api/items/%d HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\nReferer: https://shop.example.com/items/%d\r\nCookie: session=%d; turnout-bucket=4711\r\n\r\n"
)


async def main() -> None:
    browser = [BROWSER % (number, number, number) for number in range(100)]
    for name, make in {
        "GET, as wrk sends it": lambda _: GET,
        "GET, as a browser sends it, each another": lambda turn: browser[turn % 100],
        "POST 1 KiB": lambda _: POST,
    }.items():
        client, upstreams = world()
        if "--profile" in sys.argv:
            with cProfile.Profile() as profile:
                for _ in range(200):
                    _run(client, upstreams, make)
            pstats.Stats(profile).sort_stats("tottime").print_stats(32)
            return
        best = min(_run(client, upstreams, make) for _ in range(ROUNDS))
        print(f"{name:42} {best / CALLS * 1e6:6.2f} µs")


def _run(
    client: ClientConnection, upstreams: list[UpstreamConnection], make: Callable[[int], bytes]
) -> float:
    began_s = time.perf_counter()
    for turn in range(CALLS):
        client.data_received(make(turn))
        asked(upstreams).data_received(ANSWER)
    return time.perf_counter() - began_s


if __name__ == "__main__":
    asyncio.run(main())
