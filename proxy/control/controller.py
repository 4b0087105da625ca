"""Moves what is wanted to what is actual: the only writer of snapshots and of the routing file.

Wanted: the file, and overrides of single scalars. Actual: the journal (control/actual.py). A file that asks for
another primary is a wish like any other: it runs the same safe switch.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import structlog

from proxy.control import epochs
from proxy.control.actual import Actual
from proxy.control.status import rollback_of, stage_of
from proxy.control.switch import Facts, Refusal, preflight, standing
from proxy.control.switching import Passage, Switching
from proxy.errors import ConflictError, NotYetError, RefusedError, SettingsError, TurnoutError, UsageError
from proxy.journal.store import Override
from proxy.model import Snapshot, Stage
from proxy.ports import Clock, MirrorControl, Sender
from proxy.settings import edit
from proxy.settings.compile import compile_snapshot
from proxy.settings.load import Settings, load
from proxy.settings.tree import CannotEditError

log = structlog.get_logger("control")

PURSUE_AGAIN_S = 60.0
"""A wish for another primary that the file or the environment holds is tried again at most this often."""

PRIMARY = "primary"
CANARY_ENABLED = "canary.enabled"
WAIT_S = 30.0


class SnapshotBox:
    """ports.Snapshots: one attribute, replaced whole."""

    def __init__(self, current: Snapshot) -> None:
        self.current = current


class Controller:
    """One process's wishes. All changes pass through one lock, so that of two operators the second sees the first."""

    def __init__(
        self,
        *,
        config: Path,
        env: Mapping[str, str],
        settings: Settings,
        text: str,
        actual: Actual,
        mirror: MirrorControl,
        sender: Sender,
        clock: Clock,
        box: SnapshotBox,
    ) -> None:
        self._config = config
        self._env = env
        self._actual = actual
        self._mirror = mirror
        self._sender = sender
        self._clock = clock
        self._lock = asyncio.Lock()
        self.box = box
        self.settings = settings
        self.text = text
        self.revision = box.current.revision
        self.faults: list[str] = []
        self.reloads = {"success": 1, "failure": 0}
        self.reloaded_wall_s = clock.wall()
        self.switches: dict[tuple[str, str], int] = {}
        self.held_s: list[float] = []
        self.on_publish: list[Callable[[Snapshot], None]] = []
        self._pursued_at_s = float("-inf")
        self._wanted_error = ""
        self.switching = Switching(
            actual=actual,
            mirror=mirror,
            sender=sender,
            clock=clock,
            hold_timeout_s=lambda: self.box.current.limits.hold_timeout_s,
            publish=self.publish,
            secondary=lambda: self.other(self._actual.meta.primary),
        )

    # -- what is, and what is wanted -----------------------------------------------------------------

    @property
    def primary(self) -> str:
        return self._actual.meta.primary

    @property
    def names(self) -> tuple[str, str]:
        first, second = self.box.current.upstreams
        return first.name, second.name

    def other(self, name: str) -> str:
        first, second = self.names
        return second if name == first else first

    @property
    def stage(self) -> Stage:
        return stage_of(self.box.current, first_primary=self._actual.meta.first_primary)

    @property
    def wanted_primary(self) -> str:
        override = self._actual.overrides.get(PRIMARY)
        return self.settings.primary if override is None else override.value

    @property
    def is_canary_enabled(self) -> bool:
        override = self._actual.overrides.get(CANARY_ENABLED)
        return self.settings.canary_enabled if override is None else override.value == "true"

    def source_of(self, path: str) -> str:
        return "override" if path in self._actual.overrides else str(self._config)

    @property
    def override_count(self) -> int:
        return len(self._actual.overrides)

    def pending(self) -> list[str]:
        """What is wanted and not yet so, in words."""
        found: list[str] = []
        if self.wanted_primary != self.primary:
            found.append(
                f"primary: {self.wanted_primary} is wanted, {self.primary} is: {self._wanted_error or 'switching'}"
            )
        if self.is_canary_enabled and self._mirror.unproven():
            found.append("canary: waits for `turnout validate` where the mirror did not carry everything")
        found.extend(f"{self._config.name}: {fault}" for fault in self.faults)
        return found

    @property
    def etag(self) -> str:
        digest = hashlib.sha256(self.text.encode())
        digest.update(repr(sorted((o.path, o.value) for o in self._actual.overrides.values())).encode())
        return f'"{digest.hexdigest()[:16]}"'

    def publish(self) -> None:
        """Compile settings and actual into the next snapshot; the next request sees it."""
        self.revision += 1
        snapshot = compile_snapshot(
            self.settings, primary=self.primary, canary_enabled=self.is_canary_enabled, revision=self.revision
        )
        self.box.current = snapshot
        for callback in self.on_publish:
            callback(snapshot)

    async def begin(self) -> None:
        """The first snapshot: overrides that have ended while nobody ran go first."""
        await self._actual.drop_overrides(self._ended_overrides())
        self.publish()

    # -- the file ------------------------------------------------------------------------------------

    async def follow(self, texts: AsyncIterator[str]) -> None:
        """Apply each new text of the file; a bad one changes nothing and is shown (P8)."""
        async for text in texts:
            async with self._lock:
                if text != self.text or self.faults:
                    await self.reload(text)

    async def reload(self, text: str) -> bool:
        """Whether it was accepted."""
        try:
            settings = load(text, self._env, str(self._config))
            self._check_fixed(settings)
        except SettingsError as error:
            self.faults = str(error).splitlines()
            self.reloads["failure"] += 1
            log.error(
                "reload_refused", config=str(self._config), fault=str(error), kept=f"revision {self.revision}"
            )
            return False
        await self._take(settings, text)
        log.info("reloaded", config=str(self._config), revision=self.revision)
        return True

    def _check_fixed(self, settings: Settings) -> None:
        """What a running proxy cannot change yet."""
        old = self.box.current
        if set(settings.shape.upstreams) != set(self.names):
            raise SettingsError(
                f"{self._config}: the names of the upstreams cannot change while the proxy runs", "restart it"
            )
        if settings.shape.mirror.enabled != old.mirror.enabled:
            raise SettingsError(
                f"{self._config}: mirror.enabled cannot change while the proxy runs: not yet",
                "restart the proxy",
            )
        if (settings.shape.tls is None) != (old.tls is None):
            raise SettingsError(
                f"{self._config}: tls cannot be switched on or off while the proxy runs", "restart it"
            )

    async def _take(self, settings: Settings, text: str) -> None:
        self.settings, self.text = settings, text
        self.faults = []
        self.reloads["success"] += 1
        self.reloaded_wall_s = self._clock.wall()
        await self._actual.drop_overrides(self._ended_overrides())
        self.publish()
        self._pursued_at_s = float("-inf")

    def _ended_overrides(self) -> list[str]:
        """Those whose scalar in the file resolves to something else than when they were made, or to what they say."""
        now = self._resolved()
        return [
            one.path
            for one in self._actual.overrides.values()
            if now[one.path] != one.file_value or now[one.path] == one.value
        ]

    def _resolved(self) -> dict[str, str]:
        return {PRIMARY: self.settings.primary, CANARY_ENABLED: _yaml(self.settings.canary_enabled)}

    async def pursue(self) -> None:
        """Run forever: bring the primary to what the file or the environment wants."""
        while True:
            await asyncio.sleep(0.2)
            wanted = self.wanted_primary
            if wanted == self.primary:
                self._wanted_error = ""
                continue
            if self._clock.now() - self._pursued_at_s < PURSUE_AGAIN_S:
                continue
            self._pursued_at_s = self._clock.now()
            try:
                await self.switch(
                    wanted, reason=f"{self._config.name} asks for it", actor="file", wait_s=WAIT_S
                )
            except TurnoutError as error:
                self._wanted_error = str(error)
                log.warning("wanted_not_yet", primary=wanted, error=str(error), again_s=PURSUE_AGAIN_S)

    # -- wishes of operators -------------------------------------------------------------------------

    def check_match(self, if_match: str | None) -> None:
        """Of two operators at once the second is told."""
        if if_match is not None and if_match not in ("*", self.etag):
            raise ConflictError(
                "somebody changed the routing meanwhile", "look at `turnout status`, then decide again"
            )

    async def canary(
        self,
        *,
        enabled: bool | None,
        weight: str | None,
        match: tuple[str, str] | None,
        force: bool,
        actor: str,
        reason: str = "",
        if_match: str | None = None,
    ) -> None:
        """One edit of the file: ``enabled``, ``weight``, and a match put first in ``always``."""
        async with self._lock:
            self.check_match(if_match)
            unproven = self._mirror.unproven()
            if (enabled or weight not in (None, "0")) and unproven and not force:
                listed = ", ".join(prefix or "/" for prefix in unproven[:5])
                raise RefusedError(
                    f"unproven: the mirror did not carry everything under {listed}",
                    "run `turnout validate`; --force sets it all the same, and reads there stay with the primary until then",
                )
            text = self.text
            try:
                if match is not None:
                    text = edit.put_always(text, *match)
                if weight is not None:
                    text = edit.set_scalar(text, ("canary", "weight"), weight)
                if enabled is not None:
                    text = edit.set_scalar(text, ("canary", "enabled"), _yaml(enabled))
            except CannotEditError as error:
                raise NotYetError(
                    f"{error.message}: an override of it is not yet built",
                    error.hint or f"edit {self._config} by hand",
                ) from error
            settings = load(text, self._env, str(self._config))
            await self._write(text)
            await self._actual.drop_overrides([CANARY_ENABLED] if enabled is not None else [])
            await self._take(settings, text)
            said = [
                f"enabled {_yaml(enabled)}" if enabled is not None else "",
                f"weight {weight}" if weight is not None else "",
                f"{match[0]}: {match[1]}" if match is not None else "",
            ]
            await self._actual.remember(actor, "canary", ", ".join(filter(None, said)), reason)

    async def facts(self, to: str) -> Facts:
        """What preflight looks at, asked now."""
        meta = self._actual.meta
        primary_error = await self._trouble(meta.primary)
        secondary_error = await self._trouble(self.other(meta.primary)) or self._mirror.secondary_trouble()
        age_s = self._clock.wall() - meta.validated_wall_s if meta.validated_wall_s else None
        return Facts(
            to=to,
            primary=meta.primary,
            is_mirrored=self.box.current.mirror.enabled,
            is_primary_up=not primary_error,
            is_secondary_up=not secondary_error,
            trouble=secondary_error,
            gaps=self._mirror.unproven(),
            dead=self._mirror.dead_keys(),
            in_doubt=0,
            validation_age_s=age_s,
        )

    async def _trouble(self, upstream: str) -> str:
        try:
            await epochs.look(self._sender, upstream, timeout_s=1.0)
        except TurnoutError as error:
            return str(error)
        return ""

    async def preflight(self, to: str, *, force: bool) -> list[Refusal]:
        if to not in self.names:
            names = " and ".join(self.names)
            raise UsageError(f"there is no upstream {to!r}", f"there are {names}")
        if not self.box.current.mirror.enabled:
            return preflight(
                Facts(to, self.primary, is_mirrored=False, is_primary_up=True, is_secondary_up=True, trouble="",
                      gaps=(), dead=(), in_doubt=0, validation_age_s=0.0)
            )  # fmt: skip
        return standing(preflight(await self.facts(to)), force=force)

    async def switch(
        self,
        to: str,
        *,
        reason: str,
        actor: str,
        force: bool = False,
        dry_run: bool = False,
        wait_s: float = WAIT_S,
        verb: str = "switch",
    ) -> dict[str, object]:
        """Make ``to`` the primary, with the canary off; what happened. RefusedError with nothing changed."""
        refusals = await self.preflight(to, force=force)
        if to == self.primary:
            return {"changed": False, "primary": to, "detail": f"{to} is the primary already"}
        if refusals and not dry_run:
            self._count(to, "refused")
            raise RefusedError("; ".join(one.text for one in refusals), refusals[0].hint)
        if dry_run:
            return {
                "changed": False,
                "primary": self.primary,
                "would": "refuse" if refusals else "switch",
                "refusals": [
                    {"text": one.text, "hint": one.hint, "forcible": one.is_forcible} for one in refusals
                ],
                "lag_entries": self._mirror.lag_entries(),
            }
        old = self.primary
        passage = Passage(
            primary=to,
            secondary=old,
            wait_s=wait_s,
            overrides=lambda: self._switch_overrides(to),
            line=self._actual.line(actor, verb, f"{old} → {to}", reason),
        )
        try:
            await self.switching.run(passage)
        except RefusedError:
            self._count(to, "called-off")
            raise
        self._count(to, "done")
        self.held_s.append(passage.held_s)
        async with self._lock:
            await self._follow_with_file(to)
        return {
            "changed": True,
            "primary": to,
            "epoch": passage.epoch,
            "held_ms": round(passage.held_s * 1000, 1),
            "detail": f"{to} is the primary; writes were held for {passage.held_s * 1000:.0f} ms",
        }

    async def rollback(self, *, reason: str, actor: str, wait_s: float = WAIT_S) -> dict[str, object]:
        """Safe to say at any stage (DESIGN section 4, Rollback)."""
        match rollback_of(self.stage):
            case "nothing":
                return {
                    "changed": False,
                    "primary": self.primary,
                    "detail": f"stage {self.stage}: nothing to roll back, {self.primary} answers everything",
                }
            case "canary-off":
                await self.canary(
                    enabled=False, weight=None, match=None, force=True, actor=actor, reason=reason
                )
                return {
                    "changed": True,
                    "primary": self.primary,
                    "detail": "the canary is off; the mirror goes on",
                }
            case "switch-back":
                return await self.switch(
                    self.other(self.primary),
                    reason=reason,
                    actor=actor,
                    force=True,
                    wait_s=wait_s,
                    verb="rollback",
                )
            case _:
                raise RefusedError(
                    "the mirror is off since the switch: the old upstream lacks what was written since",
                    "set mirror.enabled: true, restart the proxy, `turnout validate`, then roll back",
                )

    def _count(self, to: str, result: str) -> None:
        self.switches[to, result] = self.switches.get((to, result), 0) + 1

    def _switch_overrides(self, to: str) -> list[Override]:
        """Of a switch: the primary, and the canary off; none that says what the file says."""
        wanted = {PRIMARY: to, CANARY_ENABLED: "false"}
        return [
            Override(path, wanted[path], said)
            for path, said in self._resolved().items()
            if said != wanted[path]
        ]

    async def _follow_with_file(self, to: str) -> None:
        """Where the file can say it, it says it, and the override goes; a crash in between switches nothing back."""
        text = self.text
        for path, value in ((("canary", "enabled"), "false"), ((PRIMARY,), to)):
            if self._resolved()[".".join(path)] == value:
                continue
            with contextlib.suppress(CannotEditError):
                text = edit.set_scalar(text, path, value)
        if text == self.text:
            return
        try:
            settings = load(text, self._env, str(self._config))
            await self._write(text)
        except TurnoutError as error:
            log.warning("file_not_edited", config=str(self._config), error=str(error), override="stays")
            return
        await self._take(settings, text)

    async def _write(self, text: str) -> None:
        """Whole or not at all; a symbolic link keeps pointing where it did."""
        try:
            await asyncio.to_thread(_replace, self._config.resolve(), text)
        except OSError as error:
            raise NotYetError(
                f"{self._config} cannot be written ({error.strerror}), and an override of it is not yet built",
                "make the file writable, or edit it where it comes from",
            ) from error


def _replace(path: Path, text: str) -> None:
    mode = path.stat().st_mode & 0o777
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8", newline="") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _yaml(value: bool | None) -> str:
    return "true" if value else "false"
