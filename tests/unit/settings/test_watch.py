"""watch: every way in which a file comes to have another content, with events and without."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from proxy.limits import SETTINGS_BYTES_MAX
from proxy.settings.watch import POLL_S, read_text, watch

WAIT_S = 10.0
"""Long enough for the slowest machine; only a failure waits for it."""


@pytest.fixture(params=[True, False], ids=["events", "polls"])
def events(request: pytest.FixtureRequest) -> bool:
    return request.param


async def following(texts: AsyncGenerator[str]) -> str:
    async with asyncio.timeout(WAIT_S):
        return await anext(texts)


async def test_a_file_written_in_place_yields_its_new_text(tmp_path: Path, events: bool) -> None:
    file = tmp_path / "routing.yaml"
    file.write_text("a")
    async with aclosing(watch(file, events=events)) as texts:
        assert await following(texts) == "a"
        file.write_text("b")
        assert await following(texts) == "b"


async def test_a_known_text_is_not_yielded_again(tmp_path: Path, events: bool) -> None:
    file = tmp_path / "routing.yaml"
    file.write_text("known")
    async with aclosing(watch(file, known="known", events=events, poll_s=0.02)) as texts:
        pending = asyncio.create_task(following(texts))
        file.write_text("known")
        os.utime(file, (1, 1))
        file.write_text("new")
        assert await pending == "new"


async def test_an_editor_that_replaces_the_file_is_followed(tmp_path: Path, events: bool) -> None:
    file = tmp_path / "routing.yaml"
    file.write_text("a")
    async with aclosing(watch(file, known="a", events=events)) as texts:
        for text in ("b", "c", "d"):
            fresh = tmp_path / ".routing.yaml.swp"
            fresh.write_text(text)
            fresh.replace(file)
            assert await following(texts) == text


async def test_a_file_that_was_gone_for_a_while_is_followed_when_it_returns(
    tmp_path: Path, events: bool
) -> None:
    file = tmp_path / "routing.yaml"
    file.write_text("a")
    async with aclosing(watch(file, known="a", events=events, poll_s=0.02)) as texts:
        file.unlink()
        pending = asyncio.create_task(following(texts))
        await asyncio.to_thread(file.parent.joinpath("other").write_text, "x")
        file.write_text("b")
        assert await pending == "b"


async def test_a_file_that_comes_into_being_is_found(tmp_path: Path, events: bool) -> None:
    file = tmp_path / "routing.yaml"
    async with aclosing(watch(file, events=events, poll_s=0.02)) as texts:
        pending = asyncio.create_task(following(texts))
        file.write_text("a")
        assert await pending == "a"


async def test_a_swapped_symlink_is_followed_as_kubernetes_swaps_it(tmp_path: Path, events: bool) -> None:
    for name, text in (("v1", "a"), ("v2", "b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "routing.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "routing.yaml").symlink_to("..data/routing.yaml")
    async with aclosing(watch(tmp_path / "routing.yaml", events=events)) as texts:
        assert await following(texts) == "a"
        (tmp_path / "..new").symlink_to("v2")
        (tmp_path / "..new").replace(tmp_path / "..data")
        assert await following(texts) == "b"


async def test_a_folder_that_is_replaced_is_followed(tmp_path: Path, events: bool) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "routing.yaml").write_text("a")
    async with aclosing(watch(folder / "routing.yaml", known="a", events=events)) as texts:
        pending = asyncio.create_task(following(texts))
        folder.rename(tmp_path / "old")
        folder.mkdir()
        (folder / "routing.yaml").write_text("b")
        assert await pending == "b"


async def test_a_write_in_two_halves_is_read_whole_or_twice_and_ends_right(
    tmp_path: Path, events: bool
) -> None:
    file = tmp_path / "routing.yaml"
    file.write_text("a")
    async with aclosing(watch(file, known="a", events=events, poll_s=0.02)) as texts:
        with file.open("w") as half:
            half.write("first ")
            half.flush()
            half.write("second")
        seen = await following(texts)
        while seen != "first second":
            assert seen in ("", "first ")
            seen = await following(texts)


async def test_a_change_is_told_within_a_second_without_any_event(tmp_path: Path) -> None:
    file = tmp_path / "routing.yaml"
    file.write_text("a")
    async with aclosing(watch(file, events=False)) as texts:
        assert await following(texts) == "a"
        pending = asyncio.create_task(following(texts))
        begun = time.monotonic()
        file.write_text("b")
        assert await pending == "b"
        assert time.monotonic() - begun < 1.0
    assert POLL_S < 0.5


async def test_a_closed_watch_leaves_nothing_running(tmp_path: Path) -> None:
    file = tmp_path / "routing.yaml"
    file.write_text("a")
    before = asyncio.all_tasks()
    texts = watch(file)
    assert await following(texts) == "a"
    assert len(asyncio.all_tasks()) > len(before)
    await texts.aclose()
    assert asyncio.all_tasks() == before


async def test_a_cancelled_watch_leaves_nothing_running(tmp_path: Path) -> None:
    file = tmp_path / "routing.yaml"
    file.write_text("a")
    before = asyncio.all_tasks()
    seen = asyncio.Event()

    async def follow() -> None:
        async for _ in watch(file):
            seen.set()

    task = asyncio.create_task(follow())
    await asyncio.wait_for(seen.wait(), WAIT_S)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert asyncio.all_tasks() == before


def test_no_more_is_read_than_what_is_needed_to_refuse_it(tmp_path: Path) -> None:
    file = tmp_path / "routing.yaml"
    file.write_bytes(b"#" * (8 * SETTINGS_BYTES_MAX))
    assert SETTINGS_BYTES_MAX < len(read_text(file)) < 5 * SETTINGS_BYTES_MAX


def test_bytes_that_are_not_utf8_stay_visible(tmp_path: Path) -> None:
    file = tmp_path / "routing.yaml"
    file.write_bytes(b"caf\xe9 \xc3\xa9")
    assert read_text(file) == "caf\udce9 é"
