"""``turnout proxy``: forward, mirror and control in one process, until SIGTERM or Ctrl-C."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.arguments import ANY_HOST, LOOPBACK, address
from proxy.cli.output import FAILED, complain

IN_FOLDER = Path("config/routing.yaml")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("proxy")(proxy)


def proxy(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="The routing.yaml. Left out: config/routing.yaml; where that is missing, the shipped default, copied into the state folder.",
        ),
    ] = None,
    state: Annotated[Path, typer.Option("--state", help="The folder of the journal; it is made.")] = Path(
        ".turnout/state"
    ),
    listen: Annotated[
        str,
        typer.Option(
            "--listen",
            metavar="[HOST]:PORT",
            help="Where clients come. Without a host (:3000) on every interface.",
        ),
    ] = "127.0.0.1:3000",
    admin: Annotated[
        str,
        typer.Option(
            "--admin",
            metavar="[HOST]:PORT",
            help="Where operators come. Without a host on 127.0.0.1; elsewhere it needs TURNOUT_ADMIN_TOKEN.",
        ),
    ] = "127.0.0.1:3001",
    adopt: Annotated[
        bool,
        typer.Option(
            "--adopt", help="Take over upstreams that belong to another journal; everything is unproven then."
        ),
    ] = False,
    ready_when_validated: Annotated[
        bool, typer.Option("--ready-when-validated", help="/readyz waits until nothing is unproven.")
    ] = False,
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")] = "info",
) -> None:
    """Forward requests to the two upstreams, mirror the writes, and serve the admin API and its page.

    Example: turnout proxy --config config/routing.yaml --state .turnout/state --listen :3000 --admin 127.0.0.1:3001
    """
    if log_level not in ("debug", "info", "warning", "error"):
        raise typer.BadParameter(f"{log_level!r} is no level", param_hint="--log-level")
    to_clients, to_operators = address(listen, no_host=ANY_HOST), address(admin, no_host=LOOPBACK)

    import structlog
    import uvloop

    from proxy.app import Options, run
    from proxy.cli.tools import described, differ, validator
    from proxy.errors import TurnoutError
    from proxy.observe import set_up_logging
    from proxy.ports import Tools
    from proxy.settings.default import environment
    from proxy.settings.faults import BadSettingsError

    set_up_logging(log_level)
    try:
        file, is_default = config_file(config, state, Path.cwd())
        structlog.get_logger("cli").info(
            "routing", file=str(file), source="the shipped default" if is_default else "given"
        )
        options = Options(
            config=file,
            state=state,
            listen=to_clients,
            admin=to_operators,
            env=environment(Path.cwd()),
            adopt=adopt,
            must_be_validated=ready_when_validated,
        )
        uvloop.run(run(options, Tools(validator, differ, described)))
    except BadSettingsError as error:
        for line in error.lines():
            complain(line)
        raise typer.Exit(FAILED) from error
    except TurnoutError as error:
        complain(error.message, error.hint)
        raise typer.Exit(FAILED) from error
    except OSError as error:
        complain(f"cannot start: {error}", "look at the folder and the rights of --state and --config")
        raise typer.Exit(FAILED) from error


def config_file(given: Path | None, state: Path, folder: Path) -> tuple[Path, bool]:
    """Which routing.yaml is used, and whether it is the shipped default.

    The default is copied into the state folder first: an admin's change is written to the file, and what is
    installed must not change.
    """
    from proxy.settings.default import default_text

    if given is not None:
        return given, False
    if (folder / IN_FOLDER).exists():
        return IN_FOLDER, False
    file = state / "routing.yaml"
    if not file.exists():
        state.mkdir(parents=True, exist_ok=True)
        file.write_text(default_text(), encoding="utf-8")
    return file, True
