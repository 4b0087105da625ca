"""``turnout status``: where the whole move stands, on one screen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.cli import admin_client
from proxy.cli.options import AsJson
from proxy.cli.output import errors_told, say, say_json, say_styled

if TYPE_CHECKING:
    from proxy.cli.admin_client import AdminClient

WATCH_S = 1.0


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("status")(status)


def status(
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it anew each second, until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the stage, who is primary, the canary, the mirror, what is unproven or wanted, and what happened last.

    Example: turnout status --watch
    """
    with errors_told(as_json):
        admin = admin_client.from_environment()
        if watch:
            _watch(admin, as_json)
            return
        now = admin.get("/api/v1/status")
        if as_json:
            say_json(now)
            return
        from proxy.cli.status_screen import screen

        say_styled(screen(now))


def _watch(admin: AdminClient, as_json: bool) -> None:
    """Until Ctrl-C; a proxy that goes away ends it with exit 1, like any verb that cannot reach it."""
    from rich.console import Console, Group
    from rich.live import Live

    from proxy.cli.status_screen import rates, screen

    before: dict[str, object] | None = None
    console = Console(highlight=False, emoji=False, markup=False)
    try:
        if as_json or not console.is_terminal:
            while True:
                now = admin.get("/api/v1/status")
                if as_json:
                    say_json(now)
                else:
                    say_styled(screen(now))
                    say()
                time.sleep(WATCH_S)
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                now = admin.get("/api/v1/status")
                live.update(Group(*screen(now, rates(before, now, WATCH_S))), refresh=True)
                before = now
                time.sleep(WATCH_S)
    except KeyboardInterrupt:
        return
