"""Every pair of state and event is either in the table, or refused."""

import itertools

import pytest

from proxy.journal.entry import TERMINAL, TRANSITIONS, EntryEvent, EntryState, IllegalEventError, after


@pytest.mark.parametrize(("state", "event"), list(itertools.product(EntryState, EntryEvent)))
def test_each_pair_moves_as_the_table_says_or_is_illegal(state: EntryState, event: EntryEvent) -> None:
    if event in TRANSITIONS[state]:
        assert after(state, event) is TRANSITIONS[state][event]
    else:
        with pytest.raises(IllegalEventError, match=str(state)):
            after(state, event)


def test_only_settled_and_ended_are_final() -> None:
    assert frozenset({EntryState.SETTLED, EntryState.ENDED}) == TERMINAL


def test_every_state_is_reached_from_an_intent() -> None:
    reached = {EntryState.INTENT}
    while True:
        more = {to for state in reached for to in TRANSITIONS[state].values()} | reached
        if more == reached:
            break
        reached = more
    assert reached == set(EntryState)


def test_a_doubtful_entry_ends_by_the_primarys_word_or_without_the_primary() -> None:
    assert set(TRANSITIONS[EntryState.DOUBT]) == {
        EntryEvent.VOID_DONE,
        EntryEvent.VOID_NEVER,
        EntryEvent.GIVEN_UP,
    }
