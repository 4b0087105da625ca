"""Whatever a list asks for, both stores give what the plain evaluation of backends.query gives: the same rows, order and total.

The stores answer from indexes, columns and SQL of their own; here is nothing but records, one after the other.
"""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.contract.canonical import encode
from backends.contract.problems import Problem
from backends.contract.querystring import parse_listing
from backends.query import QueryError, Selection
from tests.support.pair import Pair, both_servers

pytestmark = pytest.mark.slow

FIELDS = ("a", "b", "a.b", "a_in", "n", "s", "null", "é", 'q"', "id")
STRINGS = ("", "a", "A", "aa", "b", "true", "null", "1", "1.0", "1e0", "-0", "ﬀ", "\ufffd", "𝒳", "é", "e\u0301", "İ", "ß", "SS", "a,b",
           'q"', "\\", "\\u0061", "\n", "\u0000", "%", "_", "'", "9007199254740993")  # fmt: skip
NUMBERS = (0, 1, -1, 1.0, 0.5, 2, 10, 1e22, 10**22, 2**53, 2**53 + 1, 2.0**53, 10**400, -(10**400), 1e-7, 5e-324, 1.7976931348623157e308)  # fmt: skip

scalars = st.one_of(
    st.none(), st.booleans(), st.sampled_from(NUMBERS), st.sampled_from(STRINGS), st.just("\ud800")
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3)
    ),
    max_leaves=5,
)
ids = st.one_of(st.integers(-3, 12), st.sampled_from(("x", "y", "007", "é", "1.5", 'q"')))
records = st.lists(
    st.tuples(ids, st.dictionaries(st.sampled_from(FIELDS), values, max_size=5)),
    max_size=14,
    unique_by=lambda pair: str(pair[0]),
)
texts = st.sampled_from(
    [text for text in STRINGS if text != "\u0000"]
    + [str(number)[:30] for number in NUMBERS]
    + ["false", "x", "3"]
)
paths = st.sampled_from((*FIELDS, "a.a", "a.0", "b.b.a", "a.b.n", "missing"))
suffixes = st.sampled_from(("", "", "_ne", "_in", "_like", "_gte", "_lte", "_gt", "_lt"))
wanted = st.tuples(st.builds(str.__add__, paths, suffixes), texts)
sorts = st.lists(st.builds(str.__add__, st.sampled_from(("", "-")), paths), min_size=1, max_size=3)
windows = st.sampled_from(
    ((), (), (("_limit", "3"),), (("_start", "2"), ("_end", "5")), (("_page", "2"), ("_per_page", "3")), (("_after", "3"), ("_limit", "2")),
     (("_after", "x"),))
)  # fmt: skip


@st.composite
def queries(draw: st.DrawFn) -> str:
    pairs = draw(st.lists(wanted, max_size=3))
    if draw(st.booleans()):
        pairs.append(("_sort", ",".join(draw(sorts))))
    if draw(st.integers(0, 4)) == 0:
        pairs.append(("q", draw(texts)))
    return urlencode([*pairs, *draw(windows)], quote_via=quote)


def plainly(bodies: list[bytes], query: str) -> tuple[list[bytes], int] | None:
    """By the one evaluation, record after record; None where it is refused."""
    try:
        selection = Selection(parse_listing(query).query)
        for body in bodies:
            selection.add(body)
        rows, total = selection.page()
    except (Problem, QueryError):
        return None
    return list(rows), total


def test_both_stores_answer_every_list_as_the_plain_evaluation_does(
    tmp_path: Path, database_url: str
) -> None:
    names = count()
    with both_servers(tmp_path) as pair:

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(rows=records, asked=st.lists(queries(), min_size=1, max_size=8))
        def agree(rows: list[tuple[int | str, dict]], asked: list[str]) -> None:
            name = f"c{next(names)}"
            bodies = [
                encode({"id": record_id, **{k: v for k, v in fields.items() if k != "id"}})
                for record_id, fields in rows
            ]
            fill(pair, name, rows, bodies)
            for query in asked:
                heard = pair.ask("GET", f"/api/{name}?{query}")
                expected = plainly(bodies, query)
                if expected is None:
                    assert heard.status == 400, query
                    continue
                assert heard.status == 200, (query, heard.body)
                assert heard.body == b"[" + b",".join(expected[0]) + b"]", query
                assert heard.header("x-total-count") == str(expected[1]), query

        agree()


def fill(pair: Pair, name: str, rows: list[tuple[int | str, dict]], bodies: list[bytes]) -> None:
    """As a backfill does it, in this order of creation."""
    lines = b"".join(
        b'{"id":%b,"at":0,"body":%b}\n' % (json.dumps(str(record_id)).encode(), body)
        for (record_id, _), body in zip(rows, bodies, strict=True)
    )
    heard = pair.ask("POST", f"/_turnout/apply?collection={name}", lines)
    assert json.loads(heard.body)["applied"] == len(rows), heard.body
