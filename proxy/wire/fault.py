"""What is wrong with bytes that should have been HTTP: one error, with the status that a client gets for it."""

from __future__ import annotations


class WireFault(Exception):  # noqa: N818 - the word of RFC 9112 is not "error": the sender is at fault, not we
    """A message with no reading, or with more than one. ``status`` is for the client that sent it; an upstream's is a 502."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
