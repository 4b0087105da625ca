"""Every error of the contract as RFC 9457 problem+json: the same bytes on both servers.

No instance, time or host is in it. ``code`` is the stable word that programs go by.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, Final

from backends.store import Answer

PROBLEM_TYPE: Final = "application/problem+json"


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it a problem
    """A request that is answered with an error. ``headers`` and ``members`` go into the answer beside the usual."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: tuple[tuple[str, str], ...] = (),
        members: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers
        self.members = members or {}

    def answer(self) -> Answer:
        body = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.members,
        }
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        return Answer(
            self.status,
            (("Content-Type", PROBLEM_TYPE), *self.headers),
            text.encode("utf-8", "backslashreplace"),
        )


def bad_request(detail: str) -> Problem:
    """What is no HTTP message, or a body that is not framed as its head says."""
    return Problem(400, "bad-request", detail)


def bad_json(detail: str) -> Problem:
    return Problem(400, "bad-json", detail)


def bad_query(detail: str) -> Problem:
    return Problem(400, "bad-query", detail)


def bad_header(detail: str) -> Problem:
    return Problem(400, "bad-header", detail)


def not_found(detail: str = "There is nothing here.") -> Problem:
    return Problem(404, "not-found", detail)


def method_not_allowed(allow: str) -> Problem:
    return Problem(405, "method-not-allowed", f"Allowed here: {allow}.", headers=(("Allow", allow),))


def request_timeout(seconds: float) -> Problem:
    return Problem(408, "request-timeout", f"The body did not arrive within {seconds:g} s.")


def conflict(record_id: str) -> Problem:
    return Problem(409, "conflict", f"The id {record_id!r} is taken.")


def version_conflict(detail: str) -> Problem:
    return Problem(409, "version-conflict", detail)


def stale_request() -> Problem:
    return Problem(
        409, "stale-request", "This request was decided, voided or forgotten before; nothing was done now."
    )


def stale_epoch(epoch: int, journal: str | None, detail: str) -> Problem:
    return Problem(409, "stale-epoch", detail, members={"epoch": epoch, "journal": journal})


def precondition_failed(detail: str) -> Problem:
    return Problem(412, "precondition-failed", detail)


def too_large(bytes_max: int) -> Problem:
    return Problem(413, "too-large", f"A body may have at most {bytes_max} bytes.")


def too_large_record(bytes_max: int) -> Problem:
    return Problem(413, "too-large", f"The record would have more than {bytes_max} bytes.")


def unsupported_media(*accepted: str) -> Problem:
    headers = (("Accept-Patch", ", ".join(accepted)),) if len(accepted) > 1 else ()
    return Problem(415, "unsupported-media", f"Send Content-Type: {' or '.join(accepted)}.", headers=headers)


def unsupported_coding() -> Problem:
    return Problem(
        415,
        "unsupported-media",
        "Send the body without Content-Encoding.",
        headers=(("Accept-Encoding", "identity"),),
    )


def unstorable(detail: str) -> Problem:
    return Problem(422, "unstorable", detail)


def idempotency_mismatch() -> Problem:
    return Problem(422, "idempotency-mismatch", "This Idempotency-Key was used before with another request.")


def idempotency_running() -> Problem:
    return Problem(
        409,
        "idempotency-running",
        "The first request with this Idempotency-Key is still running.",
        headers=_RETRY_SOON,
    )


def mirror_token() -> Problem:
    return Problem(
        403,
        "mirror-token",
        "Turnout-* headers and /_turnout/* are for the mirror and the tools: send Turnout-Token.",
    )


def read_only() -> Problem:
    return Problem(403, "read-only", "This server was started with --read-only.")


def storage_full() -> Problem:
    return Problem(507, "storage-full", "The disk is full; nothing was changed.")


def unavailable(detail: str = "The store cannot be reached now.") -> Problem:
    return Problem(503, "unavailable", detail, headers=_RETRY_SOON)


def internal() -> Problem:
    """The last resort; the log has the rest."""
    return Problem(500, "internal", "The server failed; its log says how.")


_RETRY_SOON: Final = (("Retry-After", "1"),)
