"""What the two halves of the mirror share: the lanes, the gaps, who is who, and what it all comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.journal.store import DeadLetter, GapMark, Recovered
from proxy.kinds import Kinds
from proxy.mirror.gaps import Gaps
from proxy.mirror.lanes import Lanes
from proxy.mirror.meter import Meter
from proxy.model import MirrorSettings


@dataclass(slots=True)
class Roles:
    """Who orders writes now, in which epoch of which journal. Replaced whole at a switch."""

    primary: str
    secondary: str
    epoch: int
    journal_id: str
    token: str = ""

    @property
    def epoch_header(self) -> tuple[str, str]:
        return ("Turnout-Epoch", f"{self.epoch} {self.journal_id}")


@dataclass(slots=True)
class MirrorStats:
    """Counted since ``since_wall_s``; kept in the journal, so that a restart forgets nothing."""

    since_wall_s: float
    totals: dict[str, int] = field(default_factory=dict[str, int])

    def add(self, name: str, count: int = 1) -> dict[str, int]:
        """Returns what to add to the journal's totals."""
        self.totals[name] = self.totals.get(name, 0) + count
        return {name: count}


class MirrorState:
    """One process's mirror. Both halves change it on the event loop, and nowhere else."""

    def __init__(
        self,
        recovered: Recovered,
        settings: MirrorSettings,
        roles: Roles,
        now_s: float,
        *,
        kinds: Kinds | None = None,
        late_s: float = 60.0,
    ) -> None:
        self.settings = settings
        self.roles = roles
        self.kinds = kinds or Kinds({roles.primary, roles.secondary})
        self.kinds.on_change.append(self.follow_kinds)
        self.lanes = Lanes()
        self.lanes.late_s = late_s
        self.gaps = Gaps(recovered.gaps)
        self.dead: dict[str, DeadLetter] = {letter.key: letter for letter in recovered.dead}
        self.stats = MirrorStats(recovered.meta.since_wall_s, dict(recovered.meta.totals))
        self.next_seq = recovered.next_seq
        self.accepted_rate = Meter()
        self.settled_rate = Meter()
        self.secondary_trouble = ""
        """Why the secondary is thought away; empty while it answers."""
        self.on_settled: list[Callable[[int], None]] = []
        """Called with each seq that is settled or ended."""
        self.is_numbered = False
        """The primary is versioned."""
        self.is_exact = False
        """Both upstreams are versioned: order goes by the primary's numbers, whatever the network does."""
        self.epoch_line = b""
        """``Turnout-Epoch`` as a header line."""
        self.write_headers = b""
        """What a client's write carries to a versioned primary beside its request id."""
        self.follow_kinds()
        self.lanes.is_paused = recovered.meta.paused is not None
        for entry in recovered.entries:
            self.lanes.recovered(entry, now_s)
        for key in self.dead:
            self.lanes.bury(key)

    def follow_kinds(self) -> None:
        """After an upstream has shown what it is, or roles have changed: what every write asks for is made once."""
        roles = self.roles
        self.is_numbered = self.kinds.is_versioned(roles.primary)
        self.is_exact = self.is_numbered and self.kinds.is_versioned(roles.secondary)
        self.lanes.is_plain = not self.is_exact
        token = f"Turnout-Token: {roles.token}\r\n" if roles.token else ""
        epoch = "{}: {}\r\n".format(*roles.epoch_header)
        self.epoch_line = epoch.encode("latin-1")
        self.write_headers = (epoch + token).encode("latin-1") if self.is_numbered else b""

    def take_seq(self) -> int:
        seq = self.next_seq
        self.next_seq = seq + 1
        return seq

    def looking(self, upstream: str) -> list[tuple[str, str]]:
        """The headers of a look of the mirror's own."""
        headers = self.settings.given_credentials
        if self.kinds.is_versioned(upstream):
            headers.append(self.roles.epoch_header)
        return headers

    def settled(self, seq: int) -> None:
        for callback in self.on_settled:
            callback(seq)

    def lag_seconds(self, wall_s: float) -> float:
        """Age of the oldest unsettled entry; 0 when there is none."""
        oldest = self.lanes.oldest_unsettled_s()
        return 0.0 if oldest is None else max(0.0, wall_s - oldest)

    def add_gap(self, mark: GapMark) -> None:
        self.gaps.add(mark)
