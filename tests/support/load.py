"""Many concurrent clients who write through the proxy, and a log of what each of them sent and was told.

Every write carries a value that no other write carries, so that a value found later names the write that made it. Nothing
is sent twice but by plan: a keyed create is repeated with its `Idempotency-Key` until somebody answers it, and
now and then once more after that. Times are ticks of one counter: what began after another's end has the greater tick.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Self

from tests.support.raw_http import RawClient, Response

STOCK = tuple(f"s{number}" for number in range(6))
"""Records with ids that the clients choose, shared by all of them: put, patched, deleted, put anew."""

FIELDS = ("f0", "f1", "f2")
"""Fields of the singleton, each patched alone by all clients: a lost update of one shows although the others go on."""

TICKS = itertools.count(1)
"""One time for all loads of a test: the log of one may be carried on by the next."""

REFUSED_S = 0.02
"""The wait after a refused connection: nothing tells a client when the proxy listens again."""


class Told(StrEnum):
    """What a client knows of its write."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    """4xx, or 503 with Retry-After: it may have no effect."""
    NOTHING = "nothing"
    """No answer, or one that promises nothing: it took effect whole, or not at all."""


@dataclass(slots=True)
class Write:
    """One write of one client. ``register`` is what it sets to ``value`` (None: to nothing)."""

    client: int
    method: str
    register: str
    value: str | None
    began: int
    ended: int | None = None
    status: int = 0
    told: Told = Told.NOTHING
    body: bytes = b""
    is_keyed: bool = False

    @property
    def is_create(self) -> bool:
        return self.method == "POST"


@dataclass(slots=True)
class Log:
    """All that was sent, in order of beginning."""

    writes: list[Write] = field(default_factory=list[Write])
    repeats_that_differ: list[str] = field(default_factory=list[str])
    """A keyed create, repeated after its answer, that was answered otherwise."""

    def count(self, told: Told) -> int:
        return sum(write.told is told for write in self.writes)

    @property
    def acknowledged(self) -> int:
        return self.count(Told.ACKNOWLEDGED)


class Load:
    """Clients until `stop`. ``log``: of an earlier load on the same line, with another seed, to be carried on."""

    def __init__(
        self,
        port: int,
        seed: int,
        *,
        clients: int = 12,
        pause_s: float = 0.004,
        log: Log | None = None,
        repeats: bool = True,
    ) -> None:
        self.log = log or Log()
        self._port = port
        self._seed = seed
        self._clients = clients
        self._pause_s = pause_s
        self.repeats = repeats
        """Whether a keyed create is now and then said once more after its answer."""
        self._known: list[str] = []
        """Ids of orders that some client was told of: all clients write to them."""
        self._under_way = 0
        self._given_up = 0
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Condition()

    def start(self) -> Self:
        self._tasks = [
            asyncio.create_task(_Client(self, number, self._seed).run()) for number in range(self._clients)
        ]
        return self

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def stop(self) -> Log:
        """Each client ends the write that it is at."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)
        return self.log

    async def acknowledged(self, count: int, timeout_s: float = 30.0) -> None:
        """Until so many writes are acknowledged in all."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: self.log.acknowledged >= count or self._has_failed())
        for task in self._tasks:
            if task.done():
                task.result()

    async def acknowledged_more(self, count: int, timeout_s: float = 30.0) -> None:
        await self.acknowledged(self.log.acknowledged + count, timeout_s)

    async def unanswered_more(self, count: int, timeout_s: float = 30.0) -> None:
        """Until so many more writes have got no answer, or one that promises nothing."""
        wanted = self._given_up + count
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: self._given_up >= wanted)

    async def answered_with(self, status: int, count: int, timeout_s: float = 60.0) -> None:
        """Until so many writes were answered with that status."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(
                lambda: sum(write.status == status for write in self.log.writes) >= count
            )

    async def touched_settings(self, timeout_s: float = 30.0) -> None:
        """Until some write to the singleton is acknowledged: the secondary has it only from then on."""

        def is_touched() -> bool:
            return any(
                write.register.startswith("settings/") and write.told is Told.ACKNOWLEDGED
                for write in self.log.writes
            )

        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(is_touched)

    async def under_way(self, count: int, timeout_s: float = 30.0) -> None:
        """Until so many writes are sent and not answered."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: self._under_way >= count)

    def _has_failed(self) -> bool:
        return any(task.done() and not self.is_stopping for task in self._tasks)

    # -- what clients share ---------------------------------------------------------------------------

    @property
    def port(self) -> int:
        return self._port

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    @property
    def known(self) -> list[str]:
        return self._known

    def tick(self) -> int:
        return next(TICKS)

    async def pause(self, dice: random.Random) -> None:
        await asyncio.sleep(dice.random() * 2 * self._pause_s)

    async def tell(self, sent: int = 0, given_up: int = 0) -> None:
        self._under_way += sent
        self._given_up += given_up
        async with self._changed:
            self._changed.notify_all()


class _Client:
    """One connection, one write at a time."""

    def __init__(self, load: Load, number: int, seed: int) -> None:
        self._load = load
        self._number = number
        self._dice = random.Random(f"{seed}/{number}")
        self._values: Iterator[str] = (f"{seed}.{number}.{count}" for count in itertools.count())
        self._connection: RawClient | None = None

    async def run(self) -> None:
        try:
            while not self._load.is_stopping:
                await self._write()
                await self._load.pause(self._dice)
        finally:
            await self._hang_up()

    async def _write(self) -> None:
        dice, known = self._dice, self._load.known
        value = next(self._values)
        draw = dice.random()
        if draw < 0.35:
            await self._create(value, is_keyed=dice.random() < 0.5)
        elif draw < 0.65 and known:
            await self._change_order(dice.choice(known[-40:]), value)
        elif draw < 0.9:
            await self._change_stock(dice.choice(STOCK), value)
        else:
            name = dice.choice(FIELDS)
            await self._send("PATCH", "/api/settings", {name: value}, f"settings//{name}", value)

    async def _create(self, value: str, *, is_keyed: bool) -> None:
        headers = {"Idempotency-Key": f"key-{value}"} if is_keyed else {}
        body = {"tag": value, "v": value, "note": "ä" * self._dice.randrange(200)}
        write = await self._send("POST", "/api/orders", body, "", value, headers)
        tries = 0
        while write is not None and is_keyed and write.told is Told.NOTHING and tries < 200:
            # The client does not know: it says the same again, under the same key, until it does.
            if self._load.is_stopping:
                return
            tries += 1
            await self._load.pause(self._dice)
            await self._send("POST", "/api/orders", body, "", value, headers, again=write)
        if write is None or write.told is not Told.ACKNOWLEDGED:
            return
        identity = str(json.loads(write.body)["id"])
        write.register = f"orders/{identity}/v"
        if is_keyed and self._load.repeats and self._dice.random() < 0.1:
            answer = await self._ask("POST", "/api/orders", body, headers)
            if (
                answer is not None
                and answer.status < 500
                and (answer.status, answer.body) != (write.status, write.body)
            ):
                said = f"{answer.status} {answer.body[:80]!r} after {write.status} {write.body[:80]!r}"
                self._load.log.repeats_that_differ.append(f"key-{value}: {said}")
        self._load.known.append(identity)

    async def _change_order(self, identity: str, value: str) -> None:
        path, register = f"/api/orders/{identity}", f"orders/{identity}/v"
        draw = self._dice.random()
        if draw < 0.6:
            await self._send("PATCH", path, {"v": value}, register, value)
        elif draw < 0.85:
            await self._send("PUT", path, {"v": value, "by": "put"}, register, value)
        else:
            await self._send("DELETE", path, None, register, None)

    async def _change_stock(self, identity: str, value: str) -> None:
        path, register = f"/api/stock/{identity}", f"stock/{identity}/v"
        draw = self._dice.random()
        if draw < 0.4:
            await self._send(
                "PUT", path, {"id": identity, "v": value}, register, value, {"If-None-Match": "*"}
            )
        elif draw < 0.6:
            await self._send("PUT", path, {"id": identity, "v": value}, register, value)
        elif draw < 0.85:
            await self._send("PATCH", path, {"v": value}, register, value)
        else:
            await self._send("DELETE", path, None, register, None)

    async def _send(
        self,
        method: str,
        path: str,
        body: object,
        register: str,
        value: str | None,
        headers: dict[str, str] | None = None,
        *,
        again: Write | None = None,
    ) -> Write | None:
        """The write as logged; None where no connection was made, so that it was never sent."""
        if not await self._dial():
            return again
        write = again
        if write is None:
            is_keyed = bool(headers) and "Idempotency-Key" in headers
            write = Write(self._number, method, register, value, self._load.tick(), is_keyed=is_keyed)
            self._load.log.writes.append(write)
        await self._load.tell(1)
        try:
            answer = await self._ask(method, path, body, headers or {})
        finally:
            await self._load.tell(-1)
        if answer is not None:
            write.status, write.body = answer.status, answer.body
            told = told_by(answer)
            # That this try had no effect says nothing of the one before it.
            write.told = Told.NOTHING if again is not None and answer.status == 503 else told
        if write.told is Told.NOTHING:
            await self._load.tell(given_up=1)
        else:
            write.ended = self._load.tick()
            await self._load.tell()
        return write

    async def _ask(self, method: str, path: str, body: object, headers: dict[str, str]) -> Response | None:
        """The answer; None where it was cut off."""
        if not await self._dial():
            return None
        assert self._connection is not None
        content = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: shop",
            *(f"{name}: {said}" for name, said in headers.items()),
        ]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        head = "\r\n".join([*lines, "", ""]).encode()
        try:
            answer = await self._connection.ask(head + content)
        except (OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError):
            await self._hang_up()
            return None
        if (answer.get("Connection") or "").lower() == "close":
            await self._hang_up()
        return answer

    async def _dial(self) -> bool:
        if self._connection is None:
            try:
                self._connection = await RawClient.connect(self._load.port)
            except OSError:
                await asyncio.sleep(REFUSED_S)
                return False
        return True

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def told_by(answer: Response) -> Told:
    """What an answer promises."""
    if 200 <= answer.status < 300:
        return Told.ACKNOWLEDGED
    if answer.status == 503 and answer.get("Retry-After") is not None and answer.get("X-Served-By") is None:
        return Told.REFUSED
    if answer.status == 409 and b"idempotency-running" in answer.body:
        return Told.NOTHING
    return Told.REFUSED if 400 <= answer.status < 500 and answer.status != 408 else Told.NOTHING
