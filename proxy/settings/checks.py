"""What the parts of a file must be together: two upstreams, one primary, routes that can match, and what is not built yet.

Works on what of the file has a good shape, so that one mistyped key hides no other fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from proxy.model import Endpoint
from proxy.settings.document import Document, Spot
from proxy.settings.faults import Fault, suggestion
from proxy.settings.shape import RouteShape, ShadowShape, UpstreamShape

ROLES = ("primary", "secondary")


@dataclass(frozen=True, slots=True)
class RoutePart:
    """One route, its index in the file, and whether every key of it has a good shape."""

    index: int
    route: RouteShape
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Parts:
    """The well-shaped parts of a file. ``names`` are all upstreams, also those whose own shape is bad."""

    names: tuple[str, ...] | None
    """None where there is no mapping of upstreams at all."""
    upstreams: tuple[tuple[str, UpstreamShape], ...]
    primary: str | None
    routes: tuple[RoutePart, ...]
    shadow: ShadowShape | None


def check(parts: Parts, document: Document) -> list[Fault]:
    """Every fault of the parts together."""
    faults = [*_upstreams(parts, document), *_not_yet(parts, document)]
    for part in parts.routes:
        faults += _route(parts, part.index, part.route, document)
    faults += _shadowed(parts, document)
    return faults


def _at(spot: Spot, message: str) -> Fault:
    return Fault(spot.line, spot.column, message)


def _at_key(spot: Spot, message: str) -> Fault:
    return Fault(spot.key_line, spot.key_column, message)


def _upstreams(parts: Parts, document: Document) -> Iterator[Fault]:
    if parts.names is None:
        return
    names = parts.names
    if len(names) != 2:
        yield _at_key(
            document.nearest(("upstreams",)),
            f"there are always exactly two upstreams, the one to move from and the one to move to; here: {len(names)}",
        )
    for name in names:
        if name in ROLES or not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
            yield _at_key(
                document.nearest(("upstreams", name)),
                f"`{name}` cannot be the name of an upstream: letters, digits, - and _, and not `primary` or `secondary`",
            )
    if parts.primary is not None and parts.primary not in names:
        spot = document.nearest(("primary",))
        source = f" (from {', '.join(spot.variables)})" if spot.variables else ""
        yield _at(spot, f"`{parts.primary}`{source} is no upstream{suggestion(parts.primary, names)}")
    seen: dict[Endpoint, str] = {}
    for name, upstream in parts.upstreams:
        for index, endpoint in enumerate(upstream.endpoints):
            if endpoint in seen:
                yield _at(
                    document.nearest(("upstreams", name, "endpoints", index)),
                    f"{endpoint.url} is an endpoint of `{seen[endpoint]}` already: each belongs to one upstream, once",
                )
            seen.setdefault(endpoint, name)


def _not_yet(parts: Parts, document: Document) -> Iterator[Fault]:
    if parts.shadow is None:
        return
    if parts.shadow.sample:
        yield _at(
            document.nearest(("shadow", "sample")), "not yet: no reads are shadowed in this version: write 0"
        )
    if parts.shadow.ignore:
        yield _at_key(
            document.nearest(("shadow", "ignore")),
            "not yet: no reads are shadowed in this version: leave it out",
        )


def _route(parts: Parts, index: int, route: RouteShape, document: Document) -> Iterator[Fault]:
    def spot(*path: str | int) -> Spot:
        return document.nearest(("routes", index, *path))

    names = (*(parts.names or ()), *ROLES)
    if route.upstream is not None and parts.names is not None and route.upstream not in names:
        yield _at(spot("upstream"), f"`{route.upstream}` is no upstream{suggestion(route.upstream, names)}")
    if route.upstream is not None and route.canary is not None:
        yield _at_key(
            spot("canary"), "a route with an `upstream` never looks at its `canary`: keep one of the two"
        )
    for method, count in Counter(route.methods or ()).items():
        if count > 1:
            yield _at(spot("methods"), f"`{method}` is given twice")
    yield from _affects(route, spot)
    yield from _key(route, spot("key"), spot("singletons"))


def _affects(route: RouteShape, spot: Callable[..., Spot]) -> Iterator[Fault]:
    if not route.mirror:
        for name in ("affects", "mode"):
            if name in route.model_fields_set:
                yield _at_key(
                    spot(name), f"with `mirror: false` nothing is carried: `{name}` says nothing here"
                )
    for index, path in enumerate(route.affects or ()):
        if "*" in path or "{" in path:
            yield _at(
                spot("affects", index),
                f"`{path}`: write the prefix itself, such as `/api/orders`; all below it is meant",
            )


def _key(route: RouteShape, key: Spot, singletons: Spot) -> Iterator[Fault]:
    if route.key is None:
        if route.singletons:
            yield _at_key(singletons, "`singletons` are names in a `key` template, and this route has none")
        return
    segments = route.key.split("/")[1:]
    if route.singletons and (len(segments) < 2 or not segments[-2].startswith("{")):
        yield _at_key(
            singletons,
            "`singletons` stand where the template has its second last placeholder, and it has none",
        )
    literal = [segment for segment in segments if not segment.startswith("{")]
    first_placeholder = next(i for i, segment in enumerate(segments) if segment.startswith("{"))
    fixed = route.path.removesuffix("/*").split("/")[1:]
    meets = all(
        wanted.startswith("{") or wanted == there for wanted, there in zip(segments, fixed, strict=False)
    )
    is_too_long = len(fixed) > len(segments)
    if not meets or is_too_long:
        below = "/".join(literal[:first_placeholder])
        yield _at(key, f"no path of this route, `{route.path}`, has a key under `/{below}`")


def _shadowed(parts: Parts, document: Document) -> Iterator[Fault]:
    """A route that earlier ones leave nothing for: every path of it, with every method of it, is taken before."""
    earlier: dict[str, list[RoutePart]] = {}
    for part in (part for part in parts.routes if part.is_whole):
        route = part.route
        covering = [other for glob in _covering(route.path) for other in earlier.get(glob, ())]
        covering.sort(key=lambda other: other.index)
        whole = next((other for other in covering if other.route.methods is None), None)
        taken = {method for other in covering for method in other.route.methods or ()}
        if whole is None and route.methods and taken.issuperset(route.methods):
            whole = covering[0]
        if whole is not None:
            line = document.nearest(("routes", whole.index)).line
            yield _at(
                document.nearest(("routes", part.index)),
                f"this route can never match: the one at line {line} takes all of `{route.path}`; move this one above it",
            )
        earlier.setdefault(route.path, []).append(part)


def _covering(glob: str) -> Iterator[str]:
    """The globs that take everything that this one takes: itself, and those of the folders that it lies in."""
    if not glob.endswith("/*"):
        yield glob
    folder = glob.removesuffix("/*")
    while folder:
        yield f"{folder}/*"
        folder = folder.rpartition("/")[0]
    yield "/*"
