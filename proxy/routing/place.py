"""Which resource a path names (DESIGN section 5, "A key"): the unit of order for the mirror and the read barrier."""

from __future__ import annotations

from proxy.model import KeyTemplate, Place, Route, key_segment
from proxy.routing.paths import decoded


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
    for index, part in enumerate(parts):
        literal = wanted[index]
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
