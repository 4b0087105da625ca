"""The lanes in a small world of two versioned upstreams, late, lost and doubled messages and crashes.

From one seed: a safety half under faults, then all is healed and must converge. The checker looks at the two
stores and at the log of what the primary acknowledged, not at the lanes.
"""

import random
from dataclasses import dataclass, field, replace

import pytest

from proxy.journal.entry import Entry, EntryState
from proxy.mirror.lanes import Lanes, Repair, Replay, Void

SEEDS = 400
STEPS = 250
KEYS = [f"/api/orders/{number}" for number in range(3)]


@dataclass
class Record:
    """A state of one key: ``value`` None is a tombstone or nothing."""

    value: int | None = None
    version: int | None = None
    at: int = 0


@dataclass
class World:
    dice: random.Random
    primary: dict[str, Record] = field(default_factory=lambda: {key: Record() for key in KEYS})
    secondary: dict[str, Record] = field(default_factory=lambda: {key: Record() for key in KEYS})
    number: int = 0
    decided: dict[int, tuple[str, int] | None] = field(default_factory=dict)
    journal: dict[int, Entry] = field(default_factory=dict)
    lanes: Lanes = field(default_factory=Lanes)
    now_s: float = 0.0
    seq: int = 0
    requests: list[tuple[int, str, int | None]] = field(default_factory=list)
    """Writes on their way to the primary, also those that nobody waits for any more."""
    waiting: set[int] = field(default_factory=set)
    """Seqs whose client and proxy still wait for the primary."""
    tasks: list[list] = field(default_factory=list)
    late: list[tuple] = field(default_factory=list)
    """Messages to the secondary that may arrive again, much later."""
    acknowledged: list[tuple[str, int]] = field(default_factory=list)
    states: dict[str, list[tuple[int | None, int]]] = field(
        default_factory=lambda: {key: [(None, 0)] for key in KEYS}
    )
    seen: dict[str, list[int]] = field(default_factory=lambda: {key: [] for key in KEYS})
    is_healed: bool = False

    def chance(self, share: float) -> bool:
        return not self.is_healed and self.dice.random() < share

    # -- the proxy

    def write(self) -> None:
        self.seq += 1
        key = self.dice.choice(KEYS)
        entry = Entry(self.seq, "PUT", key, (), key, "/api/orders", self.now_s)
        self.journal[self.seq] = replace(entry)
        self.lanes.intent(entry)
        self.requests.append((self.seq, key, None if self.dice.random() < 0.3 else self.seq))
        self.waiting.add(self.seq)

    def crash(self) -> None:
        self.lanes = Lanes()
        self.waiting.clear()
        for task in self.tasks:
            if task[0] == "put":
                self.late.append(tuple(task[1:7]))
        self.tasks.clear()
        for seq in sorted(self.journal):
            self.lanes.recovered(replace(self.journal[seq]), self.now_s)

    def settle(self, entries: list[Entry]) -> None:
        for entry in entries:
            if not self.chance(0.1):  # the lazy delete may be lost in a crash
                self.journal.pop(entry.seq, None)

    # -- the primary

    def arrive(self) -> None:
        seq, key, value = self.requests.pop(self.dice.randrange(len(self.requests)))
        if seq in self.decided:
            return
        old = self.primary[key]
        self.number += 1
        new = self.primary[key] = Record(value, self.number, self.number)
        self.states[key].append((value, self.number))
        self.decided[seq] = (key, self.number)
        if seq not in self.waiting:
            return
        self.waiting.discard(seq)
        if self.chance(0.2):
            self.lanes.doubtful(seq, self.now_s)
            return
        base = "none" if old.value is None else str(old.version)
        entry = self.lanes.entries[seq]
        entry.version, entry.base, entry.status = new.version, base, 200
        entry.is_replayable = not self.chance(0.1)
        entry.request_body = b"x"
        self.journal[seq] = replace(entry, state=EntryState.ACCEPTED, request_body=None)
        self.lanes.accepted(seq)
        self.acknowledged.append((key, self.number))

    def lose(self) -> None:
        """The request is cut; it may still arrive."""
        if self.waiting:
            seq = self.dice.choice(sorted(self.waiting))
            self.waiting.discard(seq)
            self.lanes.doubtful(seq, self.now_s)
            if self.chance(0.5):
                self.requests = [one for one in self.requests if one[0] != seq]

    # -- the secondary

    def apply(self, message: tuple) -> bool:
        """Whether it applied (or, for a repair, was settled by what is there)."""
        kind, key, value, version, base, at = message
        there = self.secondary[key]
        if kind == "replay":
            fits = (
                there.value is None and there.at < version
                if base == "none"
                else there.value is not None and there.version == int(base)
            )
            if not fits:
                return False
            self.secondary[key] = Record(value, version, version)
        elif at >= there.at:
            self.secondary[key] = Record(value, version, at)
        if self.secondary[key].version is not None:
            self.seen[key].append(self.secondary[key].version)
        return True

    # -- the driver

    def command(self) -> None:
        for command in self.lanes.commands(self.now_s):
            match command:
                case Void(seq):
                    self.tasks.append(["void", seq])
                case Replay(seq):
                    entry = self.lanes.entries[seq]
                    value = next(value for value, number in self.states[entry.key] if number == entry.version)
                    self.tasks.append(["put", "replay", entry.key, value, entry.version, entry.base, 0, seq])
                case Repair(key, covers):
                    self.tasks.append(["look", key, covers])

    def progress(self) -> None:
        task = self.tasks.pop(self.dice.randrange(len(self.tasks)))
        if task[0] == "void":
            self.void(task[1])
        elif task[0] == "look":
            _, key, covers = task
            if self.chance(0.1):
                self.lanes.repair_failed(key, self.now_s)
                return
            there = self.primary[key]
            self.tasks.append(
                ["put", "repair", key, there.value, there.version, "", max(self.number, there.at), covers]
            )
        else:
            self.put(task)

    def void(self, seq: int) -> None:
        if self.chance(0.2):
            self.lanes.void_failed(seq, self.now_s, 1)
            return
        done = self.decided.setdefault(seq, None)
        if done is None:
            self.lanes.voided_never(seq)
            self.journal.pop(seq, None)
        else:
            self.lanes.voided_done(seq, *done)
            self.journal[seq] = replace(self.lanes.entries[seq])

    def put(self, task: list) -> None:
        message, about = tuple(task[1:7]), task[7]
        if self.chance(0.15):
            self.late.append(message)
        arrives = not self.chance(0.15)
        applied = arrives and self.apply(message)
        answered = arrives and not self.chance(0.15)
        if message[0] == "replay":
            self.settle(self.lanes.replayed(about, is_equal=applied and answered))
        elif answered:
            self.settle(self.lanes.repaired(message[1], about))
        else:
            self.lanes.repair_failed(message[1], self.now_s)

    def step(self) -> None:
        self.now_s += 0.5
        roll = self.dice.random()
        if roll < 0.25:
            self.write()
        elif roll < 0.5 and self.requests:
            self.arrive()
        elif roll < 0.55:
            self.lose()
        elif roll < 0.58 and self.late:
            self.apply(self.late[self.dice.randrange(len(self.late))])
        elif roll < 0.59:
            self.crash()
        elif roll < 0.75:
            self.command()
        elif self.tasks:
            self.progress()

    def heal(self) -> None:
        self.is_healed = True
        for _ in range(10_000):
            self.now_s += 3.0
            if self.requests:
                self.arrive()
            self.command()
            if self.tasks:
                self.progress()
            elif not self.requests and not self.lanes.entries:
                return
        raise AssertionError(f"no rest after the healing: {self.lanes.entries}")


@pytest.mark.parametrize("block", range(4))
def test_p4_both_upstreams_end_equal_and_every_state_was_the_primarys_in_its_order(block: int) -> None:
    for seed in range(block * SEEDS // 4, (block + 1) * SEEDS // 4):
        world = World(random.Random(seed))
        for _ in range(STEPS):
            world.step()
        world.heal()
        for message in world.late:
            world.apply(message)
        for key in KEYS:
            ours, theirs = world.primary[key], world.secondary[key]
            assert (theirs.value, theirs.version) == (ours.value, ours.version), f"seed {seed}: {key} differs"
            assert world.seen[key] == sorted(world.seen[key]), f"seed {seed}: {key} stepped back"
        assert world.lanes.lanes == {}
        assert world.lanes.body_bytes == 0
        assert world.lanes.unsettled_writes() == 0


def test_the_ordinary_run_settles_by_replay_alone() -> None:
    world = World(random.Random(1), is_healed=True)
    replays = repairs = 0
    for _ in range(200):
        world.write()
        world.arrive()
        for command in world.lanes.commands(0.0):
            replays += isinstance(command, Replay)
            repairs += isinstance(command, Repair)
            match command:
                case Replay(seq):
                    entry = world.lanes.entries[seq]
                    value = next(
                        value for value, number in world.states[entry.key] if number == entry.version
                    )
                    world.put(["put", "replay", entry.key, value, entry.version, entry.base, 0, seq])
                case _:
                    pytest.fail(f"{command} in an ordinary run")
    assert (replays, repairs) == (200, 0)
