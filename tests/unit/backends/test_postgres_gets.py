"""Reads of single records that share statements: nobody is left waiting."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from backends import postgres_gets
from backends.postgres_connection import Connection
from backends.postgres_gets import Gets
from backends.postgres_statements import table_name

TABLE = table_name(1, "items")


class Rows:
    """Answers each statement with a row for every id that it asks for."""

    async def fetch(self, _text: str, ids: list[str]) -> list[dict[str, str]]:
        return [{"id": record_id} for record_id in ids]


async def read(work: Callable[[Connection], Awaitable[Any]]) -> Any:
    return await work(cast("Connection", Rows()))


async def test_who_asks_in_the_very_step_in_which_the_last_statement_ends_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It hung for ever, and so did all who asked for the same record after it."""
    monkeypatch.setattr(postgres_gets, "IN_FLIGHT_MAX", 1)
    gets = Gets(read)
    begun: list[Any] = []

    def ask_for_another(_: object) -> None:
        late = gets.get(TABLE, "2")
        late.send(None)  # as far as its wait, in this step of the loop
        begun.append(late)

    first = asyncio.ensure_future(gets.get(TABLE, "1"))
    await asyncio.sleep(0)
    gets._waiting[TABLE]["1"].add_done_callback(ask_for_another)
    assert await first == {"id": "1"}
    assert begun
    assert await asyncio.wait_for(gets.get(TABLE, "2"), 5) == {"id": "2"}
    begun[0].close()
