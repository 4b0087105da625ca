"""The only place of the operating verbs that prints, and what an error does to the exit code.

Results go to stdout, errors to stderr with their hint. Exit 0: done; 1: refused, failed, called off, a difference, or
unreachable; 2: wrong use.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING

import typer

from proxy.errors import TurnoutError, UsageError

if TYPE_CHECKING:
    from rich.text import Text

FAILED = 1
WRONG_USE = 2


def say(text: str = "") -> None:
    """One or more plain lines."""
    typer.echo(text)


def say_json(value: object) -> None:
    """One JSON value, for scripts."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def say_styled(lines: list[Text]) -> None:
    """Lines with colours where the terminal has them; never wrapped where stdout is a file or a pipe."""
    from rich.console import Console

    console = Console(highlight=False, emoji=False, markup=False)
    for line in lines:
        console.print(line, soft_wrap=not console.is_terminal)


def note(text: str) -> None:
    """A remark beside the result, on stderr: what is under way."""
    typer.echo(text, err=True)


def complain(message: str, hint: str = "") -> None:
    """An error and what to do about it, on stderr."""
    is_terminal = sys.stderr.isatty()
    typer.echo(
        f"{typer.style('error:', fg='red', bold=True) if is_terminal else 'error:'} {message}", err=True
    )
    if hint:
        typer.echo(f"  {hint}", err=True)


def exit_code_of(error: TurnoutError) -> int:
    """What was asked wrongly is 2; what was refused, failed or not reached is 1."""
    return WRONG_USE if error.code == UsageError.code else FAILED


@contextlib.contextmanager
def errors_told(as_json: bool = False) -> Generator[None]:
    """Run a verb: its TurnoutError becomes lines on stderr (with ``--json`` an object on stdout too) and an exit code."""
    try:
        yield
    except TurnoutError as error:
        if as_json:
            say_json({"error": error.code, "detail": error.message, "hint": error.hint})
        complain(error.message, error.hint)
        raise typer.Exit(exit_code_of(error)) from error
