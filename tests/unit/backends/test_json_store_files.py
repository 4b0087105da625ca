"""The JSON store's files: what a start makes of a torn tail, damage, a missing file, an edit, and a second server.

A crash is a copy of the folder while the store is open: what is on disk then is what a start after kill -9 finds.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from backends import json_exporter
from backends.errors import StartError
from backends.json_frames import frames
from backends.json_store import JsonStore
from backends.store import Put, UnavailableError

ONE = b'{"id":1,"n":"one"}'


@asynccontextmanager
async def opened(folder: Path) -> AsyncGenerator[JsonStore]:
    store = await JsonStore.open(folder / "data.json")
    try:
        yield store
    finally:
        await store.close()


async def put(store: JsonStore, record_id: str, body: bytes = ONE) -> None:
    await store.change("orders", record_id, lambda _id, _state: Put(body))


async def bodies(folder: Path) -> list[bytes]:
    async with opened(folder) as store:
        return [body async for _, body in store.scan("orders")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "live"
    made.mkdir()
    (made / "data.json").write_text('{"orders": []}')
    return made


async def crashed(folder: Path, *records: str) -> Path:
    """A copy of the folder in the moment after these were acknowledged, before data.json was written again."""
    copy = folder.with_name("crashed")
    async with opened(folder) as store:
        exporter = store._exporter
        assert exporter is not None
        async with exporter._turn:  # data.json is not written before the copy is made
            for record_id in records:
                await put(store, record_id, b'{"id":%b}' % record_id.encode())
            shutil.copytree(folder, copy)
    return copy


async def test_p3_what_was_acknowledged_is_there_after_a_crash(folder: Path) -> None:
    assert await bodies(await crashed(folder, "1", "2")) == [b'{"id":1}', b'{"id":2}']


@pytest.mark.parametrize("cut", [1, 7, 40])
async def test_a_torn_tail_is_cut_off_and_told(folder: Path, cut: int) -> None:
    copy = await crashed(folder, "1", "2")
    journal = copy / "data.json.journal"
    raw = journal.read_bytes()
    end = list(frames(raw))[-1].end
    journal.write_bytes(raw[: end - cut])
    with capture_logs() as logs:
        assert await bodies(copy) == [b'{"id":1}']
    assert [line["event"] for line in logs] == ["journal_tail_torn"]
    assert await bodies(copy) == [b'{"id":1}']


async def test_damage_with_whole_frames_behind_it_stops_the_start_and_changes_nothing(folder: Path) -> None:
    copy = await crashed(folder, "1", "2", "3")
    journal = copy / "data.json.journal"
    raw = bytearray(journal.read_bytes())
    raw[raw.index(b'{"id":2}') + 3] ^= 1
    journal.write_bytes(raw)
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    with pytest.raises(StartError, match="damaged at byte") as refusal:
        await JsonStore.open(copy / "data.json")
    assert "Put back a good copy" in str(refusal.value.hint)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


@pytest.mark.parametrize("place", [3, 30, -20])
async def test_a_damaged_state_file_stops_the_start(folder: Path, place: int) -> None:
    copy = await crashed(folder, "1")
    state = copy / "data.json.state"
    raw = bytearray(state.read_bytes())
    raw[place] ^= 1
    state.write_bytes(raw)
    with pytest.raises(StartError, match="damaged"):
        await JsonStore.open(copy / "data.json")


async def test_a_journal_that_is_gone_stops_the_start(folder: Path) -> None:
    copy = await crashed(folder, "1")
    (copy / "data.json.journal").unlink()
    with pytest.raises(StartError, match=r"journal is gone") as refusal:
        await JsonStore.open(copy / "data.json")
    assert "Put the journal back" in str(refusal.value.hint)


async def test_a_state_file_that_is_gone_stops_the_start(folder: Path) -> None:
    copy = await crashed(folder, "1")
    (copy / "data.json.state").unlink()
    with pytest.raises(StartError, match=r"state is gone"):
        await JsonStore.open(copy / "data.json")


async def test_a_first_start_that_was_killed_is_begun_anew(folder: Path) -> None:
    async with opened(folder):
        shutil.copytree(folder, folder.with_name("crashed"))
    copy = folder.with_name("crashed")
    (copy / "data.json.state").unlink()
    async with opened(copy) as store:
        await put(store, "1")
    assert await bodies(copy) == [ONE]


async def test_entries_of_another_version_stop_the_start(folder: Path) -> None:
    from backends.json_frames import frame

    copy = await crashed(folder)
    journal = copy / "data.json.journal"
    raw = journal.read_bytes().rstrip(b"\0")
    place = len(list(frames(raw)))
    head = json.dumps([0, "a kind of tomorrow"]).encode()
    journal.write_bytes(raw + frame(place, len(head).to_bytes(4, "big") + head))
    with pytest.raises(StartError, match="another version"):
        await JsonStore.open(copy / "data.json")


async def test_an_edit_while_the_server_is_stopped_is_taken_in(folder: Path) -> None:
    async with opened(folder) as store:
        await put(store, "1")
    edited = '{"orders": [{"id": 2}, {"id": 1, "n": "edited"}], "tags": []}'
    (folder / "data.json").write_text(edited)
    with capture_logs() as logs:
        assert await bodies(folder) == [b'{"id":2}', b'{"id":1,"n":"edited"}']
    assert [(line["event"], line["records_changed"]) for line in logs] == [("data_file_edited", 2)]
    async with opened(folder) as store:
        assert await store.collections() == {"orders": 2, "tags": 0}


async def test_an_edit_of_a_file_that_lacks_acknowledged_writes_is_refused_and_both_are_kept(
    folder: Path,
) -> None:
    copy = await crashed(folder, "1")
    (copy / "data.json").write_text('{"orders": [{"id": 9}]}')
    with pytest.raises(StartError, match="edited by somebody") as refusal:
        await JsonStore.open(copy / "data.json")
    assert "Move the edited file away" in str(refusal.value.hint)
    (copy / "data.json").rename(copy / "data.json.edited")
    assert await bodies(copy) == [b'{"id":1}']
    assert json.loads((copy / "data.json").read_text())["orders"] == [{"id": 1}]
    assert (copy / "data.json.edited").read_text() == '{"orders": [{"id": 9}]}'


async def told_of_an_edit(logs: list, times: int = 1) -> list[str]:
    async with asyncio.timeout(10):
        while len(told := [line["do"] for line in logs if line["event"] == "data_file_edited"]) < times:
            await asyncio.sleep(0.01)  # the log is written by a task in the background that nothing waits for
    return told


async def test_an_edit_while_the_server_runs_is_told_at_once_and_never_overwritten(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_exporter, "LOOK_S", 0.02)
    monkeypatch.setattr(json_exporter, "RETRY_S", 0.02)
    edited = '{"orders": [{"id": 9}]}'
    with capture_logs() as logs:
        async with opened(folder) as store:
            (folder / "data.json").write_text(edited)
            assert await told_of_an_edit(logs) == [json_exporter.TAKE_IN]
            await put(store, "1")
            assert await told_of_an_edit(logs, 2) == [json_exporter.TAKE_IN, json_exporter.GIVE_WAY]
            with pytest.raises(UnavailableError):
                await store.checkpoint()
            assert (folder / "data.json").read_text() == edited
            (folder / "data.json").rename(folder / "data.json.edited")
            await store.checkpoint()
            assert json.loads((folder / "data.json").read_text())["orders"] == [{"id": 1, "n": "one"}]
    assert (folder / "data.json.edited").read_text() == edited


async def test_a_second_server_on_the_same_file_is_refused_also_through_a_link(folder: Path) -> None:
    link = folder.with_name("link.json")
    link.symlink_to(folder / "data.json")
    async with opened(folder):
        for path in (folder / "data.json", link):
            with pytest.raises(StartError, match="served by another process already"):
                await JsonStore.open(path)
            with pytest.raises(StartError, match="served by another process already"):
                await JsonStore.open(path, read_only=True)


async def test_a_store_that_is_only_read_writes_nothing(folder: Path) -> None:
    before = {path.name for path in folder.iterdir()}
    store = await JsonStore.open(folder / "data.json", read_only=True)
    other = await JsonStore.open(folder / "data.json", read_only=True)
    assert await store.collections() == {"orders": 0}
    with pytest.raises(UnavailableError):
        await put(store, "1")
    await other.close()
    await store.close()
    assert {path.name for path in folder.iterdir()} == before | {"data.json.lock"}


async def test_a_state_file_covers_the_journal_and_a_start_goes_by_both(folder: Path) -> None:
    async with opened(folder) as store:
        for place in range(5):
            await put(store, str(place), b'{"id":%d}' % place)
        exporter = store._exporter
        assert exporter is not None
        await exporter.cover()
        await put(store, "7", b'{"id":7}')
        shutil.copytree(folder, folder.with_name("crashed"))
    names = {path.name for path in folder.with_name("crashed").iterdir()}
    assert not [name for name in names if name.startswith("data.json.journal.")]
    assert len(await bodies(folder.with_name("crashed"))) == 6


async def test_the_journal_is_bounded_also_while_data_json_is_not_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_exporter, "SEGMENT_BYTES_MAX", 64 << 10)
    monkeypatch.setattr(json_exporter, "INTERVAL_S", 3600.0)
    large = b'{"id":1,"pad":"%b"}' % (b"x" * 10_000)
    async with opened(folder) as store:
        for _ in range(60):
            await put(store, "1", large)
        exporter = store._exporter
        assert exporter is not None
        async with exporter._covering:  # what is under way has ended
            kept = sum(path.stat().st_size for path in folder.glob("data.json.journal.*"))
        assert kept + store._journal.size < 300_000
