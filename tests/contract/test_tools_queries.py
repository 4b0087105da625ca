"""Queries of the tools' paths that no store could look up."""

from __future__ import annotations

import pytest

from tests.support.api import Api


@pytest.mark.parametrize("target", ["buckets?name=a%00b", "buckets?collection=a%00", "ids?collection=%00&bucket=1",
                                    "answers?key=%00", "answers?after=%00", "answers?key=%ff"])  # fmt: skip
async def test_a_name_that_cannot_be_is_refused_and_not_looked_up(server: Api, target: str) -> None:
    reply = await server.get(f"/_turnout/{target}")
    assert (reply.status, reply.code) == (400, "bad-query")
