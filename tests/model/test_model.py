"""Every state that small bounds allow keeps the promises; and each rule, left out, is missed within them."""

from __future__ import annotations

import pytest

from tests.model.explore import explore
from tests.model.protocol import RULES, Bounds, Rules

OLD = (1000,)
"""A record from before anybody heard of Turnout."""

WHOLE = {
    "a patch and a delete": Bounds(("patch", "del")),
    "three writes": Bounds(("patch", "del", "put")),
    "two patches and a crash": Bounds(("patch", "patch"), crashes=1),
    "two patches and a switch": Bounds(("patch", "patch"), switches=1),
    "a delete, a create and a switch": Bounds(("del", "patch"), switches=1, begins_with=OLD),
    "a switch and a rollback": Bounds(("patch",), switches=2),
    "a switch and a crash": Bounds(("patch",), switches=1, crashes=1),
    "two patches, a switch and a crash": Bounds(("patch", "patch"), switches=1, crashes=1),
    "a write from elsewhere": Bounds(("patch", "patch"), foreigns=1, begins_with=OLD),
    "a write from elsewhere and a delete": Bounds(("del",), foreigns=1, begins_with=OLD),
    "a write from elsewhere and a switch": Bounds(("patch",), foreigns=1, switches=1, begins_with=OLD),
    "another proxy": Bounds(("patch",), strays=1),
    "a backfill and two patches": Bounds(("patch", "patch"), backfill=True, begins_with=OLD),
    "a backfill, a delete and a create": Bounds(("del", "put"), backfill=True, begins_with=OLD),
    "a backfill of nothing": Bounds(("put", "del"), backfill=True),
    "a backfill and a crash": Bounds(("patch",), backfill=True, begins_with=OLD, crashes=1),
    "a backfill and a write from elsewhere": Bounds(("patch",), backfill=True, foreigns=1, begins_with=OLD),
    "a backfill and a switch": Bounds(("patch",), backfill=True, switches=1, begins_with=OLD),
}

MISSED_IN = {
    "N1": "two patches and a switch",
    "N4": "a write from elsewhere and a delete",
    "R1": "a backfill and a write from elsewhere",
    "W1": "a patch and a delete",
    "V1": "a patch and a delete",
    "void": "a patch and a delete",
    "M1": "two patches and a switch",
    "M1-create": "a patch and a delete",
    "M2": "a patch and a delete",
    "M2-at": "a backfill of nothing",
    "W3": "a write from elsewhere",
    "W3-number": "a write from elsewhere and a delete",
    "B2": "a backfill and a crash",
    "S0": "a backfill and a crash",
    "sweep": "a backfill of nothing",
    "floor": "a backfill, a delete and a create",
    "E3": "another proxy",
    "E2-both": "a switch and a rollback",
    "burn": "a switch and a crash",
    "renew": "a switch and a rollback",
    "fence": "a switch and a rollback",
    "drain": "a switch and a rollback",
    "repair-covers": "a patch and a delete",
}


@pytest.mark.slow
@pytest.mark.parametrize("bounds", WHOLE.values(), ids=WHOLE)
def test_p3_p4_p7_hold_in_every_state_of(bounds: Bounds) -> None:
    walk = explore(bounds)
    assert walk.is_whole
    assert not walk.fault, f"\n{walk}"


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_missed_where_it_is_left_out(rule: str) -> None:
    walk = explore(WHOLE[MISSED_IN[rule]], Rules(frozenset({rule})))
    print(f"\nwithout {rule} ({RULES[rule]}):\n{walk}")
    assert walk.fault, f"{rule}: left out, and nothing goes wrong"
    assert walk.trace
