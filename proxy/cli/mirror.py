"""``turnout mirror status``: how far the mirror is, and what stands in its way."""

from __future__ import annotations

import typer

from proxy.cli import admin_client, fields
from proxy.cli.not_yet import refuse_in
from proxy.cli.options import AsJson
from proxy.cli.output import errors_told, say, say_json


def register(app: typer.Typer) -> None:
    """Add the verb and its parts."""
    group = typer.Typer(help="What carries each accepted write to the secondary.", no_args_is_help=True)
    group.command("status")(status)
    refuse_in(group, "mirror")
    app.add_typer(group, name="mirror")


def status(as_json: AsJson = False) -> None:
    """Show the mirror: what it carried, what is under way, what is unproven.

    Example: turnout mirror status
    """
    with errors_told(as_json):
        mirror = admin_client.from_environment().get("/api/v1/mirror")
        if as_json:
            say_json(mirror)
            return
        for label, value in told(mirror):
            say(f"{label:14}{value}")


def told(mirror: dict[str, object]) -> list[tuple[str, str]]:
    """Label and words of each fact."""

    def count(name: str) -> str:
        return f"{fields.number(mirror, name):g}"

    lines = [
        ("lag_entries", count("lag_entries")),
        ("lag_seconds", f"{fields.number(mirror, 'lag_seconds'):.3f}"),
        ("accepted", count("accepted")),
        ("replayed", count("replayed")),
        ("repaired", count("repaired")),
        ("rejected", count("rejected")),
        ("in doubt", count("in_doubt")),
        ("dead letters", count("dead_letters")),
        ("success", f"{fields.number(mirror, 'success_rate'):.2%}"),
    ]
    if trouble := fields.text(mirror, "secondary_trouble"):
        lines.append(("secondary", trouble))
    if unproven := fields.words(mirror, "unproven"):
        lines.append(("unproven", f"{', '.join(unproven)}: run `turnout validate`"))
    lines += [
        ("dead letter", f"{fields.text(letter, 'key')}: {fields.text(letter, 'detail')}")
        for letter in fields.mappings(mirror, "dead")
    ]
    return lines
