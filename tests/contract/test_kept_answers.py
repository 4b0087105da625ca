"""Answers under Idempotency-Keys, as every store keeps them: over a restart, in bounded pages, until their end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from backends.store import (
    ANSWER_BYTES_A_PAGE,
    ANSWERS_A_PAGE,
    Answer,
    ApplyLine,
    KeptAnswer,
    Stamp,
    Store,
)
from tests.support.stores import STORES

OPEN = Callable[[Path], AbstractAsyncContextManager[Store]]
FAR_MS = 1 << 42


@pytest.fixture(params=list(STORES))
def opened(request: pytest.FixtureRequest) -> OPEN:
    return STORES[request.param]


def kept(name: str, body: bytes = b"{}", key: str = "/api/orders/1", expires_ms: int = FAR_MS) -> KeptAnswer:
    return KeptAnswer(name, b"\x07" * 32, key, expires_ms, Answer(201, (("Location", "/x"),), body))


async def all_of(store: Store, key: str | None = None) -> list[KeptAnswer]:
    found: list[KeptAnswer] = []
    has_more = True
    while has_more:
        page, has_more = await store.answers(key, found[-1].idempotency_key if found else "")
        assert page or not has_more
        found.extend(page)
    return found


async def test_answers_survive_a_restart(opened: OPEN, tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        assert await store.keep_answers(None, [kept("b"), kept("a"), kept("a", b"other")]) == 2
        line = ApplyLine("1", b'{"id":1}', Stamp(3, 3), (kept("c", key="/api/orders/2"),))
        await store.apply(None, "orders", [line])
    async with opened(tmp_path) as store:
        assert await all_of(store) == [kept("a"), kept("b"), kept("c", key="/api/orders/2")]
        assert await all_of(store, "/api/orders/2") == [kept("c", key="/api/orders/2")]


async def test_a_page_is_bounded_in_number_and_none_is_left_out(opened: OPEN, tmp_path: Path) -> None:
    many = [kept(f"n{at:05}") for at in range(ANSWERS_A_PAGE * 2 + 1)]
    async with opened(tmp_path) as store:
        assert await store.keep_answers(None, many) == len(many)
        page, has_more = await store.answers(None, "")
        assert (len(page), has_more) == (ANSWERS_A_PAGE, True)
        assert await all_of(store, "/api/orders/1") == many


async def test_a_page_is_bounded_in_bytes_and_none_is_left_out(opened: OPEN, tmp_path: Path) -> None:
    large = b"x" * (ANSWER_BYTES_A_PAGE // 2 + 1)
    async with opened(tmp_path) as store:
        for name in "abcde":
            await store.keep_answers(None, [kept(name, large)])
        page, has_more = await store.answers(None, "")
        assert ([one.idempotency_key for one in page], has_more) == (["a", "b"], True)
        assert [one.idempotency_key for one in await all_of(store)] == list("abcde")


async def test_an_answer_ends_at_its_own_time_whatever_was_kept_before_it(
    opened: OPEN, tmp_path: Path
) -> None:
    async with opened(tmp_path) as store:
        await store.keep_answers(None, [kept("long"), kept("over", expires_ms=5)])
        assert await all_of(store) == [kept("long")]
        assert await store.keep_answers(None, [kept("over")]) == 1
        assert await all_of(store) == [kept("long"), kept("over")]
