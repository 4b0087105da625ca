"""Requests of the proxy's own to an upstream, on aiohttp's client. Owns the sessions; knows nothing of what it sends."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from proxy.errors import UpstreamError, UsageError
from proxy.model import Reply, Upstream
from proxy.tls import secure_for

CONNECTIONS_PER_UPSTREAM_MAX = 64
_NO_AUTO = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class HttpSender:
    """A ports.Sender. ``endpoints`` says which endpoints an upstream has now; they are used in turn, the next one after a failure."""

    def __init__(
        self,
        upstream: Callable[[str], Upstream],
        *,
        token: str = "",
        is_plain: Callable[[str], bool] | None = None,
        connect_timeout_s: float = 1.0,
    ) -> None:
        self._is_plain = is_plain
        self._upstream = upstream
        self._token = token
        self._connect_timeout_s = connect_timeout_s
        self._turn: dict[str, int] = {}
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self,
        upstream: str,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        timeout_s: float,
    ) -> Reply:
        session = self._open()
        known = self._upstream(upstream)
        endpoint = known.endpoints[self._turn.get(upstream, 0) % len(known.endpoints)]
        fields = CIMultiDict(headers)
        if self._token and not (self._is_plain is not None and self._is_plain(upstream)):
            fields["Turnout-Token"] = self._token
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=self._connect_timeout_s)
        try:
            context, name = secure_for(known, endpoint) or (True, None)
            async with session.request(
                method,
                URL(endpoint.url + target, encoded=True),
                headers=fields,
                data=io.BytesIO(body) if body else None,  # large bytes as they are would be written in one go
                allow_redirects=False,
                timeout=timeout,
                skip_auto_headers=_NO_AUTO,
                ssl=context,
                server_hostname=name,
            ) as response:
                content = await response.read()
                pairs = tuple(
                    (name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers
                )
                return Reply(response.status, pairs, content)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError, UsageError) as error:
            self._turn[upstream] = self._turn.get(upstream, 0) + 1
            what = str(error) or type(error).__name__
            raise UpstreamError(
                f"{upstream} at {endpoint} does not answer: {what}", f"is {upstream} running?"
            ) from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit_per_host=CONNECTIONS_PER_UPSTREAM_MAX, keepalive_timeout=20, force_close=False
            )
            self._session = aiohttp.ClientSession(
                connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            )
            # aiohttp sends a PUT or DELETE again when a reused connection breaks, and has no public way to be told not
            # to. A replay goes out once: what became of it is the mirror's to find out.
            self._session._retry_connection = False  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        return self._session
