"""One versioned upstream, as the tools ask it: docs/protocol.md over aiohttp.

Every request here may be sent twice without harm, so a connection that breaks is tried again a few times. Names in
capitals and digits (B1 …) are the rules of docs/protocol.md.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from backends.migrate.faults import (
    AnswerError,
    NotVersionedError,
    StaleEpochError,
    TokenError,
    UnreachableError,
    UntrustedError,
)

TRIES: Final = 4
PAUSE_S: Final = 0.2
CONNECT_TIMEOUT_S: Final = 5.0
REQUEST_TIMEOUT_S: Final = 300.0
"""A checkpoint writes a whole data.json, buckets read a whole table."""

CONNECTIONS_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Scope:
    """What a request is about: a collection, or a singleton, by its name."""

    name: str
    is_singleton: bool = False

    @property
    def query(self) -> str:
        return f"{'name' if self.is_singleton else 'collection'}={quote(self.name, safe='')}"

    def path(self, record_id: str) -> str:
        """Where clients read the record."""
        own = f"/api/{quote(self.name, safe='')}"
        return own if self.is_singleton else f"{own}/{quote(record_id, safe='')}"


class Standing(msgspec.Struct, frozen=True):
    """E1: what the server was told."""

    turnout: int
    epoch: int
    role: str
    journal: str | None

    @property
    def header(self) -> str:
        """The value of ``Turnout-Epoch`` for requests in this epoch."""
        return f"{self.epoch} {self.journal}"


class Catalog(msgspec.Struct, frozen=True):
    """B4: live records by collection, and the singletons."""

    collections: dict[str, int]
    singletons: list[str]


class Buckets(msgspec.Struct, frozen=True):
    """B5: bucket → (count, xor, sum); both as hexadecimal text."""

    count: int
    buckets: dict[str, tuple[int, str, str]]


class Applied(msgspec.Struct, frozen=True):
    """B2: lines that applied, lines older than what was there, lines refused."""

    applied: int
    kept: int
    rejected: list[Any] = []


class _Watermark(msgspec.Struct, frozen=True):
    watermark: int


class _Ids(msgspec.Struct, frozen=True):
    ids: dict[str, str]


class _Swept(msgspec.Struct, frozen=True):
    swept: int


class _Problem(msgspec.Struct, frozen=True):
    code: str = ""
    detail: str = ""
    epoch: int | None = None
    journal: str | None = None


_Shape = TypeVar("_Shape", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    is_versioned: bool
    body: bytes


class VersionedUpstream:
    """The tools' view of one server. ``epoch`` is the value of Turnout-Epoch sent along; empty: none. Errors: backends.migrate.faults."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        *,
        token: str = "",
        epoch: str = "",
        secure: tuple[ssl.SSLContext, str] | None = None,
    ) -> None:
        """``secure``: how the certificate of an https URL is verified, and for which name, if not as the system does."""
        self.url = url.rstrip("/")
        self.epoch = epoch
        self._session = session
        self._context, self._server_name = secure or (True, None)
        self._token = token

    async def standing(self) -> Standing:
        """E1. NotVersionedError where the server does not keep the protocol."""
        answer = await self._ask("GET", "/_turnout/epoch", with_epoch=False)
        standing = None
        if answer.status == 200:
            standing = _decoded(answer.body, Standing)
        if standing is None or standing.turnout != 1:
            raise NotVersionedError(
                f"{self.url} does not keep the protocol: /_turnout/epoch answers {answer.status}",
                "give the server's own address, not the proxy's; only versioned upstreams can be backfilled and validated so",
            )
        return standing

    async def checkpoint(self) -> int:
        """B1: the watermark; the server's data.json holds all up to it."""
        return (await self._get("POST", "/_turnout/checkpoint", _Watermark)).watermark

    async def catalog(self) -> Catalog:
        """B4."""
        return await self._get("GET", "/_turnout/collections", Catalog)

    async def buckets(self, scope: Scope) -> Buckets:
        """B5."""
        return await self._get("GET", f"/_turnout/buckets?{scope.query}", Buckets)

    async def ids(self, collection: Scope, buckets: Sequence[str] | None = None) -> dict[str, str]:
        """B6: id → hash of the live records of some buckets; of all of them without ``buckets``."""
        chosen = "" if buckets is None else f"&bucket={','.join(buckets)}"
        return (await self._get("GET", f"/_turnout/ids?{collection.query}{chosen}", _Ids)).ids

    async def record(self, scope: Scope, record_id: str) -> bytes | None:
        """The record's bytes as clients read them; None where there is none."""
        path = scope.path(record_id)
        answer = await self._ask("GET", path)
        if answer.status == 404 and (_decoded(answer.body, _Problem) or _Problem()).code == "not-found":
            return None
        if answer.status != 200:
            raise self._refused("GET", path, answer)
        # A singleton's name that has none is an empty collection, whose list has no version (R1).
        return answer.body if answer.is_versioned else None

    async def page(self, collection: Scope, start: int, records_max: int) -> list[tuple[str, bytes]]:
        """Records in the order of creation, each as its id and its bytes."""
        path = f"/api/{quote(collection.name, safe='')}?_start={start}&_limit={records_max}"
        answer = await self._ask("GET", path)
        if answer.status != 200:
            raise self._refused("GET", path, answer)
        try:
            return list(_listed(answer.body.decode()))
        except (ValueError, LookupError, TypeError):
            raise self._refused("GET", path, answer) from None

    async def apply(self, scope: Scope, lines: Iterable[bytes]) -> Applied:
        """B2; durable on return."""
        return await self._get(
            "POST", f"/_turnout/apply?{scope.query}", Applied, b"".join(lines), "application/x-ndjson"
        )

    async def floor(self, collection: str, at: int) -> int:
        """B3; how many records were swept."""
        body = msgspec.json.encode({"collection": collection, "at": at})
        return (await self._get("POST", "/_turnout/floor", _Swept, body)).swept

    async def _get(
        self, method: str, target: str, shape: type[_Shape], body: bytes = b"", kind: str = "application/json"
    ) -> _Shape:
        answer = await self._ask(method, target, body, kind)
        found = _decoded(answer.body, shape) if answer.status == 200 else None
        if found is None:
            raise self._refused(method, target, answer)
        return found

    async def _ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        kind: str = "application/json",
        *,
        with_epoch: bool = True,
    ) -> _Answer:
        """One request; TokenError, StaleEpochError, or UnreachableError after TRIES."""
        headers = {"Accept-Encoding": "identity"}
        if body:
            headers["Content-Type"] = kind
        if self._token:
            headers["Turnout-Token"] = self._token
        if self.epoch and with_epoch:
            headers["Turnout-Epoch"] = self.epoch
        trouble = ""
        for attempt in range(1, TRIES + 1):
            try:
                async with self._session.request(
                    method,
                    URL(self.url + target, encoded=True),
                    headers=headers,
                    data=body or None,
                    allow_redirects=False,
                    ssl=self._context,
                    server_hostname=self._server_name,
                ) as response:
                    answer = _Answer(
                        response.status, "Turnout-Version" in response.headers, await response.read()
                    )
            except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
                raise UntrustedError(
                    f"no TLS that can be trusted at {self.url}: {_why(error)}",
                    "give the CA that signs its certificate, and the name that it is for: --ca, --to-server-name, --from-server-name;"
                    " of a running proxy's upstream, upstreams.NAME.tls",
                ) from error
            except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
                trouble = str(error) or type(error).__name__
            else:
                if answer.status != 503:
                    self._check(answer)
                    return answer
                trouble = (_decoded(answer.body, _Problem) or _Problem()).detail or "503"
            if attempt < TRIES:
                await asyncio.sleep(PAUSE_S * 2 ** (attempt - 1))
        raise UnreachableError(
            f"{self.url} does not answer: {trouble}", "is it running, and is that its address?"
        )

    def _check(self, answer: _Answer) -> None:
        if answer.status not in (403, 409):
            return
        problem = _decoded(answer.body, _Problem) or _Problem()
        if problem.code == "mirror-token":
            raise TokenError(
                f"{self.url} refuses the token",
                "set TURNOUT_MIRROR_TOKEN to the value that the servers were started with",
            )
        if problem.code == "stale-epoch":
            raise StaleEpochError(
                f"{self.url} is in epoch {problem.epoch} of journal {problem.journal}, not in {self.epoch}",
                "a switch or a validation ran meanwhile: look at `turnout status`, then run it again",
            )

    def _refused(self, method: str, target: str, answer: _Answer) -> AnswerError:
        problem = _decoded(answer.body, _Problem) or _Problem()
        detail = problem.detail or answer.body[:200].decode("utf-8", "replace")
        return AnswerError(
            f"{self.url} answers {method} {target} with {answer.status} {problem.code}: {detail}",
            "the server's log has the rest"
            if answer.status >= 500
            else "do both servers have the version of this tool?",
        )


@asynccontextmanager
async def session(connections: int = CONNECTIONS_MAX) -> AsyncGenerator[aiohttp.ClientSession]:
    """The connections of one run of a tool."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit_per_host=connections),
        timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as opened:
        yield opened


def _why(error: aiohttp.ClientError) -> str:
    """What TLS itself says, without aiohttp's words around it."""
    cause = error.__cause__ or error
    return str(getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or cause)


def _listed(text: str) -> Iterator[tuple[str, bytes]]:
    """The items of an array of records, cut out as they stand. ValueError, LookupError or TypeError where it is none."""
    place = _behind_space(text, 0)
    if text[place] != "[":
        raise ValueError("no array")
    separator = "["
    while separator != "]":
        place = _behind_space(text, place + 1)
        if separator == "[" and text[place] == "]":
            return
        value, end = _ENDS.raw_decode(text, place)
        yield str(value["id"]), text[place:end].encode()
        place = _behind_space(text, end)
        separator = text[place]
        if separator not in ",]":
            raise ValueError(f"{separator!r} between two items")


def _behind_space(text: str, place: int) -> int:
    while text[place] in " \t\r\n":
        place += 1
    return place


_ENDS = json.JSONDecoder(parse_int=str, parse_float=str)
"""Finds where a value ends, and leaves its numbers as they are written."""


def _decoded(body: bytes, shape: type[_Shape]) -> _Shape | None:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.MsgspecError:
        return None
