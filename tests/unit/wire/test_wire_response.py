"""Response heads: framing, hop-by-hop lines, and what makes a 502."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.fault import WireFault
from proxy.wire.response import ResponseHead


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/2 200 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1  200 OK",
        b"ICY 200 OK",
        b"HTTP/1.1 099 X",
        b"HTTP/1.1 200 a\x00",
    ],
)
def test_a_status_line_that_is_none_is_refused(line: bytes) -> None:
    with pytest.raises(WireFault):
        ResponseHead(line, b"")


@pytest.mark.parametrize(
    "section",
    [
        b"Content-Length: 1\r\nContent-Length: 2\r\n",
        b"Content-Length: a\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"X : a\r\n",
        b"X: a\r\n b\r\n",
        b"X: a\rb\r\n",
        b"X: a\nb\r\n",
        b"Connection: content-length\r\nContent-Length: 1\r\n",
    ],
)
def test_a_section_with_no_single_reading_is_refused(section: bytes) -> None:
    with pytest.raises(WireFault):
        ResponseHead(b"HTTP/1.1 200 OK", section)


def test_chunked_in_http_1_0_is_refused() -> None:
    with pytest.raises(WireFault):
        ResponseHead(b"HTTP/1.0 200 OK", b"Transfer-Encoding: chunked\r\n")


def test_hop_by_hop_lines_and_ours_go_and_all_others_stay_as_they_came() -> None:
    head = ResponseHead(
        b"HTTP/1.1 299 Odd  Reason",
        b"X-b: 1\r\nConnection: X-Hop\r\nx-hop: 2\r\nset-cookie: a\r\nSet-Cookie: b\r\nX-Served-By: me\r\n"
        b"Turnout-Version: 1\r\nKeep-Alive: 5\r\nX-B: 3\r\nContent-LENGTH:  7 \r\n",
    )
    assert head.forward == b"X-b: 1\r\nset-cookie: a\r\nSet-Cookie: b\r\nX-B: 3\r\nContent-LENGTH:  7 \r\n"
    assert head.text == b"299 Odd  Reason"
    assert head.length == 7
    assert head.header("turnout-version") == "1"


@pytest.mark.parametrize(
    ("line", "connection", "expected"),
    [
        (b"HTTP/1.1 200 OK", b"", True),
        (b"HTTP/1.1 200 OK", b"Connection: close\r\n", False),
        (b"HTTP/1.1 200 OK", b"Connection: keep-alive\r\n", True),
        (b"HTTP/1.0 200 OK", b"", False),
        (b"HTTP/1.0 200 OK", b"Connection: keep-alive\r\n", True),
    ],
)
def test_persistence_follows_version_and_connection(line: bytes, connection: bytes, expected: bool) -> None:
    head = ResponseHead(line, b"A: b\r\n" + connection + b"Content-Length: 0\r\n")
    assert head.keeps_alive is expected
    assert head.forward == b"A: b\r\nContent-Length: 0\r\n"


def test_a_204_says_no_length() -> None:
    assert ResponseHead(b"HTTP/1.1 204 No Content", b"Content-Length: 0\r\nA: b\r\n").forward == b"A: b\r\n"


@given(
    st.permutations(
        [
            b"Date: now\r\n",
            b"Content-Length: 12\r\n",
            b"Connection: Keep-Alive\r\n",
            b"X-Date: then\r\n",
            b"Turnout-Version: 5; base=4\r\n",
            b"turnout-x:\r\n",
            b'ETag: "x"\r\n',
        ]
    ),
    st.integers(0, 7),
)
def test_the_short_way_and_the_careful_one_agree(lines: list[bytes], how_many: int) -> None:
    section = b"".join(lines[:how_many])
    head = ResponseHead(b"HTTP/1.1 200 OK", section)
    quick = (head.forward, head.length, head.keeps_alive, head.is_chunked, head.upgrade)
    low = b"\n" + section.lower()
    names = {
        name
        for name in (b"date", b"content-length", b"connection", b"turnout-version", b"turnout-x")
        if b"\n" + name + b":" in low
    }
    head._study(names, low)
    assert quick == (head.forward, head.length, head.keeps_alive, head.is_chunked, head.upgrade)
