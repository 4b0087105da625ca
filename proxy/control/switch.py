"""How the primary changes hands: the steps of a switch as a table, and what refuses it. Pure.

    preflight ─► drain ─► fence ─► rest ─► burn ─► announce ─► commit ─► done
        │          │        │        │       │        │           │
     refused   called off (nothing has changed)     renew: the next epoch, with the primary that the database names

Before *burn* nothing outside the process has changed, and calling off costs nothing. From *burn* on an
upstream may have heard of the new epoch; the way back announces the one after it, with the old roles (DESIGN section 9, Epoch).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Step(StrEnum):
    PREFLIGHT = "preflight"
    DRAIN = "drain"
    FENCE = "fence"
    REST = "rest"
    """What was in flight at the fence is answered and settled."""
    BURN = "burn"
    """The new epoch is in the journal as one that may have been announced."""
    ANNOUNCE = "announce"
    COMMIT = "commit"
    DONE = "done"
    REFUSED = "refused"
    CALLED_OFF = "called-off"
    RENEW = "renew"
    STILL = "still"
    """Away from a dead primary: every write that was sent to it has ended, and nothing is under way."""
    SALVAGE = "salvage"
    """What the journal holds is brought to the other upstream; what is lost is counted."""


class Came(StrEnum):
    OK = "ok"
    FAILED = "failed"


TRANSITIONS: dict[Step, dict[Came, Step]] = {
    Step.PREFLIGHT: {Came.OK: Step.DRAIN, Came.FAILED: Step.REFUSED},
    Step.DRAIN: {Came.OK: Step.FENCE, Came.FAILED: Step.CALLED_OFF},
    Step.FENCE: {Came.OK: Step.REST, Came.FAILED: Step.CALLED_OFF},
    Step.REST: {Came.OK: Step.BURN, Came.FAILED: Step.CALLED_OFF},
    Step.BURN: {Came.OK: Step.ANNOUNCE, Came.FAILED: Step.RENEW},
    Step.ANNOUNCE: {Came.OK: Step.COMMIT, Came.FAILED: Step.RENEW},
    Step.COMMIT: {Came.OK: Step.DONE, Came.FAILED: Step.RENEW},
    Step.RENEW: {Came.OK: Step.CALLED_OFF},
    Step.DONE: {},
    Step.REFUSED: {},
    Step.CALLED_OFF: {},
}

FORCED: dict[Step, dict[Came, Step]] = {
    Step.PREFLIGHT: {Came.OK: Step.FENCE, Came.FAILED: Step.REFUSED},
    Step.FENCE: {Came.OK: Step.STILL, Came.FAILED: Step.CALLED_OFF},
    Step.STILL: {Came.OK: Step.SALVAGE, Came.FAILED: Step.CALLED_OFF},
    Step.SALVAGE: {Came.OK: Step.BURN, Came.FAILED: Step.CALLED_OFF},
    Step.BURN: {Came.OK: Step.ANNOUNCE, Came.FAILED: Step.RENEW},
    Step.ANNOUNCE: {Came.OK: Step.COMMIT, Came.FAILED: Step.RENEW},
    Step.COMMIT: {Came.OK: Step.DONE, Came.FAILED: Step.RENEW},
    Step.RENEW: {Came.OK: Step.CALLED_OFF},
    Step.DONE: {},
    Step.REFUSED: {},
    Step.CALLED_OFF: {},
}
"""Away from a primary that is dead: announced at the living upstream alone; the other one learns it when it returns. Here RENEW cannot
wait for the primary: writes stay held until it answers, or the next try goes through."""

VALIDATION_AGE_S_MAX = 24 * 3600.0
"""A switch wants a validation that found equal and is younger than this; ``--force`` skips that alone."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What preflight looks at."""

    to: str
    primary: str
    is_mirrored: bool
    is_primary_up: bool
    is_secondary_up: bool
    trouble: str
    gaps: tuple[str, ...]
    dead: tuple[str, ...]
    in_doubt: int
    is_paused: bool
    validation_age_s: float | None
    """Since the last validation that found equal began; None: never."""
    is_plain: bool = False
    """One of the two upstreams is: no validation clears gaps there."""


@dataclass(frozen=True, slots=True)
class Refusal:
    text: str
    hint: str
    is_forcible: bool = False


def preflight(facts: Facts) -> list[Refusal]:
    """Everything that stands against the switch, most important first; empty: go."""
    found: list[Refusal] = []
    if not facts.is_mirrored:
        found.append(
            Refusal(
                "the mirror is off: the other upstream lacks what was written since",
                "set mirror.enabled: true, then `turnout validate`",
            )
        )
    if facts.is_paused:
        found.append(
            Refusal(
                "the mirror is paused: what was written since waits in the journal",
                "run `turnout mirror resume`, and let it drain",
            )
        )
    if not facts.is_primary_up:
        found.append(
            Refusal(
                f"the primary {facts.primary} does not answer",
                f"start {facts.primary} again; only if it is lost, go on without it: --accept-loss",
            )
        )
    if not facts.is_secondary_up:
        found.append(
            Refusal(
                f"{facts.to} does not answer: {facts.trouble}",
                f"start {facts.to}, and look at `turnout status`",
            )
        )
    if facts.dead:
        listed = ", ".join(facts.dead[:5])
        found.append(
            Refusal(
                f"{len(facts.dead)} dead letter(s) wait for a person: {listed}", "retry or drop them first"
            )
        )
    if facts.gaps:
        listed = ", ".join(prefix or "/" for prefix in facts.gaps[:5])
        found.append(
            Refusal(
                f"unproven: the mirror did not carry everything under {listed}",
                "where an upstream is plain, gaps stay in this version: a switch is not yet possible"
                if facts.is_plain
                else "run `turnout validate`",
            )
        )
    if facts.validation_age_s is None or facts.validation_age_s > VALIDATION_AGE_S_MAX:
        age = (
            "there was none"
            if facts.validation_age_s is None
            else f"the last one is {facts.validation_age_s / 3600:.0f} h old"
        )
        found.append(
            Refusal(
                f"no recent validation found both equal: {age}",
                "run `turnout validate`, or say --force",
                is_forcible=True,
            )
        )
    return found


def standing(found: list[Refusal], *, force: bool) -> list[Refusal]:
    """The refusals that remain under ``--force``."""
    return [refusal for refusal in found if not (force and refusal.is_forcible)]
