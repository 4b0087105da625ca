"""The proxy's own answers: problem+json (RFC 9457) that says what is wrong, with which upstream, and what to do."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final

from proxy.errors import TurnoutError
from proxy.wire.heads import made_head

RETRY_AFTER_S: Final = 1


class Problem:
    """A problem as it goes to the client: head lines and body are made when it is sent."""

    __slots__ = ("code", "detail", "hint", "status", "upstream")

    def __init__(self, status: int, code: str, detail: str, hint: str = "", upstream: str = "") -> None:
        self.status = status
        self.code = code
        self.detail = detail
        self.hint = hint
        self.upstream = upstream

    def render(self, tail: bytes, *, is_head: bool) -> bytes:
        """The whole answer. ``tail``: further header lines; ``is_head``: without the body (RFC 9110 section 9.3.2)."""
        fields: dict[str, object] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.hint:
            fields["hint"] = self.hint
        if self.upstream:
            fields["upstream"] = self.upstream
        body = json.dumps(fields, ensure_ascii=False).encode()
        headers = [("Content-Type", "application/problem+json")]
        if self.status == 503:
            headers.append(("Retry-After", str(RETRY_AFTER_S)))
        return made_head(self.status, tuple(headers), len(body), tail) + (b"" if is_head else body)


class Empty(Problem):
    """200 without a body."""

    __slots__ = ()

    def render(self, tail: bytes, *, is_head: bool) -> bytes:  # noqa: ARG002 - nothing to leave out
        return made_head(200, (), 0, tail)


def last_hop(method: str) -> Problem:
    """OPTIONS or TRACE with Max-Forwards: 0 ends here (RFC 9110 section 7.6.2)."""
    if method == "OPTIONS":
        return Empty(200, "", "")
    return Problem(
        501,
        "not-implemented",
        "TRACE is not answered by this proxy itself",
        "send it with a higher Max-Forwards",
    )


_CODES: Final = {
    400: "bad-request",
    408: "request-timeout",
    413: "too-large",
    414: "target-too-long",
    431: "head-too-large",
    501: "not-implemented",
    505: "http-version",
}


def refused(status: int, detail: str) -> Problem:
    """A client's message that has no single reading, or breaks a limit."""
    return Problem(status, _CODES.get(status, "bad-request"), detail)


def not_for_clients() -> Problem:
    return Problem(404, "not-found", "/_turnout is for the mirror and the tools, never for clients")


def failed(upstream: str, kind: str, detail: str) -> Problem:
    """An upstream that gave no answer: 504 when it took too long, else 502."""
    if kind == "timeout":
        return Problem(
            504,
            "upstream-timeout",
            f"{upstream} did not answer in time: {detail}",
            f"is {upstream} overloaded?",
            upstream,
        )
    if kind == "protocol":
        return Problem(
            502,
            "upstream-protocol",
            f"{upstream} answered what is not HTTP: {detail}",
            f"look at the log of {upstream}",
            upstream,
        )
    return Problem(
        502,
        "upstream-unreachable",
        f"{upstream} cannot be reached: {detail}",
        f"look at upstreams.{upstream}.tls" if kind == "tls" else f"is {upstream} running?",
        upstream,
    )


def from_error(error: TurnoutError) -> Problem:
    """What the mirror says instead of going on: 503 with Retry-After, unless the error names another status."""
    return Problem(error.status if error.status >= 500 else 503, error.code, error.message, error.hint)


def outcome_unknown(upstream: str, error: TurnoutError) -> Problem:
    """The primary took the write, and the journal could not: never 503 with Retry-After, which would have it sent again."""
    return Problem(
        502,
        "outcome-unknown",
        f"{upstream} has answered, but that could not be kept: {error.message}. The write may have taken effect",
        error.hint,
        upstream,
    )


def crowded() -> Problem:
    return Problem(
        503,
        "unavailable",
        "this proxy has as many connections as it may",
        "raise limits.connections, or try again",
    )
