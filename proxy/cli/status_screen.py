"""The status of the admin API as lines for a terminal. Pure: what is shown is decided here, nothing is asked."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from proxy.cli import fields, history

STAGES = ("dual-write", "shadow", "canary", "switched", "complete")
HISTORY_SHOWN = 5
LABEL = 11

Status = Mapping[str, object]


def rates(before: Status | None, now: Status, seconds: float) -> dict[str, float]:
    """Requests a second by upstream between two looks; empty without an earlier one, or after a restart of the proxy."""
    if before is None:
        return {}
    found: dict[str, float] = {}
    for name in fields.mapping(now, "upstreams"):
        counts = [
            fields.number(fields.mapping(fields.mapping(status, "upstreams"), name), "requests")
            for status in (before, now)
        ]
        if counts[1] < counts[0]:
            return {}
        found[name] = (counts[1] - counts[0]) / seconds
    return found


def screen(status: Status, per_second: Mapping[str, float] | None = None) -> list[Text]:
    """Every line, top to bottom: most important first."""
    return [
        *_move(status),
        *_upstreams(status, per_second or {}),
        *_canary(status),
        *_mirror(status),
        *_attention(status),
        *_history(status),
    ]


def _line(label: str, *parts: tuple[str, str] | str) -> Text:
    line = Text(f"{label:{LABEL}}", style="bold")
    for part in parts:
        words, style = part if isinstance(part, tuple) else (part, "not bold")
        line.append(words, style=f"not bold {style}")
    return line


def _move(status: Status) -> list[Text]:
    stage = fields.text(status, "stage")
    if stage == "off":
        return [_line("stage", ("off", "yellow"), ": nothing is mirrored")]
    track: list[tuple[str, str] | str] = []
    for name in STAGES:
        track.append(f" {'─' if track else ''} " if track else "")
        track.append((f"[{name}]", "bold cyan") if name == stage else (name, "dim"))
    return [_line("stage", *track)]


def _upstreams(status: Status, per_second: Mapping[str, float]) -> list[Text]:
    lines: list[Text] = []
    upstreams = fields.mapping(status, "upstreams")
    ordered = sorted(upstreams, key=lambda name: name != fields.text(status, "primary"))
    for name in ordered:
        upstream = fields.mapping(upstreams, name)
        parts: list[tuple[str, str] | str] = [(f"{name:10}", "bold")]
        for endpoint in fields.mappings(upstream, "endpoints"):
            is_up = endpoint.get("up")
            word, style = (
                ("not checked", "dim")
                if is_up is None
                else ("up", "green")
                if is_up
                else ("DOWN", "bold red")
            )
            parts += [f" {fields.text(endpoint, 'url')} ", (word, style)]
        parts.append(f"  {fields.number(upstream, 'requests'):,.0f} answered")
        if name in per_second:
            parts.append(f", {per_second[name]:,.0f}/s")
        lines.append(_line(fields.text(upstream, "role"), *parts))
    return lines


def _canary(status: Status) -> list[Text]:
    canary = fields.mapping(status, "canary")
    weight = f"{fields.number(canary, 'weight'):g} %"
    rules = "; ".join(fields.words(canary, "always"))
    always = f", and always: {rules}" if rules else ""
    if not fields.flag(canary, "enabled"):
        return [_line("canary", ("off", "dim"), (f" (weight {weight}{always})", "dim"))]
    secondary = fields.text(status, "secondary")
    return [
        _line(
            "canary",
            ("on", "bold green"),
            f": {secondary} answers {weight} of the rest{always}; sticky {fields.text(canary, 'sticky')}",
        )
    ]


def _mirror(status: Status) -> list[Text]:
    mirror = fields.mapping(status, "mirror")
    if not fields.flag(mirror, "enabled"):
        return [_line("mirror", ("off", "yellow"))]
    lag = fields.number(mirror, "lag_entries")
    parts: list[tuple[str, str] | str] = [
        (
            f"lag_entries {lag:g}, lag_seconds {fields.number(mirror, 'lag_seconds'):.1f}",
            "yellow" if lag else "green",
        ),
        f"  {fields.number(mirror, 'replayed'):,.0f} replayed, {fields.number(mirror, 'repaired'):,.0f} repaired",
    ]
    if doubt := fields.number(mirror, "in_doubt"):
        parts.append((f", {doubt:g} in doubt", "yellow"))
    lines = [_line("mirror", *parts)]
    if paused := fields.mapping(mirror, "paused"):
        who = f" by {fields.text(paused, 'actor')} since {fields.text(paused, 'since')}: "
        lines.append(_line("", ("paused", "bold yellow"), who, ("turnout mirror resume", "bold")))
    if held := fields.text(mirror, "writes_held"):
        lines.append(_line("", ("writes wait", "bold yellow"), f": {held}"))
    if trouble := fields.text(mirror, "secondary_trouble"):
        lines.append(_line("", ("secondary", "bold yellow"), f": {trouble}"))
    return lines


def _attention(status: Status) -> list[Text]:
    """What waits for a person, each with the next command."""
    mirror = fields.mapping(status, "mirror")
    lines: list[Text] = []
    if unproven := fields.words(mirror, "unproven"):
        lines.append(
            _line("unproven", (", ".join(unproven[:5]), "yellow"), ": run ", ("turnout validate", "bold"))
        )
    if dead := fields.number(mirror, "dead_letters"):
        lines.append(
            _line(
                "dead",
                (f"{dead:g} dead letter(s)", "bold red"),
                ": run ",
                ("turnout dead-letters list", "bold"),
            )
        )
    lines += [_line("wanted", (wish, "yellow")) for wish in fields.words(status, "pending")]
    lines += [
        _line(
            "override",
            f"{fields.text(one, 'path')} is {fields.text(one, 'value')}; the file says {fields.text(one, 'file')}",
        )
        for one in fields.mappings(status, "overrides")
    ]
    if others := _sources(status):
        lines.append(_line("source", (others, "dim")))
    return lines


def _sources(status: Status) -> str:
    """Settings that neither the file itself nor an override decides."""
    sources = fields.mapping(status, "sources")
    return ", ".join(
        f"{path} from {str(source).removeprefix('environment: ')}"
        for path, source in sources.items()
        if str(source).startswith("environment: ")
    )


def _history(status: Status) -> list[Text]:
    past = fields.mappings(status, "history")[:HISTORY_SHOWN]
    return [
        _line("history" if index == 0 else "", (history.told(line), "dim")) for index, line in enumerate(past)
    ]
