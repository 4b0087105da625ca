"""``turnout canary …``: who is answered by the secondary. The proxy writes the change into its routing.yaml."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.cli import admin_client, fields
from proxy.cli.arguments import percent
from proxy.cli.options import AsJson
from proxy.cli.output import errors_told, say, say_json

Percent = Annotated[
    float, typer.Argument(parser=percent, metavar="WEIGHT", help="Percent of all others, 0–100.")
]
Unproven = Annotated[
    bool,
    typer.Option(
        "--force", help="Set it although a validation is due; reads there stay with the primary until then."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the verb and its parts."""
    group = typer.Typer(help="Let the secondary answer chosen requests.", no_args_is_help=True)
    group.command("enable")(enable)
    group.command("weight")(weight)
    group.command("disable")(disable)
    app.add_typer(group, name="canary")


def enable(
    header: Annotated[
        str | None, typer.Argument(metavar="HEADER", help="A header that always chooses the secondary.")
    ] = None,
    value: Annotated[str | None, typer.Argument(metavar="VALUE", help="Its exact value.")] = None,
    percent_of_others: Annotated[
        float | None, typer.Argument(parser=percent, metavar="WEIGHT", help="Percent of all others, 0–100.")
    ] = None,
    force: Unproven = False,
    as_json: AsJson = False,
) -> None:
    """Switch the canary on; with HEADER and VALUE, requests that carry it are answered by the secondary.

    Example: turnout canary enable "X-Canary" "canary=true" 10
    """
    if header is not None and value is None:
        raise typer.BadParameter(
            "a header needs its value: turnout canary enable X-Canary canary=true", param_hint="VALUE"
        )
    body: dict[str, object] = {"enabled": True, "force": force}
    if header is not None:
        body |= {"header": header, "value": value}
    if percent_of_others is not None:
        body["weight"] = percent_of_others
    _change(body, as_json)


def weight(percent_of_others: Percent, force: Unproven = False, as_json: AsJson = False) -> None:
    """Set how many of all other requests the secondary answers, in percent. 0: none, 100: all.

    Example: turnout canary weight 25
    """
    _change({"weight": percent_of_others, "force": force}, as_json)


def disable(as_json: AsJson = False) -> None:
    """Switch the canary off: the primary answers everything again. The mirror goes on.

    Example: turnout canary disable
    """
    _change({"enabled": False}, as_json)


def _change(body: dict[str, object], as_json: bool) -> None:
    with errors_told(as_json):
        status = admin_client.from_environment().post("/api/v1/canary", body)
        if as_json:
            say_json(fields.mapping(status, "canary"))
            return
        for line in told(status):
            say(line)


def told(status: dict[str, object]) -> list[str]:
    """The canary of a status, in words."""
    canary = fields.mapping(status, "canary")
    primary, secondary = fields.text(status, "primary"), fields.text(status, "secondary")
    share = fields.number(canary, "weight")
    if not fields.flag(canary, "enabled"):
        return [f"canary off: {primary} answers everything (weight {share:g} % waits)"]
    lines = [
        f"canary on: {secondary} answers {share:g} % of the requests that no rule chooses, {primary} the rest"
    ]
    lines += [f"  always {secondary}: {rule}" for rule in fields.words(canary, "always")]
    lines += [f"  never {secondary}: {rule}" for rule in fields.words(canary, "never")]
    lines += [f"  waiting: {wish}" for wish in fields.words(status, "pending")]
    return lines
