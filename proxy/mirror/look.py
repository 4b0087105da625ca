"""One key, looked at on both sides where an upstream is plain: asked for by the repair and by the validation alike."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.errors import UpstreamError
from proxy.limits import MIRROR_REQUEST_TIMEOUT_S
from proxy.mirror import settle
from proxy.mirror.state import MirrorState
from proxy.model import Reply
from proxy.ports import Clock, Sender
from proxy.protocol import path_of

GONE = (404, 410)


@dataclass(frozen=True, slots=True)
class Look:
    """One key at both upstreams; None: there is none. It began at ``began_s``."""

    began_s: float
    primary: Reply | None
    secondary: Reply | None

    def is_equal(self, ignore: frozenset[str]) -> bool:
        if self.primary is None or self.secondary is None:
            return self.primary is self.secondary
        return settle.is_same_value(self.primary.body, self.secondary.body, ignore)


@dataclass(frozen=True, slots=True)
class Unseen:
    """An upstream did not show the key."""

    upstream: str
    reply: Reply | None
    """None: it did not answer."""
    detail: str


class Asking:
    """Requests of the mirror's own, with the present roles and kinds."""

    def __init__(self, state: MirrorState, sender: Sender, clock: Clock) -> None:
        self._state = state
        self._sender = sender
        self._clock = clock

    async def look(self, key: str) -> Look | Unseen:
        """The primary first: a state of the secondary that is seen afterwards is no older."""
        roles = self._state.roles
        began_s = self._clock.now()
        seen: list[Reply | None] = []
        for upstream in (roles.primary, roles.secondary):
            try:
                reply = await self.send(upstream, "GET", key)
            except UpstreamError as error:
                return Unseen(upstream, None, str(error))
            if reply.status != 200 and reply.status not in GONE:
                return Unseen(upstream, reply, f"{upstream} answers {reply.status} to a look at {key}")
            seen.append(reply if reply.status == 200 else None)
        return Look(began_s, *seen)

    async def send(
        self,
        upstream: str,
        method: str,
        path: str,
        extra: list[tuple[str, str]] | None = None,
        body: bytes = b"",
    ) -> Reply:
        """UpstreamError where there is no answer."""
        headers = [*(extra or ()), *self._state.looking(upstream)]
        return await self._sender.send(
            upstream, method, path_of(path), headers, body, timeout_s=MIRROR_REQUEST_TIMEOUT_S
        )
