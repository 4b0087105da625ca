"""``turnout mirror …``: how far the mirror is, what stands in its way, and an operator's word on it."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.cli import admin_client, fields
from proxy.cli.options import WAIT_DEFAULT, AsJson, Reason, Wait
from proxy.cli.output import errors_told, say, say_json
from proxy.cli.switch import COMMIT_TIMEOUT_S

Why = Annotated[str, typer.Argument(metavar="[REASON]", help="Why, in words; kept in the history.")]
Prefix = Annotated[
    str,
    typer.Argument(
        metavar="PREFIX", help="The path that was written past the proxy, such as /api/orders; / for all."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the verb and its parts."""
    group = typer.Typer(help="What carries each accepted write to the secondary.", no_args_is_help=True)
    group.command("status")(status)
    group.command("pause")(pause)
    group.command("resume")(resume)
    group.command("drain")(drain)
    group.command("enable")(enable)
    group.command("disable")(disable)
    group.command("mark-gap")(mark_gap)
    app.add_typer(group, name="mirror")


def status(as_json: AsJson = False) -> None:
    """Show the mirror: what it carried, what is under way and when that ends, what is unproven.

    Example: turnout mirror status
    """
    with errors_told(as_json):
        mirror = admin_client.from_environment().get("/api/v1/mirror")
        if as_json:
            say_json(mirror)
            return
        for label, value in told(mirror):
            say(f"{label:14}{value}")


def pause(reason: Why = "", as_json: AsJson = False) -> None:
    """Keep journaling, send nothing to the secondary; also after a restart, until resumed. No client notices.

    Example: turnout mirror pause "postgres gets a new disk"
    """
    _say_of("pause", {"reason": reason}, as_json, "the mirror is paused; writes wait in the journal")


def resume(reason: Why = "", as_json: AsJson = False) -> None:
    """Go on after a pause, where it stopped.

    Example: turnout mirror resume
    """
    _say_of("resume", {"reason": reason}, as_json, "the mirror goes on; look at `turnout mirror status`")


def drain(
    wait: Wait = WAIT_DEFAULT,  # pyright: ignore[reportArgumentType] - typer parses the default like what is typed
    as_json: AsJson = False,
) -> None:
    """Wait until everything is settled, dead letters apart; exit 1 if it is not in time.

    Example: turnout mirror drain --wait 2m
    """
    _say_of("drain", {"wait_s": wait}, as_json, "everything is settled", timeout_s=wait + COMMIT_TIMEOUT_S)


def enable(reason: Why = "", as_json: AsJson = False) -> None:
    """Start to mirror. What was written before is a gap, so everything is unproven until a validation.

    Example: turnout mirror enable "the new server is there"
    """
    _say_of(
        "enable", {"reason": reason}, as_json, "the mirror is on; run `turnout backfill`, then `turnout validate`",
        timeout_s=COMMIT_TIMEOUT_S,
    )  # fmt: skip


def disable(
    reason: Reason,
    wait: Wait = WAIT_DEFAULT,  # pyright: ignore[reportArgumentType] - typer parses the default like what is typed
    as_json: AsJson = False,
) -> None:
    """Drain, mark the gap, take the canary's weight to 0, stop mirroring. To stop for a while only, pause it.

    Example: turnout mirror disable "the move is put off"
    """
    _say_of(
        "disable", {"reason": reason, "wait_s": wait}, as_json, "the mirror is off, the canary's weight is 0",
        timeout_s=wait + COMMIT_TIMEOUT_S,
    )  # fmt: skip


def mark_gap(prefix: Prefix, reason: Reason, as_json: AsJson = False) -> None:
    """Say that a path was written past the proxy: it is unproven until a validation.

    Example: turnout mirror mark-gap /api/orders "restored by hand"
    """
    _say_of(
        "mark-gap", {"prefix": prefix, "reason": reason}, as_json, f"{prefix} is unproven now: run `turnout validate`"
    )  # fmt: skip


def _say_of(
    word: str,
    body: dict[str, object],
    as_json: bool,
    done: str,
    *,
    timeout_s: float = admin_client.ANSWER_TIMEOUT_S,
) -> None:
    with errors_told(as_json):
        answer = admin_client.from_environment().post(f"/api/v1/mirror/{word}", body, timeout_s=timeout_s)
        if as_json:
            say_json(answer)
        else:
            say(done)


def told(mirror: dict[str, object]) -> list[tuple[str, str]]:
    """Label and words of each fact."""

    def count(name: str) -> str:
        return f"{fields.number(mirror, name):g}"

    lines: list[tuple[str, str]] = []
    if paused := fields.mapping(mirror, "paused"):
        why = fields.text(paused, "reason")
        lines.append(
            (
                "paused",
                f"by {fields.text(paused, 'actor')} since {fields.text(paused, 'since')}{f': {why}' if why else ''}; `turnout mirror resume`",
            )
        )
    elif mirror.get("enabled") is False:
        lines.append(("off", "nothing is carried; `turnout mirror enable`"))
    lines += [
        ("lag_entries", count("lag_entries")),
        ("lag_seconds", f"{fields.number(mirror, 'lag_seconds'):.3f}"),
    ]
    if fields.number(mirror, "lag_entries"):
        lines.append(("catching up", _progress(mirror)))
    lines += [
        ("accepted", count("accepted")),
        ("replayed", count("replayed")),
        ("repaired", count("repaired")),
        ("rejected", count("rejected")),
        ("in doubt", count("in_doubt")),
        ("dead letters", count("dead_letters")),
        ("success", f"{fields.number(mirror, 'success_rate'):.2%}"),
        ("journal", f"{fields.number(mirror, 'journal_bytes') / (1 << 20):.1f} MiB"),
    ]
    if trouble := fields.text(mirror, "secondary_trouble"):
        lines.append(("secondary", trouble))
    if sweeping := fields.words(mirror, "sweeping"):
        lines.append(("repairing", f"{', '.join(sweeping)}: every key there, after a write that named none"))
    if unproven := fields.words(mirror, "unproven"):
        lines.append(("unproven", f"{', '.join(unproven)}: run `turnout validate`"))
    lines += [
        ("dead letter", f"{fields.text(letter, 'key')}: {fields.text(letter, 'detail')}")
        for letter in fields.mappings(mirror, "letters")
    ]
    more = int(fields.number(mirror, "dead_letters")) - len(fields.mappings(mirror, "letters"))
    if more > 0:
        lines.append(("", f"and {more} more: turnout dead-letters list"))
    return lines


def _progress(mirror: dict[str, object]) -> str:
    settled = fields.number(mirror, "settled_per_second")
    rates = f"{settled:g}/s settled, {fields.number(mirror, 'accepted_per_second'):g}/s accepted"
    if mirror.get("expected_end_s") is None:
        return f"{rates}: no end to be seen yet"
    return f"{rates}: done in about {duration(fields.number(mirror, 'expected_end_s'))}"


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
