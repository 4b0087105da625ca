"""Checked settings and who is primary in fact, made one snapshot: inheritance spelled out, lines kept for explanations."""

from __future__ import annotations

import re

from proxy.errors import UsageError
from proxy.model import (
    Canary,
    Health,
    KeyTemplate,
    Kind,
    Limits,
    Match,
    MatchHow,
    MatchOn,
    MirrorSettings,
    Route,
    Snapshot,
    Upstream,
)
from proxy.settings.document import Document, Path
from proxy.settings.load import Settings
from proxy.settings.shape import (
    LimitsShape,
    MatchShape,
    MirrorShape,
    RouteCanaryShape,
    RouteShape,
    UpstreamShape,
)

_HOWS = (MatchHow.EXACT, MatchHow.PREFIX, MatchHow.SUFFIX, MatchHow.CONTAINS, MatchHow.REGEX)


def compile_snapshot(
    settings: Settings, *, primary: str, canary_enabled: bool | None = None, revision: int = 0
) -> Snapshot:
    """The routing that requests see.

    ``primary`` is the actual one, as the journal says. ``canary_enabled`` overrides the file's ``canary.enabled``
    (None: as the file says), which is the master switch: False takes every route's canary out with it.
    Raises UsageError where ``primary`` is no upstream of the file.
    """
    shape = settings.shape
    upstreams = [_upstream(name, upstream) for name, upstream in shape.upstreams.items()]
    names = [upstream.name for upstream in upstreams]
    if primary not in names:
        raise UsageError(
            f"`{primary}` is primary, and {settings.source} has only {' and '.join(names)}",
            hint=f"an upstream keeps its name while it is in use: name one of them `{primary}` again",
        )
    canary = _canary(settings, shape.canary.enabled if canary_enabled is None else canary_enabled)
    is_state = shape.mirror.mode == "state"
    routes = [
        _route(route, index, canary, settings.document, is_state=is_state)
        for index, route in enumerate(shape.routes)
    ]
    default = Route(
        path="/*",
        prefix="",
        is_exact=False,
        methods=None,
        kind=None,
        upstream=None,
        canary=canary,
        template=None,
        is_mirrored=True,
        is_state=is_state,
    )
    return Snapshot(
        upstreams=(upstreams[0], upstreams[1]),
        primary=primary,
        secondary=names[1] if primary == names[0] else names[0],
        canary=canary,
        routes=(*routes, default),
        mirror=_mirror(shape.mirror),
        limits=_limits(shape.limits),
        trusted_proxies=tuple(shape.trusted_proxies),
        tls=shape.tls.value if shape.tls else None,
        revision=revision,
    )


def _upstream(name: str, shape: UpstreamShape) -> Upstream:
    health = Health(shape.health.path, shape.health.interval) if shape.health else None
    return Upstream(name, tuple(shape.endpoints), health, shape.tls.value if shape.tls else None)


def _canary(settings: Settings, is_enabled: bool) -> Canary:
    shape, document = settings.shape.canary, settings.document
    return Canary(
        enabled=is_enabled,
        never=_matches(shape.never, ("canary", "never"), document),
        always=_matches(shape.always, ("canary", "always"), document),
        weight_bp=shape.weight,
        sticky=shape.sticky,
        line=document.line("canary", "enabled") or document.line("canary"),
        weight_line=document.line("canary", "weight"),
    )


def _route(shape: RouteShape, index: int, canary: Canary, document: Document, *, is_state: bool) -> Route:
    path: Path = ("routes", index)
    is_exact = not shape.path.endswith("/*")
    return Route(
        path=shape.path,
        prefix=shape.path.removesuffix("/*").rstrip("/"),
        is_exact=is_exact,
        methods=frozenset(shape.methods) if shape.methods else None,
        kind=Kind(shape.kind) if shape.kind else None,
        upstream=shape.upstream,
        canary=_route_canary(shape.canary, (*path, "canary"), index, canary, document)
        if shape.canary
        else canary,
        template=_template(shape.key, shape.singletons) if shape.key else None,
        is_mirrored=shape.mirror,
        line=document.line(*path),
        affects=tuple(dict.fromkeys(prefix.rstrip("/") for prefix in shape.affects or ())),
        is_state=is_state if shape.mode is None else shape.mode == "state",
    )


def _route_canary(
    shape: RouteCanaryShape, path: Path, index: int, above: Canary, document: Document
) -> Canary:
    """What the route says, over what it inherits. A weight of its own gets an even sequence of its own."""
    has_weight = shape.weight is not None
    return Canary(
        enabled=above.enabled and shape.enabled is not False,
        never=above.never if shape.never is None else _matches(shape.never, (*path, "never"), document),
        always=above.always if shape.always is None else _matches(shape.always, (*path, "always"), document),
        weight_bp=above.weight_bp if shape.weight is None else shape.weight,
        sticky=above.sticky if shape.sticky is None else shape.sticky,
        line=above.line if shape.enabled is None else document.line(*path, "enabled"),
        weight_line=document.line(*path, "weight") if has_weight else above.weight_line,
        sequence=index + 1 if has_weight else above.sequence,
    )


def _matches(shapes: list[MatchShape], path: Path, document: Document) -> tuple[Match, ...]:
    return tuple(_match(shape, document.line(*path, index)) for index, shape in enumerate(shapes))


def _match(shape: MatchShape, line: int) -> Match:
    if shape.client_ip is not None:
        return Match(MatchOn.CLIENT_IP, "", MatchHow.CIDR, shape.client_ip, line)
    on, name = next(
        (on, name)
        for on, name in (
            (MatchOn.HEADER, shape.header and shape.header.lower()),
            (MatchOn.COOKIE, shape.cookie),
            (MatchOn.QUERY, shape.query),
        )
        if name is not None
    )
    if shape.present:
        return Match(on, name, MatchHow.PRESENT, "", line)
    values = zip(_HOWS, (shape.exact, shape.prefix, shape.suffix, shape.contains, shape.regex), strict=True)
    how, value = next((how, value) for how, value in values if value is not None)
    # Header and cookie values arrive as latin-1, one character a byte; a rule is written in UTF-8.
    if on is not MatchOn.QUERY and how is not MatchHow.REGEX:
        value = value.encode("utf-8").decode("latin-1")
    pattern = re.compile(value) if how is MatchHow.REGEX else None
    return Match(on, name, how, value, line, pattern)


def _template(text: str, singletons: list[str]) -> KeyTemplate:
    segments = tuple(None if segment.startswith("{") else segment for segment in text.split("/")[1:])
    return KeyTemplate(text, segments, frozenset(singletons))


def _mirror(shape: MirrorShape) -> MirrorSettings:
    return MirrorSettings(
        enabled=shape.enabled,
        writes_follow=shape.writes == "follow",
        carry=tuple(shape.carry),
        answer_timeout_s=shape.answer_timeout,
        # `${MIRROR_AUTHORIZATION:-}` is empty where there is nothing to say.
        credentials=tuple((name, value) for name, value in shape.credentials.items() if value),
        ignore=frozenset(shape.compare.ignore),
        collections=tuple(path.rstrip("/") for path in shape.compare.collections),
    )


def _limits(shape: LimitsShape) -> Limits:
    return Limits(
        header_timeout_s=shape.header_timeout,
        idle_timeout_s=shape.idle_timeout,
        connect_timeout_s=shape.connect_timeout,
        response_timeout_s=shape.response_timeout,
        header_bytes=shape.header_bytes,
        header_count=shape.header_count,
        connections=shape.connections,
        hold_timeout_s=shape.hold_timeout,
        read_barrier_s=shape.read_barrier,
    )
