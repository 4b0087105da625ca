"""Every error that a human or a client can meet: a stable code, a sentence, and what to do about it."""

from __future__ import annotations


class TurnoutError(Exception):
    """An error with a kebab-case ``code``, a ``hint`` for the operator and the HTTP status that the admin API gives it."""

    code = "internal"
    status = 500
    retryable = False

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(TurnoutError):
    """What was asked for cannot be: say what would be right."""

    code = "usage"
    status = 400


class SettingsError(TurnoutError):
    """The YAML is not acceptable: every fault with its line and column."""

    code = "bad-settings"
    status = 422


class NotYetError(TurnoutError):
    """A rule of the design that this version refuses rather than accept and ignore."""

    code = "not-yet"
    status = 501


class RefusedError(TurnoutError):
    """An operator's wish that a safety rule refuses now."""

    code = "refused"
    status = 409


class ConflictError(TurnoutError):
    """Somebody else changed it first (If-Match failed)."""

    code = "precondition-failed"
    status = 412


class PreconditionError(TurnoutError):
    """A change that does not say what it was made from (RFC 6585)."""

    code = "precondition-required"
    status = 428


class JournalError(TurnoutError):
    """The journal cannot be opened, read or written."""

    code = "journal"
    status = 503


class JournalFullError(JournalError):
    """No room for another intent: writes stop before the primary has seen them."""

    code = "journal-full"
    status = 503
    retryable = True


class UpstreamError(TurnoutError):
    """An upstream cannot be reached, or answers something that the protocol does not know."""

    code = "upstream"
    status = 502
    retryable = True
