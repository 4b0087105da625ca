"""``turnout serve json`` and ``turnout serve postgres``: the two reference servers, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.cli.arguments import LOOPBACK, address
from proxy.cli.output import FAILED, complain

if TYPE_CHECKING:
    from backends.serve import StoreContext

EMBEDDED_DEFAULT = Path(".turnout/postgres")

Listen = Annotated[
    str,
    typer.Option("--listen", metavar="[HOST]:PORT", help="Where it listens; without a host on 127.0.0.1."),
]
ReadOnly = Annotated[bool, typer.Option("--read-only", help="Refuse every write (403 read-only).")]
LogLevel = Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")]


def register(app: typer.Typer) -> None:
    """Add the verb with its two servers."""
    group = typer.Typer(no_args_is_help=True, help="Run one of the two reference servers.")
    group.command("json")(serve_json)
    group.command("postgres")(serve_postgres)
    app.add_typer(group, name="serve")


def serve_json(
    data: Annotated[Path, typer.Option("--data", help="The data.json.")],
    listen: Listen = ":3002",
    read_only: ReadOnly = False,
    id_field: Annotated[
        str | None,
        typer.Option(
            "--id-field",
            metavar="NAME",
            help="Where records without an `id` have theirs. Left out: one is made.",
        ),
    ] = None,
    shop_admin: Annotated[bool, typer.Option("--shop-admin", help="Not yet.", hidden=True)] = False,
    log_level: LogLevel = "info",
) -> None:
    """Serve the records of a data.json as a REST API; every acknowledged write survives kill -9.

    Example: turnout serve json --data assets/data/data.json --listen :3002
    """
    if shop_admin:
        complain("`--shop-admin` is not yet built", "the API is under /api")
        raise typer.Exit(FAILED)
    from backends.serve import json_context

    around = json_context(data, read_only=read_only, id_field=id_field)
    _serve("json", around, listen, read_only=read_only, log_level=log_level)


def serve_postgres(
    database_url: Annotated[
        str | None,
        typer.Option(
            "--database-url", help="postgresql://… Left out: DATABASE_URL, or else an embedded server."
        ),
    ] = None,
    embedded: Annotated[
        Path | None,
        typer.Option("--embedded", help="Run PostgreSQL from the wheel, with its data in this folder."),
    ] = None,
    embedded_port: Annotated[
        int,
        typer.Option(
            "--embedded-port",
            metavar="PORT",
            min=0,
            max=65535,
            help="Where the embedded server listens, on 127.0.0.1. 0: any free port; the log says which.",
        ),
    ] = 0,
    listen: Listen = ":3003",
    read_only: ReadOnly = False,
    log_level: LogLevel = "info",
) -> None:
    """Serve the records in a PostgreSQL database as the same REST API.

    Example: turnout serve postgres --embedded .turnout/postgres --listen :3003
    """
    from backends.serve import postgres_context
    from proxy.settings.default import environment

    if database_url and embedded:
        raise typer.BadParameter("--database-url and --embedded exclude each other")
    if database_url and embedded_port:
        raise typer.BadParameter("--database-url and --embedded-port exclude each other")
    url = (
        None
        if embedded or embedded_port
        else database_url or environment(Path.cwd()).get("DATABASE_URL") or None
    )
    _serve(
        "postgres",
        postgres_context(url, embedded or EMBEDDED_DEFAULT, embedded_port),
        listen,
        read_only=read_only,
        log_level=log_level,
    )


def _serve(name: str, around: StoreContext, listen: str, *, read_only: bool, log_level: str) -> None:
    if log_level not in ("debug", "info", "warning", "error"):
        raise typer.BadParameter(f"{log_level!r} is no level", param_hint="--log-level")
    host, port = address(listen, no_host=LOOPBACK)

    import uvloop

    from backends.app import ServerOptions
    from backends.errors import StartError
    from backends.serve import serve
    from proxy.observe import set_up_logging
    from proxy.settings.default import environment

    set_up_logging(log_level)
    token = environment(Path.cwd()).get("TURNOUT_MIRROR_TOKEN") or None
    options = ServerOptions(name=name, mirror_token=token, read_only=read_only)
    try:
        uvloop.run(serve(around, options, host, port))
    except StartError as error:
        complain(error.message, error.hint)
        raise typer.Exit(FAILED) from error
    except OSError as error:
        complain(f"cannot start: {error}", "look at the folder and its rights")
        raise typer.Exit(FAILED) from error
