"""One HTTP request as the handlers see it: path segments, checked headers, a bounded body. The edge between aiohttp and the contract."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from backends.contract import canonical, numbers, problems
from backends.contract.canonical import SERVER_FIELDS
from backends.contract.conditions import Conditions, parse_conditions
from backends.contract.ids import is_usable_id
from backends.contract.kept import IDEMPOTENCY_KEY
from backends.contract.numbers import Repair, Replay
from backends.store import Epoch, Idempotency, RequestId

MERGE_PATCH = "application/merge-patch+json"
JSON = "application/json"

_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TURNOUT_HEADERS = frozenset(
    {"turnout-token", "turnout-epoch", "turnout-request", "turnout-mirror", "turnout-version"}
)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What a server is started with. ``wall`` is seconds since 1970."""

    name: str
    mirror_token: str | None = None
    read_only: bool = False
    body_bytes_max: int = 10 << 20
    body_timeout_s: float = 60.0
    """From the end of the head to the end of the body."""
    wall: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class Protocol:
    """The Turnout-* headers of one request, parsed. All None: an ordinary client."""

    epoch: Epoch | None = None
    request: RequestId | None = None
    mirror: Replay | Repair | None = None


ORDINARY = Protocol()


class Call:
    """One request. Header faults, wrong media types and large bodies come out as Problems."""

    def __init__(self, request: web.BaseRequest, options: ServerOptions) -> None:
        self._request = request
        self._options = options
        self.method = request.method
        target = request.raw_path
        if not target.startswith("/"):
            target = "/" + target.partition("://")[2].partition("/")[2]
        self.path, _, self.query = target.partition("#")[0].partition("?")

    def demand_http(self) -> None:
        """Problem bad-request where it is HTTP/0.9, or HTTP/1.1 without exactly one Host (RFC 9112, section 3.2)."""
        request = self._request
        if request.version < HttpVersion10:
            raise problems.bad_request("This is not HTTP/1.0 or 1.1.")
        if len(request.headers.getall(hdrs.HOST, ())) != 1 and request.version >= HttpVersion11:
            raise problems.bad_request("HTTP/1.1 needs one Host.")

    def segments(self) -> list[str] | None:
        """The path's segments, each decoded exactly once; None where one does not decode cleanly or could be no id."""
        path = self.path.removesuffix("/")
        if "%" not in path and path.isascii():
            parts = path.split("/")[1:]
        elif _BAD_PERCENT.search(path):
            return None
        else:
            try:
                parts = [unquote(part, errors="strict") for part in path.split("/")[1:]]
            except UnicodeDecodeError:
                return None
        return parts if all(map(is_usable_id, parts)) else None

    def header(self, name: str) -> str | None:
        """The only value of a header. Problem bad-header where it is sent twice."""
        values = self._request.headers.getall(name, ())
        if len(values) > 1:
            raise problems.bad_header(f"{name} is sent twice.")
        return values[0] if values else None

    def conditions(self) -> Conditions:
        headers = self._request.headers
        return parse_conditions(headers.getall("If-Match", ()), headers.getall("If-None-Match", ()))

    def protocol(self) -> Protocol:
        """T1, and the protocol's headers. Problems mirror-token, bad-header."""
        sent = {name.lower() for name in self._request.headers if name[:8].lower() == "turnout-"}
        if not sent:
            return ORDINARY
        self.demand_token()
        unknown = sent - _TURNOUT_HEADERS
        if unknown:
            raise problems.bad_header(f"{', '.join(sorted(unknown))}: no such header.")
        epoch, request = self.header("Turnout-Epoch"), self.header("Turnout-Request")
        mirror, version = self.header("Turnout-Mirror"), self.header("Turnout-Version")
        if version is not None and mirror is None:
            raise problems.bad_header("Turnout-Version is for requests with Turnout-Mirror.")
        return Protocol(
            None if epoch is None else numbers.parse_epoch(epoch),
            None if request is None else numbers.parse_request(request),
            None if mirror is None else numbers.parse_mirror(mirror, version),
        )

    def demand_token(self) -> None:
        """T1: the token where one is set, else only from the loopback interface."""
        token = self._options.mirror_token
        if token is None:
            allowed = _is_loopback(self._request)
        else:
            allowed = hmac.compare_digest((self.header("Turnout-Token") or "").encode(), token.encode())
        if not allowed:
            raise problems.mirror_token()

    async def body(self, bytes_max: int | None = None) -> bytes:
        """The whole body. Problems too-large, unsupported-media, request-timeout, bad-request."""
        limit = self._options.body_bytes_max if bytes_max is None else bytes_max
        request = self._request
        if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
            raise problems.unsupported_coding()
        if request.content_length is not None and request.content_length > limit:
            raise problems.too_large(limit)
        await self._continue()
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._options.body_timeout_s):
                async for part in request.content.iter_any():
                    size += len(part)
                    if size > limit:
                        raise problems.too_large(limit)
                    parts.append(part)
        except TimeoutError:
            raise problems.request_timeout(self._options.body_timeout_s) from None
        except (HttpProcessingError, web.RequestPayloadError):
            raise problems.bad_request("The body is not framed as its head says.") from None
        return b"".join(parts)

    async def _continue(self) -> None:
        """Tell a client that waits for it to send the body (RFC 9110, section 10.1.1)."""
        request = self._request
        expected = request.headers.get(hdrs.EXPECT, "").lower()
        if expected == "100-continue" and request.version == HttpVersion11 and not request.content.at_eof():
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # what counts is whether the answer has begun

    async def fields(self) -> tuple[dict[str, Any], bool]:
        """The JSON object of a write, and whether it is a merge patch. Problems bad-json, unstorable, unsupported-media."""
        media = self._media_type()
        accepted = (JSON, MERGE_PATCH) if self.method == "PATCH" else (JSON,)
        if media not in accepted:
            raise problems.unsupported_media(*accepted)
        return canonical.parse_object(await self.body()), media == MERGE_PATCH

    def idempotency(
        self, key_path: str, fields: Mapping[str, Any] | None, *, only_kept: bool
    ) -> Idempotency | None:
        """The Idempotency-Key with the fingerprint of this request.

        The fields that the mirror carries are no part of it, so that a client's retry matches what a replay kept; the
        caller compares a given id itself.
        """
        key = self.header("Idempotency-Key")
        if key is None:
            return None
        if not IDEMPOTENCY_KEY.match(key):
            raise problems.bad_header("Idempotency-Key has 1–255 printable ASCII characters.")
        body = b""
        if fields is not None:
            body = canonical.encode({k: v for k, v in fields.items() if k != "id" and k not in SERVER_FIELDS})
        text = f"{self.method}\n{key_path}\n{self._media_type()}\n".encode("utf-8", "surrogatepass")
        return Idempotency(key, hashlib.sha256(text + body).digest(), only_kept)

    def _media_type(self) -> str:
        """The media type in lower case; "" where it is absent or of another charset than UTF-8."""
        media, _, parameters = (self.header("Content-Type") or "").lower().partition(";")
        charset = parameters.partition("charset=")[2].split(";")[0].strip(' "')
        return media.strip() if charset in ("", "utf-8", "utf8", "us-ascii") else ""


def _is_loopback(request: web.BaseRequest) -> bool:
    peer: Any = request.transport.get_extra_info("peername") if request.transport is not None else None
    if not isinstance(peer, tuple):
        return False
    try:
        address = ipaddress.ip_address(str(peer[0]).partition("%")[0])  # pyright: ignore[reportUnknownArgumentType]
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
