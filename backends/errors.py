"""Why a server does not start: told to the person at the terminal, with what to do."""

from __future__ import annotations


class StartError(Exception):
    """The server cannot start. ``hint`` says what would help."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message
