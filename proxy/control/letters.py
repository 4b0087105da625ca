"""Dead letters as a person meets them: what was asked, what both sides hold, what to do; and what the person decides."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog

from proxy.control.actual import Actual
from proxy.control.told import time_text
from proxy.errors import JournalError, RefusedError, TurnoutError, UsageError
from proxy.ports import Clock, DeadKey, MirrorControl, Sender
from proxy.protocol import path_of

log = structlog.get_logger("control")

LOOK_TIMEOUT_S = 3.0
FOLDER = "dead-letters"
LEFT_BEHIND = "left-behind"
"""The cause of a letter whose key an old primary may hold in a state that the new one never had."""


class Letters:
    """Shows what the mirror and both upstreams hold of a dead key; carries out what a person says of it."""

    def __init__(
        self,
        *,
        mirror: MirrorControl,
        actual: Actual,
        sender: Sender,
        clock: Clock,
        state_folder: Path,
        credentials: Callable[[], Sequence[tuple[str, str]]],
    ) -> None:
        self._mirror = mirror
        self._actual = actual
        self._sender = sender
        self._clock = clock
        self._folder = state_folder / FOLDER
        self._credentials = credentials

    def first(self, count: int) -> list[dict[str, object]]:
        """The oldest ones."""
        return [_letter(letter) for letter in self._mirror.dead_letters()[:count]]

    @property
    def total(self) -> int:
        return len(self._mirror.dead_keys())

    async def show(self, key: str, upstreams: tuple[str, str]) -> dict[str, object]:
        """Everything about one: the requests that wait, the refusal, and the record as each upstream has it now."""
        letter = self._find(key)
        requests = [_shown(one) for one in await self._mirror.waiting(key)]
        looks = await asyncio.gather(*(self._look(name, key) for name in upstreams))
        return {
            **_letter(letter),
            "requests": requests,
            "repair_answer": {"status": letter.answer_status, "body": text_of(letter.answer_body)}
            if letter.answer_status
            else None,
            "records": dict(zip(upstreams, looks, strict=True)),
        }

    async def retry(self, key: str, *, actor: str) -> None:
        self._find(key)
        await self._mirror.retry(key)
        await self._actual.remember(actor, "dead-letter retry", key)

    async def retry_all(self, *, actor: str) -> list[str]:
        keys = list(self._mirror.dead_keys())
        if keys:
            await self._mirror.retry(*keys)
            await self._actual.remember(actor, "dead-letter retry", f"all: {', '.join(keys)[:500]}")
        return keys

    async def drop(self, key: str, *, actor: str, reason: str, upstreams: tuple[str, str]) -> Path:
        """Give it up. All that is known of it is in a file, synced, before anything is forgotten; returns that file."""
        told = await self.show(key, upstreams)
        wall_s = self._clock.wall()
        told |= {"dropped": time_text(wall_s), "actor": actor, "reason": reason}
        name = f"{int(wall_s * 1000)}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.json"
        path = self._folder / name
        try:
            await asyncio.to_thread(_export, path, json.dumps(told, ensure_ascii=False, indent=2))
        except OSError as error:
            raise JournalError(
                f"{path} cannot be written ({error.strerror}); the dead letter stays",
                f"free space below {self._folder.parent}",
            ) from error
        await self._mirror.drop(key, reason)
        await self._actual.remember(actor, "dead-letter drop", f"{key} (exported to {path})", reason)
        log.warning("dead_letter_dropped", key=key, actor=actor, reason=reason, exported=str(path))
        return path

    def _find(self, key: str) -> DeadKey:
        if not key:
            raise UsageError("which dead letter? give its `key`", "look at `turnout dead-letters list`")
        for letter in self._mirror.dead_letters():
            if letter.key == key:
                return letter
        raise RefusedError(f"{key} is no dead letter", "look at `turnout dead-letters list`")

    async def _look(self, upstream: str, key: str) -> dict[str, object]:
        """The record as an upstream has it now."""
        try:
            reply = await self._sender.send(
                upstream, "GET", path_of(key), self._credentials(), timeout_s=LOOK_TIMEOUT_S
            )
        except TurnoutError as error:
            return {"error": str(error)}
        return {
            "status": reply.status,
            "version": reply.header("turnout-version"),
            "body": text_of(reply.body),
        }


def next_of(letter: DeadKey) -> str:
    """What a person may do."""
    if letter.cause == LEFT_BEHIND:
        return (
            f"turnout dead-letters show {letter.key}; to keep the primary's record: turnout dead-letters retry {letter.key}; "
            "to keep the other's: PUT it through the proxy, then retry"
        )
    return f"mend the record or the secondary, then: turnout dead-letters retry {letter.key}"


def text_of(body: object) -> object:
    """Bytes as text where they are UTF-8, else as base64 with its name."""
    if not isinstance(body, bytes):
        return None
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode("ascii")}


def _letter(letter: DeadKey) -> dict[str, object]:
    return {
        "key": letter.key,
        "since": time_text(letter.since_wall_s),
        "cause": letter.cause,
        "detail": letter.detail,
        "next": next_of(letter),
    }


def _shown(request: Mapping[str, object]) -> dict[str, object]:
    born = request.get("born")
    return {
        name: time_text(born)
        if name == "born" and isinstance(born, float)
        else text_of(value)
        if isinstance(value, bytes)
        else value
        for name, value in request.items()
    }


def _export(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
