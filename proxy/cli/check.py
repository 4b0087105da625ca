"""``turnout check FILE``: is this routing.yaml right? Like ``nginx -t``, it changes nothing, and asks a server only with ``--probe``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.cli.options import AsJson
from proxy.cli.output import FAILED, note, say, say_json

if TYPE_CHECKING:
    from proxy.cli.probe import Found
    from proxy.settings.load import Settings


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("check")(check)


def check(
    file: Annotated[
        Path, typer.Argument(help="The routing.yaml to look at.", exists=True, dir_okay=False, readable=True)
    ],
    is_probing: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Ask both upstreams too, with GET and OPTIONS alone: versioned or plain, and which promises hold.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell whether a routing.yaml is right: every fault with its line, its column, and what would be right.

    Example: turnout check config/routing.yaml
    """
    from proxy.settings.default import environment
    from proxy.settings.faults import BadSettingsError, Fault
    from proxy.settings.load import load
    from proxy.settings.watch import read_text

    env = environment(Path.cwd())
    faults: tuple[Fault, ...] = ()
    settings: Settings | None = None
    try:
        settings = load(read_text(file), env, str(file))
    except BadSettingsError as error:
        faults = error.faults
    found = _probed(settings, env) if is_probing and settings is not None else []
    if as_json:
        told = [{"line": fault.line, "column": fault.column, "message": fault.message} for fault in faults]
        more = {"upstreams": [one.as_json() for one in found]} if is_probing else {}
        say_json({"file": str(file), "ok": not faults, "faults": told, **more})
    elif faults:
        for fault in faults:
            note(f"{file}:{fault}")
    else:
        say(f"{file}: right")
        for one in found:
            for line in one.lines():
                say(line)
    if faults or not all(one.is_fit for one in found):
        raise typer.Exit(FAILED)


def _probed(settings: Settings, env: Mapping[str, str]) -> list[Found]:
    import asyncio

    from proxy.cli.probe import probe_upstreams
    from proxy.settings.compile import compile_snapshot

    snapshot = compile_snapshot(settings, primary=settings.primary)
    return asyncio.run(probe_upstreams(snapshot, env.get("TURNOUT_MIRROR_TOKEN", "")))
