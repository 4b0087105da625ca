"""Which key an accepted POST made: read from its answer, for the mirror."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from proxy.model import Place, key_segment
from proxy.routing.paths import decoded

_PLAIN_PATH: Final = re.compile(r"(?:/[A-Za-z0-9_-]+)+")
"""An absolute path in which nothing is encoded, relative or anybody's syntax."""

_ANSWER: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(
    msgspec.defstruct("_HasId", [("id", int | str)])
)
"""All of an answer that is looked at. (Not by a class statement: mypyc takes no class of this base.)"""


def key_of_answer(place: Place, location: str | None, body: bytes | None) -> str | None:
    """The key that an accepted POST to a collection made, from its answer; None where the answer does not say.

    ``Location`` (absolute or relative to the collection's path, RFC 9110 section 10.2.2) is believed first. One that
    names something outside the collection leaves no key: what was made lies elsewhere, and the body's ``id`` with it.
    """
    if not place.is_collection:
        return place.key
    if location is not None and (location := location.strip(" \t")):
        return _key_of_location(place.prefix, location)
    return _key_of_body(place.prefix, body)


def _key_of_location(prefix: str, location: str) -> str | None:
    if (
        _PLAIN_PATH.fullmatch(location) is not None
    ):  # the usual case: all that follows could only say the same
        return location if location.rpartition("/")[0] == prefix else None
    try:
        # The base only has to lead relative references to the right folder; its own text is not looked at again.
        raw_path = urlsplit(urljoin(quote(prefix), location)).path
    except ValueError:
        return None
    path, is_clean = decoded(raw_path)
    path = path.rstrip("/")
    parent, _, last = path.rpartition("/")
    parent = "/".join(map(key_segment, parent.split("/"))) if "%" in parent else parent
    return f"{prefix}/{key_segment(last)}" if is_clean and last and parent == prefix else None


def _key_of_body(prefix: str, body: bytes | None) -> str | None:
    if body is None:
        return None
    try:
        made = str(_ANSWER.decode(body).id)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not made or "/" in made or made in (".", ".."):
        return None
    return f"{prefix}/{key_segment(made)}"
