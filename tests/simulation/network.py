"""The network: byte pipes between programs, and messages to upstreams that are lost, late, doubled or unanswered.

Pipes carry bytes in order or break. What befalls a whole request is decided where it enters its upstream, the
same way for the hot path's requests (bytes on a pipe) and for those of the mirror and of control (a Sender).
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.errors import UpstreamError
from proxy.model import Reply
from proxy.ports import Answered
from proxy.wire.fields import pairs
from tests.simulation.loop import PROCESS, Process, VirtualLoop
from tests.simulation.plan import Plan

PORTS = {"proxy": 3000, "json": 3002, "postgres": 3003}
PLAIN_LATE_S = 1.5
"""Below the proxy's response_timeout: what lives longer is beyond what a plain upstream is promised."""

NAMES = {port: name for name, port in PORTS.items()}


@dataclass(frozen=True, slots=True)
class Request:
    """One whole request on its way to an upstream."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def kind(self) -> str:
        mirror = next((value for name, value in self.headers if name == "Turnout-Mirror"), "")
        return (
            mirror or self.target.partition("?")[0]
            if self.target.startswith("/_")
            else mirror or ("read" if self.method == "GET" else "write")
        )

    def __str__(self) -> str:
        said = " ".join(
            f"{name[8:]}={value}"
            for name, value in self.headers
            if name.startswith("Turnout-") and name != "Turnout-Epoch"
        )
        return f"{self.method} {self.target} {said} {self.body.decode(errors='replace')}".rstrip()


Broken = str
"""How a message failed, as its sender sees it: ``refused`` or ``reset``. One that is lost says nothing at all."""

OnReply = Callable[[Reply | Broken], None]


@dataclass(slots=True)
class Host:
    """An upstream as the network sees it: who answers there now."""

    name: str
    process: Process | None = None
    serve: Callable[[Request], Any] | None = None
    is_parted: bool = False
    waiting: list[OnReply] = field(default_factory=list)
    """Who is told when it dies."""


class Pipe(asyncio.Transport):
    """One end of a connection."""

    def __init__(
        self, network: Network, process: Process | None, protocol: asyncio.Protocol, name: str
    ) -> None:
        super().__init__()
        self._network = network
        self._loop = network.loop
        self._process = process
        self._protocol = protocol
        self._name = name
        self.peer: Pipe
        self._is_closing = False
        self._is_lost = False
        self._is_paused = False
        self._kept: list[bytes] = []
        self._last_s = 0.0

    def join(self, peer: Pipe) -> None:
        self.peer = peer
        if self._process is not None:
            self._process.last_words.append(self._die)

    # -- what protocols call -------------------------------------------------------------------------

    def write(self, data: Any) -> None:
        if self._is_closing or (self._process is not None and not self._process.step()):
            return
        self._send(self.peer._receive, bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        self._send(self.peer._ended)

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            if self._process is None or self._process.step():
                self._send(self.peer._ended)
                self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        if not self._is_lost:
            self._is_closing = True
            if self._process is None or self._process.step():
                self._send(self.peer._lose, ConnectionResetError("reset"))
                self._loop.call_soon(self._lose, None)

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        kept, self._kept = self._kept, []
        for data in kept:
            self._loop.call_soon(self._receive, data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 40000) if name == "peername" else default

    # -- inside ----------------------------------------------------------------------------------------

    def _send(self, receive: Callable[..., None], *args: Any) -> None:
        """In order: nothing overtakes what was sent before it."""
        self._last_s = max(self._last_s + 1e-7, self._loop.time() + self._network.latency_s())
        peer = self.peer._process
        context = _WORLD if peer is None else peer.context
        self._loop.call_at(self._last_s, receive, *args, context=context)

    def _receive(self, data: bytes) -> None:
        if self._is_paused:
            self._kept.append(data)
        elif not self._is_closing and not self._is_lost:
            self._protocol.data_received(data)

    def _ended(self) -> None:
        if not self._is_closing and not self._is_lost and not self._protocol.eof_received():
            self._is_closing = True
            self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if not self._is_lost:
            self._is_lost = self._is_closing = True
            self._protocol.connection_lost(error)

    def _die(self) -> None:
        if not self._is_lost:
            self._is_lost = self._is_closing = True
            self._send(self.peer._lose, ConnectionResetError("the process died"))


class Network:
    """All pipes and messages of one world. Faults end when ``heal`` is called; what is late still comes."""

    def __init__(
        self, loop: VirtualLoop, dice: random.Random, plan: Plan, note: Callable[[str], None]
    ) -> None:
        self.loop = loop
        self._dice = dice
        self._plan = plan
        self._note = note
        self._is_healed = False
        self.hosts = {name: Host(name) for name in PORTS if name != "proxy"}
        self._listening: dict[int, tuple[Process, Callable[[], asyncio.Protocol]]] = {}
        self.messages = 0
        self.marks: Counter[str] = Counter()
        loop.connect = self._connect
        loop.listen = self._listen

    def heal(self) -> None:
        self._is_healed = True
        for host in self.hosts.values():
            host.is_parted = False

    def latency_s(self) -> float:
        return self._plan.latency_s * self._dice.uniform(0.2, 2.0)

    def _chance(self, share: float) -> bool:
        return share > 0.0 and not self._is_healed and self._dice.random() < share

    # -- connections -----------------------------------------------------------------------------------

    def _listen(self, factory: Callable[[], asyncio.Protocol], port: int) -> Server:
        process = _process()
        assert process is not None
        self._listening[port] = (process, factory)
        return Server(self._listening, port)

    async def _connect(
        self, factory: Callable[[], asyncio.Protocol], port: int
    ) -> tuple[Pipe, asyncio.Protocol]:
        await asyncio.sleep(self.latency_s())
        process = _process()
        name = NAMES[port]
        protocol = factory()
        near = Pipe(self, process, protocol, name)
        host = self.hosts.get(name)
        if host is not None:
            if host.process is None or host.process.is_dead or self._chance(self._plan.refused):
                raise ConnectionRefusedError(111, "Connection refused")
            there: asyncio.Protocol = UpstreamServer(self, name)
            far = Pipe(self, None, there, name)
        else:
            server, make = self._listening.get(port, (None, None))
            if server is None or server.is_dead or make is None:
                raise ConnectionRefusedError(111, "Connection refused")
            there = make()
            far = Pipe(self, server, there, name)
        near.join(far)
        far.join(near)
        protocol.connection_made(near)
        if far._process is None:
            assert host is not None
            assert host.process is not None
            host.process.last_words.append(far.abort)
            there.connection_made(far)
        else:
            # before any byte that the near end may send from now on
            self.loop.call_soon(there.connection_made, far, context=far._process.context)
        return near, protocol

    # -- messages --------------------------------------------------------------------------------------

    def post(self, name: str, request: Request, on_reply: OnReply) -> None:
        """Send a whole request to an upstream; ``on_reply`` is called at most once."""
        self.messages += 1
        number = self.messages
        host, plan = self.hosts[name], self._plan
        once = _once(on_reply)
        wait_s = self.latency_s()
        if self._chance(plan.slow):
            wait_s += self._dice.expovariate(2.0)
        if host.is_parted or self._chance(plan.lost):
            self._note(f"#{number} to {name} is lost: {request}")
            return
        if self._chance(plan.late):
            late_s = wait_s + self._dice.choice((0.5, 3.0, 20.0)) * self._dice.random()
            if plan.plain:
                late_s = min(late_s, PLAIN_LATE_S)
            self._note(f"#{number} to {name} is {late_s:.3f} s late: {request}")
            self.loop.call_later(late_s, self._arrive, number, host, request, _nobody, context=_WORLD)
            if self._dice.random() < 0.5:
                self.loop.call_later(wait_s, once, "reset")
            return
        if not plan.plain and self._chance(plan.doubled):
            again_s = wait_s + self._dice.choice((0.01, 1.0, 20.0)) * self._dice.random()
            self._note(f"#{number} to {name} comes again after {again_s:.3f} s: {request}")
            self.loop.call_later(again_s, self._arrive, number, host, request, _nobody, context=_WORLD)
        self.loop.call_later(wait_s, self._arrive, number, host, request, once, context=_WORLD)

    def _arrive(self, number: int, host: Host, request: Request, on_reply: OnReply) -> None:
        process, serve = host.process, host.serve
        if process is None or process.is_dead or serve is None:
            self._note(f"#{number} finds {host.name} dead: {request}")
            on_reply("refused")
            return
        host.waiting.append(on_reply)
        process.spawn(self._serve(number, host, request, serve, on_reply))

    async def _serve(self, number: int, host: Host, request: Request, serve: Any, on_reply: OnReply) -> None:
        self._note(f"#{number} at {host.name}: {request}")
        self.marks[request.kind] += 1
        reply: Reply = await serve(request)
        host.waiting.remove(on_reply)
        version = next((value for name, value in reply.headers if name == "Turnout-Version"), "")
        self._note(
            f"#{number} at {host.name} → {reply.status} {version} {reply.body[:120].decode(errors='replace')}"
        )
        if self._chance(self._plan.unanswered):
            self._note(f"#{number}: the answer is lost")
            if self._dice.random() < 0.5:
                on_reply("reset")
            return
        if self._chance(self._plan.reset):
            self._note(f"#{number}: reset before the answer")
            on_reply("reset")
            return
        if self._chance(self._plan.error_500):
            self._note(f"#{number}: the answer becomes a 500")
            reply = Reply(500, (("Content-Type", "text/plain"),), b"oops")
        wait_s = self.latency_s()
        if self._chance(self._plan.slow):
            wait_s += self._dice.expovariate(2.0)
        self.loop.call_later(wait_s, on_reply, reply, context=_WORLD)

    def died(self, name: str) -> None:
        """An upstream was killed: who waits for it is told."""
        waiting, self.hosts[name].waiting = self.hosts[name].waiting, []
        for on_reply in waiting:
            self.loop.call_later(self.latency_s(), on_reply, "reset", context=_WORLD)


class UpstreamServer(asyncio.Protocol):
    """The upstream's end of a hot path connection: whole requests in, whole answers out."""

    def __init__(self, network: Network, name: str) -> None:
        self._network = network
        self._name = name
        self._buffer = b""
        self._pipe: Pipe

    def connection_made(self, transport: Any) -> None:
        self._pipe = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
        length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
        if len(self._buffer) < end + 4 + length:
            return
        body = self._buffer[end + 4 : end + 4 + length]
        self._buffer = self._buffer[end + 4 + length :]
        self._network.post(self._name, Request(method, target, headers, body), self._answer)

    def _answer(self, reply: Reply | Broken) -> None:
        if isinstance(reply, str):
            self._pipe.abort()
            return
        lines = "".join(f"{name}: {value}\r\n" for name, value in reply.headers)
        head = f"HTTP/1.1 {reply.status} Said\r\n{lines}Content-Length: {len(reply.body)}\r\n\r\n"
        self._pipe.write(head.encode("latin-1") + reply.body)


class SimulatedSender:
    """A ports.ReplaySender."""

    def __init__(self, process: Process, network: Network) -> None:
        self._process = process
        self._network = network

    async def send(
        self,
        upstream: str,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        timeout_s: float,
    ) -> Reply:
        loop = self._network.loop
        came: asyncio.Future[Reply | Broken] = loop.create_future()

        def on_reply(reply: Reply | Broken) -> None:
            if not self._process.is_dead and not came.done():
                came.set_result(reply)

        if self._process.step():
            self._network.post(upstream, Request(method, target, tuple(headers), body), on_reply)
        try:
            async with asyncio.timeout(timeout_s):
                reply = await came
        except TimeoutError:
            raise UpstreamError(f"{upstream} does not answer: timeout") from None
        if isinstance(reply, str):
            raise UpstreamError(f"{upstream} does not answer: {reply}")
        self._process.step()
        return reply

    def ask(
        self,
        upstream: str,
        method: str,
        target: str,
        lines: bytes,
        body: bytes,
        *,
        timeout_s: float,
        done: Callable[[Answered | UpstreamError], None],
    ) -> Callable[[], None]:
        loop, context = self._network.loop, self._process.context
        is_over = False

        def finish(reply: Reply | Broken) -> None:
            nonlocal is_over
            if is_over:
                return
            is_over = True
            timer.cancel()
            if isinstance(reply, str):
                done(UpstreamError(f"{upstream} does not answer: {reply}"))
            elif self._process.step():
                done(reply)

        def on_reply(reply: Reply | Broken) -> None:
            loop.call_soon(finish, reply, context=context)

        def cancel() -> None:
            nonlocal is_over
            is_over = True
            timer.cancel()

        timer = loop.call_later(timeout_s, finish, "timeout", context=context)
        if self._process.step():
            headers = tuple(pairs(lines))
            self._network.post(upstream, Request(method, target, headers, body), on_reply)
        return cancel

    async def close(self) -> None: ...


class Server:
    """What create_server returns, as far as it is used."""

    def __init__(self, listening: dict[int, Any], port: int) -> None:
        self._listening = listening
        self._port = port

    @property
    def sockets(self) -> list[Server]:
        return [self]

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", self._port)

    def close(self) -> None:
        self._listening.pop(self._port, None)


def _once(on_reply: OnReply) -> OnReply:
    is_told = False

    def tell(reply: Reply | Broken) -> None:
        nonlocal is_told
        if not is_told:
            is_told = True
            on_reply(reply)

    return tell


def _nobody(_: Reply | Broken) -> None:
    """The sender of a late or doubled message has gone."""


def _process() -> Process | None:
    return PROCESS.get()


_WORLD = contextvars.Context()
"""The context of nobody: what the network does by itself."""
