"""``turnout switch UPSTREAM REASON``: make the other upstream primary."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.cli import admin_client, fields
from proxy.cli.options import WAIT_DEFAULT, AsJson, Reason, Wait
from proxy.cli.output import FAILED, complain, errors_told, say, say_json

COMMIT_TIMEOUT_S = 20.0
"""Beyond the wait: the fence, the announcements and the commit, each bounded by the proxy."""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("switch")(switch)


def switch(
    upstream: Annotated[str, typer.Argument(metavar="UPSTREAM", help="The upstream that becomes primary.")],
    reason: Reason,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; say what stands against it.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Go on although the last validation is old.")
    ] = False,
    wait: Wait = WAIT_DEFAULT,  # pyright: ignore[reportArgumentType] - typer parses the default like what is typed
    as_json: AsJson = False,
) -> None:
    """Make an upstream primary: drain the mirror, hold writes for a moment, change roles. Reads never stop.

    Example: turnout switch postgres "Full migration"
    """
    with errors_told(as_json):
        body = {"to": upstream, "reason": reason, "force": force, "dry_run": dry_run, "wait_s": wait}
        result = admin_client.from_environment().post(
            "/api/v1/switch", body, timeout_s=wait + COMMIT_TIMEOUT_S
        )
        refusals = fields.mappings(result, "refusals")
        if as_json:
            say_json(result)
        elif refusals:
            for refusal in refusals:
                complain(fields.text(refusal, "text"), fields.text(refusal, "hint"))
        elif dry_run and "would" in result:
            lag = fields.number(result, "lag_entries")
            say(f"nothing stands against a switch to {upstream}; {lag:g} entries would be drained first")
        else:
            say(fields.text(result, "detail"))
    if refusals:
        raise typer.Exit(FAILED)
