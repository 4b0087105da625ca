"""The OpenAPI description of a server: the contract, spelled out for the collections and singletons that are there now. Pure.

Every status that an operation can answer is named, so that an undocumented one is a fault (tests/contract/test_openapi.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

from backends.contract.ids import ID_BYTES_MAX
from backends.contract.problems import PROBLEM_TYPE
from backends.contract.querystring import PAGE_ROWS_DEFAULT, SORT_FIELDS_MAX
from backends.query import ROWS_MAX, Operator

Json = dict[str, Any]

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"

_REASONS: Final = {
    400: "bad-json, bad-query, bad-header or bad-request: not what the contract knows",
    403: "read-only, or mirror-token: not for this client",
    404: "not-found",
    405: "method-not-allowed",
    408: "request-timeout: the body did not arrive in time",
    409: "conflict, or idempotency-running",
    412: "precondition-failed",
    413: "too-large",
    415: "unsupported-media",
    422: "unstorable, or idempotency-mismatch",
    503: "unavailable; Retry-After says when to try again",
    507: "storage-full",
}
_ANY: Final = (400, 403, 503)
_BODY: Final = (408, 413, 415, 422)
_WRITE: Final = (409, 412, 507)


def describe(collections: Iterable[str], singletons: Iterable[str]) -> Json:
    """An OpenAPI 3.1 document. The paths with ``{collection}`` are for every name, also one that is not there yet."""
    collections, singletons = sorted(collections), sorted(singletons)
    name = _path_parameter("collection", "The name of a collection.")
    paths: Json = {
        "/api/{collection}": {"parameters": [name], **_collection("any collection", "any")},
        "/api/{collection}/{id}": {"parameters": [name, _ID], **_record("any collection", "any")},
    }
    for number, collection in enumerate(collections):
        path = f"/api/{_segment(collection)}"
        paths[path] = _collection(collection, f"collection{number}")
        paths[path + "/{id}"] = {"parameters": [_ID], **_record(collection, f"collection{number}")}
    paths["/api/openapi.json"] = {
        "get": _operation(
            "This document",
            "openapi",
            "openapi",
            ok=_ok("OpenAPI 3.1.", {"type": "object"}),
            problems=(503,),
            parameters=(),
        )
    }
    for number, singleton in enumerate(singletons):
        paths[f"/api/{_segment(singleton)}"] = _singleton(singleton, f"singleton{number}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Turnout reference server",
            "version": "1",
            "description": "Collections of JSON records. docs/reference/rest-api.md tells the contract in full.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": _SCHEMAS, "responses": _RESPONSES, "parameters": _PARAMETERS},
        "x-collections": collections,
        "x-singletons": singletons,
    }


def _collection(name: str, key: str) -> Json:
    listing = _operation(
        f"List records of {name}",
        f"{key}-list",
        name,
        ok=_ok("Records.", {"type": "array", "items": _ref("schemas", "Record"), "maxItems": ROWS_MAX}, _LIST_HEADERS),
        problems=(*_ANY, 412),
        parameters=[*_LIST_PARAMETERS, "IfMatch", "IfNoneMatch"],
        not_modified=True,
    )  # fmt: skip
    made = _operation(
        f"Create a record of {name}",
        f"{key}-create",
        name,
        status="201",
        ok=_ok("The record as it is kept.", _ref("schemas", "Record"), {**_TAG, "Location": _header("Its path.")}),
        problems=(*_ANY, 405, *_BODY, *_WRITE),
        parameters=["IdempotencyKey", "IfMatch", "IfNoneMatch"],
        body=_body("NewRecord", JSON),
    )  # fmt: skip
    return {
        "get": listing,
        "head": _head(listing, f"{key}-list-head"),
        "post": made,
        "options": _options(name, f"{key}-options"),
    }


def _record(name: str, key: str) -> Json:
    record = _ok("The record as it is kept.", _ref("schemas", "Record"), _TAG)
    read = _operation(
        f"Read a record of {name}",
        f"{key}-read",
        name,
        ok=_ok("The record, with what it was asked to be joined with.", _ref("schemas", "Record"), _TAG),
        problems=(*_ANY, 404, 412),
        parameters=["Embed", "Expand", "IfMatch", "IfNoneMatch"],
        not_modified=True,
    )
    conditional = ["IdempotencyKey", "IfMatch", "IfNoneMatch"]
    replaced = _operation(
        f"Replace a record of {name}",
        f"{key}-replace",
        name,
        ok=record,
        problems=(*_ANY, 404, *_BODY, *_WRITE),
        parameters=conditional,
        body=_body("NewRecord", JSON),
    )
    replaced["responses"]["201"] = _ok(
        "Created, as If-None-Match: * allowed.",
        _ref("schemas", "Record"),
        {**_TAG, "Location": _header("Its path.")},
    )
    patched = _operation(
        f"Change fields of a record of {name}",
        f"{key}-patch",
        name,
        ok=record,
        problems=(*_ANY, 404, *_BODY, *_WRITE),
        parameters=conditional,
        body=_body("Fields", JSON, MERGE_PATCH),
    )
    removed = _operation(
        f"Delete a record of {name}",
        f"{key}-delete",
        name,
        ok=_ok("The record that was.", _ref("schemas", "Record")),
        problems=(*_ANY, 404, *_WRITE, 422),
        parameters=conditional,
    )
    return {
        "get": read,
        "head": _head(read, f"{key}-read-head"),
        "put": replaced,
        "patch": patched,
        "delete": removed,
        "options": _options(name, f"{key}-record-options"),
    }


def _singleton(name: str, key: str) -> Json:
    whole = _ok("The object.", {"type": "object"}, _TAG)
    read = _operation(
        f"Read {name}",
        f"{key}-read",
        name,
        ok=whole,
        problems=(*_ANY, 404, 412),
        parameters=["IfMatch", "IfNoneMatch"],
        not_modified=True,
    )
    changing: Json = {
        "ok": whole,
        "problems": (*_ANY, 405, *_BODY, *_WRITE),
        "parameters": ["IdempotencyKey", "IfMatch", "IfNoneMatch"],
    }
    return {
        "get": read,
        "head": _head(read, f"{key}-head"),
        "put": _operation(
            f"Replace {name}", f"{key}-replace", name, body=_body("Fields", JSON), **changing
        ),
        "patch": _operation(
            f"Change fields of {name}", f"{key}-patch", name, body=_body("Fields", JSON, MERGE_PATCH), **changing
        ),
        "options": _options(name, f"{key}-options"),
    }  # fmt: skip


def _operation(
    summary: str,
    operation_id: str,
    tag: str,
    *,
    ok: Json,
    problems: Iterable[int],
    parameters: Iterable[str],
    status: str = "200",
    body: Json | None = None,
    not_modified: bool = False,
) -> Json:
    responses: Json = {status: ok}
    if not_modified:
        responses["304"] = {"description": "Not modified: If-None-Match holds its tag.", "headers": _TAG}
    responses.update((str(code), _ref("responses", str(code))) for code in sorted(problems))
    operation: Json = {
        "summary": summary,
        "operationId": operation_id,
        "tags": [tag],
        "parameters": [_ref("parameters", name) for name in parameters],
        "responses": responses,
    }
    if body is not None:
        operation["requestBody"] = body
    return operation


def _head(read: Json, operation_id: str) -> Json:
    """HEAD of what GET reads: the same statuses and headers, and no body."""
    bare = {
        status: {"description": "As GET.", "headers": response.get("headers", {})}
        for status, response in read["responses"].items()
    }
    return {**read, "summary": f"{read['summary']}: the head", "operationId": operation_id, "responses": bare}


def _options(tag: str, operation_id: str) -> Json:
    allowed = {"description": "What is allowed here.", "headers": {"Allow": _header("The methods.")}}
    return {
        "summary": "Which methods are allowed",
        "operationId": operation_id,
        "tags": [tag],
        "responses": {"204": allowed, **{str(code): _ref("responses", str(code)) for code in _ANY}},
    }


def _ok(description: str, schema: Json, headers: Json | None = None) -> Json:
    answer: Json = {"description": description, "content": {JSON: {"schema": schema}}}
    return {**answer, "headers": headers} if headers else answer


def _body(schema: str, *media: str) -> Json:
    return {"required": True, "content": {each: {"schema": _ref("schemas", schema)} for each in media}}


def _ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def _header(description: str, schema: Mapping[str, Any] | None = None) -> Json:
    return {"description": description, "required": True, "schema": schema or {"type": "string"}}


def _segment(name: str) -> str:
    """A name as it stands in a path, where braces would begin a parameter."""
    return quote(name, safe="")


def _path_parameter(name: str, description: str) -> Json:
    schema = {
        "type": "string",
        "minLength": 1,
        "maxLength": ID_BYTES_MAX // 4,
        "pattern": r"^[^\u0000\ud800-\udfff]*$",
        "not": {"enum": [".", "..", "openapi.json"]},
    }
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _query(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _request_header(name: str, description: str, pattern: str, length_max: int) -> Json:
    schema = {"type": "string", "pattern": pattern, "maxLength": length_max}
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


_ID: Final = _path_parameter("id", "A record's id, percent-encoded. 1 and the text 1 are the same id.")
_TAG: Final[Json] = {"ETag": _header("The strong tag of the body.")}
_LIST_HEADERS: Final[Json] = {
    **_TAG,
    "X-Total-Count": _header("How many records match in all.", {"type": "integer", "minimum": 0}),
    "Link": {"description": "first, prev, next, last", "schema": {"type": "string"}},
}
_WHOLE: Final[Json] = {"type": "integer", "minimum": 0, "maximum": (1 << 53) - 1}
_NAMES: Final = r"^[A-Za-z][A-Za-z0-9]{0,30}(,[A-Za-z][A-Za-z0-9]{0,30}){0,4}$"
_SUFFIXES: Final = ", ".join(f"_{operator}" for operator in Operator if operator is not Operator.EQ)
_TAGS: Final = r'^(\*|(W/)?"[A-Za-z0-9]{1,40}"(, (W/)?"[A-Za-z0-9]{1,40}"){0,3})$'

_PARAMETERS: Final[Json] = {
    "Filter": {
        **_query(
            "filter",
            f"Any field (a dotted path leads inside), as field=value; repeated: or. With one of {_SUFFIXES}: compared.",
            {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "propertyNames": {"pattern": "^[A-Za-z][A-Za-z0-9.]{0,30}$", "not": {"const": "q"}},
                "maxProperties": 8,
            },
        ),
        "style": "form",
        "explode": True,
    },
    "Text": _query("q", "A text that any string or number of the record contains.", {"type": "string"}),
    "Sort": _query(
        "_sort",
        f"At most {SORT_FIELDS_MAX} fields; a - before one turns it round.",
        {
            "type": "string",
            "pattern": r"^-?[A-Za-z][A-Za-z0-9_.]{0,30}(,-?[A-Za-z][A-Za-z0-9_.]{0,30}){0,4}$",
        },
    ),
    "Order": _query(
        "_order", "asc or desc for each field of _sort.", {"type": "string", "enum": ["asc", "desc"]}
    ),
    "Page": _query("_page", "From 1; not with _start, _end, _after.", {**_WHOLE, "minimum": 1}),
    "PerPage": _query(
        "_per_page",
        f"Rows of a page, {PAGE_ROWS_DEFAULT} if not said.",
        {**_WHOLE, "minimum": 1, "maximum": ROWS_MAX},
    ),
    "Limit": _query("_limit", "Rows; not with _per_page, _end.", {**_WHOLE, "maximum": ROWS_MAX}),
    "Start": _query("_start", "Rows to skip.", _WHOLE),
    "End": _query("_end", f"The row to end before, at most {ROWS_MAX} behind _start.", _WHOLE),
    "After": _query("_after", "The id of the row to go on after.", {"type": "string"}),
    "Embed": _query(
        "_embed", "Collections whose records refer to these.", {"type": "string", "pattern": _NAMES}
    ),
    "Expand": _query("_expand", "Names that these records refer to.", {"type": "string", "pattern": _NAMES}),
    "IfMatch": _request_header("If-Match", "Only if one of these tags, or any.", _TAGS, 200),
    "IfNoneMatch": _request_header("If-None-Match", "Only if none of these tags, or nothing.", _TAGS, 200),
    "IdempotencyKey": _request_header(
        "Idempotency-Key",
        "The same key and request again get the answer of the first.",
        r"^[A-Za-z0-9-]+$",
        255,
    ),
}
_LIST_PARAMETERS: Final = (
    "Filter", "Text", "Sort", "Order", "Page", "PerPage", "Limit", "Start", "End", "After", "Embed", "Expand",
)  # fmt: skip

_SCHEMAS: Final[Json] = {
    "Record": {
        "type": "object",
        "required": ["id"],
        "properties": {"id": {"type": ["string", "integer"]}},
        "additionalProperties": True,
    },
    "NewRecord": {
        "type": "object",
        "properties": {
            "id": {"anyOf": [{"type": "integer"}, {"type": "string", "minLength": 1, "maxLength": ID_BYTES_MAX}]}
        },
        "additionalProperties": True,
        "description": "created_at and updated_at are the server's; what is sent for them does not count.",
    },
    "Fields": {"type": "object", "additionalProperties": True},
    "Problem": {
        "type": "object",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"const": "about:blank"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string", "pattern": "^[a-z]+(-[a-z]+)*$"},
        },
    },
}  # fmt: skip

_PROBLEM_HEADERS: Final[Mapping[int, Json]] = {
    405: {"Allow": _header("The methods that are allowed.")},
    503: {"Retry-After": _header("Seconds.", {"type": "integer"})},
}
_RESPONSES: Final[Json] = {
    str(status): {
        "description": reason,
        "headers": _PROBLEM_HEADERS.get(status, {}),
        "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, reason in _REASONS.items()
}
