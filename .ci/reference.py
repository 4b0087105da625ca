"""Writes the reference pages that follow from the code alone: the command line's and the metrics'.

    .venv/bin/python .ci/reference.py [FOLDER]      into docs/reference, or another folder

tests/unit/repo/test_docs.py compares them, so that nobody can forget to run it.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"


def commands(app: typer.Typer) -> Iterator[tuple[str, Any]]:
    """Every verb with its words, in the order of ``turnout --help``."""

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        if not hasattr(command, "commands"):
            yield " ".join(words), command
            return
        for name, child in command.commands.items():
            yield from walk(child, (*words, name))

    yield from walk(typer.main.get_command(app), ())


def cli_page(app: typer.Typer) -> str:
    """docs/reference/cli.md."""
    built, not_yet = [], []
    for words, command in commands(app):
        text = inspect.cleandoc(command.help or "")
        if text.startswith("Not yet:"):
            not_yet.append(f"- `turnout {words}`: {text.removeprefix('Not yet:').strip()}")
        else:
            built.append(_verb(words, command, text))
    return "\n".join(
        [
            "# The command line",
            "",
            "Written from the code by `make docs`; edit the commands, not this page.",
            "",
            "Every verb has `--help` with an example. Exit status: 0 done; 1 a difference, a failed check, refused,",
            "called off or unreachable; 2 wrong use. Verbs that speak to a running proxy find it by `TURNOUT_ADMIN`",
            "([settings](settings.md#environment)). Values that contain spaces are quoted, as in any shell.",
            "",
            *built,
            "## Not yet",
            "Each is listed by `turnout --help`, refuses with status 1, and says what to do until then.",
            "",
            *not_yet,
            "",
        ]
    )


def _verb(words: str, command: Any, text: str) -> str:
    said, _, example = text.partition("Example:")
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join([f"turnout {words}", *(_argument(p) for p in arguments)])
    lines = [f"## turnout {words}", " ".join(said.split()), "", "```text", usage, "```"]
    rows = [_row(p) for p in command.params if "--help" not in p.opts and not getattr(p, "hidden", False)]
    if rows:
        lines += ["| | |", "|---|---|", *rows]
    if example:
        lines += ["", f"Example: `{' '.join(example.split())}`"]
    return "\n".join([*lines, ""])


def _argument(parameter: Any) -> str:
    name = _metavar(parameter)
    return name if parameter.required else f"[{name}]"


def _metavar(parameter: Any) -> str:
    """Without the braces that click puts around what must be given: the usage line has brackets of its own."""
    return re.sub(r"^[\[{](\w+)[]}]$", r"\1", str(parameter.metavar or parameter.name.upper()))


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = f"`{_metavar(parameter)}`"
    else:
        is_flag = getattr(parameter, "is_flag", False)
        name = ", ".join(f"`{option}`" for option in [*parameter.opts, *parameter.secondary_opts])
        name += "" if is_flag else f" {_metavar(parameter)}"
    default = parameter.default
    shown = default not in (None, False, True, ()) and not callable(default) and not parameter.required
    text = " ".join((parameter.help or "").split())
    return f"| {name} | {text}{f' Default: `{default}`.' if shown else ''} |".replace("  |", " |")


def metrics_page(metrics: list[tuple[str, str, str, tuple[str, ...]]]) -> str:
    """docs/reference/metrics.md, from (name, kind, help, labels)."""
    rows = [
        f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {text.rstrip('.')} |"
        for name, kind, text, labels in metrics
    ]
    return "\n".join(
        [
            "# Metrics of the proxy",
            "",
            "Written from the code by `make docs`; edit `proxy/observe.py`, not this page.",
            "",
            "At `/metrics` on the admin port, in Prometheus' text form. No label ever holds a path, a key or a client.",
            "`reason` is one of `primary`, `never`, `always`, `weight`, `sticky`, `route`, `fallback`, `barrier`. Alerts on",
            "them: `deploy/prometheus/rules.yml`, and [the runbook](../operating/runbook.md).",
            "",
            "| name | kind | labels | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def known_metrics() -> list[tuple[str, str, str, tuple[str, ...]]]:
    """As proxy/observe.py declares them."""
    from proxy import observe

    kinds = {name: kind.__name__.lower() for name, kind, _, _ in observe.METRICS}
    traffic = [(name, _traffic_kind(name), text, labels) for name, text, labels in observe.TRAFFIC_METRICS]
    return traffic + [(name, kinds[name], text, labels) for name, _, text, labels in observe.METRICS]


def _traffic_kind(name: str) -> str:
    return {"total": "counter", "seconds": "histogram"}.get(name.rpartition("_")[2], "gauge")


def main(arguments: list[str]) -> None:
    from proxy.cli.main import app

    folder = Path(arguments[0]) if arguments else FOLDER
    (folder / "cli.md").write_text(cli_page(app), encoding="utf-8")
    (folder / "metrics.md").write_text(metrics_page(known_metrics()), encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main(sys.argv[1:])
