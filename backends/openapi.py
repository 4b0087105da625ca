"""The OpenAPI description of a server: the contract's paths, with the collections that are there now. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_RECORD = {"content": {"application/json": {"schema": {"type": "object"}}}, "required": True}
_PROBLEM = {
    "description": "problem+json",
    "content": {"application/problem+json": {"schema": {"type": "object"}}},
}
_LIST_PARAMETERS = ("_sort", "_order", "_page", "_per_page", "_limit", "_start", "_end", "_after", "q")


def describe(collections: Iterable[str], singletons: Iterable[str]) -> dict[str, Any]:
    """An OpenAPI 3.1 document."""
    paths: dict[str, Any] = {
        "/api/{collection}": {"parameters": [_path("collection")], **_collection()},
        "/api/{collection}/{id}": {"parameters": [_path("collection"), _path("id")], **_record()},
    }
    for name in singletons:
        paths[f"/api/{name}"] = {
            "get": _operation(f"Read {name}"),
            "put": _operation(f"Replace {name}", body=True),
            "patch": _operation(f"Change fields of {name}", body=True),
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Turnout reference server", "version": "1"},
        "paths": paths,
        "x-collections": sorted(collections),
    }


def _collection() -> dict[str, Any]:
    listing = _operation("List records")
    listing["parameters"] = [
        {"name": name, "in": "query", "schema": {"type": "string"}} for name in _LIST_PARAMETERS
    ]
    return {"get": listing, "post": _operation("Create a record", body=True, status="201")}


def _record() -> dict[str, Any]:
    return {
        "get": _operation("Read a record"),
        "put": _operation("Replace a record", body=True),
        "patch": _operation("Change fields of a record", body=True),
        "delete": _operation("Delete a record"),
    }


def _operation(summary: str, *, body: bool = False, status: str = "200") -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {status: {"description": "done"}, "default": _PROBLEM},
    }
    if body:
        operation["requestBody"] = _RECORD
    return operation


def _path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
