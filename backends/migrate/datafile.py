"""A data.json of any size as a stream of records, in bounded memory: a window of text slides over the file.

Owns the reading: which names, which records, what cannot be taken and where. Each record comes out as the bytes that the
servers' one encoder gives. An object or array is never taken for whole before its last bracket, whatever its strings hold,
since the JSON parser itself decides where it ends.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from backends.contract import canonical
from backends.contract.ids import id_text, is_usable_id
from backends.contract.problems import Problem
from backends.migrate.client import Scope
from backends.migrate.faults import SourceFileError

CHUNK_BYTES: Final = 1 << 20
VALUE_CHARS_MAX: Final = 64 << 20
"""A record longer than this is refused: no server takes it, and a broken file must not be read into memory whole."""

_EDGE_CHARS: Final = 16
"""A fault this close to the window's end may be nothing but the cut (half an escape, half a word)."""

_BLANK = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True, slots=True)
class Named:
    """A name at the top level begins; it may hold nothing."""

    scope: Scope


@dataclass(frozen=True, slots=True)
class Record:
    """One record, or a singleton (whose id is empty); ``body`` as the servers keep it."""

    scope: Scope
    id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """What cannot be taken, such as ``orders[17]``, and why."""

    place: str
    reason: str


Part = Named | Record | Rejected


def read(file: BinaryIO, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Part]:
    """All that the file holds, in its order. Blocks. SourceFileError where it cannot be read further."""
    window = _Window(file, chunk_bytes)
    window.expect("{", "the file")
    seen: set[str] = set()
    while not window.take("}"):
        if seen:
            window.expect(",", "the file")
        name = window.value("a name")
        if not isinstance(name, str) or not is_usable_id(name):
            raise SourceFileError(
                f"the name {name!r} cannot be a collection's", "names are strings of 1–512 bytes"
            )
        if name in seen:
            raise SourceFileError(f"the name {name!r} is given twice", "make one collection of the two")
        seen.add(name)
        window.expect(":", name)
        yield from _named(window, name)
    if window.peek():
        raise SourceFileError(f"something follows the end of the JSON, near byte {window.bytes_read}")


def _named(window: _Window, name: str) -> Iterator[Part]:
    """What one name holds."""
    if not window.take("["):
        is_object = window.peek() == "{"
        value = window.value(name)
        if isinstance(value, _Unkept):
            yield Rejected(name, value.reason)
        elif is_object:
            scope = Scope(name, is_singleton=True)
            yield Named(scope)
            yield Record(scope, "", canonical.encode(value))
        else:
            yield Rejected(name, "must be an array of records or an object")
        return
    scope = Scope(name)
    yield Named(scope)
    place = 0
    while not window.take("]"):
        if place:
            window.expect(",", f"{name}[{place}]")
        where = f"{name}[{place}]"
        yield _record(scope, where, window.value(where))
        place += 1


def _record(scope: Scope, where: str, value: Any) -> Part:
    if isinstance(value, _Unkept):
        return Rejected(where, value.reason)
    if not isinstance(value, dict):
        return Rejected(where, "must be an object")
    record: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
    if "id" not in record:
        return Rejected(where, "has no id")
    text = id_text(record["id"])
    if text is None or not is_usable_id(text):
        return Rejected(where, "its id must be an integer or a string of 1–512 bytes")
    try:
        return Record(scope, text, canonical.encode_record(record["id"], record, record))
    except ValueError as error:
        return Rejected(where, f"cannot be written as JSON again: {error}")


@dataclass(frozen=True, slots=True)
class _Unkept:
    """A whole JSON value that no server keeps."""

    reason: str


class _Window:
    """The part of the file that is in memory, and the place in it."""

    def __init__(self, file: BinaryIO, chunk_bytes: int) -> None:
        self._file = file
        self._chunk_bytes = chunk_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._place = 0
        self._is_end = False
        self.bytes_read = 0

    def peek(self) -> str:
        """The next letter that is not blank; empty at the end of the file."""
        while True:
            found = _BLANK.match(self._text, self._place)
            assert found is not None, "the pattern matches nothing at all too"
            self._place = found.end()
            if self._place < len(self._text):
                return self._text[self._place]
            if self._is_end:
                return ""
            self._more()

    def take(self, letter: str) -> bool:
        """Step over this letter if it comes next."""
        if self.peek() != letter:
            return False
        self._place += 1
        return True

    def expect(self, letter: str, where: str) -> None:
        if not self.take(letter):
            found = self.peek()
            raise SourceFileError(
                f"{where}: expected {letter!r}, found {repr(found) if found else 'the end'}, near byte {self.bytes_read}",
                "a data.json is an object of arrays of records, and of objects",
            )

    def value(self, where: str) -> Any:
        """The next JSON value; _Unkept where it is JSON that cannot be kept."""
        self.peek()
        while True:
            try:
                value, end = self._parsed()
            except json.JSONDecodeError as error:
                if self._is_end or not self._may_be_cut(error):
                    raise SourceFileError(f"{where}: {error.msg}, near byte {self.bytes_read}") from None
            except RecursionError:
                raise SourceFileError(f"{where}: nested too deep") from None
            else:
                # A number that ends with the window may go on behind it.
                if end < len(self._text) or self._is_end:
                    self._place = end
                    return value
            if len(self._text) - self._place > VALUE_CHARS_MAX:
                raise SourceFileError(
                    f"{where}: longer than {VALUE_CHARS_MAX} characters, or its end is missing"
                )
            self._more()

    def _parsed(self) -> tuple[Any, int]:
        try:
            return _STRICT.raw_decode(self._text, self._place)
        except json.JSONDecodeError:
            raise
        except ValueError:
            _, end = _ENDS.raw_decode(self._text, self._place)
        return _Unkept(_reason(self._text[self._place : end])), end

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        return error.msg.startswith("Unterminated string") or error.pos > len(self._text) - _EDGE_CHARS

    def _more(self) -> None:
        """Read on: as much again as is waiting, so that a long record costs no more than twice its length."""
        waiting = self._text[self._place :]
        raw = self._file.read(max(self._chunk_bytes, len(waiting)))
        try:
            self._text = waiting + self._decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            at = self.bytes_read + error.start
            raise SourceFileError(f"not UTF-8 near byte {at}", "write the file as UTF-8") from None
        self._place = 0
        self._is_end = not raw
        self.bytes_read += len(raw)


def _reason(text: str) -> str:
    try:
        canonical.parse_tolerant(text.encode())
    except Problem as problem:
        return problem.detail
    raise AssertionError("what the strict parser refuses, the contract refuses too")


def _no_constant(text: str) -> Any:
    raise ValueError(text)


_STRICT = json.JSONDecoder(parse_float=canonical.number, parse_constant=_no_constant)
_ENDS = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
"""Finds where a value ends whose numbers cannot be kept."""
