"""Bad requests of every kind get problem+json with a code from the list, do nothing, and never show a trace."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.api import Api, serving
from tests.support.raw_http import RawClient, Response, ask
from tests.support.stores import STORES

LISTED = set(
    re.findall(
        r"`([a-z-]+)`",
        (Path(__file__).parents[2] / "docs" / "reference" / "errors.md").read_text("utf-8").partition("## From both servers")[2],
    )
)  # fmt: skip
LIMIT = 10 << 20
SQL = [
    "'; drop table meta; --", '" or 1=1 --', "\\'; select pg_sleep(10); --", "$1", "%s", "{0}", "1) union select * from answers --",
    "turnout.meta", "pg_catalog", "x'::regclass", "/**/", "\x1b[31m",
]  # fmt: skip


def port_of(api: Api) -> int:
    return int(api.base.rpartition(":")[2])


def code_of(response: Response) -> str:
    """Every error looks like this, whoever found it."""
    assert response.get("Content-Type") == "application/problem+json", response.body
    problem = json.loads(response.body)
    assert problem["status"] == response.status
    assert problem["code"] in LISTED - {"internal"}
    assert "Traceback" not in response.body.decode()
    assert "aiohttp" not in response.body.decode()
    return problem["code"]


@pytest.fixture
async def untouched(server: Api) -> AsyncIterator[Api]:
    """A server that must hold its one record and nothing else at the end, and go on working."""
    before = await server.post("/api/orders", {"id": 1, "n": 1})
    yield server
    assert (await server.get("/api/orders")).body == b"[" + before.body + b"]"
    assert (await server.get("/readyz")).status == 200


NOWHERE = ["/../../etc/passwd", "/api/../../../etc/passwd", "/api/%2e%2e/%2e%2e/etc/passwd",
 "/api/orders/%2e%2e", "/api/orders/..%5c..%5cwindows", "//etc/passwd", "/api/orders/%00", "/api/orders/1%00.json",
 "/api//orders", "/api/orders//1", "/api/./orders", "/%2fapi/orders", "/api/orders/1/2", "/api/orders/%c0%ae%c0%ae",
 "http://other/../x", "/static/app.js", "/.env", "/_turnout/../../x", "/_turnout/", "/_turnout/epoch/x", "*"]  # fmt: skip


async def test_no_path_leads_anywhere_but_to_records(untouched: Api, subtests: pytest.Subtests) -> None:
    for target in NOWHERE:
        with subtests.test(target):
            response = await ask(port_of(untouched), f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            if response.status == 404:
                assert code_of(response) == "not-found"
            else:
                assert (response.status, code_of(response)) == (400, "bad-request")


async def test_a_name_that_looks_like_a_path_is_a_name(server: Api) -> None:
    target = "/api/..%2f..%2fetc%2fpasswd"
    assert (await server.get(target)).body == b"[]"
    made = await server.post(target, {"id": "../x"})
    assert made.headers["Location"] == "/api/..%2F..%2Fetc%2Fpasswd/..%2Fx"
    assert (await server.get(made.headers["Location"])).body == made.body


async def test_sql_is_nothing_but_text_wherever_it_stands(server: Api, subtests: pytest.Subtests) -> None:
    for text in SQL:
        with subtests.test(text):
            await _is_nothing_but_text(server, text)


async def _is_nothing_but_text(server: Api, text: str) -> None:
    path = f"/api/{quote(text, safe='')}"
    made = await server.post(path, {"id": text, text: text, "nested": {text: [text]}})
    assert made.status == 201
    assert (await server.get(f"{path}/{quote(text, safe='')}")).body == made.body
    value = quote(text, safe="")
    for query in (f"{value}={value}", f"{value}_ne=x", f"{value}_like={value}", f"{value}_in=a,{value}", f"_sort={value}",
                  f"q={value}", f"_after={value}&_sort=id", f"_embed={value}", f"_expand={value}", f"nested.{value}={value}"):  # fmt: skip
        reply = await server.get(f"{path}?{query}")
        assert reply.status == 200, (query, reply.body)
        if "_after" not in query and "union" not in text and "." not in text:
            assert len(reply.json) == 1, query
    kept = await server.post(
        path, {"a": 1}, Idempotency_Key=text.replace("\x1b", ""), If_None_Match='"' + "x" * 8 + '"'
    )
    assert kept.status == 201
    assert (await server.delete(f"{path}/{quote(text, safe='')}")).body == made.body


@pytest.mark.parametrize("frame", ["length", "chunked"])
async def test_ten_mebibytes_fit_and_one_byte_more_does_not(server: Api, frame: str) -> None:
    for size, status in ((LIMIT, 201), (LIMIT + 1, 413)):
        body = b'{"id":1,"v":"' + b"x" * (size - 15) + b'"}'
        head = b"POST /api/big HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        if frame == "length":
            sent = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        else:
            sent = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size + body + b"\r\n0\r\n\r\n"
        response = await ask(port_of(server), sent)
        assert response.status == status
        if status == 413:
            assert code_of(response) == "too-large"
        else:
            assert response.body.startswith(body[:-1])
    assert (await server.get("/api/big")).headers["X-Total-Count"] == "1"


async def test_who_asks_before_sending_too_much_is_told_at_once(server: Api) -> None:
    head = (
        b"POST /api/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
    )
    async with await RawClient.connect(port_of(server)) as client:
        client.send(head + b"Content-Length: %d\r\n\r\n" % (LIMIT + 1))
        refused = await client.response("POST", interim=True)
        assert (refused.status, code_of(refused)) == (413, "too-large")
    async with await RawClient.connect(port_of(server)) as client:
        client.send(head + b"Content-Length: 2\r\n\r\n")
        assert (await client.response("POST", interim=True)).status == 100
        client.send(b"{}")
        assert (await client.response("POST")).status == 201
    strange = head.replace(b"100-continue", b"the-moon") + b"Content-Length: 2\r\n\r\n{}"
    assert (await ask(port_of(server), strange)).status == 201


@pytest.mark.parametrize("arrives", [b"", b'{"a":'])
async def test_a_body_that_does_not_arrive_is_given_up(
    store_name: str, tmp_path: Path, arrives: bytes
) -> None:
    async with STORES[store_name](tmp_path) as store, serving(store, body_timeout_s=0.2) as api:
        head = b"POST /api/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
        response = await ask(port_of(api), head + arrives)
        assert (response.status, code_of(response)) == (408, "request-timeout")
        assert (await api.get("/api/orders")).body == b"[]"


async def test_a_hundred_thousand_keys_are_a_record_like_any(server: Api) -> None:
    many = b",".join(b'"k%d":%d' % (n, n) for n in range(100_000))
    made = await server.post("/api/orders", b"{" + many + b"}")
    assert (made.status, len(made.json)) == (201, 100_003)
    assert (await server.get("/api/orders?k99999=99999")).body == b"[" + made.body + b"]"
    twice = await server.post("/api/orders", b"{" + many + b',"k5":0}')
    assert (twice.status, twice.code) == (400, "bad-json")


NO_REQUESTS = {
    "query-100k": b"GET /api/orders?" + b"&".join(b"k%d=1" % n for n in range(100_000)) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "query-2k": b"GET /api/orders?" + b"&".join(b"k%d=1" % n for n in range(2_000)) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "headers-100k": b"GET /api/orders HTTP/1.1\r\nHost: x\r\n" + b"".join(b"K%d: 1\r\n" % n for n in range(100_000)) + b"\r\n",
    "long-header": b"GET /api/orders HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 100_000 + b"\r\n\r\n",
    "nul-in-header": b"GET /api/orders HTTP/1.1\r\nHost: x\r\nA: a\x00b\r\n\r\n",
    "odd-name": b"GET /api/orders HTTP/1.1\r\nHost: x\r\nA\x01: a\r\n\r\n",
    "space-before-colon": b"GET /api/orders HTTP/1.1\r\nHost: x\r\nA : a\r\n\r\n",
    "no-version": b"GET /api/orders\r\n\r\n",
    "no-host": b"GET /api/orders HTTP/1.1\r\n\r\n",
    "two-hosts": b"GET /api/orders HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "version-9.9": b"GET /api/orders HTTP/9.9\r\nHost: x\r\n\r\n",
    "two-spaces": b"GET  /api/orders HTTP/1.1 \r\nHost: x\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xff" * 200 + b"\r\n\r\n",
    "negative-length": b"POST /api/orders HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "two-lengths": b"POST /api/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 2\r\n\r\n{}",
    "length-and-chunked": b"POST /api/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    "bad-chunk": b"POST /api/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
}  # fmt: skip


async def test_what_is_no_request_is_told_so_in_the_one_form(
    untouched: Api, subtests: pytest.Subtests
) -> None:
    for name, request_bytes in NO_REQUESTS.items():
        with subtests.test(name):
            response = await ask(port_of(untouched), request_bytes)
            assert response.status == 400
            assert code_of(response) in ("bad-request", "bad-query")


@pytest.mark.parametrize(
    "body", [gzip.compress(b'{"n":2}'), b"\x1f\x8bnothing", gzip.compress(b"[" * (64 << 20))]
)
async def test_a_packed_body_is_refused_and_never_unpacked(untouched: Api, body: bytes) -> None:
    for coding in ("gzip", "deflate", "br", "unknown"):
        reply = await untouched.post("/api/orders", body, Content_Encoding=coding)
        assert (reply.status, reply.code) == (415, "unsupported-media")
        assert reply.headers["Accept-Encoding"] == "identity"


async def test_a_method_that_nobody_knows_is_refused(untouched: Api) -> None:
    for method in ("TRACE", "CONNECT", "PROPFIND", "get", "QUERY"):
        response = await ask(port_of(untouched), f"{method} /api/orders HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert code_of(response) in ("method-not-allowed", "bad-request")


@pytest.mark.parametrize("key", ["created_at", "updated_at"])
async def test_the_servers_times_cannot_be_forged(api: Api, key: str) -> None:
    made = await api.post("/api/orders", {"id": 1, key: "1999"})
    assert made.json[key] == made.json["created_at"] != "1999"
    api.clock.now += 5
    for method, media in (("PUT", "json"), ("PATCH", "json"), ("PATCH", "merge-patch+json")):
        for value in ("1999", None, {"a": 1}):
            reply = await api.send(
                method, "/api/orders/1", {key: value}, {"Content-Type": f"application/{media}"}
            )
            assert reply.json["created_at"] == made.json["created_at"]
            assert reply.json["updated_at"] > made.json["updated_at"]
            assert list(reply.json)[-2:] == ["created_at", "updated_at"]


FORGED = {
    "Turnout-Mirror": "repair",
    "Turnout-Version": "99; at=99",
    "Turnout-Epoch": "9 evil",
    "Turnout-Request": "1; open=1",
    "turnout-token": "guess",
    "Turnout-Anything": "1",
}


@pytest.mark.parametrize("name", sorted(FORGED))
async def test_the_mirrors_headers_cannot_be_forged_at_a_server(
    store_name: str, tmp_path: Path, name: str
) -> None:
    async with STORES[store_name](tmp_path) as store, serving(store, mirror_token="secret") as api:
        before = await api.post("/api/orders", {"id": 1})
        for method, target, body in (
            ("POST", "/api/orders", {"id": 2}),
            ("PUT", "/api/orders/1", {"id": 1, "n": 1}),
            ("DELETE", "/api/orders/1", None),
            ("GET", "/api/orders/1", None),
        ):
            reply = await api.send(method, target, body, {name: FORGED[name]})
            assert (reply.status, reply.code) == (403, "mirror-token")
        for target in (
            "epoch",
            "void",
            "apply?collection=orders",
            "floor",
            "checkpoint",
            "buckets?collection=orders",
        ):
            assert (await api.post(f"/_turnout/{target}", {})).code == "mirror-token"
        assert (await api.get("/api/orders")).body == b"[" + before.body + b"]"  # fmt: skip


async def test_the_mirrors_headers_cannot_be_forged_through_the_proxy(tmp_path: Path) -> None:
    from tests.support.arrangements import line

    async with line("json", tmp_path) as whole:
        made = await whole.api.post("/api/orders", {"id": 1})
        reply = await whole.api.send("PUT", "/api/orders/1", {"id": 1, "n": 1}, FORGED)
        assert (reply.status, reply.json["created_at"]) == (200, made.json["created_at"]), "an ordinary write"
        assert [name for name in reply.headers if name.lower().startswith("turnout-")] == []
        assert (await whole.api.post("/_turnout/epoch", {})).status == 404
        await whole.settled()
        assert set((await whole.demand_equal()).values()) == {reply.body}


async def test_a_client_that_leaves_in_the_middle_of_its_body_does_nothing(untouched: Api) -> None:
    head = b"PATCH /api/orders/1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    for part in (b"", b'{"n":'):
        async with await RawClient.connect(port_of(untouched)) as client:
            client.send(head + part)
            await client.writer.drain()
    assert (await untouched.get("/api/orders/1")).json["n"] == 1
