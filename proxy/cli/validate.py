"""``turnout validate``: the running proxy compares every record of both upstreams, and says equal only if they are (P9)."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from proxy.cli import admin_client, fields
from proxy.cli.admin_client import AdminClient
from proxy.cli.options import AsJson
from proxy.cli.output import FAILED, complain, errors_told, say, say_json
from proxy.errors import NotYetError, TurnoutError

LOOK_S_MIN = 0.05
LOOK_S_MAX = 1.0
SHOWN_MAX = 10


class ValidationLostError(TurnoutError):
    """The proxy that ran it no longer knows it."""

    code = "validation-lost"
    status = 502


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("validate")(validate)


def validate(
    verbose: Annotated[
        bool, typer.Option("--verbose", help="The first 100 differences, field by field.")
    ] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Not yet.", hidden=True)] = False,
    as_json: AsJson = False,
) -> None:
    """Compare every record of both upstreams, under live traffic. Exit 1 where they differ.

    Where they are equal, what was unproven is cleared: canary and switch may be used. Where an upstream is plain, it compares what
    mirror.compare.collections names, and clears nothing yet: canary reads and a switch still wait.

    Example: turnout validate --verbose
    """
    with errors_told(as_json):
        if deep:
            raise NotYetError("`--deep` is not yet built", "without it every record is compared too")
        run = run_one(admin_client.from_environment())
        if as_json:
            say_json(run)
        else:
            _tell(run, verbose=verbose)
    if fields.text(run, "state") != "equal":
        raise typer.Exit(FAILED)


def run_one(admin: AdminClient) -> dict[str, object]:
    """Have the proxy run one validation; its end. It is asked for again and again, so that no answer has to wait for hours."""
    run = admin.post("/api/v1/validations", {})
    pause_s = LOOK_S_MIN
    while fields.text(run, "state") == "running":
        time.sleep(pause_s)
        pause_s = min(LOOK_S_MAX, pause_s * 1.5)
        runs = fields.mappings(admin.get("/api/v1/validations"), "validations")
        number = run.get("id")
        found = next((one for one in runs if one.get("id") == number), None)
        if found is None:
            raise ValidationLostError(
                f"the proxy no longer knows validation {number}",
                "was it restarted? run `turnout validate` again",
            )
        run = found
    return run


def _tell(run: dict[str, object], *, verbose: bool) -> None:
    state, report = fields.text(run, "state"), fields.mapping(run, "report")
    compared = f"{fields.number(report, 'compared'):,.0f} records compared"
    if state == "equal":
        cleared = fields.number(run, "gaps_cleared")
        say(f"equal: {compared}" + (f"; {cleared:g} gap(s) cleared" if cleared else ""))
        if note := run.get("note"):
            say(str(note))
        return
    if state == "failed":
        complain(
            f"the validation failed: {fields.text(run, 'error')}",
            "nothing was changed; look at `turnout status`",
        )
        return
    differences = fields.mappings(report, "differences")
    different, unseen = fields.number(report, "different"), fields.number(report, "not_looked_at")
    unproved = fields.mappings(report, "not_proved")
    if state == "unproved":
        complain(
            f"not proved: {compared}, none of them differs, and not all could be",
            "see to what is named here, then `turnout validate` again",
        )
        _tell_unproved(unproved)
        return
    by_hash = (
        f", and {unseen:,.0f} more {'were not looked at' if run.get('note') else 'by their hashes'}"
        if unseen
        else ""
    )
    complain(
        f"different: {compared}, {different:,.0f} differ{by_hash}",
        "run `turnout backfill` again, or repair them by hand, then `turnout validate`",
    )
    shown = differences if verbose else differences[:SHOWN_MAX]
    for one in shown:
        say(difference_told(one, verbose=verbose))
    if len(shown) < different + unseen:
        more = "" if verbose else f": turnout validate --verbose lists {len(differences)}"
        say(f"… the first {len(shown)} of {different + unseen:,.0f}{more}")
    _tell_unproved(unproved)


def _tell_unproved(unproved: list[dict[str, object]]) -> None:
    for one in unproved:
        say(f"{fields.text(one, 'collection')}: not proved: {fields.text(one, 'why')}")


def difference_told(difference: dict[str, object], *, verbose: bool) -> str:
    """``orders/17: differs`` and, where asked, each field under it."""
    place = "/".join(filter(None, (fields.text(difference, "collection"), fields.text(difference, "id"))))
    lines = [f"{place}: {fields.text(difference, 'kind')}"]
    if verbose:
        lines += [f"  {_field_told(field)}" for field in fields.mappings(difference, "fields")]
    return "\n".join(lines)


def _field_told(field: dict[str, object]) -> str:
    pointer = fields.text(field, "pointer") or "(whole record)"
    rest = [f"{name} {value}" for name, value in field.items() if name not in ("pointer", "kind")]
    return f"{pointer} {fields.text(field, 'kind')} {', '.join(rest)}".rstrip()
