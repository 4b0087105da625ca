"""Which resource a path names (DESIGN section 5, "A key"): the unit of order for the mirror and the read barrier."""

from __future__ import annotations

import re
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from proxy.model import KeyTemplate, Place, Route, key_segment
from proxy.routing.paths import covers, decoded

__all__ = ["covers", "key_of_answer", "marks_of", "place_of"]


_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9_-]+)+")
"""An absolute path in which nothing is encoded, relative or anybody's syntax."""


class _HasId(msgspec.Struct):
    """All of an answer that is looked at."""

    id: int | str


_ANSWER = msgspec.json.Decoder(_HasId)


def place_of(route: Route, raw_path: str) -> Place:
    """The place of a raw path (latin-1, no query) under the route that it matched."""
    path, is_clean = decoded(raw_path)
    template = route.template
    if template is None or not is_clean:
        return Place(None, route.prefix)
    if "%" in path:
        path = "/".join(map(key_segment, path.split("/")))
    return _by_template(template, path.rstrip("/")) or Place(None, route.prefix)


def _by_template(template: KeyTemplate, path: str) -> Place | None:
    """None where the template says nothing of the path: it is neither an item, nor a singleton, nor a collection."""
    wanted = template.segments
    parts = path.split("/")[1:]
    missing = len(wanted) - len(parts)
    if missing not in (0, 1) or not parts:
        return None
    for part, literal in zip(parts, wanted, strict=False):
        if literal is not None and literal != part:
            return None
    if missing == 0:
        collection = path.rpartition("/")[0]
        if len(parts) > 1 and parts[-2] in template.singletons and wanted[-2] is None:
            return None  # below a singleton lies no item of its own
        return Place(path, collection)
    if wanted[len(parts) - 1] is None and parts[-1] in template.singletons:
        return Place(path, path)
    return Place(None, path, is_collection=True)


def marks_of(route: Route, place: Place, method: str) -> tuple[str, ...]:
    """The prefixes that a write there marks (DESIGN section 5, "A write without a key"); () for one that names, or learns, one key.

    With ``affects`` its own place counts only where a template names it: without one the route has said all that it changes.
    """
    is_placed = place.key is not None or place.is_collection
    if route.affects:
        own = (
            ()
            if place.key is not None or (place.is_collection and method == "POST") or not is_placed
            else (place.prefix,)
        )
        return (*route.affects, *own)
    if place.key is not None or method == "POST":
        return ()
    return (place.prefix,)


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
