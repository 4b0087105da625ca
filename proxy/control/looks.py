"""What a switch must know before it begins, asked of both upstreams now. Decides nothing: control/switch.py does."""

from __future__ import annotations

from proxy.control import epochs
from proxy.control.actual import Actual
from proxy.control.switch import Facts
from proxy.errors import TurnoutError
from proxy.kinds import Kinds
from proxy.ports import Clock, MirrorControl, Sender

LOOK_TIMEOUT_S = 1.0


class Looks:
    """One look at a time, each bounded."""

    def __init__(
        self, *, actual: Actual, mirror: MirrorControl, sender: Sender, clock: Clock, kinds: Kinds
    ) -> None:
        self._actual = actual
        self._mirror = mirror
        self._sender = sender
        self._clock = clock
        self._kinds = kinds

    async def facts(self, to: str, secondary: str, *, is_mirrored: bool) -> Facts:
        """With the mirror off nobody is asked."""
        meta = self._actual.meta
        if not is_mirrored:
            return Facts(
                to=to, primary=meta.primary, is_mirrored=False, is_primary_up=True, is_secondary_up=True, trouble="",
                gaps=(), dead=(), in_doubt=0, is_paused=False, validation_age_s=0.0,
            )  # fmt: skip
        primary_error = await self.trouble(meta.primary)
        secondary_error = await self.trouble(secondary) or self._mirror.secondary_trouble()
        validated_s = meta.validated_wall_s
        return Facts(
            to=to,
            primary=meta.primary,
            is_mirrored=True,
            is_primary_up=not primary_error,
            is_secondary_up=not secondary_error,
            trouble=secondary_error,
            gaps=self._mirror.unproven(),
            dead=self._mirror.dead_keys(),
            in_doubt=0,
            is_paused=meta.paused is not None,
            validation_age_s=self._clock.wall() - validated_s if validated_s else None,
            is_plain=self._kinds.has_plain,
        )

    async def trouble(self, upstream: str) -> str:
        """Why it cannot be primary or secondary now; empty while it answers."""
        try:
            await epochs.look(self._sender, upstream, self._kinds, timeout_s=LOOK_TIMEOUT_S)
        except TurnoutError as error:
            return str(error)
        return ""
