"""The verbs that the design promises and this version does not have: each is listed, and refuses (exit 1)."""

from __future__ import annotations

from collections.abc import Callable

import typer

from proxy.cli.output import errors_told
from proxy.errors import NotYetError

VERBS: dict[str, tuple[str, str]] = {
    "rollout": ("Raise the weight step by step, with checks between.", "raise it by hand: turnout canary weight N"),
    "shadow": ("Send a sample of reads to both upstreams and compare.", "compare all records: turnout validate"),
    "complete": ("End the move: validate, back up, stop the mirror.", "leave the mirror on; it costs no client anything"),
    "top": ("Live view of the traffic.", "turnout status --watch, or the page on the admin's port"),
    "logs": ("Show the proxy's log.", "the proxy logs to stderr; `turnout demo` keeps logs in .turnout/logs"),
    "init": ("Write a first routing.yaml and .env.local.", "copy config/routing.yaml and config/env.example"),
    "db": ("Make, fill and look at the database.", "`turnout serve postgres` makes what it needs"),
    "schema": ("Infer the database's schema from a file.", "`turnout serve postgres` makes what it needs"),
    "repair": ("Make the secondary equal where a validation found differences.", "run `turnout backfill` again"),
    "check-routes": ("Compare the routes of both upstreams.", "turnout explain METHOD PATH"),
    "compare": ("Send one request to both upstreams and compare.", "ask both ports with curl"),
    "backup": ("Write the data of both upstreams to a file.", "copy data.json; pg_dump for PostgreSQL"),
    "restore": ("Load a backup.", "backfill from a file: turnout backfill --from FILE --to URL"),
}  # fmt: skip
"""Verb → what it will do, and what to do until then."""


def register(app: typer.Typer) -> None:
    """Add them."""
    for verb, (will, until_then) in VERBS.items():
        app.command(verb, **_SETTINGS, help=f"Not yet: {will}")(_refusal(verb, until_then))  # pyright: ignore[reportArgumentType]


_SETTINGS = {"context_settings": {"ignore_unknown_options": True, "allow_extra_args": True}}


def _refusal(verb: str, until_then: str) -> Callable[[], None]:
    def refuse() -> None:
        with errors_told():
            raise NotYetError(f"`turnout {verb}` is not yet built", until_then)

    return refuse
