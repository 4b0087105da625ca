"""Whether two upstreams, of which at least one is plain, hold the same records (P9): a validation's looks. Changes nothing anywhere.

Rules, by the names that docs/mirror.md and the tests use:
- **named-collections**: compared is what the operator names, and what a versioned upstream of the two lists; nothing else is proved.
- **whole-list**: a plain upstream's list counts if it came in one page, or if no write under it was under way, or began, while its
  pages were read; where that is never so, writes are held for it.
- **own-get**: a record is what its own GET shows: some servers list abbreviations.
- **settled-look**: a look at a key counts only if the key was settled, and no write touched it, from the look's begin to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import Enum, auto

from proxy.errors import RefusedError
from proxy.mirror.lanes import Lanes
from proxy.mirror.listing import API, Listed, Listing, UnlistableError
from proxy.mirror.look import GONE, Asking, Look
from proxy.mirror.state import MirrorState
from proxy.mirror.sweeps import touch
from proxy.mirror.watch import Watch
from proxy.model import key_segment, segment_of_key
from proxy.ports import Clock, Describe, Sender

KEYS_TOGETHER = 200
LOOKS_AT_ONCE = 8
LOOKS_MAX = 3
"""A key that differs in so many looks that count is different."""

ROUND_S = 0.2
REST_S_MAX = 30.0
"""How long a group of keys is waited for that are never at rest, or not shown."""

LISTINGS_MAX = 3
DIFFERENCES_MAX = 100
"""Of one collection: the rest of it is not looked at any more."""

Still = Callable[[str], AbstractAsyncContextManager[None]]
"""Within it no write is under way; RefusedError where that cannot be."""


class UnprovedError(Exception):
    """A collection cannot be proved, and why."""


class Seen(Enum):
    """What a look at a key came to."""

    EQUAL = auto()
    DIFFERENT = auto()
    AGAIN = auto()


@dataclass(slots=True)
class Case:
    """One key under comparison."""

    key: str
    differences: int = 0
    look: Look | None = None
    """The last one that counted."""
    trouble: str = ""
    """Why there was none yet."""


@dataclass(slots=True)
class Collection:
    """One collection, or one key that is none's record (``is_single``)."""

    path: str
    is_single: bool
    primary: int = 0
    secondary: int = 0
    compared: int = 0
    different: int = 0
    not_looked_at: int = 0
    why: str = ""
    """Why it cannot be proved; empty where nothing stands against it."""

    @property
    def is_equal(self) -> bool:
        return not (self.different or self.not_looked_at or self.why)

    def as_json(self) -> dict[str, object]:
        return {
            "primary": self.primary,
            "secondary": self.secondary,
            "different": self.different,
            "not_looked_at": self.not_looked_at,
            "equal": self.is_equal,
        }


@dataclass(slots=True)
class Findings:
    """Of one validation."""

    collections: list[Collection] = field(default_factory=list[Collection])
    differences: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    in_flight: int = 0

    def report(self) -> dict[str, object]:
        every = self.collections
        return {
            "equal": all(one.is_equal for one in every),
            "compared": sum(one.compared for one in every),
            "collections": {one.path: one.as_json() for one in every},
            "differences": self.differences,
            "different": sum(one.different for one in every),
            "not_looked_at": sum(one.not_looked_at for one in every),
            "not_proved": [{"collection": one.path, "why": one.why} for one in every if one.why],
            "in_flight": self.in_flight,
        }


class PlainComparison:
    """A ports.Comparer: one comparison at a time."""

    def __init__(
        self, state: MirrorState, sender: Sender, clock: Clock, *, still: Still, describe: Describe
    ) -> None:
        self._state = state
        self._clock = clock
        self._still = still
        self._describe = describe
        self._asking = Asking(state, sender, clock)
        self._listing = Listing(state, sender)
        self._room = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._watch = Watch()

    async def __call__(self, named: Mapping[str, bool]) -> Mapping[str, object]:
        self._watch = self._state.lanes.watch = Watch(is_on=True)
        findings = Findings()
        try:
            for path, is_single in (await self._scopes(named)).items():
                one = Collection(path, is_single)
                findings.collections.append(one)
                try:
                    await self._compare(one, findings)
                except (UnprovedError, UnlistableError, RefusedError) as error:
                    one.why = str(error)
        finally:
            self._state.lanes.watch = Watch()
        return findings.report()

    async def _scopes(self, named: Mapping[str, bool]) -> dict[str, bool]:
        """What is named, and what a versioned one of the two lists (named-collections)."""
        scopes = dict(named)
        roles, kinds = self._state.roles, self._state.kinds
        for upstream in (roles.primary, roles.secondary):
            if kinds.is_versioned(upstream):
                catalog = await self._listing.catalog(upstream)
                for name in sorted(catalog.collections):
                    scopes.setdefault(f"{API}/{key_segment(name)}", False)
                for name in sorted(catalog.singletons):
                    scopes[f"{API}/{key_segment(name)}"] = True
        if not scopes:
            raise RefusedError(
                "nothing says what to compare: neither upstream lists a collection, and routing.yaml names none",
                "write in routing.yaml: mirror: {compare: {collections: [/api/orders]}}, with every path under which records lie",
            )
        return scopes

    # -- the lists -----------------------------------------------------------------------------------

    async def _keys(self, one: Collection) -> list[str]:
        """Every key that either of the two has."""
        roles = self._state.roles
        ours = await self._ids(roles.primary, one.path)
        theirs = await self._ids(roles.secondary, one.path)
        if ours is None and theirs is None:
            raise UnprovedError(f"neither upstream has {one.path}: is it written as they have it?")
        ours, theirs = ours or (), theirs or ()
        one.primary, one.secondary = len(ours), len(theirs)
        keys: list[str] = []
        for record_id in dict.fromkeys((*ours, *theirs)):
            if not record_id or record_id in (".", ".."):
                raise UnprovedError(f"the id {record_id!r} names no path under {one.path}")
            keys.append(f"{one.path}/{key_segment(record_id)}")
        return keys

    async def _ids(self, upstream: str, path: str) -> Sequence[str] | None:
        """None: there is no such path."""
        if not self._state.kinds.is_versioned(upstream):
            return await self._whole_list(upstream, path)
        api, _, name = path.rpartition("/")
        if api != API:
            raise UnprovedError(f"{upstream} keeps its records directly under {API}")
        return await self._listing.ids(upstream, segment_of_key(name))

    async def _whole_list(self, upstream: str, path: str) -> Sequence[str] | None:
        """whole-list."""
        for _ in range(LISTINGS_MAX):
            since, was_quiet = self._watch.count, is_quiet(self._state.lanes, path)
            listed = await self._listing.listed(upstream, path)
            if listed.pages == 1 or (was_quiet and not self._watch.has_touched_under(path, since)):
                return checked(listed, upstream, path)
            await asyncio.sleep(ROUND_S)
        async with self._still(f"the list of {path} at {upstream} is read page by page"):
            listed = await self._listing.listed(upstream, path)
        return checked(listed, upstream, path)

    # -- the records ---------------------------------------------------------------------------------

    async def _compare(self, one: Collection, findings: Findings) -> None:
        keys = [one.path] if one.is_single else await self._keys(one)
        try:
            for place in range(0, len(keys), KEYS_TOGETHER):
                if one.different >= DIFFERENCES_MAX:
                    return
                await self._group(one, keys[place : place + KEYS_TOGETHER], findings)
        finally:
            one.not_looked_at = len(keys) - one.compared

    async def _group(self, one: Collection, keys: list[str], findings: Findings) -> None:
        """Look at each until it counts: equal, or as often different."""
        waiting = [Case(key) for key in keys]
        until_s = self._clock.now() + REST_S_MAX
        is_first = True
        while True:
            seen = await asyncio.gather(*(self._look(case) for case in waiting))
            again = [case for case, came in zip(waiting, seen, strict=True) if came is Seen.AGAIN]
            for case, came in zip(waiting, seen, strict=True):
                if came is not Seen.AGAIN:
                    self._counts(one, case)
                if came is Seen.DIFFERENT:
                    self._differs(one, case, findings)
            if not again:
                return
            if len(again) == len(waiting) and self._clock.now() > until_s:
                more = f" (and {len(again) - 1} more)" if len(again) > 1 else ""
                raise UnprovedError(
                    f"{again[0].key}{more}: {again[0].trouble or 'it changes with each look'}, for {REST_S_MAX:.0f} s"
                )
            findings.in_flight += len(again) if is_first else 0
            waiting, is_first = again, False
            await asyncio.sleep(ROUND_S)

    async def _look(self, case: Case) -> Seen:
        """settled-look."""
        lanes, key = self._state.lanes, case.key
        async with self._room:
            if not lanes.is_key_settled(key):
                case.trouble = "a write of it is not settled"
                return Seen.AGAIN
            since = self._watch.count
            look = await self._asking.look(key)
        if not isinstance(look, Look):
            case.trouble = look.detail
            return Seen.AGAIN
        if self._watch.has_touched(key, since) or not lanes.is_key_settled(key):
            case.trouble = "it is written again and again"
            return Seen.AGAIN
        case.look, case.trouble = look, ""
        if look.is_equal(self._state.settings.ignore):
            return Seen.EQUAL
        case.differences += 1
        return Seen.DIFFERENT if case.differences >= LOOKS_MAX else Seen.AGAIN

    def _counts(self, one: Collection, case: Case) -> None:
        one.compared += 1
        if one.is_single and case.look is not None:
            one.primary, one.secondary = (
                int(case.look.primary is not None),
                int(case.look.secondary is not None),
            )

    def _differs(self, one: Collection, case: Case, findings: Findings) -> None:
        one.different += 1
        look = case.look
        assert look is not None
        record_id = "" if one.is_single else segment_of_key(case.key.rpartition("/")[2])
        told: dict[str, object] = {"collection": one.path, "id": record_id}
        if look.secondary is None:
            told["kind"] = "missing"
        elif look.primary is None:
            told["kind"] = "extra"
        else:
            fields = self._describe(look.primary.body, look.secondary.body, self._state.settings.ignore)
            told |= {"kind": "differs", "fields": list(fields)}
        if len(findings.differences) < DIFFERENCES_MAX:
            findings.differences.append(told)


def is_quiet(lanes: Lanes, path: str) -> bool:
    """Whether nothing under a path is unsettled, dead keys apart: neither upstream is being written there."""
    near = [prefix for prefix in lanes.by_prefix if touch((prefix,), (path,))]
    return not any(seq in lanes.living for seq in lanes.unsettled_seqs(None, near))


def checked(listed: Listed, upstream: str, path: str) -> Sequence[str] | None:
    """The ids of a whole list; None where there is no such path. UnprovedError where it cannot be taken for whole."""
    if listed.ids is None:
        if listed.pages == 1 and listed.status in GONE:
            return None
        raise UnprovedError(f"GET {path} at {upstream} is no list of records with ids ({listed.status})")
    if any("/" in one for one in listed.ids):  # where such a record lies, only the server knows
        raise UnprovedError(f"GET {path} at {upstream} lists a record whose id holds a slash")
    if listed.rows != len(listed.ids):
        raise UnprovedError(f"GET {path} at {upstream} lists an id twice")
    if listed.total not in (None, listed.rows):
        raise UnprovedError(
            f"GET {path} at {upstream} lists {listed.rows} records, says X-Total-Count: {listed.total}, and names no next page"
            ' by Link: rel="next"'
        )
    return tuple(listed.ids)
