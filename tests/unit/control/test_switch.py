"""The switch as a table, what refuses it, and where the move stands."""

import itertools
from dataclasses import replace

import pytest

from proxy.control.status import rollback_of, stage_of
from proxy.control.switch import FORCED, TRANSITIONS, Came, Facts, Step, preflight, standing
from proxy.model import Canary, Endpoint, Limits, MirrorSettings, Snapshot, Stage, Upstream

FINE = Facts(
    to="postgres", primary="json", is_mirrored=True, is_primary_up=True, is_secondary_up=True, trouble="",
    gaps=(), dead=(), in_doubt=0, is_paused=False, validation_age_s=60.0,
)  # fmt: skip


def test_every_way_through_the_table_ends() -> None:
    for choices in itertools.product(Came, repeat=len(Step)):
        step = Step.PREFLIGHT
        for came in choices:
            if not TRANSITIONS[step]:
                break
            step = TRANSITIONS[step].get(came, step)
        assert step in (Step.DONE, Step.REFUSED, Step.CALLED_OFF) or step is Step.RENEW


def test_after_the_burn_the_only_way_back_is_a_renewed_epoch() -> None:
    for step in (Step.BURN, Step.ANNOUNCE, Step.COMMIT):
        assert TRANSITIONS[step][Came.FAILED] is Step.RENEW
    for step in (Step.DRAIN, Step.FENCE, Step.REST):
        assert TRANSITIONS[step][Came.FAILED] is Step.CALLED_OFF


def test_without_the_primary_the_table_burns_only_what_was_salvaged_and_ends_always() -> None:
    assert FORCED[Step.STILL][Came.OK] is Step.SALVAGE
    assert FORCED[Step.SALVAGE] == {Came.OK: Step.BURN, Came.FAILED: Step.CALLED_OFF}
    for choices in itertools.product(Came, repeat=8):
        step = Step.PREFLIGHT
        for came in choices:
            step = FORCED[step].get(came, step)
        assert FORCED[step] == {} or step is Step.RENEW


def test_nothing_stands_against_a_switch_when_all_is_well() -> None:
    assert preflight(FINE) == []


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (replace(FINE, is_mirrored=False), "the mirror is off"),
        (replace(FINE, is_primary_up=False), "does not answer"),
        (replace(FINE, is_secondary_up=False, trouble="refused"), "postgres does not answer: refused"),
        (replace(FINE, gaps=("", "/api/x")), "under /, /api/x"),
        (replace(FINE, dead=("/api/orders/1",)), "/api/orders/1"),
        (replace(FINE, validation_age_s=None), "there was none"),
        (replace(FINE, validation_age_s=25 * 3600.0), "25 h old"),
    ],
)
def test_each_obstacle_is_named_with_what_to_do(facts: Facts, words: str) -> None:
    (refusal,) = preflight(facts)
    assert words in refusal.text
    assert refusal.hint


def test_where_an_upstream_is_plain_no_validation_is_asked_for_against_a_gap() -> None:
    (refusal,) = preflight(replace(FINE, gaps=("",), is_plain=True))
    assert ("gaps stay" in refusal.hint, refusal.is_forcible) == (True, False)


def test_force_skips_the_age_of_the_validation_and_nothing_else() -> None:
    found = preflight(replace(FINE, validation_age_s=None, gaps=("",), dead=("/a/1",), is_secondary_up=False))
    assert [refusal.is_forcible for refusal in found] == [False, False, False, True]
    assert len(standing(found, force=True)) == 3
    assert standing(found, force=False) == found


def snapshot(primary: str = "json", *, mirror: bool = True, canary: bool = False) -> Snapshot:
    upstreams = (
        Upstream("json", (Endpoint("127.0.0.1", 1),)),
        Upstream("postgres", (Endpoint("127.0.0.1", 2),)),
    )
    secondary = "postgres" if primary == "json" else "json"
    return Snapshot(
        upstreams, primary, secondary, Canary(enabled=canary), (), MirrorSettings(enabled=mirror), Limits()
    )


@pytest.mark.parametrize(
    ("snapshot", "sample", "stage", "rollback"),
    [
        (snapshot(mirror=False), 0, Stage.OFF, "nothing"),
        (snapshot("postgres", mirror=False), 0, Stage.COMPLETE, "refuse"),
        (snapshot("postgres", canary=True), 0, Stage.SWITCHED, "switch-back"),
        (snapshot(canary=True), 5, Stage.CANARY, "canary-off"),
        (snapshot(), 5, Stage.SHADOW, "nothing"),
        (snapshot(), 0, Stage.DUAL_WRITE, "nothing"),
    ],
)
def test_the_stage_is_the_first_that_fits_and_says_what_a_rollback_does(
    snapshot: Snapshot, sample: float, stage: Stage, rollback: str
) -> None:
    assert stage_of(snapshot, first_primary="json", shadow_sample=sample) is stage
    assert rollback_of(stage) == rollback
