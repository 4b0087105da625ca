"""An event loop whose time jumps, and programs in it that can be killed between any two of their steps.

Real asyncio (its tasks, futures, timeouts and locks) over a clock that only moves when nobody has anything to do. No
socket, thread or wait. One loop carries every program of the simulated world; which program a callback belongs to
stands in its context, and what belongs to a killed program never runs again.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
from collections.abc import Awaitable, Callable
from typing import Any

PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class NothingToDoError(AssertionError):
    """Somebody waits, and nothing will ever happen again."""


class EndlessError(AssertionError):
    """More callbacks than any run needs."""


CALLBACKS_MAX = 200_000
"""In one run; an ordinary one has 2,000 to 20,000."""


class Process:
    """One life of one program, from its start to its end or kill -9.

    Whatever it does to the world (a byte sent, a page synced) passes `step`, so killing it at the n-th step tries every
    place that can be told from outside: between two steps it only computes, and that dies with it.
    """

    def __init__(self, name: str, on_kill: Callable[[Process], None] | None = None) -> None:
        self.name = name
        self.is_dead = False
        self.steps = 0
        self.dies_at_step: int | None = None
        self.last_words: list[Callable[[], None]] = []
        """Called once when it dies: its connections break, its disk decides what of the last write is there."""
        self.tasks: list[asyncio.Task[Any]] = []
        """Kept until the world ends: a dead program's coroutines must not be closed by the collector meanwhile."""
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)
        self._on_kill = on_kill

    def step(self) -> bool:
        """Whether it is still there to do what it is about to do."""
        if not self.is_dead:
            self.steps += 1
            if self.steps == self.dies_at_step:
                self.kill()
        return not self.is_dead

    def kill(self) -> None:
        """As by kill -9."""
        if self.is_dead:
            return
        self.is_dead = True
        for word in self.last_words:
            word()
        if self._on_kill is not None:
            self._on_kill(self)

    def spawn(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """A task of this program, begun from outside."""
        return asyncio.get_running_loop().create_task(work, context=self.context.copy())  # type: ignore[arg-type]


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs ready callbacks in their order, and moves the clock to the next timer when there are none."""

    def __init__(self, callbacks_max: int = CALLBACKS_MAX) -> None:
        super().__init__()
        self.callbacks_max = callbacks_max
        self._now_s = 0.0
        self._callbacks = 0
        self.faults: list[str] = []
        """Exceptions that nobody caught."""
        self.connect: Callable[[Callable[[], asyncio.Protocol], int], Awaitable[Any]] | None = None
        self.listen: Callable[[Callable[[], asyncio.Protocol], int], Any] | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self.set_task_factory(self._make_task)
        self.set_exception_handler(
            lambda _, what: self.faults.append(repr(what.get("exception") or what["message"]))
        )

    def time(self) -> float:
        return self._now_s

    def _make_task(
        self, loop: Any, work: Any, context: contextvars.Context | None = None
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(work, loop=loop, context=context)
        process = PROCESS.get() if context is None else context.get(PROCESS)
        (self._tasks if process is None else process.tasks).append(task)
        return task

    def _run_once(self) -> None:  # asyncio's own hook
        ready: Any = self._ready  # type: ignore[attr-defined]
        scheduled: list[Any] = self._scheduled  # type: ignore[attr-defined]
        if not ready:
            while scheduled and scheduled[0]._cancelled:
                heapq.heappop(scheduled)._scheduled = False
            if not scheduled:
                raise NothingToDoError
            self._now_s = max(self._now_s, scheduled[0]._when)
            while scheduled and scheduled[0]._when <= self._now_s:
                handle = heapq.heappop(scheduled)
                handle._scheduled = False
                ready.append(handle)
        self._callbacks += len(ready)
        if self._callbacks > self.callbacks_max:
            raise EndlessError
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(PROCESS)
            if process is None or not process.is_dead:
                handle._run()
        handle = None

    def end(self, processes: list[Process]) -> None:
        """Let go of every coroutine, those of the dead too."""
        for process in processes:
            process.is_dead = True
        for task in [*self._tasks, *(task for process in processes for task in process.tasks)]:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            if not task.done():
                with contextlib.suppress(BaseException):
                    task.get_coro().close()  # type: ignore[union-attr]
            elif not task.cancelled():
                task.exception()

    # -- what asyncio asks of an operating system ----------------------------------------------------

    def _process_events(self, event_list: Any) -> None: ...
    def _write_to_self(self) -> None: ...
    def _check_closed(self) -> None: ...
    def __del__(self) -> None: ...

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any
    ) -> Any:  # type: ignore[override]
        assert self.connect is not None
        return await self.connect(protocol_factory, port)

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:  # type: ignore[override]
        assert self.listen is not None
        return self.listen(protocol_factory, port)

    async def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        return func(*args)
