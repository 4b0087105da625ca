"""``turnout``: one file a verb; each adds itself here."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.cli import (
    backfill,
    canary,
    check,
    dead_letters,
    demo,
    explain,
    history,
    mirror,
    not_yet,
    proxy,
    rollback,
    serve,
    status,
    switch,
    validate,
)
from proxy.cli.output import say

VERBS = (
    demo,
    proxy,
    serve,
    status,
    backfill,
    validate,
    canary,
    switch,
    rollback,
    history,
    mirror,
    dead_letters,
    check,
    explain,
    not_yet,
)
"""In the order of ``turnout --help``: what is used first comes first."""

app = typer.Typer(
    name="turnout",
    help="Moves the traffic and the data of a live HTTP service from a JSON file to PostgreSQL, without stopping it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for verb in VERBS:
    verb.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata
        from importlib.util import find_spec

        hot_path = find_spec("proxy.wire.request")
        is_compiled = hot_path is not None and not str(hot_path.origin).endswith(".py")
        say(f"turnout {metadata.version('turnout')}{' (compiled)' if is_compiled else ''}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="The version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    del version


def main() -> None:
    """The entry point of the ``turnout`` command."""
    app()


if __name__ == "__main__":
    main()
