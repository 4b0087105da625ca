"""Answers under Idempotency-Keys as the protocol writes them (A2–A4), and back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from backends.contract import canonical
from backends.contract.problems import bad_json
from backends.store import Answer, KeptAnswer

IDEMPOTENCY_KEY: Final = re.compile(r"[ -~]{1,255}\Z")
"""What a client may send: printable ASCII."""

_FINGERPRINT = re.compile(r"[0-9a-f]{64}\Z")
_KEY = re.compile(r"/api/[^\x00\ud800-\udfff]{1,1100}\Z", re.DOTALL)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}\Z")
_VALUE = re.compile(r"[\t -~\x80-\xff]{0,8192}\Z")
_HEADERS_MAX = 32
_EXPIRES_MAX = 1 << 40


class AnswerText(msgspec.Struct, forbid_unknown_fields=True):
    """One answer in JSON. ``expires`` is in seconds since 1970."""

    idempotency_key: str
    fingerprint: str
    key: str
    status: int
    headers: list[tuple[str, str]]
    body: str
    expires: int

    def kept(self) -> KeptAnswer:
        """ValueError says what cannot be kept."""
        fault = _fault(self)
        if fault is not None:
            raise ValueError(f"the answer under {self.idempotency_key[:64]!r}: {fault}")
        answer = Answer(self.status, tuple(self.headers), self.body.encode())
        fingerprint = bytes.fromhex(self.fingerprint)
        return KeptAnswer(self.idempotency_key, fingerprint, self.key, self.expires * 1000, answer)


class _AnswersText(msgspec.Struct, forbid_unknown_fields=True):
    answers: list[AnswerText]


def parse_answers(raw: bytes) -> list[KeptAnswer]:
    """The body of A4. Problem bad-json."""
    canonical.parse_tolerant(raw)  # for its words on what is no JSON at all
    try:
        return [one.kept() for one in msgspec.json.decode(raw, type=_AnswersText).answers]
    except (msgspec.MsgspecError, ValueError) as error:
        raise bad_json(f"{error}.") from None


def answers_json(answers: Sequence[KeptAnswer]) -> list[dict[str, Any]]:
    """The form of A2. Seconds are rounded up: an answer is never over earlier elsewhere."""
    return [
        {
            "idempotency_key": kept.idempotency_key,
            "fingerprint": kept.fingerprint.hex(),
            "key": kept.key,
            "status": kept.answer.status,
            "headers": [list(header) for header in kept.answer.headers],
            "body": kept.answer.body.decode(),
            "expires": -(-kept.expires_ms // 1000),
        }
        for kept in answers
    ]


def _fault(text: AnswerText) -> str | None:
    if not IDEMPOTENCY_KEY.match(text.idempotency_key):
        return "an Idempotency-Key has 1–255 printable ASCII characters"
    if not _FINGERPRINT.match(text.fingerprint):
        return "a fingerprint has 64 hex digits"
    if not _KEY.match(text.key):
        return "a key is /api/<collection>/<id> or /api/<singleton>"
    if not 200 <= text.status < 500 or text.status == 409:
        return "a status is 200–499, and 409 is never kept"
    if len(text.headers) > _HEADERS_MAX:
        return f"there are at most {_HEADERS_MAX} headers"
    if not all(_NAME.match(name) and _VALUE.match(value) for name, value in text.headers):
        return "a header is a token and a line of text"
    if any("\ud800" <= char <= "\udfff" for char in text.body):
        return "half of a surrogate pair cannot be stored"
    if not 0 <= text.expires < _EXPIRES_MAX:
        return "expires is in seconds since 1970"
    return None
