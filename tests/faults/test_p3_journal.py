"""P3 where the journal itself is hurt: a full disk, failed syncs, damage, two processes, a clock that is set back."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.errors import TurnoutError
from proxy.journal import sqlite
from proxy.journal.entry import Entry
from proxy.journal.sqlite import SqliteJournal
from tests.faults.conftest import Tally, verdict_on
from tests.support.line import Line
from tests.support.load import Load
from tests.support.processes import ROOT, free_port

pytestmark = pytest.mark.slow

EXIT_FSYNC = 74
DISK_BYTES = 1 << 20
PAGE_BYTES = 4096


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = mount("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder))
    if done.returncode != 0:
        pytest.skip(f"a tmpfs may not be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def mount(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", *words], capture_output=True, text=True, check=False)


def digests(folder: Path) -> dict[str, str]:
    """What the journal's record is, by content: not the lock, which names its holder, nor the log's index, a cache."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.suffix != ".lock" and not path.name.endswith("-shm")
    }


@pytest.mark.parametrize("room_comes", ["as the secondary catches up", "as somebody frees space"])
async def test_p3_a_full_disk_stops_writes_before_the_primary_sees_them_and_reads_go_on(
    room_comes: str, tmp_path: Path, small_disk: Path, database_url: str, tally: Tally
) -> None:
    async with Line(tmp_path, database_url=database_url, state=small_disk / "state") as line:
        await line.open_for_writes()
        async with Load(line.ports["proxy"], 1) as load:
            await load.acknowledged(10)
            await line.processes["postgres"].kill()
            await load.answered_with(503, 40)
            log = await load.stop()
        async with line.session.get(line.url("proxy") + "/api/orders?_limit=1") as read:
            assert read.status == 200
        for _ in range(
            200
        ):  # a small one may find the last of the room, or what a fold of the log has just given back
            async with line.session.put(line.url("proxy") + "/api/settings", json={"open": True}) as refused:
                code = (await refused.json()).get("code")
            if refused.status == 503:
                break
        assert (refused.status, code) == (503, "journal-full")
        assert refused.headers["Retry-After"]
        if room_comes == "as somebody frees space":
            assert mount("-o", f"remount,size={32 << 20}", str(small_disk)).returncode == 0
        else:
            await line.start("postgres")
        async with Load(line.ports["proxy"], 2, log=log) as load:
            await load.acknowledged_more(60)
            log = await load.stop()
        if room_comes == "as somebody frees space":
            await line.start("postgres")
        verdict = await verdict_on(line, log, tally)
    assert verdict.is_clean, str(verdict)


async def test_p3_a_disk_that_fills_is_told_before_writes_stop_and_after(
    tmp_path: Path, small_disk: Path, database_url: str
) -> None:
    """Once at each bound: of 1 MiB a quarter, a sixth, and the tenth below which no write is taken."""
    filler = small_disk / "filler"

    def leave(free_bytes: int) -> None:
        stat = os.statvfs(small_disk)
        size = filler.stat().st_size if filler.exists() else 0
        with filler.open("ab") as file:
            wanted = size + stat.f_bavail * stat.f_frsize - free_bytes
            file.truncate(0)
            file.write(bytes(wanted))

    async with Line(tmp_path, database_url=database_url, state=small_disk / "state") as line:
        await line.open_for_writes()
        await line.secondary_known()
        proxy = line.processes["proxy"]
        for free_bytes, event, level in (
            (200_000, "journal_nearly_full", "warning"),
            (140_000, "journal_nearly_full", "error"),
            (50_000, "journal_full", "error"),
        ):
            leave(free_bytes)
            line_told = await proxy.told(event, level=level)
            assert line_told["free_bytes"] < free_bytes + 2 * PAGE_BYTES
            assert line_told["folder"] == str(line.state)
            assert "free space" in line_told["next"]
        assert len(proxy.events("journal_nearly_full")) == 2
        assert len(proxy.events("journal_full")) == 1
        for _ in range(5):  # before it refuses, it gives back what its log holds twice: that is filled up too
            leave(50_000)
            async with line.session.post(line.url("proxy") + "/api/orders", json={}) as refused:
                code = (await refused.json()).get("code")
            if code is not None:
                break
        assert (refused.status, code) == (503, "journal-full")
        filler.unlink()
        await proxy.told("journal_has_room")
        async with line.session.post(line.url("proxy") + "/api/orders", json={}) as taken:
            assert taken.status == 201


async def test_p3_a_full_disk_survives_kill_9_and_restart(
    tmp_path: Path, small_disk: Path, database_url: str, tally: Tally
) -> None:
    async with Line(tmp_path, database_url=database_url, state=small_disk / "state") as line:
        await line.open_for_writes()
        async with Load(line.ports["proxy"], 3) as load:
            await load.acknowledged(10)
            await line.processes["postgres"].kill()
            await load.answered_with(503, 20)
            await line.processes["proxy"].kill()
            log = await load.stop()
        await line.start("proxy")
        await line.start("postgres")
        verdict = await verdict_on(line, log, tally)
    assert verdict.is_clean, str(verdict)


def strace(pid: int, *words: str) -> subprocess.Popen[bytes]:
    """Attached to a running process; ends with it, or by SIGINT."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not here (make system)")
    return subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(pid), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


async def end_of(tracer: subprocess.Popen[bytes]) -> None:
    tracer.send_signal(signal.SIGINT)
    _, said = await asyncio.to_thread(tracer.communicate)
    if b"Operation not permitted" in said:
        pytest.skip(f"strace may not attach here: {said.decode()}")


@pytest.mark.parametrize("file", ["journal.db-wal", "journal.db"])
async def test_p3_a_failed_sync_ends_the_process_and_the_next_start_copies_the_journal(
    file: str, tmp_path: Path, database_url: str, tally: Tally
) -> None:
    """Of the log at a commit, and of the database at a checkpoint."""
    async with Line(tmp_path, database_url=database_url) as line:
        await line.open_for_writes()
        async with Load(line.ports["proxy"], 4, clients=24, pause_s=0.001) as load:
            await load.acknowledged(20)
            proxy = line.processes["proxy"]
            tracer = strace(
                proxy.pid, "-P", str(line.state / file),
                "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO",
            )  # fmt: skip
            try:
                code = await proxy.wait(90)
            finally:
                await end_of(tracer)
            assert code == EXIT_FSYNC, proxy.output
            assert proxy.events("journal_failed"), proxy.output
            old = (line.state / "journal.db").stat().st_ino
            again = await line.start("proxy")
            assert again.events("journal_copied"), again.output
            assert (line.state / "journal.db").stat().st_ino != old
            await load.acknowledged_more(30)
            log = await load.stop()
        verdict = await verdict_on(line, log, tally)
    assert verdict.is_clean, str(verdict)


async def test_p3_a_disk_that_refuses_writes_for_a_while_loses_and_doubles_nothing(
    tmp_path: Path, database_url: str, tally: Tally
) -> None:
    """ENOSPC and EIO of write(2), at any point of a batch: what is answered 503 with Retry-After had no effect."""
    async with Line(tmp_path, database_url=database_url) as line:
        await line.open_for_writes()
        async with Load(line.ports["proxy"], 5) as load:
            await load.acknowledged(20)
            proxy = line.processes["proxy"]
            for error, refused in (("ENOSPC", 10), ("EIO", 20)):
                tracer = strace(
                    proxy.pid, "-P", str(line.state / "journal.db-wal"),
                    "-e", "trace=pwrite64", "-e", f"inject=pwrite64:error={error}:when=30+",
                )  # fmt: skip
                try:
                    await load.answered_with(503, refused)
                finally:
                    await end_of(tracer)
                await load.acknowledged_more(20)
            log = await load.stop()
        assert proxy.returncode is None
        assert proxy.events("journal_write_failed")
        verdict = await verdict_on(line, log, tally)
    assert verdict.is_clean, str(verdict)


async def killed_with_unsettled_writes(line: Line) -> None:
    """A journal that holds acknowledged writes which the secondary lacks."""
    await line.open_for_writes()
    async with Load(line.ports["proxy"], 6) as load:
        await load.acknowledged(20)
        await line.processes["postgres"].kill()
        await load.acknowledged_more(150)
        await line.processes["proxy"].kill()
        await load.stop()


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    for offset in range(at, min(at + 64, len(content))):
        content[offset] ^= 0xFF
    path.write_bytes(content)


def checkpoint(state: Path) -> None:
    """What the proxy does in time: all of the log copied into the database."""
    with sqlite3.connect(state / "journal.db") as db:
        db.execute("pragma wal_checkpoint(truncate)")
    db.close()


DAMAGES = {
    "the database's pages are damaged": lambda state: (
        checkpoint(state),
        [flip(state / "journal.db", at) for at in range(4096, (state / "journal.db").stat().st_size, 4096)],
    ),
    "the database's first page is damaged": lambda state: (checkpoint(state), flip(state / "journal.db", 0)),
    "the database is cut short": lambda state: (
        checkpoint(state),
        (state / "journal.db").write_bytes((state / "journal.db").read_bytes()[: 4096 * 3]),
    ),
    "the middle of the log is damaged": lambda state: flip(
        state / "journal.db-wal", (state / "journal.db-wal").stat().st_size // 2
    ),
    "the log's head is damaged": lambda state: flip(state / "journal.db-wal", 0),
    "the log is gone": lambda state: (state / "journal.db-wal").unlink(),
    "the log is emptied": lambda state: (state / "journal.db-wal").write_bytes(b""),
}


async def test_p3_a_damaged_journal_stops_the_start_says_what_to_do_and_is_left_as_it_was(
    tmp_path: Path, database_url: str
) -> None:
    async with Line(tmp_path, database_url=database_url) as line:
        await killed_with_unsettled_writes(line)
        whole = line.state
        for number, (name, damage) in enumerate(DAMAGES.items()):
            line.state = tmp_path / f"damaged-{number}"
            shutil.copytree(whole, line.state)
            damage(line.state)
            before = digests(line.state)
            proxy = await line.make("proxy").spawn()
            assert await proxy.wait() == 1, f"{name}: {proxy.output}"
            assert "is damaged" in proxy.output, name
            assert "turnout validate" in proxy.output, name
            assert digests(line.state) == before, name


async def test_p3_a_second_process_on_the_journal_is_refused_and_named_the_first(
    tmp_path: Path, database_url: str
) -> None:
    async with Line(tmp_path, database_url=database_url) as line:
        await line.open_for_writes()
        first = line.processes["proxy"]
        second = await line.make("proxy").spawn()
        line.processes["proxy"] = first
        assert await second.wait() == 1
        assert f"in use by process {first.pid}" in second.output
        assert "--state" in second.output
        async with Load(line.ports["proxy"], 7) as load:
            await load.acknowledged(5)
            await load.stop()


async def test_p3_a_second_proxy_with_a_journal_of_its_own_is_refused_by_the_upstreams(
    tmp_path: Path, database_url: str, tally: Tally
) -> None:
    async with Line(tmp_path, database_url=database_url) as line:
        await line.open_for_writes()
        async with Load(line.ports["proxy"], 8) as load:
            await load.acknowledged(20)
            first, state = line.processes["proxy"], line.state
            ports = dict(line.ports)
            line.state = tmp_path / "other-state"
            line.ports.update(proxy=free_port(), admin=free_port())
            second = await line.make("proxy").spawn()
            assert await second.wait() == 1
            assert "belongs to journal" in second.output
            assert "--adopt" in second.output
            line.ports.update(ports)
            line.state, line.processes["proxy"] = state, first
            await load.acknowledged_more(20)
            log = await load.stop()
        verdict = await verdict_on(line, log, tally)
    assert verdict.is_clean, str(verdict)


async def test_p3_a_clock_that_jumps_hours_back_and_ahead_changes_nothing(
    tmp_path: Path, database_url: str, tally: Tally
) -> None:
    """Of all three processes, under load, with an outage and a kill in between."""
    offset = tmp_path / "offset"
    offset.write_text("0")
    env = {
        "PYTHONPATH": f"{ROOT / 'tests/support/clock'}:{ROOT}",
        "TURNOUT_TEST_CLOCK": str(offset),
    }
    async with Line(tmp_path, database_url=database_url) as line:
        for name in ("proxy", "json", "postgres"):
            await line.processes[name].kill()
            await line.start(name, env)
        async with Load(line.ports["proxy"], 9) as load:
            await load.acknowledged(30)
            offset.write_text("-7200")
            await load.acknowledged_more(60)
            await line.processes["postgres"].kill()
            await load.acknowledged_more(30)
            offset.write_text(
                "259200"
            )  # the day for which the primary keeps idempotency keys is none of this clock's
            await load.acknowledged_more(30)
            await line.processes["proxy"].kill()
            offset.write_text("-86400")
            await line.start("postgres", env)
            await line.start("proxy", env)
            await load.acknowledged_more(60)
            log = await load.stop()
        verdict = await verdict_on(line, log, tally)
    assert verdict.is_clean, str(verdict)


async def test_p3_a_journal_that_fills_its_own_disk_goes_on_once_what_it_holds_is_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log was larger than what was left for the database to grow by it: neither could be made smaller any more."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = mount("-t", "tmpfs", "-o", f"size={16 << 20}", "tmpfs", str(folder))
    if done.returncode != 0:
        pytest.skip(f"a tmpfs may not be mounted here: {done.stderr.strip()}")
    monkeypatch.setattr(sqlite, "JOURNAL_RESERVE_BYTES", 128 << 10)  # beside a log of 1 MiB
    monkeypatch.setattr(
        sqlite, "FREE_IS_FAR", 1000
    )  # looked at with each commit: this disk fills in a second
    try:
        journal = SqliteJournal(folder / "state")
        kept: list[int] = []
        seq = 0
        while True:  # sixteen clients at once, each with a body of 1 KiB
            some = [
                Entry(seq + n, "PUT", f"/api/x/{seq + n}", (), f"/api/x/{seq + n}", "/api/x", 1.0)
                for n in range(1, 17)
            ]
            seq += len(some)
            if set(await all_of(journal.intent, some)) != {None}:
                break
            for entry in some:
                entry.request_body, entry.answer_body = b"q" * 1024, b"a" * 1024
            assert set(await all_of(journal.outcome, some)) == {None}, "what the primary has taken finds room"
            kept += [entry.seq for entry in some]
        assert len(kept) > 1000
        for at in range(0, len(kept), 64):
            over: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            journal.ended(kept[at : at + 64], None, over.set_result)
            async with asyncio.timeout(10):
                await over
        last = [Entry(seq + 1, "PUT", "/api/x/1", (), "/api/x/1", "/api/x", 1.0)]
        assert await all_of(journal.intent, last) == [None]
        await journal.close()
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def all_of(
    submit: Callable[[Entry, Callable[[TurnoutError | None], None]], None], entries: list[Entry]
) -> list[TurnoutError | None]:
    """What became of each."""
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[TurnoutError | None]] = [loop.create_future() for _ in entries]
    for entry, future in zip(entries, futures, strict=True):
        submit(entry, future.set_result)
    async with asyncio.timeout(10):
        return await asyncio.gather(*futures)
