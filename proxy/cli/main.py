"""``turnout``: one file a verb; each adds itself here."""

from __future__ import annotations

import typer

from proxy.cli import check, explain

app = typer.Typer(
    name="turnout",
    help="Moves the traffic and the data of a live HTTP service from a JSON file to PostgreSQL, without stopping it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
check.register(app)
explain.register(app)


def main() -> None:
    """The entry point of the ``turnout`` command."""
    app()
