"""Reads by id with asyncpg alone: what PostgreSQL and its client allow, before any HTTP. Used by tests/bench/stores.py.

python -m tests.bench.bare_asyncpg URL RECORDS SECONDS READERS
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import time

import asyncpg
import uvloop


async def main(url: str, records: int, seconds: float, readers: int) -> None:
    pool = await asyncpg.create_pool(
        url, min_size=readers, max_size=readers, server_settings={"search_path": "turnout"}
    )
    table = await pool.fetchval("select table_name from collections where name = 'posts'")
    text = f"select body, version, at from {table} where id = $1"
    until, reads = time.monotonic() + seconds, 0

    async def read() -> None:
        nonlocal reads
        dice = random.Random(reads)
        while time.monotonic() < until:
            async with pool.acquire() as connection:
                row = await connection.fetchrow(text, str(dice.randint(1, records)))
            assert row is not None
            reads += 1

    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    await asyncio.gather(*(read() for _ in range(readers)))
    after, took_s = resource.getrusage(resource.RUSAGE_SELF), time.monotonic() - began
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"per_second": reads / took_s, "cpu_us": cpu_s / reads * 1e6}))
    pool.terminate()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
