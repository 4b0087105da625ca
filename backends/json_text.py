"""Which records can certainly not hold a searched text (``q``), told from their bytes: the rest is parsed and asked. Pure."""

from __future__ import annotations

from collections.abc import Callable

_OF_NUMBERS = frozenset("0123456789+-.eE")


def cannot_hold(text: str) -> Callable[[bytes], bool] | None:
    """A test that is true only for bodies without the text in any string or number; None where bytes cannot tell.

    JSON writes a string as itself unless it escapes; so a body of ASCII without any backslash holds the text in a string only
    if it does itself, letter case aside. Numbers are compared as the encoder would write them, which is not how a
    body that another server wrote need have them: a text that a number could hold is looked for in each record.
    """
    if not text.isascii() or set(text) <= _OF_NUMBERS:
        return None
    wanted = text.lower().encode()

    def test(body: bytes) -> bool:
        return wanted not in body.lower() and b"\\" not in body and body.isascii()

    return test
