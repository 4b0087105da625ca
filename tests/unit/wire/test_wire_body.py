"""Framers: where a body ends, whatever way it arrives; and what is no body."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.wire.body import (
    CHUNK_LINE_BYTES_MAX,
    EXTENSION_BYTES_MAX,
    TRAILER_BYTES_MAX,
    ChunkedFramer,
    CloseFramer,
    Framer,
    LengthFramer,
    chunk,
    last_chunk,
)
from proxy.wire.fault import WireFault

WHOLE = b"4\r\nWiki\r\n5;a=b\r\npedia\r\nE ;x\r\n in\r\n\r\nchunks.\r\n0\r\nX-Sum: 1\r\n\r\n"
BODY = b"Wikipedia in\r\n\r\nchunks."


def feed_all(framer: Framer, parts: list[bytes]) -> tuple[bytes, bytes]:
    """The body, and what was left over."""
    pieces: list[bytes] = []
    data = b""
    for number, part in enumerate(parts):
        used = framer.feed(part, pieces)
        if framer.is_done:
            data = part[used:] + b"".join(parts[number + 1 :])
            break
        assert used == len(part)
    return b"".join(pieces), data


@given(st.lists(st.integers(1, len(WHOLE) + 8)))
@settings(max_examples=300)
def test_a_chunked_body_reads_the_same_however_it_is_split(cuts: list[int]) -> None:
    data = WHOLE + b"GET /next"
    edges = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    parts = [data[a:b] for a, b in itertools.pairwise(edges)]
    framer = ChunkedFramer()
    assert feed_all(framer, parts) == (BODY, b"GET /next")
    assert framer.is_done
    assert framer.trailers == b"X-Sum: 1\r\n"


def test_a_chunked_body_reads_the_same_byte_by_byte() -> None:
    framer = ChunkedFramer()
    assert feed_all(framer, [bytes([one]) for one in WHOLE + b"G"]) == (BODY, b"G")


@pytest.mark.parametrize(
    "data",
    [
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\na\r\n",
        b"0x1\r\na\r\n",
        b"1 \r\na\r\n",
        b" 1\r\na\r\n",
        b"\r\n",
        b"1\na\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n",
        b"1\r\na\rX",
        b"1;a\x00\r\na\r\n",
        b"1;a\nb\r\na\r\n",
        b"ffffffffffffffff0\r\n",
        b"0\r\nbad trailer\r\n\r\n",
        b"0\r\nA: b\r\n folded\r\n\r\n",
        b"1" + b";" + b"x" * CHUNK_LINE_BYTES_MAX + b"\r\n",
        (b"1;" + b"x" * 1000 + b"\r\na\r\n") * (EXTENSION_BYTES_MAX // 1000 + 2),
        b"0\r\n" + b"A: bbbbbbbb\r\n" * (TRAILER_BYTES_MAX // 12 + 1),
    ],
)
def test_what_is_no_chunked_body_is_refused(data: bytes) -> None:
    with pytest.raises(WireFault):
        ChunkedFramer().feed(data, [])


def test_trailers_that_frame_or_route_are_dropped() -> None:
    framer = ChunkedFramer()
    framer.feed(
        b"0\r\nContent-Length: 5\r\nX-Ok: 1\r\nHOST: x\r\nTurnout-Epoch: 1\r\nTransfer-Encoding: x\r\nX-Ok: 2\r\n\r\n",
        [],
    )
    assert framer.trailers == b"X-Ok: 1\r\nX-Ok: 2\r\n"


def test_a_body_of_known_length_ends_there() -> None:
    framer = LengthFramer(5)
    assert feed_all(framer, [b"ab", b"cdefg"]) == (b"abcde", b"fg")
    assert framer.is_done


def test_a_body_in_one_piece_is_not_copied() -> None:
    data = b"x" * 1000
    for framer in (LengthFramer(5000), LengthFramer(1000), CloseFramer()):
        pieces: list[bytes] = []
        framer.feed(data, pieces)
        assert pieces[0] is data


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8))
def test_what_is_framed_anew_reads_the_same(pieces: list[bytes]) -> None:
    framed = b"".join(b"".join(chunk(piece)) for piece in pieces) + last_chunk(b"T: 1\r\n")
    framer = ChunkedFramer()
    assert feed_all(framer, [framed]) == (b"".join(pieces), b"")
    assert framer.trailers == b"T: 1\r\n"


@pytest.mark.parametrize("begun", [b"x", b"5\n", b"5x", b"\n", b"5;a\x00", b"5\rx", b"5 5", b"\r\r", b"0x5"])
def test_a_size_line_that_can_never_end_well_is_refused_before_its_end(begun: bytes) -> None:
    with pytest.raises(WireFault):
        ChunkedFramer().feed(begun, [])


@pytest.mark.parametrize("begun", [b"", b"5", b"5 ", b"5;", b"5;ext=", b"5;ext\r", b"5\r", b"FFF"])
def test_a_size_line_that_has_only_begun_is_waited_for(begun: bytes) -> None:
    framer = ChunkedFramer()
    assert framer.feed(begun, []) == len(begun)
    assert not framer.is_done
