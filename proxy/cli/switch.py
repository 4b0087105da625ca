"""``turnout switch UPSTREAM REASON``: make the other upstream primary."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.cli import admin_client, fields
from proxy.cli.options import WAIT_DEFAULT, AcceptLoss, AsJson, Reason, Wait
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
    accept_loss: AcceptLoss = None,
    wait: Wait = WAIT_DEFAULT,  # pyright: ignore[reportArgumentType] - typer parses the default like what is typed
    as_json: AsJson = False,
) -> None:
    """Make an upstream primary: drain the mirror, hold writes for a moment, change roles. Reads never stop.

    Where the primary is dead, it says how many keys cannot be settled from the journal, and goes on only with --accept-loss.

    Example: turnout switch postgres "Full migration"
    """
    with errors_told(as_json):
        body: dict[str, object] = {
            "to": upstream,
            "reason": reason,
            "force": force,
            "dry_run": dry_run,
            "wait_s": wait,
        }
        if accept_loss is not None:
            body["accept_loss"] = accept_loss
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
        if not as_json:
            for line in lost_told(result):
                say(line)
    if refusals:
        raise typer.Exit(FAILED)


def lost_told(result: dict[str, object]) -> list[str]:
    """What cannot be taken along from a dead primary, one a line."""
    return [
        f"  {fields.text(one, 'name')}: {fields.text(one, 'why')}" for one in fields.mappings(result, "lost")
    ]
