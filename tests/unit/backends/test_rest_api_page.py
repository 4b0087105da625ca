"""docs/reference/rest-api.md says what the code does: every parameter, every bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends import calls, http_server, query
from backends.contract import canonical, ids, kept, querystring, relations

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "rest-api.md").read_text("utf-8")
FLAT = " ".join(PAGE.split())


def test_every_parameter_and_operator_is_on_the_page() -> None:
    names = [*querystring._SINGLE, *querystring._RELATIONS]
    assert [name for name in names if f"`{name}" not in PAGE and f" `{name}" not in PAGE] == []
    assert [op for op in query.Operator if op != "eq" and f"`f_{op}" not in PAGE] == []


@pytest.mark.parametrize(
    ("is_so", "words"),
    [
        (query.ROWS_MAX == 1000, "at most 1,000 rows"),
        (querystring.PAGE_ROWS_DEFAULT == 10, "rows a page (10 if not said)"),
        (querystring.SORT_FIELDS_MAX == 10, "at most 10 fields"),
        (querystring.PARAMETERS_MAX == 100, "more than 100 parameters"),
        (relations.EMBEDDED_MAX == 10_000, "More than 10,000 for one name"),
        (relations.RELATIONS_MAX == 10, "at most 10 names together"),
        (ids.ID_BYTES_MAX == 512, "1–512 bytes of UTF-8"),
        (canonical.DIGITS_MAX == 4300, "over 4,300 digits"),
        (canonical.DEPTH_MAX == 200, "over 200 levels"),
        (calls.ServerOptions("x").body_bytes_max == 10 << 20, "more than 10 MiB"),
        (calls.ServerOptions("x").body_timeout_s == 60, "more than 60 s"),
        (kept.IDEMPOTENCY_KEY.fullmatch("x" * 255) is not None, "1–255 characters"),
        (kept.IDEMPOTENCY_KEY.fullmatch("x" * 256) is None, "1–255 characters"),
    ],
)
def test_every_figure_is_a_bound_of_the_code(is_so: bool, words: str) -> None:
    assert is_so, words
    assert words in FLAT


def test_a_head_that_the_proxy_lets_through_fits_the_servers() -> None:
    from proxy.model import Limits

    assert Limits().header_bytes <= http_server.HEAD_BYTES_MAX
    assert Limits().header_count + 16 <= http_server.HEADERS_MAX
