"""What every room speaks: upstreams, routes, decisions, entries. Frozen values, no behaviour beyond small predicates.

Three are values all the same, but not frozen: Place, WriteHead and PrimaryAnswer are made for each write, and a frozen one takes three
times as long.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """Which rule said who answers (metric label; DESIGN section 7)."""

    PRIMARY = "primary"
    NEVER = "never"
    ALWAYS = "always"
    WEIGHT = "weight"
    STICKY = "sticky"
    ROUTE = "route"
    FALLBACK = "fallback"
    BARRIER = "barrier"


class HeadView:
    """What routing sees of a request: a few strings, and a header only when a rule asks for it. A base, not a protocol, because
    compiled code reads a known class's attributes by their place (decision 8)."""

    __slots__ = ("client_ip", "is_ordinary", "method", "path")

    method: str
    """As sent: methods are case-sensitive (RFC 9110 section 9.1)."""
    path: str
    """Raw path without the query; one character a byte (latin-1)."""
    is_ordinary: bool
    """The raw path is its own decoded form (routing.paths.is_ordinary)."""
    client_ip: str
    """The client's address as text, without port or brackets."""

    def __init__(self, method: str, path: str, client_ip: str) -> None:
        self.method = method
        self.path = path
        # routing.paths.is_ordinary, without the call
        self.is_ordinary = "%" not in path and "/." not in path and path.isascii()
        self.client_ip = client_ip

    @property
    def query(self) -> str:
        """Raw query without the ``?``; "" where there is none."""
        raise NotImplementedError

    def header(self, name: str) -> str | None:
        """The value of a header by its lower-case name, or None. Several are joined by ", "; cookies by "; "."""
        raise NotImplementedError


class Stage(StrEnum):
    """Where the whole move stands; derived, never stored (DESIGN section 4)."""

    OFF = "off"
    DUAL_WRITE = "dual-write"
    SHADOW = "shadow"
    CANARY = "canary"
    SWITCHED = "switched"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One host and port of an upstream. ``host`` without brackets."""

    host: str
    port: int
    is_tls: bool = False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.is_tls else 'http'}://{self}"


@dataclass(frozen=True, slots=True)
class Health:
    """An active check: GET ``path`` each ``interval_s``; any 2xx is healthy."""

    path: str
    interval_s: float


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """How an ``https`` endpoint is verified."""

    ca: str = ""
    """A PEM file; empty: what the system trusts."""
    server_name: str = ""
    """What the certificate must be for; empty: the endpoint's host."""


@dataclass(frozen=True, slots=True)
class ClientTls:
    """What the proxy shows to clients: PEM files."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class Upstream:
    name: str
    endpoints: tuple[Endpoint, ...]
    health: Health | None = None
    tls: UpstreamTls | None = None


class MatchOn(StrEnum):
    HEADER = "header"
    COOKIE = "cookie"
    QUERY = "query"
    CLIENT_IP = "client_ip"


class MatchHow(StrEnum):
    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    CONTAINS = "contains"
    REGEX = "regex"
    PRESENT = "present"
    CIDR = "cidr"


@dataclass(frozen=True, slots=True)
class Match:
    """One condition of ``never`` or ``always``. ``name`` is lower case for headers; ``value`` by ``how``; ``line`` in the file."""

    on: MatchOn
    name: str
    how: MatchHow
    value: str
    line: int = 0
    pattern: re.Pattern[str] | None = None


class StickyBy(StrEnum):
    NONE = "none"
    COOKIE = "cookie"
    IP = "ip"
    HEADER = "header"


@dataclass(frozen=True, slots=True)
class Sticky:
    by: StickyBy = StickyBy.NONE
    header: str = ""
    """Lower-case name, with ``StickyBy.HEADER``."""


@dataclass(frozen=True, slots=True)
class Canary:
    """Who is answered by the secondary. ``weight_bp`` is in hundredths of a percent: 10 % is 1000."""

    enabled: bool = False
    never: tuple[Match, ...] = ()
    always: tuple[Match, ...] = ()
    weight_bp: int = 0
    sticky: Sticky = field(default_factory=Sticky)
    line: int = 0
    weight_line: int = 0
    sequence: int = 0
    """Canaries that share a weight share one even sequence: the slot that the dice keep for it."""


class Kind(StrEnum):
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class KeyTemplate:
    """``/api/{collection}/{id}``: literal segments, then placeholders."""

    text: str
    segments: tuple[str | None, ...]
    """Literal text, or None for a placeholder."""
    singletons: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Route:
    """One line of ``routes``, with all that it inherits filled in."""

    path: str
    """The glob as written; ``/*`` at its end matches everything below and the folder itself."""
    prefix: str
    """The literal part before any ``*``, without its trailing slash; "" for all."""
    is_exact: bool
    methods: frozenset[str] | None
    kind: Kind | None
    """None: by the method (GET, HEAD, OPTIONS, TRACE read; all others write)."""
    upstream: str | None
    """``primary``, ``secondary`` or an upstream's name; None: the canary decides."""
    canary: Canary
    template: KeyTemplate | None
    is_mirrored: bool
    line: int = 0
    affects: tuple[str, ...] = ()
    """Decoded prefixes that a write there changes beside its own place, without a trailing slash."""
    is_state: bool = False
    """``mode: state``: its writes settle by repair only."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Settings of the same names in DESIGN section 4; times in seconds."""

    header_timeout_s: float = 10.0
    idle_timeout_s: float = 75.0
    connect_timeout_s: float = 1.0
    response_timeout_s: float = 60.0
    header_bytes: int = 64 << 10
    header_count: int = 200
    connections: int = 10_000
    hold_timeout_s: float = 1.0
    read_barrier_s: float = 0.05


@dataclass(frozen=True, slots=True)
class MirrorSettings:
    enabled: bool = True
    writes_follow: bool = False
    """With the mirror off: writes follow the canary (``writes: follow``) in place of the primary."""
    carry: tuple[str, ...] = ("id", "created_at", "updated_at")
    answer_timeout_s: float = 0.5
    credentials: tuple[tuple[str, str], ...] = ()
    ignore: frozenset[str] = frozenset()
    """Top-level fields that may differ between the two answers."""
    collections: tuple[str, ...] = ()
    """Where an upstream is plain: the paths that a validation compares, as the operator says."""

    @property
    def given_credentials(self) -> list[tuple[str, str]]:
        """Those with a value: they go with each request of the mirror's own."""
        return [(name, value) for name, value in self.credentials if value]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole routing that one request sees (P8). Published by control, read once at the start of an exchange."""

    upstreams: tuple[Upstream, Upstream]
    primary: str
    """The actual one, as the journal says; not what the file wants."""
    secondary: str
    canary: Canary
    routes: tuple[Route, ...]
    """The last one is always the default route: every path matches it."""
    mirror: MirrorSettings
    limits: Limits
    trusted_proxies: tuple[str, ...] = ()
    """CIDR blocks whose X-Forwarded-For is believed."""
    tls: ClientTls | None = None
    revision: int = 0

    def upstream(self, name: str) -> Upstream:
        first, second = self.upstreams
        return first if first.name == name else second


_HARD = re.compile(r"/|%2[5Ff]")
_WRITTEN = re.compile(r"%2[5F]")


def key_segment(decoded: str) -> str:
    """A decoded segment of a path as keys have it (docs/protocol.md, V1): itself, unless it holds a ``/``. No two have the same."""
    if _HARD.search(decoded) is None:
        return decoded
    return decoded.replace("%", "%25").replace("/", "%2F")


def segment_of_key(written: str) -> str:
    """The decoded segment that a key has so."""
    if _WRITTEN.search(written) is None:
        return written
    return written.replace("%2F", "/").replace("%25", "%")


@dataclass(slots=True)
class Place:
    """Where a path lies for the mirror and the read barrier.

    ``key`` is the decoded path of one resource (``/api/orders/17``; see ``key_segment``), or None. ``prefix`` is the decoded path that it
    lies under: the collection (``/api/orders``) of an item or a collection path, the singleton itself, else the
    route's literal prefix.
    ``is_collection`` is true for the collection's own path: a POST there makes a key, a GET lists.
    """

    key: str | None
    prefix: str
    is_collection: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """Where one request goes, and which rule said so."""

    upstream: str
    reason: Reason
    route: Route
    is_write: bool
    new_bucket: int | None = None
    """A bucket to hand to the client in the sticky cookie (0–9999); None: nothing to set."""
    line: int = 0
    """The line of the rule in the file."""


COOKIE_NAME: Final = "turnout-bucket"
"""The sticky cookie: it holds the bucket, never an upstream (DESIGN section 4)."""

BUCKETS: Final = 10_000


@dataclass(slots=True)
class WriteHead:
    """What the mirror must know of a write before the primary is asked."""

    method: str
    target: str
    """Raw request target, latin-1."""
    place: Place
    headers: tuple[tuple[str, str], ...]
    """End-to-end headers that a replay repeats (Content-Type, Idempotency-Key, Accept, Authorization …), names as sent, without ``Turnout-*``."""
    marks: tuple[str, ...] = ()
    """The prefixes that it marks, for it may change more than one key (routing.place.marks_of)."""
    is_state: bool = False
    """It is never replayed (``mode: state``)."""


@dataclass(slots=True)
class PrimaryAnswer:
    """An accepted answer of the primary: status 2xx or 3xx."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """As received, ``Turnout-Version`` included."""
    body: bytes | None
    """None where it was larger than limits.KEPT_ANSWER_BYTES_MAX."""
    request_body: bytes | None
    """None where it was larger than limits.KEPT_BODY_BYTES_MAX."""


@dataclass(frozen=True, slots=True)
class MirrorAnswer:
    """The secondary's own answer to a replay that was equal to the primary's."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer to a request of the proxy's own."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value, by lower-case name."""
        return next((value for key, value in self.headers if key.lower() == name), None)
