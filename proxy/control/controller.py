"""Moves what is wanted to what is actual: the only writer of snapshots and of the routing file.

Wanted: the file, and overrides of single scalars. Actual: the journal (control/actual.py). A file that asks for
another primary is a wish like any other: it runs the same safe switch.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from proxy.control import filing
from proxy.control.actual import Actual
from proxy.control.leaving import Leaving, loss_text, lost_json
from proxy.control.looks import Looks
from proxy.control.mirroring import Mirroring
from proxy.control.status import rollback_of, stage_of
from proxy.control.switch import Refusal, preflight, standing
from proxy.control.switching import Passage, Switching
from proxy.errors import ConflictError, RefusedError, SettingsError, TurnoutError, UsageError
from proxy.journal.store import HistoryLine, Override
from proxy.kinds import Kinds
from proxy.model import Snapshot, Stage
from proxy.ports import Clock, MirrorControl, Salvager, Sender
from proxy.settings.compile import compile_snapshot
from proxy.settings.load import FROM_FILE, Settings, load

log = structlog.get_logger("control")

PRIMARY = "primary"
CANARY_ENABLED = "canary.enabled"
CANARY_WEIGHT = "canary.weight"
CANARY_ALWAYS = "canary.always"
MIRROR_ENABLED = "mirror.enabled"
SHOWN = (PRIMARY, CANARY_ENABLED, CANARY_WEIGHT, CANARY_ALWAYS, MIRROR_ENABLED)
"""The settings that have verbs, whose sources are always shown."""

WAIT_S = 30.0


@dataclass(slots=True)
class WantedErrors:
    """Why what is wanted is not yet so, as the last try said; a new one with each change of what is wanted."""

    primary: str = ""
    mirror: str = ""
    tried_at_s: float = float("-inf")


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
        actual: Actual,
        mirror: MirrorControl,
        sender: Sender,
        clock: Clock,
        box: SnapshotBox,
        mirroring: Mirroring,
        salvager: Salvager,
        kinds: Kinds,
    ) -> None:
        self.kinds = kinds
        self._config = config
        self._env = env
        self._actual = actual
        self._mirror = mirror
        self._sender = sender
        self._clock = clock
        self._lock = asyncio.Lock()
        self.box = box
        self.mirroring = mirroring
        self.settings = settings
        """What is wanted: the file, with the overrides laid over it."""
        self.revision = box.current.revision
        self.faults: list[str] = []
        self.reloads = {"success": 1, "failure": 0}
        self.reloaded_wall_s = clock.wall()
        self.switches: dict[tuple[str, str], int] = {}
        self.held_s: list[float] = []
        self.on_publish: list[Callable[[Snapshot], None]] = []
        self.wanted_errors = WantedErrors()
        self.switching = Switching(
            actual=actual,
            mirror=mirror,
            sender=sender,
            clock=clock,
            hold_timeout_s=lambda: self.box.current.limits.hold_timeout_s,
            publish=self.publish,
            secondary=lambda: self.other(self._actual.meta.primary),
            kinds=kinds,
        )
        self._looks = Looks(actual=actual, mirror=mirror, sender=sender, clock=clock, kinds=kinds)
        self._leaving = Leaving(
            switching=self.switching,
            actual=actual,
            mirror=mirror,
            salvager=salvager,
            sender=sender,
            clock=clock,
            publish=self.publish,
            kinds=kinds,
            names=lambda: self.names,
        )
        mirroring.bind(self.switching, self.publish)

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
    def roles(self) -> tuple[str, str]:
        """Primary and secondary."""
        return self.primary, self.other(self.primary)

    @property
    def stage(self) -> Stage:
        return stage_of(self.box.current, first_primary=self._actual.meta.first_primary)

    @property
    def text(self) -> str:
        """The file's text that is in force."""
        return self.settings.text

    @property
    def wanted_primary(self) -> str:
        return self.settings.primary

    @property
    def is_canary_enabled(self) -> bool:
        return self.settings.canary_enabled

    @property
    def is_mirror_wanted(self) -> bool:
        return self.settings.shape.mirror.enabled

    def sources(self) -> dict[str, str]:
        """Where each setting comes from: ``override``, ``environment: NAME``, the file, or ``default``."""
        found: dict[str, str] = {}
        for path in dict.fromkeys((*SHOWN, *self._actual.overrides)):
            origin = self.settings.origin(*path.split("."))
            found[path] = str(self._config) if origin == FROM_FILE else origin
        return found

    def overrides(self) -> list[dict[str, str]]:
        """Each with what the file says in its place."""
        return [
            {"path": one.path, "value": one.value, "file": one.file_value}
            for one in self._actual.overrides.values()
        ]

    @property
    def override_count(self) -> int:
        return len(self._actual.overrides)

    def pending(self) -> list[str]:
        """What is wanted and not yet so, in words."""
        found: list[str] = []
        if self.wanted_primary != self.primary:
            found.append(
                f"primary: {self.wanted_primary} is wanted, {self.primary} is: {self.wanted_errors.primary or 'switching'}"
            )
        if self.is_mirror_wanted != self.mirroring.is_on:
            wanted = "on" if self.is_mirror_wanted else "off"
            found.append(
                f"mirror: {wanted} is wanted, and not yet so: {self.wanted_errors.mirror or 'under way'}"
            )
        if self.mirroring.is_on and self.is_canary_enabled and self._mirror.unproven():
            found.append(
                "canary: waits where the mirror did not carry everything; where an upstream is plain, that stays so in this version"
                if self.kinds.has_plain
                else "canary: waits for `turnout validate` where the mirror did not carry everything"
            )
        found.extend(f"{self._config.name}: {fault}" for fault in self.faults)
        return found

    @property
    def etag(self) -> str:
        digest = hashlib.sha256(self.text.encode())
        digest.update(repr(sorted((o.path, o.value) for o in self._actual.overrides.values())).encode())
        return f'"{digest.hexdigest()[:16]}"'

    def publish(self) -> None:
        """Compile settings and actual into the next snapshot; the next request sees it."""
        if self.settings.overrides != {one.path: one.value for one in self._overrides()}:
            self.settings, _ = self._in_force(
                self.text, self._overrides()
            )  # a switch has just stored its own
        self.revision += 1
        snapshot = compile_snapshot(self.settings, primary=self.primary, revision=self.revision)
        # Whether the mirror runs is actual, too: it starts and ends by a passage of its own.
        mirror = replace(snapshot.mirror, enabled=self.mirroring.is_on)
        snapshot = replace(snapshot, mirror=mirror)
        self.box.current = snapshot
        for callback in self.on_publish:
            callback(snapshot)

    async def begin(self) -> None:
        """The first snapshot: overrides that have ended while nobody ran go first."""
        self.settings, kept = self._in_force(self.text, self._overrides())
        await self._keep(kept)
        self.publish()

    # -- the file ------------------------------------------------------------------------------------

    async def follow(self, texts: AsyncIterator[str]) -> None:
        """Apply each new text of the file; a bad one changes nothing and is shown (P8)."""
        async for seen in texts:
            async with self._lock:
                # What was seen may be older than an edit of ours that held the lock: the file as it is now counts.
                text = self._text_now(seen)
                if text != self.text or self.faults:
                    await self.reload(text)

    def _text_now(self, seen: str) -> str:
        try:
            return self._config.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return seen  # it is being replaced: the next look tells

    async def reload(self, text: str) -> bool:
        """Whether it was accepted."""
        try:
            settings, kept = self._in_force(text, self._overrides())
            self._check_fixed(settings)
        except SettingsError as error:
            self.faults = str(error).splitlines()
            self.reloads["failure"] += 1
            log.error(
                "reload_refused", config=str(self._config), fault=str(error), kept=f"revision {self.revision}"
            )
            return False
        await self._keep(kept)
        self._take(settings)
        log.info("reloaded", config=str(self._config), revision=self.revision)
        return True

    def _check_fixed(self, settings: Settings) -> None:
        """What a running proxy cannot change yet."""
        if set(settings.shape.upstreams) != set(self.names):
            raise SettingsError(
                f"{self._config}: the names of the upstreams cannot change while the proxy runs", "restart it"
            )
        if (settings.shape.tls is None) != (self.box.current.tls is None):
            raise SettingsError(
                f"{self._config}: tls cannot be switched on or off while the proxy runs", "restart it"
            )

    def _take(self, settings: Settings) -> None:
        self.settings = settings
        self.faults = []
        self.reloads["success"] += 1
        self.reloaded_wall_s = self._clock.wall()
        self.publish()
        self.wanted_errors = WantedErrors()

    def _overrides(self) -> list[Override]:
        return list(self._actual.overrides.values())

    def _in_force(self, text: str, overrides: list[Override]) -> tuple[Settings, list[Override]]:
        return filing.in_force(text, self._env, str(self._config), overrides)

    async def _keep(self, overrides: list[Override]) -> None:
        """The others have ended."""
        if len(overrides) < len(self._actual.overrides):
            await self._actual.set_overrides(overrides)

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
                    (
                        "where an upstream is plain, gaps stay in this version; --force sets it, and reads there stay with the primary"
                        if self.kinds.has_plain
                        else "run `turnout validate`; --force sets it all the same, and reads there stay with the primary until then"
                    ),
                )
            changes: dict[str, str] = {}
            if weight is not None:
                changes[CANARY_WEIGHT] = weight
            if enabled is not None:
                changes[CANARY_ENABLED] = _yaml(enabled)
            said = [
                f"enabled {_yaml(enabled)}" if enabled is not None else "",
                f"weight {weight}" if weight is not None else "",
                f"{match[0]}: {match[1]}" if match is not None else "",
            ]
            line = self._actual.line(actor, "canary", ", ".join(filter(None, said)), reason)
            await self._change(changes, match=match, line=line)

    async def patch(
        self, changes: Mapping[str, str], *, actor: str, reason: str, if_match: str | None
    ) -> None:
        """Any scalars of the routing, in one edit. SettingsError, with nothing changed, where the result would be refused as a file."""
        async with self._lock:
            self.check_match(if_match)
            said = ", ".join(f"{path} {value}" for path, value in changes.items())
            await self._change(changes, line=self._actual.line(actor, "routing", said, reason))

    async def enable_mirror(self, *, actor: str, reason: str) -> None:
        """Start to mirror, then say so in the file; a gap stands until a validation."""
        line = self._actual.line(actor, "mirror enable", "", reason)

        async def say_so() -> None:
            async with self._lock:
                await self._change({MIRROR_ENABLED: "true"}, line=line)

        await self.mirroring.enable(say_so)

    async def disable_mirror(self, *, actor: str, reason: str, wait_s: float) -> None:
        """Drain, mark the gap, take the canary's weight to 0, stop. RefusedError with nothing changed where it cannot be drained."""
        line = self._actual.line(actor, "mirror disable", "weight 0", reason)

        async def say_so() -> None:
            async with self._lock:
                await self._change({MIRROR_ENABLED: "false", CANARY_WEIGHT: "0"}, line=line)

        await self.mirroring.disable(reason, wait_s=wait_s, say_so=say_so)

    async def _change(
        self,
        changes: Mapping[str, str],
        *,
        line: HistoryLine,
        match: tuple[str, str] | None = None,
    ) -> None:
        """One edit of the file; what it cannot hold becomes overrides, in one transaction with the line of history. Under the lock."""
        filed = filing.with_changes(self.settings, changes, match)
        settings, overrides = self._result(filed, changes)
        if filed.text != self.text:
            try:
                await self._write(filed.text)
            except OSError as error:
                log.warning(
                    "file_not_edited", config=str(self._config), error=str(error), instead="overrides"
                )
                settings, overrides = self._result(
                    filing.only_overrides(self.settings, changes, match), changes
                )
        await self._actual.set_overrides(overrides, line)
        self._take(settings)

    def _result(self, filed: filing.Filed, changes: Mapping[str, str]) -> tuple[Settings, list[Override]]:
        """What would be in force; SettingsError where it would be refused."""
        base = load(filed.text, self._env, str(self._config))
        kept = [
            one for one in self._overrides() if one.path not in changes and one.path not in filed.overrides
        ]
        new = [Override(path, value, base.filed(path)) for path, value in filed.overrides.items()]
        return self._in_force(filed.text, [*kept, *new])

    async def preflight(self, to: str, *, force: bool) -> list[Refusal]:
        """What stands against a switch, asked now. UsageError where there is no such upstream."""
        if to not in self.names:
            names = " and ".join(self.names)
            raise UsageError(f"there is no upstream {to!r}", f"there are {names}")
        found = await self._looks.facts(to, self.other(self.primary), is_mirrored=self.mirroring.is_on)
        return standing(preflight(found), force=force)

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
        accept_loss: int | None = None,
    ) -> dict[str, object]:
        """Make ``to`` the primary, with the canary off; what happened. RefusedError with nothing changed.

        ``accept_loss``: the primary is dead, and this much of what it acknowledged may be left behind.
        """
        refusals = await self.preflight(to, force=force)
        if to == self.primary:
            return {"changed": False, "primary": to, "detail": f"{to} is the primary already"}
        trouble = await self._looks.trouble(self.primary) if self.mirroring.is_on else ""
        if to == self.primary:  # another switch, while the primary was looked at
            return {"changed": False, "primary": to, "detail": f"{to} is the primary already"}
        if trouble:
            return await self._without_primary(
                to, trouble, reason=reason, actor=actor, dry_run=dry_run, wait_s=wait_s, verb=verb, accept_loss=accept_loss
            )  # fmt: skip
        if accept_loss is not None:
            raise RefusedError(
                f"the primary {self.primary} answers: nothing needs to be lost", "leave --accept-loss out"
            )
        if refusals and not dry_run:
            self._count(to, "refused")
            raise RefusedError("; ".join(one.text for one in refusals), refusals[0].hint)
        if dry_run:
            return self._planned(refusals)
        old = self.primary
        if old == to:  # another switch was quicker while the upstreams were looked at
            return {"changed": False, "primary": to, "detail": f"{to} is the primary already"}
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

    def _planned(self, refusals: Sequence[Refusal]) -> dict[str, object]:
        """What a dry run answers."""
        told = [{"text": one.text, "hint": one.hint, "forcible": one.is_forcible} for one in refusals]
        return {
            "changed": False,
            "primary": self.primary,
            "would": "refuse" if refusals else "switch",
            "refusals": told,
            "lag_entries": self._mirror.lag_entries(),
        }

    async def _without_primary(
        self,
        to: str,
        trouble: str,
        *,
        reason: str,
        actor: str,
        dry_run: bool,
        wait_s: float,
        verb: str,
        accept_loss: int | None,
    ) -> dict[str, object]:
        """Away from a dead primary: what the journal holds is settled, and goes on without the rest only if it was counted right."""
        old = self.primary
        if other := await self._looks.trouble(to):
            self._count(to, "refused")
            raise RefusedError(f"neither upstream answers: {trouble}; {other}", "start one of them")
        if accept_loss is None:
            refusal, lost = await self._leaving.plan(old, trouble)
            if dry_run:
                return {**self._planned([refusal]), "lost": lost_json(lost)}
            self._count(to, "refused")
            raise RefusedError(refusal.text, refusal.hint)
        line = self._actual.line(
            actor, verb, f"{old} → {to}, without {old}: --accept-loss {accept_loss}", reason
        )
        passage = Passage(
            primary=to,
            secondary=old,
            wait_s=wait_s,
            overrides=lambda: self._switch_overrides(to),
            line=line,
            accept_loss=accept_loss,
        )
        try:
            await self._leaving.run(passage)
        except RefusedError:
            self._count(to, "called-off")
            raise
        self._count(to, "forced")
        self.held_s.append(passage.held_s)
        async with self._lock:
            await self._follow_with_file(to)
        return {
            "changed": True,
            "primary": to,
            "epoch": passage.epoch,
            "held_ms": round(passage.held_s * 1000, 1),
            "lost": lost_json(passage.lost),
            "detail": f"{to} is the primary, {old} was left behind; {loss_text(passage.lost)}",
        }

    async def rollback(
        self, *, reason: str, actor: str, wait_s: float = WAIT_S, accept_loss: int | None = None
    ) -> dict[str, object]:
        """Safe to say at any stage (DESIGN section 4, Rollback)."""
        way = rollback_of(self.stage)
        if accept_loss is not None and way != "switch-back":
            other = self.other(self.primary)
            raise RefusedError(
                f"stage {self.stage}: a rollback would not change the primary",
                f'if {self.primary} is dead: turnout switch {other} "why" --accept-loss {accept_loss}',
            )
        match way:
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
                    accept_loss=accept_loss,
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
        kept = [one for one in self._overrides() if one.path not in wanted]
        new = [Override(path, value, self.settings.filed(path)) for path, value in wanted.items()]
        return [*kept, *(one for one in new if one.value != one.file_value)]

    async def _follow_with_file(self, to: str) -> None:
        """Where the file can say it, it says it, and the override goes; a crash in between switches nothing back."""
        changes = {CANARY_ENABLED: "false", PRIMARY: to}
        filed = filing.with_changes(self.settings, changes, None)
        if filed.text != self.text:
            try:
                settings, overrides = self._result(filed, changes)
                await self._write(filed.text)
            except (OSError, TurnoutError) as error:
                log.warning("file_not_edited", config=str(self._config), error=str(error), override="stays")
            else:
                await self._actual.set_overrides(overrides)
                self.settings = settings
        self._take(self.settings)

    async def _write(self, text: str) -> None:
        await filing.write(self._config, text)


def _yaml(value: bool | None) -> str:
    return "true" if value else "false"
