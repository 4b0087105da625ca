"""Request heads: what is read, what is refused, and that both ways of reading agree."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.wire import request as wire
from proxy.wire.fault import WireFault
from proxy.wire.heads import forwarded, request_head
from proxy.wire.request import RequestFields, RequestHead, is_hopeless, parse_request, whole_request

HOST = b"Host: shop\r\n"


def parse(line: bytes, section: bytes = HOST) -> RequestHead:
    return parse_request(line, section)


def refusal(line: bytes, section: bytes = HOST) -> int:
    with pytest.raises(WireFault) as caught:
        parse_request(line, section)
    return caught.value.status


@pytest.mark.parametrize(
    "section",
    [
        b"",
        b"Host: a\r\nHost: a\r\n",
        b"Host: a b\r\n",
        b"Host: a@b\r\n",
        b"Host:\r\n",
        b"Host: a/b\r\n",
        HOST + b"X: 1\r\n folded\r\n",
        HOST + b"X : 1\r\n",
        HOST + b": 1\r\n",
        HOST + b"no colon\r\n",
        HOST + b"X: a\rb\r\n",
        HOST + b"X: a\nb\r\n",
        HOST + b"X: a\x00b\r\n",
        HOST + b"X\x01: a\r\n",
        HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n",
        HOST + b"Content-Length: 5\r\nContent-Length: 5\r\n",
        HOST + b"Content-Length: 5, 5\r\n",
        HOST + b"Content-Length: +5\r\n",
        HOST + b"Content-Length: -5\r\n",
        HOST + b"Content-Length: 0x5\r\n",
        HOST + b"Content-Length: 5 5\r\n",
        HOST + b"Content-Length:\r\n",
        HOST + b"Content-Length: 9999999999999999999999\r\n",
        HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        HOST + b'Transfer-Encoding: "chunked"\r\n',
        HOST + b"Transfer-Encoding:\r\n",
        HOST + b"Transfer-Encoding: chunked;q=1\r\n",
        HOST + b"Connection: content-length\r\nContent-Length: 5\r\n",
        HOST + b"Connection: close, host\r\n",
    ],
)
def test_a_section_with_no_single_reading_is_refused_with_400(section: bytes) -> None:
    assert refusal(b"POST / HTTP/1.1", section) == 400


@pytest.mark.parametrize(
    "coding", [b"gzip, chunked", b"gzip", b"identity", b"xchunked", b"chunked, chunked", b"chunked, gzip"]
)
def test_a_coding_other_than_chunked_is_refused_with_501(coding: bytes) -> None:
    assert refusal(b"POST / HTTP/1.1", HOST + b"Transfer-Encoding: %b\r\n" % coding) == 501


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b"GET /a b HTTP/1.1", 400),
        (b"GET /a#b HTTP/1.1", 400),
        (b"GET /\x01 HTTP/1.1", 400),
        (b"GET /\x7f HTTP/1.1", 400),
        (b"G(T / HTTP/1.1", 400),
        (b"get shop HTTP/1.1", 400),
        (b"GET * HTTP/1.1", 400),
        (b"GET ftp://shop/ HTTP/1.1", 400),
        (b"GET http://u@shop/ HTTP/1.1", 400),
        (b"GET http:/// HTTP/1.1", 400),
        (b"GET / http/1.1", 400),
        (b"GET / HTTP/1.10", 400),
        (b"GET / HTTP/11", 400),
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/0.9", 505),
        (b"GET / HTTP/1.", 400),
        (b"GET / HTTP/1.x", 400),
        (b"CONNECT shop:443 HTTP/1.1", 501),
    ],
)
def test_a_request_line_that_is_none_is_refused(line: bytes, status: int) -> None:
    assert refusal(line) == status


def test_trace_with_a_body_is_refused() -> None:
    assert refusal(b"TRACE / HTTP/1.1", HOST + b"Transfer-Encoding: chunked\r\n") == 400


def test_a_transfer_coding_in_http_1_0_is_refused() -> None:
    assert refusal(b"POST / HTTP/1.0", HOST + b"Transfer-Encoding: chunked\r\n") == 400


@pytest.mark.parametrize(
    "target", [b"/a%2Fb/../c//d?x=%zz", b"/?", b"/%", b'/<>^`{|}"', b"/caf\xc3\xa9", b"/a;b=c,d", b"//evil/"]
)
def test_a_target_goes_on_byte_for_byte(target: bytes) -> None:
    head = parse(b"GET %b HTTP/1.1" % target)
    assert request_head(head, b"", b"x").split(b" ")[1] == target


@pytest.mark.parametrize("method", [b"PROPFIND", b"purge", b"M-SEARCH", b"X!"])
def test_methods_that_nobody_has_heard_of_pass(method: bytes) -> None:
    head = parse(b"%b / HTTP/1.1" % method)
    assert request_head(head, b"", b"x").startswith(method + b" / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("target", "reduced"),
    [
        (b"http://other:81/a?b", b"/a?b"),
        (b"HTTP://other:81", b"/"),
        (b"http://other:81?q", b"/?q"),
        (b"https://other:81/%2f", b"/%2f"),
    ],
)
def test_an_absolute_target_is_reduced_and_its_authority_becomes_host(target: bytes, reduced: bytes) -> None:
    head = parse(b"GET %b HTTP/1.1" % target, b"A: 1\r\nHOST: shop\r\nB: 2\r\n")
    assert (
        request_head(head, b"", b"x")
        == b"GET %b HTTP/1.1\r\nA: 1\r\nHost: other:81\r\nB: 2\r\n\r\n" % reduced
    )


def test_options_asks_after_the_server_itself() -> None:
    assert parse(b"OPTIONS * HTTP/1.1").target == b"*"
    assert parse(b"OPTIONS http://shop HTTP/1.1").target == b"*"


def test_hop_by_hop_lines_go_and_all_others_keep_order_case_and_duplicates() -> None:
    section = (
        b"hOST: shop\r\nX-b: 1\r\nConnection: Keep-Alive, x-secret , TE\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
        b"x-A:  2 \r\nX-Secret: s\r\nX-b: 3\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nx-SECRET: t\r\n"
        b"Turnout-Mirror: repair\r\nturnout-epoch: 3\r\nX-Forwarded-For: 1.2.3.4\r\nTrailer: x\r\nCookie: a\r\nCookie: b\r\n"
    )
    head = parse(b"GET / HTTP/1.1", section)
    assert head.fields.forward == (
        b"hOST: shop\r\nX-b: 1\r\nx-A:  2 \r\nX-b: 3\r\nTrailer: x\r\nCookie: a\r\nCookie: b\r\n"
    )
    assert head.keeps_alive
    assert not head.fields.upgrade
    assert head.header("cookie") == "a; b"
    assert head.header("x-b") == "1, 3"
    assert head.header("x-none") is None


@pytest.mark.parametrize(
    ("version", "connection", "expected"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"close", False),
        (b"1.1", b"CLOSE", False),
        (b"1.1", b"foo, close", False),
        (b"1.0", b"", False),
        (b"1.0", b"keep-alive", True),
        (b"1.0", b"keep-alive, close", False),
    ],
)
def test_persistence_follows_version_and_connection(
    version: bytes, connection: bytes, expected: bool
) -> None:
    section = HOST + (b"Connection: %b\r\n" % connection if connection else b"")
    assert parse(b"GET / HTTP/" + version, section).keeps_alive is expected


def test_an_http_1_0_request_without_host_gets_one_and_loses_expect() -> None:
    head = parse(b"POST / HTTP/1.0", b"Expect: 100-continue\r\nContent-Length: 1\r\n")
    assert (
        request_head(head, b"", b"127.0.0.1:9")
        == b"POST / HTTP/1.1\r\nHost: 127.0.0.1:9\r\nContent-Length: 1\r\n\r\n"
    )


def test_max_forwards_counts_down_for_trace_and_options_alone() -> None:
    section = HOST + b"Max-Forwards: 3\r\n"
    assert b"Max-Forwards: 2\r\n" in request_head(parse(b"TRACE / HTTP/1.1", section), b"", b"x")
    assert b"Max-Forwards: 3\r\n" in request_head(parse(b"GET / HTTP/1.1", section), b"", b"x")


def test_x_forwarded_is_said_anew_unless_the_peer_is_trusted() -> None:
    fields = RequestFields(
        HOST + b"X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\nX-Forwarded-Proto: https\r\n"
    )
    lines = forwarded(fields, b"9.9.9.9", host=b"shop", is_trusted=False, minor=b"1")
    assert (
        lines
        == b"X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: shop\r\nVia: 1.1 turnout\r\n"
    )
    lines = forwarded(fields, b"9.9.9.9", host=b"shop", is_trusted=True, minor=b"0")
    assert lines.startswith(b"X-Forwarded-For: 1.1.1.1, 2.2.2.2, 9.9.9.9\r\nX-Forwarded-Proto: https\r\n")
    assert lines.endswith(b"Via: 1.0 turnout\r\n")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"GET / HT", False),
        (b"GE", False),
        (b"GET /\xc3", False),
        (b"GET / HTTP/1.1\r", False),
        (b"GET / HTTP/1.1\r\nHo", False),
        (b"\x16\x03\x01\x02", True),
        (b"GET / HTTP/1.1\nHost: x\n", True),
        (b"nonsense\r\n", True),
        (b"GET / HTTP/1.1\r\nA: b\nC", True),
        (b" GET", True),
    ],
)
def test_what_can_never_become_a_head_is_known_early(data: bytes, expected: bool) -> None:
    assert is_hopeless(data, 0) is expected


# -- both ways agree ---------------------------------------------------------------------------------

NAMES = st.sampled_from(
    [
        b"Host",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Connection",
        b"X-A",
        b"TE",
        b"Expect",
        b"Upgrade",
        b"Turnout-X",
        b"cookie",
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        [
            b"shop",
            b"5",
            b"chunked",
            b"close",
            b"keep-alive",
            b"trailers",
            b"websocket",
            b"",
            b" 5 ",
            b"a\tb",
            b"\xff",
        ]
    ),
    st.binary(max_size=6),
)
SEPARATORS = st.sampled_from([b": ", b":", b":\t", b" : ", b""])
ENDS = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b"\r\n "])
LINES = st.sampled_from(
    [
        b"GET / HTTP/1.1",
        b"POST /a?b HTTP/1.1",
        b"GET / HTTP/1.0",
        b"get / HTTP/1.1",
        b"GET /\xc3 HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET http://h/x HTTP/1.1",
        b"TRACE /a HTTP/1.1",
        b"CONNECT /a HTTP/1.1",
        b"PROPFIND /a?b?c HTTP/1.1",
        b"PUT /a?? HTTP/1.1",
        b"PUT /a#b HTTP/1.1",
    ]
)


@given(LINES, st.lists(st.tuples(NAMES, SEPARATORS, VALUES, ENDS), max_size=5))
@settings(max_examples=600, deadline=None)
def test_the_short_way_accepts_nothing_that_the_full_way_reads_otherwise(
    line: bytes, parts: list[tuple[bytes, bytes, bytes, bytes]]
) -> None:
    section = HOST + b"".join(map(b"".join, parts))
    shortest = whole_request(line + b"\r\n" + section + b"\r\n", None)
    try:
        quick = parse_request(line, section)
    except WireFault:
        assert shortest is None
        return
    if shortest is not None:
        assert not quick.has_body
        assert shortest[1] == len(line) + len(section) + 4
        assert request_head(shortest[0], b"", b"h") == request_head(quick, b"", b"h")
        assert (shortest[0].method, shortest[0].path, shortest[0].query) == (
            quick.method,
            quick.path,
            quick.query,
        )
    full = wire._full(line, RequestFields(section))
    for asked in ("method", "target", "path", "query", "is_http11", "authority"):
        assert getattr(quick, asked) == getattr(full, asked), asked
    assert quick.fields.forward == full.fields.forward
    # What goes on is the same too, whether the line is kept as it came or made anew.
    assert request_head(quick, b"X-Tail: 1\r\n", b"h") == request_head(full, b"X-Tail: 1\r\n", b"h")
    if quick.line is not None:
        assert request_head(quick, b"", b"h") == quick.line + quick.fields.forward + b"\r\n"
    # And no line break is left that one recipient could see and another not.
    assert b"\n" not in quick.fields.raw.replace(b"\r\n", b"")
    assert b"\r" not in quick.fields.raw.replace(b"\r\n", b"")


def test_the_second_opinion_is_asked_where_the_short_way_declines(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    real = httptools.HttpRequestParser

    def parser(witness: object) -> httptools.HttpRequestParser:
        asked.append(witness)
        return real(witness)

    monkeypatch.setattr(httptools, "HttpRequestParser", parser)
    parse(b"GET / HTTP/1.1")
    assert asked == []
    parse(b"GET / HTTP/1.0")
    assert len(asked) == 1
    parse(b"POST / HTTP/1.1", HOST + b"Transfer-Encoding: chunked\r\n")
    assert len(asked) == 2
