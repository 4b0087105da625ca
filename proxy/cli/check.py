"""``turnout check FILE``: is this routing.yaml right? Like ``nginx -t``, it changes nothing and asks no server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.options import AsJson
from proxy.cli.output import FAILED, note, say, say_json


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("check")(check)


def check(
    file: Annotated[
        Path, typer.Argument(help="The routing.yaml to look at.", exists=True, dir_okay=False, readable=True)
    ],
    as_json: AsJson = False,
) -> None:
    """Tell whether a routing.yaml is right: every fault with its line, its column, and what would be right.

    Example: turnout check config/routing.yaml
    """
    from proxy.settings.default import environment
    from proxy.settings.faults import BadSettingsError, Fault
    from proxy.settings.load import load
    from proxy.settings.watch import read_text

    faults: tuple[Fault, ...] = ()
    try:
        load(read_text(file), environment(Path.cwd()), str(file))
    except BadSettingsError as error:
        faults = error.faults
    if as_json:
        told = [{"line": fault.line, "column": fault.column, "message": fault.message} for fault in faults]
        say_json({"file": str(file), "ok": not faults, "faults": told})
    elif faults:
        for fault in faults:
            note(f"{file}:{fault}")
    else:
        say(f"{file}: right")
    if faults:
        raise typer.Exit(FAILED)
