"""Repair where at least one upstream is plain: look at both, write the difference, look again.

A plain secondary has no numbers to refuse an old message by. Rules, by the names that docs/mirror.md and the tests use:
- **look-settles**: only a look that finds both equal settles a key, never the answer to a write.
- **presumed-done**: what is in doubt at a plain primary counts as done; its key, or its collection, is repaired.
- **same-difference**: a secondary that takes a repair MIRROR_SAME_DIFFERENCE_MAX times and stays different makes a dead letter.
- **stray-mended**: a record made under another id than it was asked for is repaired away; the key that was meant is a dead letter.
- **never-plain-again**: an upstream that was versioned once is never taken for plain (proxy/kinds.py).

- **late-look**: a key that saw a doubtful request settles only by an equal look that began ``limits.response_timeout`` after its
  last one (Lane.look_from_s).
- **overlap-plain**: writes of one key that overlapped at the primary settle by repair, never by replay (proxy/mirror/overlap.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from proxy.errors import UpstreamError
from proxy.failpoints import hit
from proxy.limits import EPOCH_SHIFT, MIRROR_SAME_DIFFERENCE_MAX
from proxy.mirror import settle
from proxy.mirror.look import GONE, Asking, Look
from proxy.mirror.settle import Verdict
from proxy.mirror.state import MirrorState
from proxy.model import Place, Reply, segment_of_key
from proxy.ports import Clock, Sender
from proxy.protocol import MIRROR, VERSION, ReadVersion, repair_version
from proxy.routing.made import key_of_answer

CONFLICT = 409


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a repair, in words too."""

    verdict: Verdict
    detail: str = ""
    reply: Reply | None = None
    """What the secondary said to it, where that decided."""


class PlainRepair:
    """Repairs one key at a time for each lane; keeps only how often a key stayed different."""

    def __init__(self, state: MirrorState, sender: Sender, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._asking = Asking(state, sender, clock)
        self._send = self._asking.send
        self._same: dict[str, int] = {}

    async def run(self, key: str) -> Came:
        """SETTLED, WAIT (equal, but too early), or why not."""
        # Taken before the look: a versioned secondary refuses a repair with a lower number than one that it has (protocol M2).
        number = (self._state.roles.epoch << EPOCH_SHIFT) + self._state.take_seq()
        before = await self._look(key)
        if isinstance(before, Came):
            return before
        hit("repair-read")
        ignore = self._state.settings.ignore
        if before.is_equal(ignore):
            return self._equal(key, before)
        written = await self._write(key, before, number)
        if written.verdict is not Verdict.SETTLED:
            return written
        after = await self._look(key)
        if isinstance(after, Came):
            return after
        if after.is_equal(ignore):
            return self._equal(key, after)
        return self._different(key, before, after)

    def _equal(self, key: str, look: Look) -> Came:
        self._same.pop(key, None)
        lane = self._state.lanes.lanes[key]  # look-settles, and late-look says from when
        return Came(Verdict.SETTLED if look.began_s >= lane.look_from_s else Verdict.WAIT)

    def _different(self, key: str, before: Look, after: Look) -> Came:
        """Written, and still not equal: another write came between, or the secondary keeps records in its own way."""
        secondary = self._state.roles.secondary
        if _body(before.primary) != _body(after.primary):
            self._same.pop(key, None)
            return Came(Verdict.AGAIN, f"{key} changed meanwhile")
        return self._counted(key, f"{secondary} took {key} and shows it differently", _difference(after))

    def _counted(self, key: str, detail: str, more: str = "") -> Came:
        """Once more; but for the third time in a row it will not become equal by itself (same-difference)."""
        count = self._same[key] = self._same.get(key, 0) + 1
        if count < MIRROR_SAME_DIFFERENCE_MAX:
            return Came(Verdict.AGAIN, detail)
        del self._same[key]
        return Came(Verdict.DEAD, f"{detail}: {more}" if more else detail)

    # -- looking -------------------------------------------------------------------------------------

    async def _look(self, key: str) -> Look | Came:
        look = await self._asking.look(key)
        if isinstance(look, Look):
            return look
        if look.upstream == self._state.roles.primary:
            return Came(Verdict.AGAIN, look.detail)
        if look.reply is None:
            return Came(Verdict.AWAY, look.detail)
        return self._judged(look.reply, "a look")

    # -- writing -------------------------------------------------------------------------------------

    async def _write(self, key: str, look: Look, number: int) -> Came:
        """Bring the primary's state; SETTLED: it was taken (or was not needed), as far as the secondary says."""
        extra = [(MIRROR, "repair")]
        if self._state.kinds.is_versioned(self._state.roles.secondary):
            extra.append((VERSION, repair_version(ReadVersion(None, number))))
        try:
            if look.primary is None:
                reply = await self._send(self._state.roles.secondary, "DELETE", key, extra)
                return Came(Verdict.SETTLED) if reply.status in GONE else self._judged(reply, "DELETE", key)
            kind = look.primary.header("content-type") or "application/json"
            extra.append(("Content-Type", kind))
            reply = await self._send(self._state.roles.secondary, "PUT", key, extra, look.primary.body)
            if reply.status in (*GONE, 405, 501) and look.secondary is None:
                return await self._create(key, look.primary, extra)
        except UpstreamError as error:
            self._state.lanes.doubtful_at(key, self._clock.now())
            return Came(Verdict.AWAY, str(error))
        return self._judged(reply, "PUT", key)

    async def _create(self, key: str, record: Reply, extra: list[tuple[str, str]]) -> Came:
        """A server that makes records by POST alone. One that gives them ids of its own cannot hold the key at all."""
        secondary = self._state.roles.secondary
        collection, _, wanted = key.rpartition("/")
        if settle.record_id(record.body) != segment_of_key(wanted):
            return Came(
                Verdict.DEAD,
                f"{secondary} makes no record by PUT, and the record at {key} does not name its id",
            )
        reply = await self._send(secondary, "POST", collection, extra, record.body)
        made = key_of_answer(
            Place(None, collection, is_collection=True), reply.header("location"), reply.body
        )
        if 200 <= reply.status < 300 and made is not None and made != key:  # stray-mended
            await self._send(secondary, "DELETE", made, [(MIRROR, "repair")])
            return Came(
                Verdict.DEAD,
                f"{secondary} gives records ids of its own: asked for {key} it made {made}, which was deleted again",
            )
        if reply.status == CONFLICT:
            # It was not there a moment ago: an earlier try, of which nothing was heard, has arrived. Look again.
            return self._counted(key, f"{secondary} has no {key}, and answers 409 to a POST that makes it")
        return self._judged(reply, "POST", key)

    def _judged(self, reply: Reply, what: str, key: str | None = None) -> Came:
        code = settle.problem_code(reply.body)
        verdict = settle.judge_repair(reply.status, code)
        if key is not None and (reply.status >= 500 or reply.status == 408):
            self._state.lanes.doubtful_at(key, self._clock.now())
        return Came(
            verdict,
            f"{self._state.roles.secondary} answers {reply.status} {code or ''}".rstrip() + f" to {what}",
        )


def _body(reply: Reply | None) -> bytes | None:
    return None if reply is None else reply.body


def _difference(look: Look) -> str:
    """Which top-level fields differ, for the person who must decide."""
    if look.primary is None:
        return "it is still there"
    if look.secondary is None:
        return "it is not there"
    try:
        ours, theirs = json.loads(look.primary.body), json.loads(look.secondary.body)
    except ValueError:
        return "other bytes"
    if not isinstance(ours, Mapping) or not isinstance(theirs, Mapping):
        return "another value"
    names = [str(name) for name in {**ours, **theirs} if ours.get(name, ...) != theirs.get(name, ...)]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType, reportUnknownMemberType]
    return f"{', '.join(names[:10])} (if that is right, name them in mirror.compare.ignore)"
