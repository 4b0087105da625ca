"""Speaks HTTP to the admin API of a running proxy. Every refusal becomes a TurnoutError with the proxy's own words."""

from __future__ import annotations

import getpass
import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from proxy.errors import TurnoutError, UsageError

DEFAULT_URL = "http://127.0.0.1:3001"
CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 15.0
ANSWER_BYTES_MAX = 64 << 20


class UnreachableError(TurnoutError):
    """Nobody answers where the proxy should be."""

    code = "unreachable"
    status = 502
    retryable = True


class ProblemError(TurnoutError):
    """A problem+json of the admin API, as it was told."""

    def __init__(self, status: int, code: str, detail: str, hint: str) -> None:
        super().__init__(detail, hint)
        self.status = status
        self.code = code


class AdminClient:
    """One running proxy. Each request is one connection: verbs are short, and a reused one could be stale."""

    def __init__(
        self, url: str, *, token: str = "", actor: str = "", connect_timeout_s: float = CONNECT_TIMEOUT_S
    ) -> None:
        """UsageError where the URL is none."""
        self.url = url.rstrip("/")
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise UsageError(f"TURNOUT_ADMIN={url!r} is no URL", f"write it as {DEFAULT_URL}")
        self._is_tls = parts.scheme == "https"
        self._host, self._port, self._path = parts.hostname, port, parts.path
        self._connect_timeout_s = connect_timeout_s
        self._headers = {"Accept": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        if actor:
            self._headers["X-Turnout-Actor"] = actor.encode("ascii", "replace").decode("ascii")

    def get(self, path: str, *, timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, object]:
        """The JSON object at a path. UnreachableError, ProblemError."""
        return self._ask("GET", path, None, timeout_s)

    def post(
        self, path: str, body: Mapping[str, object], *, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> dict[str, object]:
        """What a wish came to. UnreachableError (nothing was sent, or nobody knows: its hint says which), ProblemError."""
        return self._ask("POST", path, json.dumps(body).encode(), timeout_s)

    def _ask(self, method: str, path: str, body: bytes | None, timeout_s: float) -> dict[str, object]:
        kind = http.client.HTTPSConnection if self._is_tls else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._connect_timeout_s)
        try:
            try:
                connection.connect()
            except (OSError, UnicodeError) as error:
                raise UnreachableError(
                    f"no proxy answers at {self.url}: {_words(error)}",
                    "start it with `turnout proxy` (or `turnout demo`), or say with TURNOUT_ADMIN where it is",
                ) from error
            connection.sock.settimeout(timeout_s)
            headers = dict(self._headers)
            if body is not None:
                headers["Content-Type"] = "application/json"
            try:
                connection.request(method, self._path + path, body, headers)
                response = connection.getresponse()
                raw = response.read(ANSWER_BYTES_MAX)
            except (OSError, http.client.HTTPException) as error:
                hint = (
                    "whether it was done is not known: look at `turnout status`"
                    if body is not None
                    else "is it being stopped?"
                )
                raise UnreachableError(
                    f"the proxy at {self.url} gave no answer: {_words(error)}", hint
                ) from error
        finally:
            connection.close()
        return self._read(response.status, raw)

    def _read(self, status: int, raw: bytes) -> dict[str, object]:
        try:
            answer: object = json.loads(raw)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise UnreachableError(
                f"what answers at {self.url} is no admin API of Turnout (status {status}, no JSON object)",
                "is TURNOUT_ADMIN the address of the admin, not of the proxy?",
            )
        fields = cast("dict[str, object]", answer)
        if status < 400:
            return fields
        code = str(fields.get("code", "failed"))
        hint = str(fields.get("hint", ""))
        if code == "unauthorized" and not hint:
            hint = "put the token into TURNOUT_ADMIN_TOKEN, in the environment or in .env.local"
        raise ProblemError(status, code, str(fields.get("detail", f"status {status}")), hint)


def from_environment() -> AdminClient:
    """The proxy that TURNOUT_ADMIN names, with the token and the name of whoever asks."""
    from proxy.settings.default import environment

    env = environment(Path.cwd())
    return AdminClient(
        env.get("TURNOUT_ADMIN") or DEFAULT_URL, token=env.get("TURNOUT_ADMIN_TOKEN", ""), actor=_user()
    )


def _user() -> str:
    """Who asks, for the history; no name is no reason to fail (a container's uid may have none)."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "cli"


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
