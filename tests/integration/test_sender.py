"""The mirror's sender over real sockets: one request sent is one request received, whatever the connection does."""

from __future__ import annotations

import asyncio

import pytest

from proxy.errors import UpstreamError
from proxy.model import Endpoint, Upstream
from proxy.sender import HttpSender

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST", "PATCH"])
async def test_a_write_on_a_reused_connection_that_breaks_is_not_sent_again(method: str) -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            seen.append(head.split(b" ")[0])
            if len(seen) > 1:
                break  # it has been executed, and the connection breaks before the answer
            writer.write(ANSWER)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    upstream = Upstream("postgres", (Endpoint("127.0.0.1", port),))
    sender = HttpSender(lambda _: upstream)
    try:
        assert (await sender.send("postgres", "GET", "/", timeout_s=5)).status == 200
        with pytest.raises(UpstreamError):
            await sender.send("postgres", method, "/api/orders/1", timeout_s=5)
        assert seen == [b"GET", method.encode()]
    finally:
        await sender.close()
        server.close()
