"""A restart of PostgreSQL under the store: no read fails, and no acknowledged write is lost."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from backends.embedded import EmbeddedPostgres
from backends.postgres_store import PostgresStore
from backends.query import Filter, Operator, Query
from backends.store import Put, UnavailableError
from tests.support.processes import free_port

pytestmark = pytest.mark.slow

FILTERED = Query(filters=(Filter("n_gte", "n", Operator.GTE, ("0",)),))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
async def test_a_restart_of_postgres_costs_no_failed_read(how: signal.Signals, tmp_path: Path) -> None:
    port = free_port()
    server = EmbeddedPostgres(tmp_path / "pg", port=port)
    store = await PostgresStore.open(await server.start())
    try:
        for number in range(20):
            body = b'{"id":%d,"n":%d}' % (number, number)
            await store.change("orders", str(number), lambda _id, _state, body=body: Put(body))
        is_over = asyncio.Event()
        reads = 0
        acknowledged: list[str] = []

        async def read(number: int) -> None:
            nonlocal reads
            while not is_over.is_set():
                state, _ = await store.get("orders", str(number))
                assert state.body == b'{"id":%d,"n":%d}' % (number, number)
                page = await store.page("orders", FILTERED if number % 2 else Query(limit=5))
                assert page.total >= 20
                reads += 1

        async def write() -> None:
            number = 100
            while not is_over.is_set():
                number += 1
                try:
                    await store.change("orders", str(number), lambda _id, _state: Put(b'{"id":100,"n":1}'))
                    acknowledged.append(str(number))
                except UnavailableError:
                    await asyncio.sleep(0.05)  # as a client's Retry-After

        work = asyncio.gather(*(read(number) for number in range(8)), write())
        for _ in range(2):
            pid = server.pid
            assert pid is not None
            before = reads
            process = server._process
            assert process is not None
            process.send_signal(how)
            await server.stop()
            await server.start()
            async with asyncio.timeout(20):
                while reads < before + 50 and not work.done():
                    await asyncio.sleep(0.02)
        count = len(acknowledged)
        async with asyncio.timeout(20):
            while len(acknowledged) == count and not work.done():
                await asyncio.sleep(0.02)
        is_over.set()
        await work
        for record_id in acknowledged:
            assert (await store.get("orders", record_id))[0].body is not None, record_id
        assert await store.healthy()
    finally:
        await store.close()
        await server.stop()


async def test_reads_fail_in_bounded_time_while_postgres_stays_away(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg", port=free_port())
    store = await PostgresStore.open(await server.start())
    try:
        await store.change("orders", "1", lambda _id, _state: Put(b'{"id":1}'))
        await server.stop()
        async with asyncio.timeout(20):
            with pytest.raises(UnavailableError):
                await store.get("orders", "1")
        assert not await store.healthy()
    finally:
        await store.close()
        await server.stop()
