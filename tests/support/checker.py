"""What became of the clients' writes: reads both upstreams past the proxy, and compares them with the log.

Knows nothing of how the proxy works. **Lost**: an acknowledged write that neither shows nor was overwritten by one that
may have come after it. **Doubled**: one create, two records. **Unequal**: a key whose bytes differ between the two.
**Unasked**: a record or value that no client sent, or that a client was told had no effect. A write without an answer may
be there or not.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

import aiohttp
import msgspec

from tests.support.load import STOCK, Log, Told, Write

State = dict[str, dict[str, bytes]]
"""Collection → id → the record's bytes. The singleton has the id ""."""

ROWS = msgspec.json.Decoder(list[msgspec.Raw])
PAGE_ROWS = 1000


@dataclass(slots=True)
class Verdict:
    """Counts for a summary, and sentences for who must find the reason."""

    acknowledged: int = 0
    lost: list[str] = field(default_factory=list[str])
    doubled: list[str] = field(default_factory=list[str])
    unequal: list[str] = field(default_factory=list[str])
    unasked: list[str] = field(default_factory=list[str])

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.unequal or self.unasked)

    def __str__(self) -> str:
        said = [f"{self.acknowledged} writes acknowledged"]
        for name in ("lost", "doubled", "unequal", "unasked"):
            found = getattr(self, name)
            said.append(f"{name}: {len(found)}")
            said += [f"    {one}" for one in found[:8]]
        return "\n".join(said)


async def read_state(
    session: aiohttp.ClientSession,
    base: str,
    *,
    collections: Iterable[str] = ("orders", "stock"),
    singletons: Iterable[str] = ("settings",),
) -> State:
    """Every record of an upstream as its own bytes, read from the upstream itself."""
    state: State = {}
    for name in collections:
        records = state[name] = {}
        start = 0
        while True:
            url = f"{base}/api/{name}?_sort=id&_start={start}&_limit={PAGE_ROWS}"
            async with session.get(url) as response:
                text = await response.read()
                assert response.status == 200, text
            rows = ROWS.decode(text)
            records.update((str(json.loads(bytes(row))["id"]), bytes(row)) for row in rows)
            start += len(rows)
            if len(rows) < PAGE_ROWS:
                break
    for name in singletons:
        async with session.get(f"{base}/api/{name}") as response:
            state[name] = {"": await response.read()} if response.status == 200 else {}
    return state


def judge(log: Log, sides: Mapping[str, State]) -> Verdict:
    """The verdict over both upstreams, by name. Pure."""
    verdict = Verdict(acknowledged=log.acknowledged)
    left, right = sides
    verdict.unequal += _unequal(left, sides[left], right, sides[right])
    by_register: dict[str, list[Write]] = defaultdict(list)
    for write in log.writes:
        if write.register:
            by_register[write.register].append(write)
    for side, state in sides.items():
        _judge_creates(verdict, side, log, by_register.keys(), state["orders"])
        for register, writes in by_register.items():
            _judge_register(verdict, side, register, writes, _shown(state, register))
        for identity, record in state["stock"].items():
            if identity not in STOCK:
                verdict.unasked.append(f"{side}: stock/{identity} {record[:80]!r}")
    verdict.doubled += log.repeats_that_differ
    return verdict


def _unequal(left: str, ours: State, right: str, theirs: State) -> list[str]:
    found: list[str] = []
    for name in ours.keys() | theirs.keys():
        mine, others = ours.get(name, {}), theirs.get(name, {})
        for identity in mine.keys() | others.keys():
            one, other = mine.get(identity), others.get(identity)
            if one != other:
                found.append(f"{name}/{identity}: {left} {_short(one)}, {right} {_short(other)}")
    return found


def _judge_creates(
    verdict: Verdict, side: str, log: Log, registers: Container[str], orders: Mapping[str, bytes]
) -> None:
    creates = {write.value: write for write in log.writes if write.is_create}
    tags: Counter[str] = Counter()
    for identity, record in orders.items():
        tag = json.loads(record).get("tag")
        if tag is None:  # replaced by a PUT, which only somebody who was told its id could send
            if f"orders/{identity}/v" not in registers:
                verdict.unasked.append(f"{side}: orders/{identity} {record[:120]!r}")
            continue
        tags[tag] += 1
        create = creates.get(tag)
        if create is None or create.told is Told.REFUSED:
            verdict.unasked.append(f"{side}: orders/{identity} of {tag}, {create and create.status}")
        elif create.register and create.register != f"orders/{identity}/v":
            verdict.doubled.append(f"{side}: {tag} is {identity}, and was answered as {create.register}")
    verdict.doubled += [f"{side}: {count} records of {tag}" for tag, count in tags.items() if count > 1]


def _judge_register(
    verdict: Verdict, side: str, register: str, writes: list[Write], shown: str | None
) -> None:
    """One value, its writers, and what is there in the end."""
    acknowledged = [write for write in writes if write.told is Told.ACKNOWLEDGED]
    is_made_once = register.startswith("orders/")
    if is_made_once and any(write.value is None for write in acknowledged):
        if shown is not None:
            verdict.lost.append(f"{side}: {register} was deleted, and shows {shown}")
        return
    may_show = [write for write in writes if write.value == shown and write.told is not Told.REFUSED]
    if any(_is_last(write, acknowledged) for write in may_show) or (
        shown is None and not acknowledged and not is_made_once
    ):
        return
    said = ", ".join(f"{write.value} ({write.began}–{write.ended})" for write in acknowledged[-4:])
    if acknowledged:
        verdict.lost.append(f"{side}: {register} shows {shown}; acknowledged {said}")
    else:
        verdict.unasked.append(f"{side}: {register} shows {shown}, which no write of it can explain")


def _is_last(write: Write, acknowledged: Iterable[Write]) -> bool:
    """Whether no acknowledged write of the register began after this one had ended."""
    ended = write.ended
    return ended is None or all(other.began <= ended for other in acknowledged)


def _shown(state: State, register: str) -> str | None:
    collection, identity, name = register.split("/")
    record = state[collection].get(identity)
    if record is None:
        return None
    shown = json.loads(record).get(name)
    return None if shown is None else str(shown)


def _short(record: bytes | None) -> str:
    return "nothing" if record is None else record[:120].decode(errors="replace")
