"""What is wrong with a routing.yaml: each fault with its place, and what would be right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from proxy.errors import SettingsError


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing to mend. ``line`` and ``column`` count from 1."""

    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.message}"


class BadSettingsError(SettingsError):
    """The text is not acceptable; ``faults`` are all that were found, in the order of the file."""

    def __init__(self, source: str, faults: Iterable[Fault]) -> None:
        self.source = source
        self.faults = tuple(sorted(set(faults)))
        assert self.faults, "a refusal says why"
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """``file:line:column: message``, one a fault."""
        return [f"{self.source}:{fault}" for fault in self.faults]


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean `weight`?`` where one of the known words is near, else the known words themselves."""
    words = sorted(known)
    near = get_close_matches(word.lower(), words, n=1, cutoff=0.6) or [w for w in words if w == word.upper()]
    if near:
        return f"; did you mean `{near[0]}`?"
    return f"; it may be one of {', '.join(f'`{w}`' for w in words)}" if words else ""
