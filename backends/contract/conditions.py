"""Entity tags and the preconditions that go by them (RFC 9110, sections 8.8.3 and 13)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from backends.contract.problems import Problem, bad_header, precondition_failed

_TAG = re.compile(r'[ \t]*(?:(W/)?("[\x21\x23-\x7e\x80-\U0010ffff]*")[ \t]*)?(?:,|\Z)')
"""One element of a list of tags, which may be empty (RFC 9110, section 5.6.1.2). Bytes above 0x7f arrive decoded.

Blanks can be read in one way only, so that a line full of them costs no more than its length.
"""


def etag(body: bytes) -> str:
    """A strong tag: the first 128 bits of the body's SHA-256, so it is equal on both servers."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


@dataclass(frozen=True, slots=True)
class Tags:
    """The value of If-Match or If-None-Match: any (``*``), or a list of (is weak, tag)."""

    is_any: bool
    tags: tuple[tuple[bool, str], ...] = ()

    def has_strong(self, tag: str) -> bool:
        return self.is_any or (False, tag) in self.tags

    def has(self, tag: str) -> bool:
        return self.is_any or any(tag == other for _, other in self.tags)


@dataclass(frozen=True, slots=True)
class Conditions:
    """The preconditions of one request; None where the header was not sent."""

    if_match: Tags | None = None
    if_none_match: Tags | None = None

    @property
    def creates(self) -> bool:
        """``If-None-Match: *``: only where nothing is (a PUT then creates)."""
        return self.if_none_match is not None and self.if_none_match.is_any

    def check_create(self) -> None:
        """Problem precondition-failed where the client said that something must be there already (no tag fits nothing)."""
        if self.if_match is not None:
            raise precondition_failed("There is no record that If-Match could fit.")

    def check_write(self, current: bytes) -> None:
        """Problem precondition-failed where the present body is not what the client said it must be."""
        if self.if_match is None and self.if_none_match is None:
            return
        tag = etag(current)
        if self.if_match is not None and not self.if_match.has_strong(tag):
            raise precondition_failed("The record has another ETag than If-Match says.")
        if self.if_none_match is not None and self.if_none_match.has(tag):
            raise precondition_failed("The record is there; If-None-Match says it must not be.")

    def check_read(self, tag: str) -> bool:
        """Whether 304 answers a GET or HEAD. Problem precondition-failed where If-Match does not hold."""
        if self.if_match is not None and not self.if_match.has_strong(tag):
            raise precondition_failed("The record has another ETag than If-Match says.")
        return self.if_none_match is not None and self.if_none_match.has(tag)


NO_CONDITIONS = Conditions()


def parse_conditions(if_match: Sequence[str], if_none_match: Sequence[str]) -> Conditions:
    """From the headers' values (several lines are one list). Problem bad-header."""
    if not if_match and not if_none_match:
        return NO_CONDITIONS
    return Conditions(_parse_tags("If-Match", if_match), _parse_tags("If-None-Match", if_none_match))


def _parse_tags(name: str, values: Sequence[str]) -> Tags | None:
    if not values:
        return None
    text = ", ".join(values).strip()
    if text == "*":
        return Tags(is_any=True)
    tags: list[tuple[bool, str]] = []
    place = 0
    while place < len(text):
        found = _TAG.match(text, place)
        if found is None:
            raise _bad_tags(name)
        if found[2] is not None:
            tags.append((found[1] is not None, found[2]))
        place = found.end()
    if not tags:
        raise _bad_tags(name)
    return Tags(is_any=False, tags=tuple(tags))


def _bad_tags(name: str) -> Problem:
    return bad_header(f'{name} must be * or a list of quoted tags, such as "0123abcd".')
