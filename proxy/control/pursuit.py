"""Brings what is actual to what the file or the environment wants, by the same safe ways that an operator has."""

from __future__ import annotations

import asyncio

import structlog

from proxy.control.actual import Actual
from proxy.control.controller import WAIT_S, Controller, WantedErrors
from proxy.errors import TurnoutError
from proxy.ports import Clock

log = structlog.get_logger("control")

LOOK_S = 0.2
AGAIN_S = 60.0
"""A wish that could not be fulfilled is tried again at most this often, or at once when something else is wanted."""


async def pursue(controller: Controller, actual: Actual, clock: Clock, file_name: str) -> None:
    """Run forever."""
    why = f"{file_name} asks for it"
    while True:
        await asyncio.sleep(LOOK_S)
        errors = controller.wanted_errors
        is_mirror_as_wanted = controller.is_mirror_wanted == controller.mirroring.is_on
        if is_mirror_as_wanted and controller.wanted_primary == controller.primary:
            controller.wanted_errors = WantedErrors()
        elif clock.now() - errors.tried_at_s >= AGAIN_S:
            errors.tried_at_s = clock.now()
            if not is_mirror_as_wanted:
                errors.mirror = await _mirror(controller, actual, why)
            wanted = controller.wanted_primary
            if wanted != controller.primary:
                errors.primary = await _primary(controller, wanted, why)


async def _mirror(controller: Controller, actual: Actual, why: str) -> str:
    """Why it is not as wanted; empty when it is."""
    mirroring = controller.mirroring
    is_wanted = controller.is_mirror_wanted
    try:
        if is_wanted:
            await mirroring.enable()
        else:
            await mirroring.disable(why, wait_s=WAIT_S)
    except TurnoutError as error:
        log.warning("wanted_not_yet", mirror=is_wanted, error=str(error), again_s=AGAIN_S)
        return str(error)
    await actual.remember("file", "mirror enable" if is_wanted else "mirror disable", "", why)
    return ""


async def _primary(controller: Controller, wanted: str, why: str) -> str:
    try:
        await controller.switch(wanted, reason=why, actor="file", wait_s=WAIT_S)
    except TurnoutError as error:
        log.warning("wanted_not_yet", primary=wanted, error=str(error), again_s=AGAIN_S)
        return str(error)
    return ""
