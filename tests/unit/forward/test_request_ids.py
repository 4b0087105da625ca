"""X-Request-Id lines."""

from __future__ import annotations

import re

from proxy.forward.request_ids import RequestIds


def test_each_line_is_another_also_past_the_table_of_last_digits() -> None:
    ids = RequestIds()
    lines = [ids.line() for _ in range(1000)]
    assert len(set(lines)) == 1000
    assert all(re.fullmatch(rb"X-Request-Id: [0-9a-f]{24}\r\n", line) for line in lines)


def test_two_processes_have_no_line_in_common() -> None:
    assert RequestIds().line() != RequestIds().line()
