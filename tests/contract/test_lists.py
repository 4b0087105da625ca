"""GET of a collection: filters, search, order and windows (DESIGN section 8), the same rows in the same order on both."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.api import Api

ODD = [
    b'{"id":1,"v":3,"name":"Ann","tags":["red","blue"],"at":{"city":"Bonn","n":[1,2]}}',
    b'{"id":2,"v":"3","name":"ann","tags":[],"at":{"city":null}}',
    b'{"id":10,"v":null,"name":"Zo\xc3\xab"}',
    b'{"id":3,"v":true,"name":"\xf0\x9d\x92\xb3","at.city":"K\xc3\xb6ln"}',
    b'{"id":4,"v":false,"name":"\xef\xac\x80"}',
    b'{"id":5,"v":2.5,"name":"a,b","checked_in":"yes"}',
    b'{"id":6,"v":[1],"name":"true","checked":"in"}',
    b'{"id":7,"v":{"a":1},"name":""}',
    b'{"id":8,"v":9007199254740993,"name":"9007199254740993"}',
    b'{"id":9,"name":"null"}',
]


async def fill(api: Api, bodies: list[bytes] = ODD, collection: str = "odd") -> None:
    for body in bodies:
        assert (await api.post(f"/api/{collection}", body)).status == 201


async def ids(api: Api, query: str, collection: str = "odd") -> list[object]:
    reply = await api.get(f"/api/{collection}?{query}")
    assert reply.status == 200, reply.body
    return [record["id"] for record in reply.json]


FILTERS: list[tuple[str, list[int]]] = [
    ("v=3", [1, 2]),  # by the stored type: the number 3 and the string "3"
    ("v=3.0", [1]),
    ("v=3&v=null", [1, 2, 10]),
    ("v=true", [3]),
    ("v=1", [6]),  # an array is asked whether it holds it
    ("v=9007199254740993", [8]),
    ("v=9007199254740992", []),
    ("name=", [7]),
    ("name=true", [6]),
    ("nothing=1", []),
    ("at.city=Bonn", [1]),
    ("at.city=null", [2]),
    ("at.n.1=2", [1]),
    ("at.n." + "9" * 5000 + "=2", []),
    ("at.city=K%C3%B6ln", [3]),  # a field of the whole name comes first
    ("tags=red", [1]),
    ("v_ne=3", [10, 3, 4, 5, 6, 7, 8, 9]),
    ("v_ne=3&v_ne=null", [3, 4, 5, 6, 7, 8, 9]),
    ("v_gte=2.5", [1, 2, 5, 8]),  # "3" is compared as a string
    ("v_gt=2.5", [1, 2, 8]),
    ("v_lte=3", [1, 2, 5]),
    ("v_lt=3", [5]),
    ("v_gte=2.5&v_lt=3", [5]),
    ("v_gte=1e400", [2]),
    ("name_gte=a&name_lt=b", [2, 5]),
    ("name_like=AN", [1, 2]),
    ("name_like=zo%C3%AB", [10]),
    ("name_like=an&name_like=zo", [1, 2, 10]),
    ("name_in=Ann,ann", [1, 2]),
    ("name_in=a,b", []),
    ("name=a,b", [5]),
    ("v_in=3,true", [1, 2, 3]),
    ("id_in=10,1,99", [1, 10]),
    ("checked_in=yes", [5]),
    ("checked_in=in,out", [6]),
    ("q=bonn", [1]),
    ("q=9007199254740993", [8]),
    ("q=ann&v=3", [1, 2]),
    ("q=", [1, 2, 10, 3, 4, 5, 6, 7, 8, 9]),
    ("v=3&name=ann", [2]),
]  # fmt: skip


async def test_a_filter_finds_what_is_stored_so(server: Api, subtests: pytest.Subtests) -> None:
    await fill(server)
    for query, expected in FILTERS:
        with subtests.test(query):
            assert await ids(server, query) == expected


async def test_the_order_is_total_over_all_types(api: Api) -> None:
    await fill(api)
    ascending = [9, 10, 4, 3, 5, 1, 8, 2, 6, 7]
    assert await ids(api, "_sort=v") == ascending
    assert await ids(api, "_sort=-v") == ascending[::-1]
    assert await ids(api, "_sort=v&_order=desc") == ascending[::-1]
    by_code_point = [record["id"] for record in map(json.loads, ODD)]
    assert await ids(api, "_sort=name") == sorted(by_code_point, key=_name)


def _name(record_id: int) -> str:
    return next(record["name"] for record in map(json.loads, ODD) if record["id"] == record_id)


async def test_ties_go_by_id_whatever_the_direction(api: Api) -> None:
    rows = [{"id": record_id, "a": a} for record_id, a in [("b", 1), (3, 1), ("a", 2), (20, 2), (1, 1)]]
    await fill(api, [json.dumps(row).encode() for row in rows])
    assert await ids(api, "_sort=a") == [1, 3, "b", 20, "a"]
    assert await ids(api, "_sort=-a") == [20, "a", 1, 3, "b"]
    assert await ids(api, "_sort=-a,-id") == ["a", 20, "b", 3, 1]
    assert await ids(api, "_sort=id") == [1, 3, 20, "a", "b"]
    assert await ids(api, "_sort=a,id&_order=desc,asc") == [20, "a", 1, 3, "b"]


async def test_without_a_sort_the_order_is_that_of_creation(api: Api) -> None:
    await fill(api)
    await api.patch("/api/odd/1", {"v": 99})
    await api.delete("/api/odd/10")
    await api.post("/api/odd", b'{"id":10,"v":null}')
    assert await ids(api, "") == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


def links(reply_headers) -> dict[str, str]:
    return {name: target for target, name in re.findall(r'<([^>]*)>; rel="(\w+)"', reply_headers["Link"])}


async def test_pages_lead_to_each_other_and_count_all(api: Api) -> None:
    await fill(api, [json.dumps({"n": n}).encode() for n in range(1, 26)])
    reply = await api.get("/api/odd?_page=2&_per_page=10&n_gte=1")
    assert [record["id"] for record in reply.json] == list(range(11, 21))
    assert reply.headers["X-Total-Count"] == "25"
    found = links(reply.headers)
    assert found == {
        "first": "/api/odd?n_gte=1&_page=1&_per_page=10",
        "prev": "/api/odd?n_gte=1&_page=1&_per_page=10",
        "next": "/api/odd?n_gte=1&_page=3&_per_page=10",
        "last": "/api/odd?n_gte=1&_page=3&_per_page=10",
    }
    last = await api.get(found["last"])
    assert [record["id"] for record in last.json] == [21, 22, 23, 24, 25]
    assert "next" not in links(last.headers)
    assert await ids(api, "_page=1") == list(range(1, 11))
    assert await ids(api, "_page=3&_limit=10") == [21, 22, 23, 24, 25]
    beyond = await api.get("/api/odd?_page=9")
    assert (beyond.body, beyond.headers["X-Total-Count"]) == (b"[]", "25")


async def test_a_window_is_cut_by_start_and_end_or_limit(api: Api) -> None:
    await fill(api, [b"{}"] * 7)
    assert await ids(api, "_start=2&_end=5") == [3, 4, 5]
    assert await ids(api, "_start=5&_limit=5") == [6, 7]
    assert await ids(api, "_end=2") == [1, 2]
    assert await ids(api, "_limit=3") == [1, 2, 3]
    assert await ids(api, "_start=3&_end=3") == []
    assert (await api.get("/api/odd?_limit=0")).headers["X-Total-Count"] == "7"


async def test_after_walks_the_whole_order_without_counting_pages(api: Api) -> None:
    await fill(api)
    target, seen = "/api/odd?_sort=-v&_limit=3&_after=7", [7]
    while target:
        reply = await api.get(target)
        seen += [record["id"] for record in reply.json]
        target = links(reply.headers)["next"] if "Link" in reply.headers else ""
    assert seen == [7, 6, 2, 8, 1, 5, 3, 4, 10, 9]
    assert await ids(api, "_after=5") == [6, 7, 8, 9, 10]
    await api.delete("/api/odd/5")
    assert await ids(api, "_after=5&_limit=2") == [6, 7], "a place among ids stays when its record goes"
    gone = await api.get("/api/odd?_sort=v&_after=5")
    assert (gone.status, gone.code) == (400, "bad-query")


async def test_an_answer_has_at_most_a_thousand_rows_and_says_where_the_rest_is(api: Api) -> None:
    lines = b"".join(b'{"id":"%d","body":{"id":%d},"at":0}\n' % (n, n) for n in range(1, 1002))
    await api.seed("many", lines)
    reply = await api.get("/api/many")
    assert (len(reply.json), reply.headers["X-Total-Count"]) == (1000, "1001")
    assert [record["id"] for record in (await api.get(links(reply.headers)["next"])).json] == [1001]
    assert (await api.get("/api/many?_limit=1001")).code == "bad-query"


REFUSED = ["_foo=1", "_=1", "=1", "_sort=", "_sort=a,,b", "_order=desc", "_sort=a&_order=up", "_sort=a&_order=asc,asc",
 "_sort=-a&_order=desc", "_sort=a&_sort=b", "_page=0", "_page=x", "_page=1.5", "_page=-1", "_page=", "_page=1&_page=2",
 "_page=1&_start=0", "_per_page=1&_limit=1", "_per_page=1001", "_page=1&_per_page=0", "_start=-1", "_start=5&_end=4",
 "_end=1001", "_end=5&_limit=2", "_after=1&_page=1", "_after=1&_start=1", "_page=99999999999999999999", "q=a&q=b",
 "a=%zz", "a=%", "a=%ff", "_page=%D9%A1", "_embed=", "_embed=a,", "_expand=", "_embed=..", "_embed=a&_expand=a",
 "_embed=" + ",".join("abcdefghijk"), "_sort=" + ",".join("abcdefghijk"), "&".join(["a=1"] * 101), "_after=nobody&_sort=name"]  # fmt: skip


async def test_a_query_that_cannot_be_meant_is_refused(server: Api, subtests: pytest.Subtests) -> None:
    for query in REFUSED:
        with subtests.test(query[:40]):
            reply = await server.get(f"/api/odd?{query}")
            assert (reply.status, reply.code) == (400, "bad-query")


async def test_a_link_survives_an_odd_name_and_odd_values(api: Api) -> None:
    for _ in range(2):
        await api.post("/api/odd%20n%C3%A4me%3E", {"a": "x>y&z=1"})
    reply = await api.get("/api/odd%20n%C3%A4me%3E?a=x%3Ey%26z%3D1&_limit=1")
    following = await api.get(links(reply.headers)["next"])
    assert [record["id"] for record in following.json] == [2]


async def test_an_unknown_collection_is_an_empty_one(api: Api) -> None:
    reply = await api.get("/api/nothing?_sort=a&b=1")
    assert (reply.status, reply.body, reply.headers["X-Total-Count"]) == (200, b"[]", "0")
    assert "Link" not in reply.headers
