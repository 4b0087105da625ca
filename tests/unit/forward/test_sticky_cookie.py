"""The cookie that tells a client its bucket."""

from __future__ import annotations

from proxy.forward.answering import cookie_line
from proxy.model import BUCKETS
from proxy.routing.decide import bucket_of_cookie


def test_every_bucket_that_is_given_is_taken_back() -> None:
    for bucket in range(BUCKETS):
        name, _, value = cookie_line(bucket).partition(b": ")
        assert name == b"Set-Cookie"
        assert bucket_of_cookie(value.split(b";")[0].decode()) == bucket
