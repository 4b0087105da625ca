"""The protocol's headers (docs/protocol.md) as values, and back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from backends.contract.problems import bad_header
from backends.store import Epoch, RequestId, State

NUMBER_MAX: Final = (1 << 63) - 1
"""Numbers, request ids and epochs fit PostgreSQL's bigint."""

_VERSION = re.compile(r"(none|[0-9]{1,19})(?:; (base|at)=(none|unknown|[0-9]{1,19}))?\Z")
_REQUEST = re.compile(r"([0-9]{1,19}); open=([0-9]{1,19})\Z")
_EPOCH = re.compile(r"([0-9]{1,19}) ([!-~]{1,128})\Z")


class Mirror(StrEnum):
    """What ``Turnout-Mirror`` says."""

    REPLAY = "replay"
    REPAIR = "repair"


@dataclass(frozen=True, slots=True)
class Replay:
    """``Turnout-Version: 18; base=17`` of a replay. ``base`` None: a create; ``has_base`` False: base=unknown, which never fits."""

    version: int
    base: int | None
    has_base: bool = True


@dataclass(frozen=True, slots=True)
class Repair:
    """``Turnout-Version: 18; at=52`` of a repair; ``version`` None: ``none``."""

    version: int | None
    at: int


def parse_mirror(mirror: str, version: str | None) -> Replay | Repair:
    """The two headers that a replay or repair carries. Problem bad-header."""
    if mirror not in (Mirror.REPLAY, Mirror.REPAIR):
        raise bad_header("Turnout-Mirror is replay or repair.")
    found = _VERSION.match(version or "")
    if mirror == Mirror.REPLAY:
        if found is None or found[1] == "none" or found[2] != "base":
            raise bad_header("A replay needs Turnout-Version: <version>; base=<version>|none.")
        base = None if found[3] in ("none", "unknown") else _number(found[3])
        return Replay(_number(found[1]), base, has_base=found[3] != "unknown")
    if found is None or found[2] != "at" or found[3] in ("none", "unknown"):
        raise bad_header("A repair needs Turnout-Version: <version>|none; at=<number>.")
    return Repair(None if found[1] == "none" else _number(found[1]), _number(found[3]))


def parse_request(text: str) -> RequestId:
    """``Turnout-Request: 17; open=12`` (W1)."""
    found = _REQUEST.match(text)
    if found is None:
        raise bad_header("Turnout-Request is <id>; open=<lowest id still open>.")
    return RequestId(_number(found[1]), _number(found[2]))


def parse_epoch(text: str) -> Epoch:
    """``Turnout-Epoch: 3 5f0c…`` (E3)."""
    found = _EPOCH.match(text)
    if found is None:
        raise bad_header("Turnout-Epoch is <epoch> <journal id>.")
    return Epoch(_number(found[1]), found[2])


def write_version(before: State, after: State) -> str:
    """``18; base=17`` of an accepted write (W2)."""
    if before.body is None:
        return f"{_text(after.version)}; base=none"
    return f"{_text(after.version)}; base={'unknown' if before.version is None else before.version}"


def read_version(state: State, at: int) -> str:
    """``18; at=52`` of a read (R1)."""
    return f"{_text(state.version)}; at={at}"


def _text(version: int | None) -> str:
    return "none" if version is None else str(version)


def _number(text: str) -> int:
    value = int(text)
    if value > NUMBER_MAX:
        raise bad_header(f"{text} is above {NUMBER_MAX}.")
    return value
