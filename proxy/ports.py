"""What the rooms ask of what lies outside them. Every method is called on the event loop, and every callback runs there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from proxy.errors import TurnoutError, UpstreamError
from proxy.model import MirrorAnswer, Place, PrimaryAnswer, Reply, Snapshot, WriteHead
from proxy.tls import Secure


class Clock(Protocol):
    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def wall(self) -> float:
        """Seconds since 1970, UTC."""
        ...


class Dice(Protocol):
    """The even sequences behind weights and new buckets."""

    def take(self, sequence: int, weight_bp: int) -> bool:
        """Whether the next request of this sequence goes to the secondary: after any n, within one of n × weight."""
        ...

    def new_bucket(self) -> int:
        """The next bucket, 0–9999, evenly spread."""
        ...


class Snapshots(Protocol):
    """Where forward finds the routing: one attribute, replaced whole."""

    current: Snapshot


Done = Callable[[TurnoutError | None], None]


class MirrorPort(Protocol):
    """The mirror as the hot path sees it. No futures: callbacks, called exactly once.

    A write's life there: ``is_fenced`` (hold it if so), decide, ``intend``, send with ``headers_for``,
    then exactly one of ``accepted``, ``rejected``, ``doubtful``, ``never_sent``.
    """

    is_fenced: bool
    """True while a switch holds new writes (P7). Checked in the same step of the loop as ``intend``."""

    def hold(self, resume: Done) -> Callable[[], None]:
        """Wait for the fence to open; ``resume(None)`` then decides anew, ``resume(error)`` answers 503. Returns a cancel (the client left)."""
        ...

    def intend(self, write: WriteHead, durable: Done) -> int:
        """Journal an intent; returns its seq at once. ``durable(None)`` once it is on disk, ``durable(error)`` if it never will be (answer the error's status)."""
        ...

    def headers_for(self, seq: int) -> bytes:
        """Header lines (each ended by CRLF) that the write carries to the primary."""
        ...

    def write_headers(self) -> bytes:
        """Header lines for a write that is not mirrored (its route says so); empty for a plain upstream."""
        ...

    def accepted(self, seq: int, answer: PrimaryAnswer, durable: Done) -> None:
        """2xx or 3xx from the primary. The client may read it after ``durable(None)``; ``durable(error)``: the outcome is in doubt, say that it may have taken effect."""
        ...

    def rejected(self, seq: int) -> None:
        """4xx but 408: the entry ends."""
        ...

    def doubtful(self, seq: int) -> None:
        """5xx, 408, a time-out, a cut connection after the first byte was sent."""
        ...

    def never_sent(self, seq: int) -> None:
        """No byte of it reached an upstream (connection refused, the client left before)."""
        ...

    def await_secondary(
        self, seq: int, timeout_s: float, done: Callable[[MirrorAnswer | None], None]
    ) -> None:
        """After ``accepted``: the secondary's answer if its replay is equal and in time, else None. Calls back at once where nobody should wait."""
        ...

    def note_unmirrored(self, place: Place, durable: Done) -> bool:
        """A write that the mirror will not carry is about to happen: leave a gap mark. True: it is there already and ``durable`` is not called."""
        ...

    def is_unproven(self, place: Place) -> bool:
        """Whether a gap covers the place: the primary answers its reads."""
        ...

    def is_settled(self, place: Place) -> bool:
        """Whether the secondary has every write of the place that was acknowledged before now (P5)."""
        ...

    def await_settled(self, place: Place, timeout_s: float, done: Callable[[bool], None]) -> None:
        """Wait for the entries that are unsettled now; ``done(False)`` after the timeout."""
        ...


class Sender(Protocol):
    """Requests of the proxy's own (mirror and control) to an upstream."""

    async def send(
        self,
        upstream: str,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        timeout_s: float,
    ) -> Reply:
        """One request, sent at most once by intent; the whole answer. UpstreamError where there is none. ``target`` is sent as it is."""
        ...


class Answered(Protocol):
    """A whole answer; its headers are read when they are asked for."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def body(self) -> bytes: ...


class ReplaySender(Sender, Protocol):
    """A Sender that can do without a task for each request."""

    def ask(
        self,
        upstream: str,
        method: str,
        target: str,
        lines: bytes,
        body: bytes,
        *,
        timeout_s: float,
        done: Callable[[Answered | UpstreamError], None],
    ) -> Callable[[], None]:
        """As ``send``. ``lines`` are header lines, each ended by CRLF. ``done`` is called once, later. Returns a cancel: nobody waits any more."""
        ...


class DeadKey(Protocol):
    """A dead letter as it is shown."""

    @property
    def key(self) -> str: ...
    @property
    def since_wall_s(self) -> float: ...
    @property
    def cause(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def answer_status(self) -> int: ...
    @property
    def answer_body(self) -> bytes | None: ...


class MirrorControl(Protocol):
    """The mirror as control sees it."""

    def fence(self, reason: str) -> None:
        """New writes wait."""
        ...

    def release(self) -> None:
        """Held writes go on, decided anew."""
        ...

    async def calm(self, lag_s: float, timeout_s: float) -> bool:
        """Wait until the oldest unsettled entry is younger than ``lag_s``, or there is none."""
        ...

    async def drained(self, timeout_s: float) -> bool:
        """Wait until nothing is unsettled, dead letters apart."""
        ...

    def lag_entries(self) -> int: ...

    def unproven(self) -> tuple[str, ...]:
        """The prefixes that no validation has cleared yet."""
        ...

    def dead_keys(self) -> tuple[str, ...]: ...

    def secondary_trouble(self) -> str:
        """Why the secondary is thought away; empty while it answers."""
        ...

    def fence_reason(self) -> str:
        """Why writes wait now; empty when they do not."""
        ...

    def in_doubt(self) -> tuple[int, float]:
        """How many writes are in doubt, and since when the oldest is under way (seconds since 1970; 0 where there is none)."""
        ...

    def body_bytes(self) -> int:
        """Bodies that the journal keeps for unsettled entries."""
        ...

    def stats(self) -> Mapping[str, object]:
        """What ``/api/dual-write/stats`` shows."""
        ...

    def gaps(self) -> Sequence[tuple[str, float, str]]:
        """Prefix, since when and why of each mark."""
        ...

    def dead_letters(self) -> Sequence[DeadKey]: ...

    async def waiting(self, key: str) -> Sequence[Mapping[str, object]]:
        """The unsettled writes of a key, oldest first: what was asked, and what the primary answered. Credentials are left out."""
        ...

    async def retry(self, *keys: str) -> None:
        """Try dead keys again: from now on they are keys like any other, also after a restart. RefusedError where one is none."""
        ...

    async def mark_gap(self, prefix: str, why: str) -> None:
        """The prefix (``""``: everything) is unproven from now on; durable on return."""
        ...

    def set_paused(self, is_paused: bool) -> None:
        """While paused nothing is sent to the secondary; entries are journaled all the same."""
        ...

    def start(self) -> None:
        """Begin to carry entries to the secondary; a mirror that runs already stays as it is."""
        ...

    async def stop(self) -> None:
        """Send nothing more; what is under way is given up, the journal has it."""
        ...

    async def drop(self, key: str, reason: str) -> None:
        """Give a dead key up and leave a gap mark; RefusedError where it is none."""
        ...

    def set_roles(self, primary: str, secondary: str, epoch: int, *, is_secondary_told: bool) -> None:
        """From now on writes are ordered by ``primary``. Only while fenced and drained. A secondary that was not told the epoch is told before anything is sent to it."""
        ...


class Lost(Protocol):
    """What a move away from a dead primary cannot take along."""

    @property
    def name(self) -> str: ...
    @property
    def why(self) -> str: ...
    @property
    def key(self) -> str:
        """Empty where it is no single key."""
        ...

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Where ``key`` is empty: what it may have changed."""
        ...

    @property
    def is_doubt_only(self) -> bool:
        """Whether the primary took it is not known; no client was told that it did."""
        ...


class Salvager(Protocol):
    """The mirror without its primary."""

    async def still(self, timeout_s: float) -> bool:
        """Begin nothing more, and wait until nothing is under way; False after the timeout."""
        ...

    def go_on(self) -> None:
        """Begin again."""
        ...

    async def assess(self) -> Sequence[Lost]:
        """What would be lost, as far as it can be told without sending anything."""
        ...

    async def salvage(self) -> Sequence[Lost]:
        """Bring all that the journal holds to the secondary, in the present epoch; what is lost. UpstreamError where it is away."""
        ...

    def doubts(self) -> Sequence[tuple[int, str]]:
        """Request ids that only the old primary can tell of, each with its key."""
        ...

    def counters(self) -> Mapping[str, int]:
        """The highest generated id of each collection that the unsettled entries show."""
        ...

    def leave(
        self, lost: Sequence[Lost], detail: str, why: str
    ) -> tuple[Callable[[object], None], Callable[[], None]]:
        """For the transaction of the change of roles, and for the moment after it: entries end, lost keys become dead letters."""
        ...

    async def bury(self, keys: Sequence[str], detail: str) -> None:
        """More dead letters of that kind; durable on return."""
        ...

    def unsettled_keys(self) -> set[str]:
        """Keys of which the secondary is known to lack something."""
        ...

    def first_base(self, key: str) -> str:
        """What the key's first unsettled write was made from at the primary: a version, ``none``, or ``unknown`` where the journal
        cannot tell (protocol W2)."""
        ...


class Differ(Protocol):
    """Names every key whose record differs between two upstreams, at one look. Handed in by the CLI, like the Validator."""

    async def __call__(
        self,
        primary_url: str,
        secondary_url: str,
        *,
        token: str,
        epoch: str,
        secure: Mapping[str, Secure],
    ) -> Sequence[str]:
        """UpstreamError where one of the two does not answer; its arguments are those of a Validator."""
        ...


Describe = Callable[[bytes, bytes, frozenset[str]], Sequence[Mapping[str, object]]]
"""How two bodies that are not the same value differ, field by field, but for the ignored ones. Handed in by the CLI."""


class Comparer(Protocol):
    """Compares named collections where an upstream is plain (P9)."""

    async def __call__(self, named: Mapping[str, bool]) -> Mapping[str, object]:
        """``named``: path → whether it is a single key, no collection. The report's shape is that of ports.Validator.

        UpstreamError where one of the two does not answer; RefusedError where nothing says what to compare.
        """
        ...


class Validator(Protocol):
    """Compares every record of both upstreams (P9). Handed in by the CLI, which knows the tools of the backends."""

    async def __call__(
        self,
        primary_url: str,
        secondary_url: str,
        *,
        token: str,
        epoch: str,
        secure: Mapping[str, Secure],
    ) -> Mapping[str, object]:
        """``{"equal": bool, "compared": int, "differences": […], …}``, JSON-able. UpstreamError where one does not answer.

        ``secure`` says how an https URL of the two is verified. ``epoch`` is the value of Turnout-Epoch. Differences under writes in flight are looked at again before they count.
        """
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What the CLI hands to a proxy, for it knows the tools of the backends; without one, what needs it is refused."""

    validator: Validator | None = None
    differ: Differ | None = None
    describe: Describe | None = None
