"""`_embed` and `_expand`: records of other collections inside an answer, by the names of the fields that refer."""

from __future__ import annotations

import pytest

from backends.contract.relations import EMBEDDED_MAX, keys_to, plurals_of, singulars_of
from tests.support.api import Api


async def shop(api: Api) -> None:
    await api.post("/api/customers", {"id": 1, "name": "Ann"})
    await api.post("/api/customers", {"id": "b", "name": "Bob"})
    for record_id, customer in ((1, 1), (2, "b"), (3, None), (4, 99)):
        await api.post("/api/orders", {"id": record_id, "customer_id": customer})
    for sku, order in (("x", 2), ("y", 1), ("z", "2"), ("w", 77)):
        await api.post("/api/lines", {"id": sku, "orderId": order})


async def test_embed_brings_the_records_that_refer_in_the_order_of_creation(api: Api) -> None:
    await shop(api)
    reply = await api.get("/api/orders?_embed=lines")
    assert [[line["id"] for line in order["lines"]] for order in reply.json] == [["y"], ["x", "z"], [], []]
    one = await api.get("/api/orders/2?_embed=lines")
    record, lines = await api.get("/api/orders/2"), await api.get("/api/lines?orderId=2")
    assert one.body == record.body[:-1] + b',"lines":' + lines.body + b"}", (
        "every record stands as it is kept"
    )
    assert one.headers["ETag"] != record.headers["ETag"]


async def test_expand_brings_the_record_that_is_referred_to(api: Api) -> None:
    await shop(api)
    reply = await api.get("/api/orders?_expand=customer&_sort=-id")
    names = [order["customer"] and order["customer"]["name"] for order in reply.json]
    assert names == [None, None, "Bob", "Ann"]
    line = await api.get("/api/lines/x?_expand=order")
    assert line.json["order"]["id"] == 2


async def test_both_work_on_a_window_with_filters_and_stay_in_the_links(api: Api) -> None:
    await shop(api)
    reply = await api.get("/api/orders?customer_id_ne=null&_embed=lines&_expand=customer&_limit=2")
    assert [list(order)[-2:] for order in reply.json] == [["lines", "customer"]] * 2
    assert "_embed=lines&_expand=customer&_page=2" in reply.headers["Link"]


async def test_an_embedded_list_takes_the_place_of_a_field_of_its_name(api: Api) -> None:
    await api.post("/api/orders", {"id": 1, "lines": 3, "z": "ü"})
    await api.post("/api/lines", {"id": 5, "order_id": 1})
    reply = await api.get("/api/orders/1?_embed=lines")
    assert reply.body.count(b'"lines"') == 1
    assert [line["id"] for line in reply.json["lines"]] == [5]
    assert reply.json["z"] == "ü"


async def test_conditions_go_by_the_joined_body(api: Api) -> None:
    await shop(api)
    tag = (await api.get("/api/orders/2?_embed=lines")).headers["ETag"]
    assert (await api.get("/api/orders/2?_embed=lines", If_None_Match=tag)).status == 304
    await api.patch("/api/lines/x", {"n": 2})
    assert (await api.get("/api/orders/2?_embed=lines", If_None_Match=tag)).status == 200


async def test_a_head_and_a_missing_record_are_as_without(api: Api) -> None:
    await shop(api)
    assert (await api.get("/api/orders/77?_embed=lines")).code == "not-found"
    got, head = await api.get("/api/orders?_embed=lines"), await api.send("HEAD", "/api/orders?_embed=lines")
    assert head.headers["Content-Length"] == str(len(got.body))


async def test_nothing_but_these_two_may_be_asked_of_a_single_record(api: Api) -> None:
    await shop(api)
    assert (await api.get("/api/orders/1?_embed=lines&_sort=id")).code == "bad-query"
    assert (await api.get("/api/orders/1?x=1")).code == "bad-query"
    assert (await api.patch("/api/orders/1?_embed=lines", {})).code == "bad-query"


async def test_more_than_an_answer_holds_is_refused_and_never_cut(api: Api) -> None:
    count = EMBEDDED_MAX + 1
    await api.post("/api/orders", {"id": 1})
    for start in range(0, count, 2000):
        numbers = range(start, min(start + 2000, count))
        await api.seed(
            "lines", b"".join(b'{"id":"%d","body":{"id":%d,"order_id":1},"at":0}\n' % (n, n) for n in numbers)
        )
    reply = await api.get("/api/orders/1?_embed=lines")
    assert (reply.status, reply.code) == (400, "bad-query")
    await api.delete("/api/lines/0")
    assert len((await api.get("/api/orders/1?_embed=lines")).json["lines"]) == EMBEDDED_MAX


@pytest.mark.parametrize(
    ("one", "many"),
    [("order", "orders"), ("category", "categories"), ("box", "boxes"), ("bus", "buses"), ("person", "people"),
     ("day", "days"), ("sheep", "sheep"), ("house", "houses"), ("child", "children")],
)  # fmt: skip
def test_a_name_is_found_from_either_side(one: str, many: str) -> None:
    assert many in plurals_of(one)
    assert f"{one}_id" in keys_to(singulars_of(many))
    assert f"{one}Id" in keys_to(singulars_of(many))
