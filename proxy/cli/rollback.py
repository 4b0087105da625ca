"""``turnout rollback REASON``: go back, from whatever stage. Safe to say at any time."""

from __future__ import annotations

import typer

from proxy.cli import admin_client, fields
from proxy.cli.options import WAIT_DEFAULT, AcceptLoss, AsJson, Reason, Wait
from proxy.cli.output import errors_told, say, say_json
from proxy.cli.switch import COMMIT_TIMEOUT_S, lost_told


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("rollback")(rollback)


def rollback(
    reason: Reason,
    accept_loss: AcceptLoss = None,
    wait: Wait = WAIT_DEFAULT,  # pyright: ignore[reportArgumentType] - typer parses the default like what is typed
    as_json: AsJson = False,
) -> None:
    """Go back: with a canary, switch it off; after a switch, switch back. No write is lost.

    Example: turnout rollback "Emergency rollback"
    """
    with errors_told(as_json):
        body: dict[str, object] = {"reason": reason, "wait_s": wait}
        if accept_loss is not None:
            body["accept_loss"] = accept_loss
        result = admin_client.from_environment().post(
            "/api/v1/rollback", body, timeout_s=wait + COMMIT_TIMEOUT_S
        )
        if as_json:
            say_json(result)
        else:
            say(fields.text(result, "detail"))
            for line in lost_told(result):
                say(line)
