"""The tools of `backends.migrate` as the verbs run them: their failures are told as any other, the proxy says where its upstreams are."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

from proxy.cli import fields
from proxy.cli.admin_client import AdminClient
from proxy.errors import TurnoutError, UsageError
from proxy.tls import Secure


class ToolFailedError(TurnoutError):
    """What a tool failed with, in its own words and under its own code."""

    status = 502

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.code = code


@contextlib.contextmanager
def failures_told() -> Generator[None]:
    """A ToolError becomes a ToolFailedError."""
    from backends.migrate.faults import ToolError

    try:
        yield
    except ToolError as error:
        raise ToolFailedError(error.code, error.message, error.hint) from error


async def validator(
    primary_url: str, secondary_url: str, *, token: str, epoch: str, secure: Mapping[str, Secure]
) -> Mapping[str, object]:
    """The proxy's ports.Validator."""
    from backends.migrate.validate import validate_upstreams

    with failures_told():
        return await validate_upstreams(primary_url, secondary_url, token=token, epoch=epoch, secure=secure)


async def differ(
    primary_url: str, secondary_url: str, *, token: str, epoch: str, secure: Mapping[str, Secure]
) -> Sequence[str]:
    """The proxy's ports.Differ."""
    from backends.migrate.validate import differing_keys

    with failures_told():
        return await differing_keys(primary_url, secondary_url, token=token, epoch=epoch, secure=secure)


FIELDS_SEEN_MAX = 10_000
OF_BYTES_ALONE = frozenset({"number-text", "key-order", "encoding"})
"""Kinds of difference that are none between two servers which write JSON in their own ways."""


def described(primary: bytes, secondary: bytes, ignore: frozenset[str]) -> list[dict[str, object]]:
    """The proxy's ports.Describe: by value, as the mirror compares where an upstream is plain (equal-value)."""
    from backends.migrate.diff import FIELDS_MAX, record_differences

    try:
        found = record_differences(primary, secondary, FIELDS_SEEN_MAX)
    except ValueError:  # one of the two is no JSON
        return [{"pointer": "", "kind": "value"}]
    kept = [
        one for one in found if one.kind.value not in OF_BYTES_ALONE and _top_field(one.pointer) not in ignore
    ]
    return [one.as_json() for one in kept[:FIELDS_MAX]]


def _top_field(pointer: str) -> str | None:
    """The field of the record that a JSON pointer begins with; None for the whole record."""
    parts = pointer.split("/")
    return parts[1].replace("~1", "/").replace("~0", "~") if len(parts) > 1 else None


def primary_url(admin: AdminClient) -> str:
    """Where the primary of the running proxy listens. UsageError where it does not say."""
    status = admin.get("/api/v1/status")
    primary = fields.mapping(fields.mapping(status, "upstreams"), fields.text(status, "primary"))
    urls = [fields.text(endpoint, "url") for endpoint in fields.mappings(primary, "endpoints")]
    if not urls:
        raise UsageError("the proxy names no address of its primary", "give it with --source-url")
    return urls[0]


def mirror_token() -> str:
    """TURNOUT_MIRROR_TOKEN, from the environment or .env.local."""
    from proxy.settings.default import environment

    return environment(Path.cwd()).get("TURNOUT_MIRROR_TOKEN", "")
