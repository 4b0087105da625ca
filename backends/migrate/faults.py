"""What the tools that move and prove data fail with: each says which server it was, and what to do."""

from __future__ import annotations


class ToolError(Exception):
    """A kebab-case ``code``, a sentence and a hint, as the command line shows them."""

    code = "tool"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    __repr__ = __str__


class UnreachableError(ToolError):
    """A server does not answer, after some tries."""

    code = "upstream"


class UntrustedError(ToolError):
    """What answers at an https URL shows no certificate that is trusted, or speaks no TLS. Tried once: it will not change by itself."""

    code = "untrusted"


class NotVersionedError(ToolError):
    """What answers does not keep docs/protocol.md."""

    code = "not-versioned"


class TokenError(ToolError):
    """A server refuses the token."""

    code = "mirror-token"


class StaleEpochError(ToolError):
    """A server is in another epoch: roles may have changed."""

    code = "stale-epoch"


class AnswerError(ToolError):
    """A server refuses a request, or answers what the protocol does not know."""

    code = "unexpected-answer"


class NotPairedError(ToolError):
    """The two servers are not primary and secondary of one epoch and journal."""

    code = "not-paired"


class SourceFileError(ToolError):
    """The file cannot be read as a whole: what was read before is applied, nothing was swept."""

    code = "bad-file"
