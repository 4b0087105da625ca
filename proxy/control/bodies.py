"""Bodies of the admin API, in and out: problem+json (RFC 9457), and the fields of a JSON object, each checked by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from aiohttp import web

from proxy.errors import UsageError


def problem(status: int, code: str, detail: str, hint: str = "") -> web.Response:
    """RFC 9457 problem+json, with ``code`` and what to do."""
    body = {
        "type": "about:blank",
        "title": code.replace("-", " "),
        "status": status,
        "detail": detail,
        "code": code,
    }
    body["hint"] = hint or f"docs/reference/errors.md says what {code} means"
    return web.Response(
        status=status, body=json.dumps(body).encode(), headers={"Content-Type": "application/problem+json"}
    )


def answer(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON value."""
    return web.json_response(value, status=status, headers=headers)


async def fields_of(request: web.Request, allowed: set[str] | None) -> dict[str, object]:
    """The JSON object of a request; UsageError names what is wrong with it. ``allowed`` None: any field."""
    try:
        raw = await request.read()
    except (web.RequestPayloadError, ConnectionError) as error:
        raise UsageError(
            "the body did not come whole", "send one JSON object, framed as its head says"
        ) from error
    if not raw:
        return {}
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the body is no JSON: {error}", "send one JSON object, in UTF-8") from error
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            "the body holds half of a character (a lone surrogate)", "send whole characters"
        ) from error
    if not isinstance(body, dict):
        raise UsageError("the body must be a JSON object")
    fields = cast("dict[str, object]", body)
    unknown = sorted(fields.keys() - allowed) if allowed is not None else []
    if unknown:
        raise UsageError(f"unknown field {unknown[0]!r}", f"known are {', '.join(sorted(allowed or ()))}")
    return fields


def actor_of(request: web.Request) -> str:
    return printable(str(request.get("actor", "admin")))


def printable(header: str) -> str:
    """A header's text as it can be kept and shown: bytes that are no UTF-8 arrive as lone surrogates."""
    return header.encode("utf-8", "replace").decode("utf-8")


def text(body: Mapping[str, object], name: str, default: str) -> str:
    value = body.get(name, default)
    if not isinstance(value, str):
        raise UsageError(f"{name} must be a string")
    return value


def reason(body: Mapping[str, object], what: str) -> str:
    """What an act that a person must answer for needs."""
    found = text(body, "reason", "").strip()
    if not found:
        raise UsageError(f"{what} needs a `reason`")
    return found


def weight(value: object) -> str | None:
    """Percent with at most two decimals, as text for the file; its range is the settings' to check."""
    if value is None:
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value <= 100
        or round(value, 2) != value
    ):
        raise UsageError(
            f"weight must be a percentage from 0 to 100 with at most two decimals, not {value!r}"
        )
    return f"{value:.2f}".rstrip("0").rstrip(".")


def seconds(value: object, default: float = 30.0) -> float:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 3600:
        raise UsageError(f"wait_s must be a number of seconds from 0 to 3600, not {value!r}")
    return float(value)


def count_of(value: object) -> int | None:
    """A whole number from 0, or None where it was not given."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError(f"accept_loss must be a whole number from 0, not {value!r}")
    return value


def integer(value: str, low: int, high: int) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 10) or not low <= int(value) <= high:
        raise UsageError(f"count must be a whole number from {low} to {high}, not {value!r}")
    return int(value)
