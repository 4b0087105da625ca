"""The embedded PostgreSQL: its folder, its port, and how it ends."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from backends.embedded import EmbeddedPostgres
from backends.embedded_launch import Launcher, Way, choose_launcher, unsearchable
from backends.errors import StartError

pytestmark = pytest.mark.slow

PARENT = """
import asyncio, sys
from pathlib import Path
from backends.embedded import EmbeddedPostgres

async def main():
    server = EmbeddedPostgres(Path(sys.argv[1]))
    print(await server.start(), server.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def ended(pid: int) -> None:
    """Wait until the process is gone or a zombie."""
    async with asyncio.timeout(10):
        while True:
            try:
                if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    return
            except OSError:
                return
            await asyncio.sleep(0.01)


async def answer(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_the_database_is_made_in_utf8_with_the_order_of_bytes_and_safe_settings(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "pg", database="a shop") as server:
        url = f"postgresql://turnout:{(tmp_path / 'pg' / 'password').read_text().strip()}@127.0.0.1:{server.port}/a%20shop"
        assert await answer(url, "show server_encoding") == "UTF8"
        assert (
            await answer(
                url, "select datcollate || datname from pg_database where datname = current_database()"
            )
            == "Ca shop"
        )
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            assert await answer(url, f"show {setting}") == "on"


async def test_only_the_one_who_has_the_password_gets_in(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg")
    try:
        url = await server.start()
        assert stat.S_IMODE((tmp_path / "pg" / "password").stat().st_mode) == 0o600
        password = (tmp_path / "pg" / "password").read_text().strip()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(url.replace(password, "guess"))
    finally:
        await server.stop()


async def test_data_and_password_are_there_at_the_next_start(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg")
    try:
        url = await server.start()
        await answer(url, "create table kept as select 42 as n")
        await server.stop()
        assert server.pid is None
        again = await server.start()
        assert again.split("@")[0] == url.split("@")[0]
        assert await answer(again, "select n from kept") == 42
    finally:
        await server.stop()


async def test_a_server_killed_with_all_its_processes_starts_again(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg")
    try:
        url = await server.start()
        await answer(url, "create table kept as select 42 as n")
        assert server.pid is not None
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        for pid in (server.pid, *map(int, children)):
            os.kill(pid, signal.SIGKILL)
        assert await server.wait() == -signal.SIGKILL
        await server.stop()
        assert (tmp_path / "pg" / "data" / "postmaster.pid").exists(), "kill -9 leaves it behind"
        assert await answer(await server.start(), "select n from kept") == 42
    finally:
        await server.stop()


async def test_the_start_waits_for_what_a_killed_server_left_running(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg")
    try:
        await server.start()
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        await server.stop()
        await server.start()
    finally:
        await server.stop()


async def test_a_pid_file_that_names_a_foreign_process_does_not_stop_the_start(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg")
    try:
        await server.start()
        await server.stop()
        (tmp_path / "pg" / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n/nowhere\n")
        await server.start()
    finally:
        await server.stop()


async def test_a_second_server_on_the_folder_is_refused_with_the_first_ones_pid(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "pg") as server:
        with pytest.raises(StartError, match=f"process {server.pid}"):
            await EmbeddedPostgres(tmp_path / "pg").start()


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"Port {port} on 127.0.0.1 is in use"):
            await EmbeddedPostgres(tmp_path / "pg", port=port).start()


async def test_the_server_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "pg")], stdout=subprocess.PIPE, cwd=root
    )
    try:
        assert parent.stdout is not None
        line = await asyncio.to_thread(parent.stdout.readline)
        pid = int(line.split()[1])
        parent.kill()
        parent.wait()
        await ended(pid)
        async with EmbeddedPostgres(tmp_path / "pg") as server:
            assert server.pid != pid
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


async def test_a_lost_password_is_named_and_the_data_left_alone(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "pg"):
        pass
    (tmp_path / "pg" / "password").unlink()
    with pytest.raises(StartError, match="password is missing"):
        await EmbeddedPostgres(tmp_path / "pg").start()
    assert (tmp_path / "pg" / "data" / "PG_VERSION").exists()


async def test_an_initialisation_that_was_cut_short_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "pg" / "data.new" / "base").mkdir(parents=True)
    (tmp_path / "pg" / "password").write_text("secret\n")
    server = EmbeddedPostgres(tmp_path / "pg")
    try:
        assert ":secret@" in await server.start()
        assert not (tmp_path / "pg" / "data.new").exists()
    finally:
        await server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as somebody else")
class TestWithoutNamespaces:
    """Root where user namespaces are forbidden: PostgreSQL runs as nobody."""

    @pytest.fixture
    def launcher(self) -> Launcher:
        found = choose_launcher()
        return Launcher(Way.NOBODY, found.setpriv, None)

    async def test_a_folder_that_nobody_cannot_search_is_named(
        self, tmp_path: Path, launcher: Launcher
    ) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        named = unsearchable(closed / "pg")
        with pytest.raises(StartError, match=f"cannot search {named}"):
            await EmbeddedPostgres(closed / "pg", launcher=launcher).start()

    async def test_the_server_runs_as_nobody_and_its_data_is_his(self, launcher: Launcher) -> None:
        import tempfile

        with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
            Path(name).chmod(0o755)
            if unsearchable(Path(name) / "pg") is not None:
                pytest.skip("the folders above are closed to nobody")
            async with EmbeddedPostgres(Path(name) / "pg", launcher=launcher) as server:
                assert Path(f"/proc/{server.pid}").stat().st_uid == 65534
                assert (Path(name) / "pg" / "data").stat().st_uid == 65534
