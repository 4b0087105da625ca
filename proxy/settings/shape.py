"""The shape of routing.yaml: which keys there are, of what kind, with which defaults. What they mean together is in checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from proxy.errors import UsageError
from proxy.model import ClientTls, Limits, MirrorSettings, Sticky, UpstreamTls
from proxy.settings.kinds import (
    Cidr,
    Duration,
    EndpointUrl,
    Glob,
    HeaderValue,
    LineText,
    Method,
    PathText,
    Percent,
    Present,
    Regex,
    Size,
    StickyKind,
    Template,
    Token,
)
from proxy.settings.scalars import refuse
from proxy.tls import client_context, upstream_context

NonEmpty = Annotated[str, Field(min_length=1)]

_LIMITS = Limits()
_MIRROR = MirrorSettings()


class Shape(BaseModel):
    """Strict: no unknown key, no text where a number is meant, nothing changed afterwards."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class HealthShape(Shape):
    """An active check of each endpoint."""

    path: PathText = "/healthz"
    interval: Annotated[float, Duration("100ms", "1h")] = 2.0


class UpstreamTlsShape(Shape):
    """How an upstream's certificate is verified."""

    ca: NonEmpty | None = None
    server_name: NonEmpty | None = None

    @model_validator(mode="after")
    def can_be_used(self) -> UpstreamTlsShape:
        _refuse_unusable(lambda: upstream_context(self.value))
        return self

    @property
    def value(self) -> UpstreamTls:
        return UpstreamTls(self.ca or "", self.server_name or "")


class UpstreamShape(Shape):
    """One of the two services. Without ``health`` it is never asked but for clients' requests."""

    endpoints: Annotated[list[EndpointUrl], Field(min_length=1)]
    health: HealthShape | None = None
    tls: UpstreamTlsShape | None = None

    @model_validator(mode="after")
    def tls_has_a_use(self) -> UpstreamShape:
        if self.tls is not None and not any(endpoint.is_tls for endpoint in self.endpoints):
            refuse("`tls` is for `https` endpoints, and this upstream has none")
        return self


class TlsShape(Shape):
    """TLS towards clients: PEM files."""

    certificate: NonEmpty
    key: NonEmpty

    @model_validator(mode="after")
    def can_be_used(self) -> TlsShape:
        _refuse_unusable(lambda: client_context(self.value))
        return self

    @property
    def value(self) -> ClientTls:
        return ClientTls(self.certificate, self.key)


def _refuse_unusable(load: Callable[[], object]) -> None:
    try:
        load()
    except UsageError as error:
        refuse(error.message)


class MatchShape(Shape):
    """One condition: what to look at, and how."""

    header: Token | None = None
    cookie: Token | None = None
    query: NonEmpty | None = None
    client_ip: Cidr | None = None
    exact: LineText | None = None
    prefix: NonEmpty | None = None
    suffix: NonEmpty | None = None
    contains: NonEmpty | None = None
    regex: Regex | None = None
    present: Present | None = None

    @model_validator(mode="after")
    def one_of_each(self) -> MatchShape:
        subjects = self.model_fields_set & {"header", "cookie", "query", "client_ip"}
        hows = self.model_fields_set - subjects
        if len(subjects) != 1:
            refuse("a match looks at one of `header`, `cookie`, `query` or `client_ip`")
        if subjects == {"client_ip"}:
            if hows:
                refuse(f"`client_ip` is compared with its own value: leave `{min(hows)}` out")
        elif len(hows) != 1:
            refuse(
                "a match says how, once: `exact`, `prefix`, `suffix`, `contains`, `regex` or `present: true`"
            )
        if self.exact is not None and self.exact != self.exact.strip() and self.header is not None:
            refuse(f"`{self.exact}` can never match: a header's value has no space around it")
        return self


class CanaryShape(Shape):
    """Who is answered by the secondary."""

    enabled: bool = False
    never: list[MatchShape] = []
    always: list[MatchShape] = []
    weight: Percent = 0
    sticky: StickyKind = Sticky()


class RouteCanaryShape(Shape):
    """What a route says differently from ``canary``; ``enabled: false`` takes the route out, true needs the other too."""

    enabled: bool | None = None
    never: list[MatchShape] | None = None
    always: list[MatchShape] | None = None
    weight: Percent | None = None
    sticky: StickyKind | None = None


class RouteShape(Shape):
    """One route; the first that matches wins."""

    path: Glob
    methods: Annotated[list[Method], Field(min_length=1)] | None = None
    kind: Literal["read", "write"] | None = None
    upstream: str | None = None
    canary: RouteCanaryShape | None = None
    key: Template | None = None
    singletons: list[NonEmpty] = []
    mirror: bool = True
    mode: Literal["replay", "state"] | None = None
    affects: Annotated[list[PathText], Field(min_length=1)] | None = None


class CompareShape(Shape):
    """How a replay's answer is compared with the primary's, and what a validation compares where an upstream is plain."""

    ignore: list[NonEmpty] = []
    collections: list[PathText] = []


class MirrorShape(Shape):
    """What carries each accepted write to the secondary."""

    enabled: bool = _MIRROR.enabled
    writes: Literal["primary", "follow"] = "primary"
    mode: Literal["replay", "state"] = "replay"
    carry: list[NonEmpty] = list(_MIRROR.carry)
    answer_timeout: Annotated[float, Duration("0ms", "10s")] = _MIRROR.answer_timeout_s
    credentials: dict[Token, HeaderValue] = {}
    compare: CompareShape = CompareShape()


class ShadowShape(Shape):
    """Reads compared with the other upstream's answer."""

    sample: Percent = 0
    ignore: list[NonEmpty] = []


class LimitsShape(Shape):
    """Bounds of what one client may ask of the proxy."""

    header_timeout: Annotated[float, Duration("10ms", "1h")] = _LIMITS.header_timeout_s
    idle_timeout: Annotated[float, Duration("10ms", "24h")] = _LIMITS.idle_timeout_s
    connect_timeout: Annotated[float, Duration("10ms", "1m")] = _LIMITS.connect_timeout_s
    response_timeout: Annotated[float, Duration("10ms", "24h")] = _LIMITS.response_timeout_s
    header_bytes: Annotated[int, Size("1KiB", "1MiB")] = _LIMITS.header_bytes
    header_count: Annotated[int, Field(ge=10, le=10_000)] = _LIMITS.header_count
    connections: Annotated[int, Field(ge=1, le=1_000_000)] = _LIMITS.connections
    hold_timeout: Annotated[float, Duration("10ms", "30s")] = _LIMITS.hold_timeout_s
    read_barrier: Annotated[float, Duration("0ms", "10s")] = _LIMITS.read_barrier_s


class SettingsShape(Shape):
    """The whole file."""

    version: Literal[1]
    upstreams: dict[str, UpstreamShape]
    primary: str
    canary: CanaryShape = CanaryShape()
    routes: list[RouteShape] = []
    mirror: MirrorShape = MirrorShape()
    shadow: ShadowShape = ShadowShape()
    limits: LimitsShape = LimitsShape()
    trusted_proxies: list[Cidr] = []
    tls: TlsShape | None = None


NOT_YET = {
    "rollout": "rollouts come later; raise `canary.weight` by hand",
    "journal": "the journal has no settings in this version",
}
"""Keys that the design has and this version refuses, and what to do instead."""
