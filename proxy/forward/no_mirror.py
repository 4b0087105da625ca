"""The mirror where there is none (``mirror.enabled: false``): nothing is journaled, all is settled, nothing is ever held."""

# ruff: noqa: ARG002 - a mirror that is not there needs none of its arguments
from __future__ import annotations

from collections.abc import Callable

from proxy.errors import NotYetError
from proxy.model import MirrorAnswer, Place, PrimaryAnswer, WriteHead
from proxy.ports import Done


class NoMirror:
    """A ports.MirrorPort. Its write methods are never reached: a snapshot without a mirror has no mirrored write."""

    is_fenced = False

    def __init__(self, headers: Callable[[], bytes] | None = None) -> None:
        """``headers``: those of writes, where the upstreams know an epoch; an upstream that never did gets none."""
        self._headers = headers

    def hold(self, resume: Done) -> Callable[[], None]:
        raise _unreachable()

    def intend(self, write: WriteHead, durable: Done) -> int:
        raise _unreachable()

    def headers_for(self, seq: int) -> bytes:
        raise _unreachable()

    def write_headers(self) -> bytes:
        return b"" if self._headers is None else self._headers()

    def accepted(self, seq: int, answer: PrimaryAnswer, durable: Done) -> None:
        raise _unreachable()

    def rejected(self, seq: int) -> None:
        raise _unreachable()

    def doubtful(self, seq: int) -> None:
        raise _unreachable()

    def never_sent(self, seq: int) -> None:
        raise _unreachable()

    def await_secondary(
        self, seq: int, timeout_s: float, done: Callable[[MirrorAnswer | None], None]
    ) -> None:
        raise _unreachable()

    def note_unmirrored(self, place: Place, durable: Done) -> bool:
        return True

    def is_unproven(self, place: Place) -> bool:
        return False

    def is_settled(self, place: Place) -> bool:
        return True

    def await_settled(self, place: Place, timeout_s: float, done: Callable[[bool], None]) -> None:
        raise _unreachable()


def _unreachable() -> NotYetError:
    return NotYetError(
        "a write was to be mirrored, but this proxy runs without a mirror", "set mirror.enabled: false"
    )
