"""Random sequences of requests to both servers and to a plain model: all three agree after every step.

A failure shrinks to a short program that can be read, and is kept and tried first in the next run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.contract.model import Model, bytes_of
from tests.support.pair import Heard, Pair, both_servers

pytestmark = pytest.mark.slow

MERGE = "application/merge-patch+json"
COLLECTIONS = ("orders", "names with spaces", "select")
KEYS = ("1", "2", "30", "a", "é", "x y", "50%", "q?#", "-1", "01")
FIELDS = ("a", "b", "at", "9", "")
TEXTS = ("", "a", "A", "true", "null", "3", "2.5", "ﬀ", "𝒳", 'quo"te', "back\\slash", "tab\t", "1e2", " 3")

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, 3, -1, 2**53 + 1, 2**64, 10**30, 0.5, 2.5, 1e22, 1e-7, 3.0]),
    st.sampled_from(TEXTS),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3)
    ),
    max_leaves=6,
)
bodies = st.dictionaries(st.sampled_from((*FIELDS, "created_at", "updated_at")), values, max_size=4)
names = st.sampled_from(COLLECTIONS)
keys = st.sampled_from(KEYS)
operators = st.sampled_from(("eq", "ne", "in", "like", "gte", "lte", "gt", "lt"))
filters = st.lists(
    st.tuples(st.sampled_from(("a", "b", "at", "9")), operators, st.sampled_from(TEXTS)), max_size=2
)
sorts = st.lists(
    st.tuples(st.sampled_from(("a", "b", "at", "id")), st.booleans()),
    max_size=2,
    unique_by=lambda one: one[0],
)


class Servers(RuleBasedStateMachine):
    """Both servers and the model. ``pair`` is set by the test: servers are too dear to start for each run."""

    pair: Pair
    runs = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).runs += 1
        self.model = Model()
        self.prefix = f"{self.runs}-"
        """Each run has names of its own, instead of servers of its own."""
        self.used_keys = 0

    def path(self, name: str, key: str | None = None) -> str:
        path = f"/api/{quote(self.prefix + name, safe='')}"
        return path if key is None else f"{path}/{quote(key, safe='')}"

    def agree(self, heard: Heard, expected: tuple[int, bytes | None]) -> None:
        status, body = expected
        assert heard.status == status, heard.body
        if body is not None:
            assert heard.body == body
        else:
            assert heard.header("content-type") == "application/problem+json"

    # -- writes -------------------------------------------------------------------------------------

    @rule(name=names, fields=bodies, key=keys, typed=st.booleans())
    def post_with_an_id(self, name: str, fields: dict, key: str, typed: bool) -> None:
        record_id: Any = int(key) if typed and key in ("1", "2", "30", "-1") else key
        fields = {**fields, "id": record_id}
        heard = self.pair.ask("POST", self.path(name), bytes_of(fields))
        self.agree(heard, self.model.post(name, fields))
        if heard.status == 201:
            assert heard.header("location") == self.path(name, key)

    @rule(name=names, fields=bodies)
    def post_without_one(self, name: str, fields: dict) -> None:
        if not self.model.makes_integers(name):
            return  # the ids would be random
        heard = self.pair.ask("POST", self.path(name), bytes_of(fields))
        self.agree(heard, self.model.post(name, fields))

    @rule(name=names, key=keys, fields=bodies, creates=st.booleans())
    def put(self, name: str, key: str, fields: dict, creates: bool) -> None:
        headers = {"If-None-Match": "*"} if creates else {}
        heard = self.pair.ask("PUT", self.path(name, key), bytes_of(fields), headers)
        self.agree(heard, self.model.put(name, key, fields, creates=creates))

    @rule(name=names, key=keys, fields=bodies, merge=st.booleans())
    def patch(self, name: str, key: str, fields: dict, merge: bool) -> None:
        headers = {"Content-Type": MERGE if merge else "application/json"}
        heard = self.pair.ask("PATCH", self.path(name, key), bytes_of(fields), headers)
        self.agree(heard, self.model.patch(name, key, fields, merge=merge))

    @rule(name=names, key=keys)
    def delete(self, name: str, key: str) -> None:
        self.agree(self.pair.ask("DELETE", self.path(name, key)), self.model.delete(name, key))

    @rule(name=names, key=keys, fields=bodies, stale=st.booleans())
    def put_if_it_is_still_so(self, name: str, key: str, fields: dict, stale: bool) -> None:
        body = self.model.get(name, key)[1]
        if body is None:
            return
        tag = '"' + "0" * 32 + '"' if stale else self.pair.ask("GET", self.path(name, key)).header("etag")
        heard = self.pair.ask("PUT", self.path(name, key), bytes_of(fields), {"If-Match": f'"x", {tag}'})
        self.agree(heard, (412, None) if stale else self.model.put(name, key, fields))

    @rule(name=names, fields=bodies)
    def post_twice_with_one_idempotency_key(self, name: str, fields: dict) -> None:
        if not self.model.makes_integers(name):
            return
        self.used_keys += 1
        headers = {"Idempotency-Key": f"{self.prefix}{self.used_keys}"}
        first = self.pair.ask("POST", self.path(name), bytes_of(fields), headers)
        self.agree(first, self.model.post(name, fields))
        again = self.pair.ask("POST", self.path(name), bytes_of(fields), headers)
        assert (again.status, again.body, again.headers) == (
            first.status,
            first.body,
            {**first.headers, "date": again.headers["date"]},
        )
        other = self.pair.ask("POST", self.path(name), bytes_of({**fields, "other": 1}), headers)
        assert (other.status, json.loads(other.body)["code"]) == (422, "idempotency-mismatch")

    # -- reads --------------------------------------------------------------------------------------

    @rule(name=names, key=keys)
    def get(self, name: str, key: str) -> None:
        heard = self.pair.ask("GET", self.path(name, key))
        self.agree(heard, self.model.get(name, key))
        if heard.status == 200:
            tag = heard.header("etag")
            assert (
                self.pair.ask("GET", self.path(name, key), headers={"If-None-Match": f"W/{tag}"}).status
                == 304
            )

    @rule(name=names, wanted=filters, sort=sorts, start=st.integers(0, 4), count=st.integers(0, 4))
    def list(self, name: str, wanted: list, sort: list, start: int, count: int) -> None:
        query = [(at if operator == "eq" else f"{at}_{operator}", text) for at, operator, text in wanted]
        if len({parameter for parameter, _ in query}) < len(query):
            return  # the same parameter twice means something else: or
        if sort:
            query.append(("_sort", ",".join("-" * down + at for at, down in sort)))
        query += [("_start", str(start)), ("_limit", str(count))]
        heard = self.pair.ask("GET", f"{self.path(name)}?{urlencode(query, quote_via=quote)}")
        rows = self.model.find(name, wanted, sort)
        assert heard.status == 200, heard.body
        assert heard.body == b"[" + b",".join(map(bytes_of, rows[start : start + count])) + b"]"
        assert heard.header("x-total-count") == str(len(rows))

    @invariant()
    def whole_collections_agree(self) -> None:
        for name, rows in self.model.collections.items():
            heard = self.pair.ask("GET", self.path(name))
            assert heard.body == b"[" + b",".join(map(bytes_of, rows.values())) + b"]"


def test_both_servers_and_a_plain_model_agree_on_every_sequence(tmp_path: Path, database_url: str) -> None:
    with both_servers(tmp_path) as pair:
        Servers.pair = pair
        run_state_machine_as_test(
            Servers,
            settings=settings(
                max_examples=40,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
