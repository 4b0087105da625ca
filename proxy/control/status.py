"""Where the whole move stands, derived from what is actual; never stored. Pure."""

from __future__ import annotations

from proxy.model import Snapshot, Stage


def stage_of(snapshot: Snapshot, *, first_primary: str, shadow_sample: float = 0.0) -> Stage:
    """The first that fits (DESIGN section 4, Stages)."""
    has_switched = bool(first_primary) and snapshot.primary != first_primary
    if not snapshot.mirror.enabled:
        return Stage.COMPLETE if has_switched else Stage.OFF
    if has_switched:
        return Stage.SWITCHED
    if snapshot.canary.enabled:
        return Stage.CANARY
    if shadow_sample > 0:
        return Stage.SHADOW
    return Stage.DUAL_WRITE


def rollback_of(stage: Stage) -> str:
    """What a rollback does at a stage: ``nothing``, ``canary-off``, ``switch-back`` or ``refuse``."""
    match stage:
        case Stage.OFF | Stage.DUAL_WRITE | Stage.SHADOW:
            return "nothing"
        case Stage.CANARY:
            return "canary-off"
        case Stage.SWITCHED:
            return "switch-back"
        case Stage.COMPLETE:
            return "refuse"
