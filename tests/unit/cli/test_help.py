"""Every verb says what it is for; those that are not built yet refuse."""

from __future__ import annotations

import click
import pytest
import typer
from typer.testing import CliRunner

from proxy.cli.main import app
from proxy.cli.not_yet import VERBS

DESIGN = {
    "demo", "init", "proxy", "status", "top", "check", "explain", "history", "canary", "switch", "rollback", "rollout",
    "shadow", "mirror", "dead-letters", "complete", "logs", "db", "schema", "backfill", "validate", "repair",
    "check-routes", "compare", "backup", "restore", "serve",
}  # fmt: skip


def _commands(group: click.Group, path: tuple[str, ...] = ()) -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= _commands(command, (*path, name))
        else:
            found[" ".join((*path, name))] = command
    return found


COMMANDS = _commands(typer.main.get_command(app))
BUILT = sorted(COMMANDS.keys() - VERBS.keys())


def test_every_verb_of_the_design_is_listed() -> None:
    assert {name.split()[0] for name in COMMANDS} >= DESIGN


@pytest.mark.parametrize("verb", BUILT)
def test_help_of_each_verb_has_an_example(verb: str) -> None:
    result = CliRunner().invoke(app, [*verb.split(), "--help"])
    assert result.exit_code == 0
    assert f"Example: turnout {verb}" in " ".join(result.stdout.split())


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_verb_that_is_not_built_yet_refuses_whatever_is_typed(verb: str) -> None:
    result = CliRunner().invoke(app, [*verb.split(), "something", "--with", "anything"])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: `turnout {verb}` is not yet built")


@pytest.mark.parametrize("words", [("demo", "--tour"), ("validate", "--deep")])
def test_an_option_that_is_not_built_yet_refuses(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 1
    assert "not yet built" in result.stderr


def test_no_verb_is_both_built_and_refused() -> None:
    first_words = {name.split()[0] for name in BUILT}
    assert first_words.isdisjoint(name for name in VERBS if " " not in name)
