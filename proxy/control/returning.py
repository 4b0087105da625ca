"""An old primary that was left behind dead has come back: what happens before anything is mirrored to it (DESIGN section 5, P7).

It is told the new epoch first, so that nothing older can still arrive at it. Then it is asked what became of the writes in doubt, then
all of its records are compared with the primary's. What it holds that the primary never had, and what differs without an
entry in the journal that says why, becomes a dead letter: a person chooses. Only then the mirror sends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from proxy.control.actual import Actual
from proxy.errors import RefusedError, UpstreamError
from proxy.failpoints import hit
from proxy.journal.store import Returning
from proxy.ports import Differ, MirrorControl, Salvager, Sender
from proxy.protocol import VOID_PATH, parse_void
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
        unexplained = await self._compare(upstream)
        if len(unexplained) > UNEXPLAINED_MAX:
            raise RefusedError(
                f"{upstream} differs in {len(unexplained)} records that the journal does not explain",
                f"bring it up to date first: turnout backfill --to {self._url_of(upstream)}",
            )
        await self._salvager.bury(unexplained, detail)
        await self._revive_what_never_was(returning, set(done))
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

    async def _compare(self, upstream: str) -> list[str]:
        """Keys that differ, and of which no entry says that they must."""
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
        return [key for key in differing if key not in explained]

    async def _revive_what_never_was(self, returning: Returning, done: set[str]) -> None:
        """A key that was named only for a write in doubt, which it never took: nothing is to be chosen there."""
        doubtful = {key for _, key in returning.doubts if key}
        dead = set(self._mirror.dead_keys())
        for key in sorted((doubtful & dead) - done - set(returning.keys)):
            await self._mirror.retry(key)
