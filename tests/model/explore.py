"""Breadth first through every state that the bounds allow; the first fault comes with the shortest way to it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from tests.model.protocol import Bounds, Rules, State, first
from tests.model.proxy import faults, steps


@dataclass(frozen=True, slots=True)
class Walk:
    """``trace`` is empty where no state is at fault."""

    states: int
    fault: str = ""
    trace: tuple[str, ...] = ()
    is_whole: bool = True

    def __str__(self) -> str:
        if not self.fault:
            return f"{self.states:,} states, none at fault"
        return "\n".join(
            [*(f"  {number}. {step}" for number, step in enumerate(self.trace, 1)), f"  → {self.fault}"]
        )


ALL_RULES = Rules()


def explore(bounds: Bounds, rules: Rules = ALL_RULES, *, states_max: int = 2_000_000) -> Walk:
    begin = first(bounds)
    came: dict[State, tuple[State, str] | None] = {begin: None}
    ahead = deque([begin])
    while ahead:
        state = ahead.popleft()
        for name, after in steps(state, rules, bounds):
            if after in came:
                continue
            came[after] = (state, name)
            fault = faults(after)
            if fault:
                return Walk(len(came), fault, _trace(came, after))
            ahead.append(after)
        if len(came) > states_max:
            return Walk(len(came), is_whole=False)
    return Walk(len(came))


def _trace(came: dict[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    names: list[str] = []
    link = came[state]
    while link is not None:
        state, name = link
        names.append(name)
        link = came[state]
    return tuple(reversed(names))
