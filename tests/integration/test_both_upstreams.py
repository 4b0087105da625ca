"""The shop's API through the proxy with either upstream as primary: what clients did stands on both, byte for byte.

`make test-integration-api DATA_BACKEND=postgres` runs it for one primary alone.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.line import ROUTING, Line

pytestmark = pytest.mark.slow

PRIMARIES = [os.environ["DATA_BACKEND"]] if os.environ.get("DATA_BACKEND") else ["json", "postgres"]
SHOP = ROUTING.replace("primary: json", "primary: ${{DATA_BACKEND}}")


@pytest.fixture(params=PRIMARIES)
async def line(request: pytest.FixtureRequest, tmp_path: Path, database_url: str) -> AsyncIterator[Line]:
    line = Line(tmp_path, database_url=database_url, data={}, routing=SHOP)
    line.env["DATA_BACKEND"] = request.param
    async with line:
        await line.open_for_writes()
        assert (await line.status())["primary"] == request.param
        yield line


async def ask(line: Line, method: str, target: str, body: object = None, **headers: str) -> tuple[int, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with line.session.request(method, line.url("proxy") + target, json=body, headers=named) as response:
        assert response.headers["X-Served-By"] == (await line.status())["primary"]
        return response.status, await response.read()


async def both(line: Line, target: str) -> tuple[bytes, bytes, str, str]:
    """Bodies and ETags of both upstreams, asked past the proxy."""
    found: list[tuple[bytes, str]] = []
    for name in ("json", "postgres"):
        async with line.session.get(line.url(name) + target) as response:
            found.append((await response.read(), response.headers.get("ETag", "")))
    return found[0][0], found[1][0], found[0][1], found[1][1]


async def test_a_day_of_the_shop_stands_on_both_byte_for_byte(line: Line) -> None:
    collections = {
        "stores": [{"name": "Café Zoë", "hours": {"mon": [8, 18.5], "sun": None}}, {"name": "東京店"}],
        "categories": [{"id": "drinks", "title": "Drinks"}, {"id": "cakes", "title": "Cakes"}],
        "products": [{"sku": "a/b?c#1", "price": 3.10, "options": [{"size": "L", "extra": 0.5}]}] * 3,
        "customers": [{"name": "Ann", "phone": "+1 555", "points": 9007199254740993}, {"name": "𝒳"}],
        "orders": [{"lines": [{"product": 1, "n": 2}], "note": ""}] * 5,
    }  # fmt: skip
    for collection, records in collections.items():
        for record in records:
            assert (await ask(line, "POST", f"/api/{collection}", record))[0] == 201
    assert (await ask(line, "PATCH", "/api/orders/1", {"paid": True, "note": None}))[0] == 200
    assert (await ask(line, "PUT", "/api/orders/2", {"lines": []}))[0] == 200
    assert (await ask(line, "PUT", "/api/coupons/SUMMER", {"off": 1e-7}, If_None_Match="*"))[0] == 201
    assert (await ask(line, "DELETE", "/api/orders/3"))[0] == 200
    assert (await ask(line, "DELETE", "/api/orders/3"))[0] == 404
    assert (await ask(line, "POST", "/api/categories", {"id": "drinks"}))[0] == 409
    await line.settled()

    for collection in (*collections, "coupons"):
        for target in (f"/api/{collection}", f"/api/{collection}?_sort=-id&_page=1&_per_page=2"):
            ours, theirs, our_tag, their_tag = await both(line, target)
            assert ours == theirs, target
            assert our_tag == their_tag
        for record_id in await line.records("json", collection):
            ours, theirs, our_tag, their_tag = await both(line, f"/api/{collection}/{record_id}")
            assert (ours, our_tag) == (theirs, their_tag)
            assert our_tag


async def test_the_refusals_of_both_are_the_same_bytes_through_the_proxy_too(line: Line) -> None:
    assert (await ask(line, "POST", "/api/orders", {"id": 1}))[0] == 201
    await line.settled()
    for method, target, body, status in (
        ("GET", "/api/orders/nowhere", None, 404),
        ("GET", "/api/orders?_nonsense=1", None, 400),
        ("PATCH", "/api/orders/1", [1], 400),
        ("POST", "/api/orders/1", {}, 405),
        ("PUT", "/api/orders/9", {}, 404),
    ):
        asked = await ask(line, method, target, body)
        answers = {asked}
        for name in ("json", "postgres"):
            async with line.session.request(method, line.url(name) + target, json=body) as response:
                answers.add((response.status, await response.read()))
        assert len(answers) == 1, (method, target, answers)
        assert asked[0] == status
