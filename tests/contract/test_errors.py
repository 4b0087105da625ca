"""Every error is problem+json with a stable code, and the same bytes on both servers."""

from __future__ import annotations

import pytest

from tests.support.api import Api


async def test_an_error_has_no_time_host_or_place_in_it(api: Api) -> None:
    reply = await api.get("/api/orders/9")
    assert reply.body == (
        b'{"type":"about:blank","title":"Not Found","status":404,"detail":"There is nothing here.","code":"not-found"}'
    )


NO_OBJECTS = [b"", b"{", b"[1,2]", b'"x"', b"null", b"{'a':1}", b'{"a":NaN}', b'{"a":-Infinity}', b'\xef\xbb\xbf{"a":1}', b'{"a":"\xff"}',
 b'{"a":1,"a":2}', b'{"x":{"a":1,"b":2,"a":3}}', b'{"a":01}', b'{"a":"\n"}', '{"a":1}'.encode("utf-16")]  # fmt: skip


async def test_what_is_no_json_object_is_refused_and_stores_nothing(
    server: Api, subtests: pytest.Subtests
) -> None:
    for body in NO_OBJECTS:
        with subtests.test(repr(body)):
            reply = await server.post("/api/orders", body)
            assert (reply.status, reply.code) == (400, "bad-json")
    assert (await server.get("/api/orders")).body == b"[]"


async def test_what_can_just_be_kept_is_kept(server: Api) -> None:
    body = b'{"a":' + b"[" * 199 + b"]" * 199 + b',"n":' + b"9" * 4300 + b',"s":"\\\\u0000 \\ud83c\\udf55"}'
    made = await server.post("/api/orders", body)
    assert made.status == 201
    assert b"9" * 4300 in made.body
    assert (await server.get("/api/orders/1")).body == made.body


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"]
)
async def test_another_media_type_is_refused(server: Api, media: str) -> None:
    reply = await server.post("/api/orders", b'{"a":1}', Content_Type=media)
    assert (reply.status, reply.code) == (415, "unsupported-media")
    assert (
        await server.post("/api/orders", b'{"a":1}', Content_Type="Application/JSON; charset=UTF-8")
    ).status == 201


async def test_a_merge_patch_is_no_body_for_a_put(server: Api) -> None:
    await server.post("/api/orders", {"id": 1})
    reply = await server.put("/api/orders/1", {}, Content_Type="application/merge-patch+json")
    assert (reply.status, reply.code) == (415, "unsupported-media")
    wrong = await server.patch("/api/orders/1", {}, Content_Type="text/plain")
    assert wrong.headers["Accept-Patch"] == "application/json, application/merge-patch+json"


async def test_a_body_over_ten_mebibytes_is_too_large(server: Api) -> None:
    big = b'{"a":"' + b"x" * (10 << 20) + b'"}'
    reply = await server.post("/api/orders", big)
    assert (reply.status, reply.code) == (413, "too-large")
    fits = b'{"a":"' + b"x" * ((10 << 20) - 8) + b'"}'
    assert (await server.post("/api/orders", fits)).status == 201


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [("PUT", "/api/orders", "GET, HEAD, POST, OPTIONS"), ("DELETE", "/api/orders", "GET, HEAD, POST, OPTIONS"),
     ("POST", "/api/orders/1", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"), ("POST", "/healthz", "GET, HEAD, OPTIONS")],
)  # fmt: skip
async def test_a_method_that_does_not_fit_names_those_that_do(
    server: Api, method: str, target: str, allow: str
) -> None:
    reply = await server.send(method, target)
    assert (reply.status, reply.code, reply.headers["Allow"]) == (405, "method-not-allowed", allow)


async def test_a_parameter_where_none_belongs_is_refused(server: Api) -> None:
    await server.post("/api/orders", {"id": 1})
    assert (await server.get("/api/orders/1?x=1")).code == "bad-query"
    assert (await server.delete("/api/orders/1?x=1")).code == "bad-query"
    assert (await server.get("/api/orders/1")).status == 200


async def test_health_readiness_metrics_and_the_description_answer(server: Api) -> None:
    assert (await server.get("/healthz")).json["status"] == "ok"
    assert (await server.get("/readyz")).status == 200
    await server.post("/api/orders", {"id": 1})
    assert b'backend_requests_total{code="201",method="POST"} 1.0' in (await server.get("/metrics")).body
    described = (await server.get("/api/openapi.json")).json
    assert described["openapi"] == "3.1.0"
    assert described["x-collections"] == ["orders"]
