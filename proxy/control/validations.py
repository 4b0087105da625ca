"""Validations that the proxy runs: a new epoch behind a short fence, every record compared, then the gaps cleared (P9).

Where an upstream is plain, what the operator names is compared, and nothing but the report comes of it (plain_validation.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from proxy.control.actual import Actual
from proxy.control.answers import copy_answers
from proxy.control.plain_validation import NOTE, PlainValidation
from proxy.control.switching import Passage, Switching
from proxy.errors import RefusedError, TurnoutError
from proxy.ports import Clock, Sender, Validator
from proxy.tls import Secure

log = structlog.get_logger("control")

KEPT_MAX = 20
WAIT_S = 10.0


@dataclass(slots=True)
class Run:
    """One validation: ``running``, then ``equal``, ``different``, ``unproved`` (nothing differs, not all was seen) or ``failed``."""

    id: int
    began_wall_s: float
    state: str = "running"
    ended_wall_s: float = 0.0
    error: str = ""
    report: Mapping[str, object] = field(default_factory=dict[str, object])
    gaps_cleared: int = 0
    note: str = ""
    """What the result does not do, where somebody might expect it."""

    def as_json(self) -> dict[str, object]:
        return {
            "id": self.id,
            "state": self.state,
            "began": self.began_wall_s,
            "ended": self.ended_wall_s or None,
            "error": self.error or None,
            "gaps_cleared": self.gaps_cleared,
            "note": self.note or None,
            "report": dict(self.report),
        }


class Validations:
    """One at a time; the last KEPT_MAX are remembered."""

    def __init__(
        self,
        *,
        actual: Actual,
        switching: Switching,
        validator: Validator | None,
        sender: Sender,
        clock: Clock,
        url_of: Callable[[str], str],
        secondary: Callable[[], str],
        secure: Callable[[], Mapping[str, Secure]],
        look_begins: Callable[[int], None],
        clear_gaps: Callable[[int], int],
        is_mirror_on: Callable[[], bool],
        token: str,
        plain: PlainValidation,
    ) -> None:
        self._plain = plain
        self._actual = actual
        self._switching = switching
        self._validator = validator
        self._sender = sender
        self._clock = clock
        self._url_of = url_of
        self._secondary = secondary
        self._secure = secure
        self._look_begins = look_begins
        self._clear_gaps = clear_gaps
        self._is_mirror_on = is_mirror_on
        self._token = token
        self._task: asyncio.Task[None] | None = None
        self.runs: list[Run] = []

    def begin(self, actor: str) -> Run:
        """Start one; RefusedError while another runs."""
        if self._validator is None:
            raise RefusedError(
                "this proxy was started without the tools that compare", "start it with `turnout proxy`"
            )
        if not self._is_mirror_on():
            raise RefusedError(
                "the mirror is off: what is equal now need not be so a moment later",
                "run `turnout mirror enable` first",
            )
        if self._actual.meta.paused is not None:
            raise RefusedError(
                "the mirror is paused: the secondary lacks what was written since",
                "run `turnout mirror resume` first",
            )
        if self._task is not None and not self._task.done():
            raise RefusedError(
                f"validation {self.runs[-1].id} is running", "wait for it: GET /api/v1/validations"
            )
        if self._plain.is_needed():
            if not self._switching.is_open:
                raise RefusedError("writes wait for the primary", "try again when it answers")
            self._plain.check()
        number = self.runs[-1].id + 1 if self.runs else 1
        run = Run(number, self._clock.wall())
        self.runs = [*self.runs[-KEPT_MAX + 1 :], run]
        self._task = asyncio.get_running_loop().create_task(self._run(run, self._validator, actor))
        return run

    async def wait(self) -> None:
        """Until the running one has ended."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, run: Run, validator: Validator, actor: str) -> None:
        try:
            await self._compare(run, validator)
        except TurnoutError as error:
            run.state, run.error = "failed", str(error)
        except asyncio.CancelledError:
            run.state, run.error = "failed", "the proxy was stopped"
            raise
        except Exception as error:
            log.exception("validation_failed")
            run.state, run.error = "failed", repr(error)
        run.ended_wall_s = self._clock.wall()
        self._say(run)
        await self._actual.remember(actor, "validate", run.state, run.error)

    def _say(self, run: Run) -> None:
        if run.state == "equal":
            log.info("validation", id=run.id, state=run.state, gaps_cleared=run.gaps_cleared, note=run.note)
        elif run.state == "different":
            log.error(
                "validation_differs",
                id=run.id,
                compared=run.report.get("compared"),
                different=run.report.get("different"),
                not_looked_at=run.report.get("not_looked_at"),
                next="turnout validate --verbose",
            )
        elif run.state == "unproved":
            log.warning(
                "validation_unproved",
                id=run.id,
                not_proved=run.report.get("not_proved"),
                next="turnout validate",
            )
        else:
            log.warning("validation_ended", id=run.id, error=run.error, next="turnout validate")

    async def _compare_plain(self, run: Run) -> None:
        """No epoch, no gap and no ``validated`` changes by it."""
        meta = self._actual.meta
        began_under = (meta.primary, meta.epoch)
        run.note = NOTE
        report = await self._plain.compare(self._clock.now())
        if began_under != (meta.primary, meta.epoch) or not self._is_mirror_on():
            # Nothing tells a plain upstream of a change of roles: what was read before it says nothing of after it.
            raise RefusedError(
                "a switch, or a change of the mirror, came between: what was compared does not count",
                "run `turnout validate` again",
            )
        run.report = report
        if report.get("equal") is True:
            run.state = "equal"
        else:
            run.state = "different" if report.get("different") else "unproved"

    async def _compare(self, run: Run, validator: Validator) -> None:
        if self._plain.is_needed():
            await self._compare_plain(run)
            return
        meta = self._actual.meta
        last_gap = max((mark.id for mark in await self._actual.gaps()), default=0)
        self._look_begins(last_gap)
        # The new epoch comes first: nothing sent before it can still arrive at either upstream afterwards.
        await self._switching.run(Passage(primary=meta.primary, secondary=self._secondary(), wait_s=WAIT_S))
        run.report = await validator(
            self._url_of(meta.primary),
            self._url_of(self._secondary()),
            token=self._token,
            epoch=f"{meta.epoch} {meta.journal_id}",
            secure=self._secure(),
        )
        if run.report.get("equal") is True:
            epoch = ("Turnout-Epoch", f"{meta.epoch} {meta.journal_id}")
            await copy_answers(self._sender, meta.primary, self._secondary(), epoch)
            await self._actual.validated(run.began_wall_s, last_gap)
            run.gaps_cleared = self._clear_gaps(last_gap)
            run.state = "equal"
        else:
            run.state = "different"
