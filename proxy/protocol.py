"""The words of docs/protocol.md: header names, and their values to and from text. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

import msgspec

from proxy.journal.entry import BASE_NONE, BASE_UNKNOWN
from proxy.model import segment_of_key

EPOCH = "Turnout-Epoch"
REQUEST = "Turnout-Request"
VERSION = "Turnout-Version"
MIRROR = "Turnout-Mirror"
TOKEN = "Turnout-Token"  # noqa: S105 - a header's name

EPOCH_PATH = "/_turnout/epoch"
VOID_PATH = "/_turnout/void"
APPLY_PATH = "/_turnout/apply"
ANSWERS_PATH = "/_turnout/answers"

NUMBER_MAX = (1 << 63) - 1
"""Numbers have 63 bits (the journal and PostgreSQL keep them as signed integers); a larger one is malformed."""

_PLAIN = "-._~!$&'()*+,;=:@"

_VERSION = re.compile(r"\s*(none|\d{1,19})\s*;\s*(base|at)=(none|unknown|\d{1,19})\s*")


@dataclass(slots=True)  # made for each write: a frozen one takes three times as long
class WriteVersion:
    """``Turnout-Version: 18; base=17`` on an accepted write (W2)."""

    version: int | None
    base: str


@dataclass(frozen=True, slots=True)
class ReadVersion:
    """``Turnout-Version: 18; at=52`` on a read (R1)."""

    version: int | None
    at: int


def path_of(key: str) -> str:
    """The request target of a key: each segment percent-encoded."""
    if "%" not in key:
        return quote(key, safe="/" + _PLAIN)
    return "/".join(quote(segment_of_key(one), safe=_PLAIN) for one in key.split("/"))


def _is_number(text: str) -> bool:
    """Whether a part of Turnout-Version is a word, or a number that fits."""
    return not text.isdigit() or int(text) <= NUMBER_MAX


def parse_write_version(text: str | None) -> WriteVersion | None:
    """None where the header is absent or malformed: then only a repair may settle the write."""
    match = _VERSION.fullmatch(text) if text else None
    if match is None or match[2] != "base" or not (_is_number(match[1]) and _is_number(match[3])):
        return None
    return WriteVersion(None if match[1] == "none" else int(match[1]), match[3])


def parse_read_version(text: str | None) -> ReadVersion | None:
    match = _VERSION.fullmatch(text) if text else None
    if match is None or match[2] != "at" or not match[3].isdigit():
        return None
    if not (_is_number(match[1]) and _is_number(match[3])):
        return None
    return ReadVersion(None if match[1] == "none" else int(match[1]), int(match[3]))


def replay_version(version: int, base: str) -> str:
    """For M1; ``base`` is a number or BASE_NONE."""
    assert base != BASE_UNKNOWN, "without a base only a repair may settle"
    return f"{version}; base={base if base == BASE_NONE else int(base)}"


def repair_version(read: ReadVersion) -> str:
    """For M2."""
    return f"{'none' if read.version is None else read.version}; at={read.at}"


class EpochAnswer(msgspec.Struct, frozen=True):
    """A well-formed answer of ``/_turnout/epoch`` (E1): its sender is versioned."""

    turnout: Literal[1]
    epoch: int
    role: Literal["none", "primary", "secondary"]
    journal: str | None
    number: int
    counters: dict[str, int]


class VoidAnswer(msgspec.Struct, frozen=True):
    """V1: what became of a request."""

    state: Literal["done", "never"]
    key: str = ""
    version: int | None = None


class AnswersPage(msgspec.Struct, frozen=True):
    """A2: answers kept under Idempotency-Keys, each verbatim."""

    answers: list[msgspec.Raw]
    next: str = ""


class CodedProblem(msgspec.Struct, frozen=True):
    """All of a problem+json that is looked at."""

    code: str


class StaleEpochProblem(msgspec.Struct, frozen=True):
    """The problem of a 409 ``stale-epoch`` (E3): what the server knows."""

    code: str
    epoch: int = 0
    journal: str | None = None


_EPOCH = msgspec.json.Decoder(EpochAnswer)
_VOID = msgspec.json.Decoder(VoidAnswer)
_ANSWERS = msgspec.json.Decoder(AnswersPage)
_CODED = msgspec.json.Decoder(CodedProblem)
_STALE = msgspec.json.Decoder(StaleEpochProblem)


def parse_epoch(body: bytes) -> EpochAnswer | None:
    """None where it is not well formed: then it says nothing about its sender."""
    try:
        return _EPOCH.decode(body)
    except msgspec.MsgspecError:
        return None


def parse_void(body: bytes) -> VoidAnswer | None:
    try:
        return _VOID.decode(body)
    except msgspec.MsgspecError:
        return None


def parse_answers(body: bytes) -> AnswersPage | None:
    """The answers are copied out of the body, so that they outlive it."""
    try:
        page = _ANSWERS.decode(body)
    except msgspec.MsgspecError:
        return None
    return AnswersPage([one.copy() for one in page.answers], page.next)


def parse_stale(body: bytes) -> StaleEpochProblem | None:
    """The problem, if it is a ``stale-epoch``."""
    try:
        problem = _STALE.decode(body)
    except msgspec.MsgspecError:
        return None
    return problem if problem.code == "stale-epoch" else None


def parse_code(body: bytes) -> str | None:
    """The ``code`` of a problem+json body."""
    try:
        return _CODED.decode(body).code
    except msgspec.MsgspecError:
        return None
