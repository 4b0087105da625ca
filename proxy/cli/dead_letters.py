"""``turnout dead-letters …``: the keys that repair could not settle; each waits for a person."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from proxy.cli import admin_client, fields
from proxy.cli.options import AsJson, Reason
from proxy.cli.output import errors_told, say, say_json
from proxy.errors import UsageError

Key = Annotated[
    str,
    typer.Argument(metavar="KEY", help="The key, as `dead-letters list` shows it, such as /api/orders/17."),
]


SHOWN = 5
"""Keys that are named when all of them are tried again."""


def register(app: typer.Typer) -> None:
    """Add the verb and its parts."""
    group = typer.Typer(help="Keys that wait for a person.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("show")(show)
    group.command("retry")(retry)
    group.command("drop")(drop)
    app.add_typer(group, name="dead-letters")


def list_(
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, max=100_000, help="How many, oldest first.")
    ] = 1000,
    as_json: AsJson = False,
) -> None:
    """List the dead letters, oldest first, with why and what to do.

    Example: turnout dead-letters list
    """
    with errors_told(as_json):
        answer = admin_client.from_environment().get(f"/api/v1/dead-letters?count={count}")
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
        more = int(fields.number(answer, "total")) - len(letters)
        if more > 0:
            say(f"and {more} more: turnout dead-letters list --count {len(letters) + more}")


def show(key: Key, as_json: AsJson = False) -> None:
    """Show one dead letter: the requests that wait, the refusal, the record on both sides, and what to do.

    Example: turnout dead-letters show /api/orders/17
    """
    with errors_told(as_json):
        letter = admin_client.from_environment().get(f"/api/v1/dead-letters/show?key={quote(key, safe='')}")
        if as_json:
            say_json(letter)
            return
        for line in told(letter):
            say(line)


def told(letter: dict[str, object]) -> list[str]:
    """One dead letter, in lines."""
    lines = [
        f"{fields.text(letter, 'key')}  since {fields.text(letter, 'since')}",
        f"why      {fields.text(letter, 'cause')}: {fields.text(letter, 'detail')}",
    ]
    for request in fields.mappings(letter, "requests"):
        asked = f"{fields.text(request, 'method')} {fields.text(request, 'target')}"
        lines.append(
            f"request  {fields.text(request, 'born')}  {asked}  {fields.text(request, 'body')}".rstrip()
        )
        if status := fields.text(request, "status"):
            lines.append(f"         answered {status} {fields.text(request, 'answer')}".rstrip())
    if answer := fields.mapping(letter, "repair_answer"):
        lines.append(f"refused  {fields.text(answer, 'status')} {fields.text(answer, 'body')}".rstrip())
    for name, record in fields.mapping(letter, "records").items():
        look = fields.mapping({name: record}, name)
        said = fields.text(look, "error") or f"{fields.text(look, 'status')} {fields.text(look, 'body')}"
        lines.append(f"{name:8} {said}".rstrip())
    lines.append(f"next     {fields.text(letter, 'next')}")
    return lines


def retry(
    key: Annotated[
        str | None,
        typer.Argument(metavar="[KEY]", help="The key, as `dead-letters list` shows it."),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every dead letter.")] = False,
    as_json: AsJson = False,
) -> None:
    """Try to settle a dead letter again, or all of them.

    Example: turnout dead-letters retry /api/orders/17
    """
    with errors_told(as_json):
        if (key is None) != all_:
            raise UsageError("give a KEY, or --all", "turnout dead-letters list")
        body: dict[str, object] = {"all": True} if key is None else {"key": key}
        answer = admin_client.from_environment().post("/api/v1/dead-letters/retry", body)
        if as_json:
            say_json(answer)
        elif keys := fields.words(answer, "retrying"):
            more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
            say(f"{', '.join(keys[:SHOWN])}{more}: being tried again; look at `turnout mirror status`")
        else:
            say("no dead letters")


def drop(key: Key, reason: Reason, as_json: AsJson = False) -> None:
    """Give a dead letter up: it is exported to a file, and its key is unproven until a validation clears it.

    Example: turnout dead-letters drop /api/orders/17 "entered twice by hand"
    """
    with errors_told(as_json):
        answer = admin_client.from_environment().post(
            "/api/v1/dead-letters/drop", {"key": key, "reason": reason}
        )
        if as_json:
            say_json(answer)
        else:
            say(
                f"{key} is dropped (kept in {fields.text(answer, 'exported')}) and unproven now: run `turnout validate`"
            )
