"""An old primary that was left behind dead has come back: what happens before anything is mirrored to it (DESIGN section 5, P7).

It is told the new epoch first, so that nothing older can still arrive at it. Then it is asked what became of the writes in doubt, then
all of its records are compared with the primary's. What it holds that the primary never had, and what differs without an
entry in the journal that says why, becomes a dead letter: a person chooses. Only then the mirror sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from proxy.control.actual import Actual
from proxy.errors import RefusedError, UpstreamError
from proxy.failpoints import hit
from proxy.journal.store import Returning
from proxy.limits import MIRROR_LANES_AT_ONCE_MAX
from proxy.ports import Differ, MirrorControl, Salvager, Sender
from proxy.protocol import BASE_NONE, VOID_PATH, parse_read_version, parse_void, path_of
from proxy.routing.paths import covers
from proxy.tls import Secure

log = structlog.get_logger("control")

VOID_TIMEOUT_S = 10.0
UNEXPLAINED_MAX = 1000
"""More records than this that differ without a reason are no case for a person, but for a backfill."""


class Returns:
    """One process's door for a returned upstream. `settle` may be begun again after any failure, also after a crash."""

    def __init__(
        self,
        *,
        actual: Actual,
        mirror: MirrorControl,
        salvager: Salvager,
        sender: Sender,
        differ: Differ | None,
        url_of: Callable[[str], str],
        secure: Callable[[], Mapping[str, Secure]],
        token: str,
    ) -> None:
        self._actual = actual
        self._mirror = mirror
        self._salvager = salvager
        self._sender = sender
        self._differ = differ
        self._url_of = url_of
        self._secure = secure
        self._token = token

    async def settle(self, upstream: str) -> None:
        """Nothing to do but for an upstream that was left behind. It knows the present epoch by now. UpstreamError, RefusedError:
        it is not mirrored to yet."""
        returning = self._actual.meta.returning
        if returning is None or returning.upstream != upstream:
            return
        log.warning(
            "returned", upstream=upstream, doubts=len(returning.doubts), left_in_epoch=returning.epoch
        )
        detail = f"{upstream} returned with a state of it that the primary never had"
        done = await self._ask_after_doubts(returning)  # it has just been told the epoch: learns-later
        await self._salvager.bury(done, detail)
        hit("returned-voided")
        unexplained, contested = await self._compare(upstream)
        unexplained += await self._lost_states(returning, contested, set(done))
        if len(unexplained) > UNEXPLAINED_MAX:
            raise RefusedError(
                f"{upstream} differs in {len(unexplained)} records that the journal does not explain",
                f"bring it up to date first: turnout backfill --to {self._url_of(upstream)}",
            )
        await self._salvager.bury(unexplained, detail)
        await self._revive_what_never_was(returning, {*done, *unexplained})
        await self._actual.returned()
        log.warning(
            "return_settled",
            upstream=upstream,
            dead_letters=len(self._mirror.dead_keys()),
            next="turnout dead-letters list",
        )

    async def _ask_after_doubts(self, returning: Returning) -> list[str]:
        """Keys of the doubtful writes that it had taken. From now on it refuses the others for good."""
        done: list[str] = []
        meta = self._actual.meta
        for seq, _ in returning.doubts:
            reply = await self._sender.send(
                returning.upstream,
                "POST",
                VOID_PATH,
                [("Turnout-Epoch", f"{meta.epoch} {meta.journal_id}"), ("Content-Type", "application/json")],
                b'{"request":%d}' % seq,
                timeout_s=VOID_TIMEOUT_S,
            )
            answer = parse_void(reply.body) if reply.status == 200 else None
            if answer is None:
                raise UpstreamError(
                    f"{returning.upstream} answers {reply.status} when it is asked after write {seq}",
                    "its log says more",
                )
            if answer.state == "done" and answer.key:  # what one without a key changed, the comparison tells
                done.append(answer.key)
        return done

    async def _compare(self, upstream: str) -> tuple[list[str], list[str]]:
        """Keys that differ: those of which no entry says that they must, and the others."""
        if self._differ is None:
            raise RefusedError(
                "this proxy was started without the tools that compare", "start it with `turnout proxy`"
            )
        meta = self._actual.meta
        differing = await self._differ(
            self._url_of(meta.primary),
            self._url_of(upstream),
            token=self._token,
            epoch=f"{meta.epoch} {meta.journal_id}",
            secure=self._secure(),
        )
        # Looked at afterwards: a write that was made meanwhile has its entry by now.
        explained = self._salvager.unsettled_keys()
        return (
            [key for key in differing if key not in explained],
            [key for key in differing if key in explained],
        )

    async def _lost_states(self, returning: Returning, contested: list[str], done: set[str]) -> list[str]:
        """Of the keys that were written again since: those of which the old copy may be a state that the primary never had.

        It is none if the primary's first write since was made from that very version; and only what lies under a lost write
        without a key, or a gap, can be one that no name tells (named-or-nothing).
        """
        dead = set(self._mirror.dead_keys()) - (self._never_taken(returning) - done)
        wanted = [
            key
            for key in contested
            if key not in dead and any(covers(prefix, key) for prefix in returning.prefixes)
        ]
        at_once = asyncio.Semaphore(MIRROR_LANES_AT_ONCE_MAX)

        async def is_lost(key: str) -> bool:
            async with at_once:
                return await self._is_lost_state(returning.upstream, key)

        found = await asyncio.gather(*map(is_lost, wanted))
        return [key for key, is_one in zip(wanted, found, strict=True) if is_one]

    async def _is_lost_state(self, upstream: str, key: str) -> bool:
        meta = self._actual.meta
        headers = [("Turnout-Epoch", f"{meta.epoch} {meta.journal_id}")]
        reply = await self._sender.send(upstream, "GET", path_of(key), headers, timeout_s=VOID_TIMEOUT_S)
        seen = parse_read_version(reply.header("turnout-version"))
        if reply.status not in (200, 404) or seen is None:
            raise UpstreamError(
                f"{upstream} answers {reply.status} when it is asked for {key}", "its log says more"
            )
        base = self._salvager.first_base(key)
        if seen.version is None or (reply.status == 404 and base == BASE_NONE):
            return False  # no write through this proxy made it what it is; or both had no record
        return base != str(seen.version)

    def _never_taken(self, returning: Returning) -> set[str]:
        """Keys that were named only for a write in doubt."""
        return {key for _, key in returning.doubts if key} - set(returning.keys)

    async def _revive_what_never_was(self, returning: Returning, done: set[str]) -> None:
        """A key that was named only for a write in doubt, which it never took: nothing is to be chosen there."""
        for key in sorted((self._never_taken(returning) & set(self._mirror.dead_keys())) - done):
            await self._mirror.retry(key)
