"""``turnout dead-letters …``: the keys that repair could not settle; each waits for a person."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.cli import admin_client, fields
from proxy.cli.not_yet import refuse_in
from proxy.cli.options import AsJson, Reason
from proxy.cli.output import errors_told, say, say_json

Key = Annotated[
    str,
    typer.Argument(metavar="KEY", help="The key, as `dead-letters list` shows it, such as /api/orders/17."),
]


def register(app: typer.Typer) -> None:
    """Add the verb and its parts."""
    group = typer.Typer(help="Keys that wait for a person.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("retry")(retry)
    group.command("drop")(drop)
    refuse_in(group, "dead-letters")
    app.add_typer(group, name="dead-letters")


def list_(as_json: AsJson = False) -> None:
    """List the dead letters, with why and what to do.

    Example: turnout dead-letters list
    """
    with errors_told(as_json):
        answer = admin_client.from_environment().get("/api/v1/dead-letters")
        if as_json:
            say_json(fields.items(answer, "dead_letters"))
            return
        letters = fields.mappings(answer, "dead_letters")
        if not letters:
            say("no dead letters")
        for letter in letters:
            say(
                f"{fields.text(letter, 'key')}  since {fields.text(letter, 'since')}  {fields.text(letter, 'cause')}: {fields.text(letter, 'detail')}"
            )
            say(f"  {fields.text(letter, 'next')}")


def retry(key: Key, as_json: AsJson = False) -> None:
    """Try to settle a dead letter again.

    Example: turnout dead-letters retry /api/orders/17
    """
    with errors_told(as_json):
        answer = admin_client.from_environment().post("/api/v1/dead-letters/retry", {"key": key})
        if as_json:
            say_json(answer)
        else:
            say(f"{key} is being tried again; look at `turnout mirror status`")


def drop(key: Key, reason: Reason, as_json: AsJson = False) -> None:
    """Give a dead letter up: its key becomes unproven until a validation clears it.

    Example: turnout dead-letters drop /api/orders/17 "entered twice by hand"
    """
    with errors_told(as_json):
        answer = admin_client.from_environment().post(
            "/api/v1/dead-letters/drop", {"key": key, "reason": reason}
        )
        if as_json:
            say_json(answer)
        else:
            say(f"{key} is dropped and unproven now: run `turnout validate`")
