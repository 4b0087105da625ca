"""``turnout history``: who changed what, when, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.cli import admin_client, fields
from proxy.cli.options import AsJson
from proxy.cli.output import errors_told, say, say_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("history")(history)


def history(
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, max=1000, help="How many, newest first.")
    ] = 50,
    as_json: AsJson = False,
) -> None:
    """List what operators and the proxy changed, newest first.

    Example: turnout history --count 10
    """
    with errors_told(as_json):
        answer = admin_client.from_environment().get(f"/api/v1/history?count={count}")
        if as_json:
            say_json(fields.items(answer, "history"))
            return
        for line in fields.mappings(answer, "history"):
            say(told(line))


def told(line: dict[str, object]) -> str:
    """One change on one line: moment, actor, verb, detail, reason."""
    moment = fields.text(line, "time")[:19].replace("T", " ")
    reason = fields.text(line, "reason")
    said = [
        moment,
        f"{fields.text(line, 'actor'):10}",
        f"{fields.text(line, 'verb'):10}",
        fields.text(line, "detail"),
    ]
    return "  ".join(said).rstrip() + (f"  “{reason}”" if reason else "")
