"""``turnout explain METHOD PATH``: who would answer this request, and which line of the file says so."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.cli.options import AsJson
from proxy.cli.output import FAILED, note, say, say_json

if TYPE_CHECKING:
    from proxy.model import Snapshot
    from proxy.routing.explain import Explanation

DEFAULT_CONFIG = Path("config/routing.yaml")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("explain")(explain)


def explain(
    method: Annotated[str, typer.Argument(help="The request's method, such as GET.")],
    path: Annotated[str, typer.Argument(help="Its path, with a query if there is one.")],
    header: Annotated[
        list[str] | None, typer.Option("-H", "--header", help="A header, 'Name: value'; repeatable.")
    ] = None,
    config: Annotated[
        Path, typer.Option("--config", help="The routing.yaml.", exists=True, dir_okay=False, readable=True)
    ] = DEFAULT_CONFIG,
    client_ip: Annotated[str, typer.Option("--client-ip", help="The client's address.")] = "127.0.0.1",
    as_json: AsJson = False,
) -> None:
    """Tell who would answer a request as the file says, which rule decides, and its line. Asks no server.

    Example: turnout explain GET /api/orders/1 -H 'X-Canary: canary=true'
    """
    from proxy.routing.explain import explain as explained
    from proxy.routing.head import SimpleHead
    from proxy.settings.compile import compile_snapshot
    from proxy.settings.default import environment
    from proxy.settings.faults import BadSettingsError
    from proxy.settings.load import load
    from proxy.settings.watch import read_text

    if not path.startswith("/") and path != "*":
        raise typer.BadParameter(f"a path begins with a slash: /{path}", param_hint="PATH")
    headers = [_header(text) for text in header or []]
    try:
        settings = load(read_text(config), environment(Path.cwd()), str(config))
    except BadSettingsError as error:
        for line in error.lines():
            note(line)
        raise typer.Exit(FAILED) from error
    snapshot = compile_snapshot(settings, primary=settings.primary)
    found = explained(SimpleHead.of(method.upper(), path, headers, client_ip), snapshot)
    if as_json:
        say_json({"config": str(config), **dataclasses.asdict(found)})
        return
    for name, value in _told(found, snapshot, str(config)):
        say(f"{name:9} {value}")


def _header(text: str) -> tuple[str, str]:
    name, separator, value = text.partition(":")
    if not separator or not name.strip():
        raise typer.BadParameter(f"{text!r} is no header: write 'Name: value'", param_hint="-H")
    return name.strip(), value.strip()


def _told(found: Explanation, snapshot: Snapshot, config: str) -> list[tuple[str, str]]:
    """The answer as lines of a label and a text."""
    share = found.secondary_percent
    is_certain = share in (0, 100)
    either = f"{snapshot.primary} ({100 - share:g} %) or {snapshot.secondary} ({share:g} %)"
    rule = f"{config}:{found.line}: {found.rule}" if found.line else f"default: {found.rule}"
    route = f"{config}:{found.route_line}: {found.route}" if found.route_line else f"default: {found.route}"
    mirrored = f"; executed by {found.executed_by}, and mirrored" if found.is_mirrored else ""
    return [
        ("upstream", found.upstream if is_certain else either),
        ("reason", found.reason.value),
        ("rule", rule),
        ("route", route),
        ("kind", f"{found.kind.value}{mirrored}"),
        ("key", found.key or f"none; under {found.prefix or '/'}"),
    ]
