"""A record once accepted never changes by a byte: each hazard of JSON is kept alike on both servers, or refused alike.

From a client, from a file, through mirror, backfill, switch and back, and over a restart.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from backends.errors import StartError
from backends.json_store import JsonStore
from backends.migrate.backfill import backfill
from backends.query import Query
from tests.support.api import Api, serving
from tests.support.arrangements import content, line
from tests.support.stores import STORES

NFC, NFD = "caf\u00e9", "cafe\u0301"

KEPT = {
    "int-2^53": (b"9007199254740993", b"9007199254740993"),
    "int-2^64": (b"18446744073709551617", b"18446744073709551617"),
    "int-4300-digits": (b"9" * 4300, b"9" * 4300),
    "negative-int": (b"-9007199254740993", b"-9007199254740993"),
    "minus-zero": (b"-0", b"0"),
    "minus-zero-float": (b"-0.0", b"0.0"),
    "minus-zero-tiny": (b"-1e-400", b"0.0"),
    "one-point-zero": (b"1.0", b"1.0"),
    "trailing-zero": (b"1.10", b"1.1"),
    "exponent": (b"1e2", b"100.0"),
    "small": (b"1E-7", b"1e-07"),
    "large": (b"1e22", b"1e+22"),
    "largest": (b"1.7976931348623157e308", b"1.7976931348623157e+308"),
    "subnormal": (b"5e-324", b"5e-324"),
    "seventeen-digits": (b"0.1000000000000000055511151231257827", b"0.1"),
    "null": (b"null", b"null"),
    "empty-string": (b'""', b'""'),
    "date-like": (b'"2025-02-30T25:61:61.123456789+99:99"', b'"2025-02-30T25:61:61.123456789+99:99"'),
    "leap-second": (b'"2016-12-31T23:59:60Z"', b'"2016-12-31T23:59:60Z"'),
    "nfc-and-nfd": (f'["{NFC}","{NFD}"]'.encode(), f'["{NFC}","{NFD}"]'.encode()),
    "escaped": (b'"\\u00e9\\/\\ud83c\\udf55"', '"é/🍕"'.encode()),
    "control": (b'"\\u0001\\u001f\\u007f\\u2028\\ufeff\\uffff"', b'"\\u0001\\u001f\x7f\xe2\x80\xa8\xef\xbb\xbf\xef\xbf\xbf"'),
    "short-escapes": (b'"\\b\\f\\n\\r\\t\\"\\\\"', b'"\\b\\f\\n\\r\\t\\"\\\\"'),
    "backslash-u0000": (b'"\\\\u0000"', b'"\\\\u0000"'),
    "key-order": (b'{"9":1,"10":2,"b":3,"a":4,"":5}', b'{"9":1,"10":2,"b":3,"a":4,"":5}'),
    "odd-keys": (
        '{"a.b":1,"$ref":2,"__proto__":{"x":1},"constructor":3,"drop table":4,"é":5,"e\u0301":6,"_sort":7}'.encode(),
        '{"a.b":1,"$ref":2,"__proto__":{"x":1},"constructor":3,"drop table":4,"é":5,"e\u0301":6,"_sort":7}'.encode(),
    ),
    "nested-id": (b'{"id":7,"created_at":1,"updated_at":null}', b'{"id":7,"created_at":1,"updated_at":null}'),
    "depth-199": (b"[" * 199 + b"]" * 199, b"[" * 199 + b"]" * 199),
    "whitespace": (b' [ 1 ,\n\t2 ] ', b"[1,2]"),
    "case": ('"İstanbul ß ﬁ"'.encode(), '"İstanbul ß ﬁ"'.encode()),
    "astral": ('"𝒳\U0010ffff"'.encode(), '"𝒳\U0010ffff"'.encode()),
}  # fmt: skip

REFUSED = {
    "1e400": (b"1e400", "unstorable"),
    "minus-1e400": (b"-1e400", "unstorable"),
    "4301-digits": (b"1" * 4301, "unstorable"),
    "depth-200": (b"[" * 200 + b"]" * 200, "unstorable"),
    "depth-100k": (b"[" * 100_000 + b"]" * 100_000, "unstorable"),
    "u0000": (b'"a\\u0000b"', "unstorable"),
    "u0000-key": (b'{"\\u0000":1}', "unstorable"),
    "lone-high": (b'"\\ud800"', "unstorable"),
    "lone-low": (b'["\\udfff"]', "unstorable"),
    "swapped-pair": (b'"\\udf55\\ud83c"', "unstorable"),
    "twice": (b'{"a":1,"a":1}', "bad-json"),
    "twice-by-escape": (b'{"a":1,"\\u0061":2}', "bad-json"),
    "NaN": (b"NaN", "bad-json"),
    "infinity": (b"Infinity", "bad-json"),
    "leading-zero": (b"01", "bad-json"),
    "bare-point": (b"1.", "bad-json"),
    "raw-control": (b'"\x01"', "bad-json"),
    "raw-nul": (b'"\x00"', "bad-json"),
    "latin-1": (b'"caf\xe9"', "bad-json"),
    "overlong": (b'"\xc0\x80"', "bad-json"),
    "utf8-surrogate": (b'"\xed\xa0\x80"', "bad-json"),
    "comment": (b"1 // one", "bad-json"),
}

IDS = ["1", "a b", "50%", "q?x=1", "h#1", "é", "e\u0301", "🍕", "a+b", "A", "a", "01", "-1", "1.0", "true", "null", "__proto__",
       "\u0001", "\u007f", "x" * 512, "it's", 'say "hi"', "back\\slash", ";drop table", "..a", "*", "{id}", "$1", "1e2"]  # fmt: skip


async def test_a_hazard_is_kept_alike_and_stays_as_it_is(server: Api, subtests: pytest.Subtests) -> None:
    for hazard, (sent, kept) in KEPT.items():
        with subtests.test(hazard):
            made = await server.post("/api/odd", b'{"id":"x","v":%b}' % sent)
            assert made.status == 201, made.body
            assert made.body.startswith(b'{"id":"x","v":%b,"created_at"' % kept)
            again = [await server.get("/api/odd/x"), await server.patch("/api/odd/x", {})]
            for reply in (*again, await server.delete("/api/odd/x")):
                assert (reply.status, reply.body) == (200, made.body)


async def test_a_hazard_is_refused_alike_and_changes_nothing(server: Api, subtests: pytest.Subtests) -> None:
    before = await server.post("/api/odd", b'{"id":1,"v":0}')
    for hazard, (sent, code) in REFUSED.items():
        with subtests.test(hazard):
            for method, target in (("POST", "/api/odd"), ("PUT", "/api/odd/1"), ("PATCH", "/api/odd/1")):
                assert (await server.send(method, target, b'{"v":%b}' % sent)).code == code
    assert (await server.get("/api/odd")).body == b"[" + before.body + b"]"


@pytest.mark.races
async def test_every_hazard_and_every_id_goes_through_the_mirror(api: Api) -> None:
    await asyncio.gather(*(api.post("/api/odd", b'{"v":%b}' % sent) for sent, _ in KEPT.values()))
    for record_id in IDS:
        assert (await api.post("/api/by%20id", {"id": record_id, "own": record_id})).status == 201
    listed = (await api.get("/api/by%20id")).json
    assert [record["id"] for record in listed] == IDS
    for row in (await api.get("/api/odd?_limit=10")).json:
        assert (await api.patch(f"/api/odd/{row['id']}", {"seen": True})).status == 200


async def test_an_id_and_its_twin_are_one(server: Api) -> None:
    await server.post("/api/odd", b'{"id":"1"}')
    assert (await server.post("/api/odd", b'{"id":1}')).code == "conflict"
    assert (await server.put("/api/odd/1", b'{"id":1,"a":1}')).json["id"] == "1", "the kept type stays"
    assert (await server.post("/api/odd", b'{"id":1.0}')).code == "bad-json"
    assert (await server.post("/api/odd", b'{"id":-0}')).json["id"] == 0


FILE = """{
  "odd": [
    {"id": 1, "big": 9007199254740993, "huge": 18446744073709551617, "float": 1.10, "e": 1e22, "minus": -0.0},
    {"id": "a/b", "note": "a slash"}, {"id": "50%", "q": "?#"}, {"id": "q?x#y"}, {"id": "\\u0001"}, {"id": "caf\u00e9"},
    {"id": "cafe\u0301"}, {"id": "lone", "v": "\\ud800", "\\udfff": 1}, {"id": "nul", "v": "\\u0000", "\\u0000": 2},
    {"b": 1, "id": "late-id", "a": {"10": 1, "9": 2}}, {"id": "twice", "k": 1, "k": 2}, {"id": "null", "v": null},
    {"id": "dates", "created_at": "never", "d": "2025-02-30"}, {"id": "deep", "v": DEEP}, {"id": -5}, {"id": 123456789012345678901}
  ],
  "Collection With Space": [{"id": "x"}],
  "select": [{"id": "from", "where": "1=1; --"}],
  "empty": [],
  "settings": {"z": 1, "a": {"open": true}, "n": 9007199254740993}
}""".replace("DEEP", "[" * 198 + "]" * 198)


@pytest.mark.slow
async def test_p9_a_file_of_hazards_is_the_same_after_backfill_mirror_switch_and_back(tmp_path: Path) -> None:
    async with line("json", tmp_path, FILE) as whole:
        source, target = whole.servers["json"], whole.servers["postgres"]
        at_first = await content(source.store)
        assert len(at_first) == 19
        report = await backfill(tmp_path / "json" / "data.json", source.base, target.base)
        assert report.is_clean, report.as_json()
        assert await whole.demand_equal() == at_first
        assert (await whole.validate())["state"] == "equal"
        await _agree_on_every_read(whole.servers, [key for name, key in at_first if name == "odd"])

        for upstream in ("postgres", "json"):
            await whole.switch(upstream)
            assert await whole.demand_equal() == at_first, "a switch changes no byte"
            written = await whole.api.post("/api/orders", {"by": upstream})
            assert written.status == 201
            odd = await whole.api.patch("/api/odd/1", {})
            assert odd.status == 200
            await whole.settled()
            at_first = await whole.demand_equal()
            assert written.body in at_first.values()
            assert (await whole.validate())["state"] == "equal"
    again = await JsonStore.open(tmp_path / "json" / "data.json")
    try:
        assert await content(again) == at_first, "a restart reads what was there"
    finally:
        await again.close()


async def _agree_on_every_read(servers: dict[str, Api], ids: list[str]) -> None:
    for target in (
        "/api/odd",
        "/api/odd?_sort=-v",
        "/api/odd?q=a",
        "/api/odd?v=null",
        "/api/select?where_like=1",
        "/api/settings",
    ):
        said = [await server.get(target) for server in servers.values()]
        assert said[0].body == said[1].body, target
        assert said[0].headers["ETag"] == said[1].headers["ETag"]
    assert len(ids) == len((await servers["json"].get("/api/odd")).json)  # fmt: skip


async def test_bytes_that_a_repair_brings_are_kept_verbatim_on_both_over_a_restart(
    store_name: str, tmp_path: Path
) -> None:
    body = b' {"id" : 1, "a": 1.10, "b":1E2, "c": "\\u0041\\ud800", "a2": -0.0, "id2":[ ] }\n'
    async with STORES[store_name](tmp_path) as store, serving(store) as api:
        await api.become("secondary")
        assert (await api.repair("/api/odd/1", body, "5; at=9")).status == 201
        assert (await api.get("/api/odd/1")).body == body
    async with STORES[store_name](tmp_path) as store, serving(store) as api:
        assert (await api.get("/api/odd/1")).body == body
        assert (await api.get("/api/odd?a=1.1&b=100&c_like=A")).body == b"[" + body + b"]"


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (b'{"id":"x","v":1e400}', "double"),
        (b'{"id":"x","v":' + b"1" * 4301 + b"}", "digits"),
        (b'{"id":"x","v":' + b"[" * 200 + b"]" * 200 + b"}", "deeper"),
        (b'{"id":"y"}', "another"),
        (b"[1]", "object"),
    ],
)
async def test_what_cannot_be_kept_is_rejected_line_by_line(server: Api, record: bytes, why: str) -> None:
    lines = b'{"id":"a","body":{"id":"a"},"at":1}\n{"id":"x","at":1,"body":%b}\n' % record
    reply = await server.post("/_turnout/apply?collection=odd", lines)
    assert (reply.json["applied"], [one["line"] for one in reply.json["rejected"]]) == (1, [2])
    assert why in reply.json["rejected"][0]["reason"]


@pytest.mark.parametrize(
    "record", ['{"id":1,"v":1e400}', '{"id":1,"v":' + "[" * 200 + "]" * 200 + "}", '{"id":1},{"id":"1"}']
)
async def test_a_file_with_what_cannot_be_kept_stops_the_start_and_stays_as_it_is(
    tmp_path: Path, record: str
) -> None:
    data = tmp_path / "data.json"
    text = '{"odd": [' + record + "]}"
    data.write_text(text)
    with pytest.raises(StartError):
        await JsonStore.open(data)
    assert data.read_text() == text


async def test_what_was_accepted_stands_in_data_json_byte_for_byte(tmp_path: Path) -> None:
    async with STORES["json"](tmp_path) as store, serving(store) as api:
        bodies = [(await api.post("/api/odd", b'{"v":%b}' % sent)).body for sent, _ in KEPT.values()]
    raw = (tmp_path / "data.json").read_bytes()
    assert [body for body in bodies if body not in raw] == []
    assert len(json.loads(raw)["odd"]) == len(KEPT)
    async with STORES["json"](tmp_path) as store:
        page = await store.page("odd", Query())
        assert list(page.bodies) == bodies
