"""Which upstreams are versioned, and which plain (DESIGN section 5, "Order is data"); told by what they answer at /_turnout/epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum

from proxy.protocol import EpochAnswer, parse_code, parse_epoch


class Kind(StrEnum):
    VERSIONED = "versioned"
    PLAIN = "plain"
    UNKNOWN = "unknown"
    """It has not said anything that could be believed: nothing is sent to it yet."""


def kind_shown(status: int, body: bytes, *, was_versioned: bool) -> tuple[Kind, EpochAnswer | None]:
    """What an answer of ``GET /_turnout/epoch`` proves (never-plain-again).

    Only something definite makes one plain: trouble of its own (5xx), or a door that is closed (401, 403), says nothing.
    """
    answer = parse_epoch(body) if status == 200 else None
    if answer is not None:
        return Kind.VERSIONED, answer
    is_definite = status < 500 and status not in (401, 403, 407, 408, 421, 425, 429)
    if was_versioned or not is_definite or parse_code(body) == "mirror-token":
        return Kind.UNKNOWN, None
    return Kind.PLAIN, None


class Kinds:
    """What each upstream has shown so far. Once versioned it stays so; a plain one may turn out to be versioned."""

    def __init__(self, versioned: Iterable[str] = ()) -> None:
        self._kinds: dict[str, Kind] = dict.fromkeys(versioned, Kind.VERSIONED)
        self.on_change: list[Callable[[], None]] = []

    def of(self, upstream: str) -> Kind:
        return self._kinds.get(upstream, Kind.UNKNOWN)

    def shown(self, upstream: str, kind: Kind) -> None:
        """An answer proved it. UNKNOWN proves nothing, and PLAIN nothing against VERSIONED (never-plain-again)."""
        known = self.of(upstream)
        if kind in (Kind.UNKNOWN, known) or known is Kind.VERSIONED:
            return
        self._kinds[upstream] = kind
        for callback in self.on_change:
            callback()

    def is_known(self, upstream: str) -> bool:
        return self.of(upstream) is not Kind.UNKNOWN

    def is_versioned(self, upstream: str) -> bool:
        return self.of(upstream) is Kind.VERSIONED

    def is_plain(self, upstream: str) -> bool:
        return self.of(upstream) is Kind.PLAIN

    @property
    def has_plain(self) -> bool:
        """Whether one of the two upstreams is: their names are read at the start only."""
        return Kind.PLAIN in self._kinds.values()

    @property
    def versioned(self) -> frozenset[str]:
        return frozenset(name for name, kind in self._kinds.items() if kind is Kind.VERSIONED)
