"""Every command of the README and of the migration guide, typed as it stands there, against real processes."""

import asyncio
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from tests.support.documents import BIN, ROOT, blocks, free_port_base, shell

NOT_RUN_HERE = {"make run", "make test"}
"""What these do is tested elsewhere; to run the tests from a test would never end."""

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


@pytest.mark.parametrize("name", ["README.md", "docs/migration-guide.md"])
def test_no_command_is_shown_that_is_not_tried(name: str):
    untried = {
        re.sub(r"\s+#.*", "", step.command)
        for block in blocks(read(name))
        if not block.kind
        for step in block.steps
    }
    assert untried - NOT_RUN_HERE == set()
    assert sum(len(block.steps) for block in blocks(read(name)) if block.kind) > 8


@pytest.mark.slow
@needs_curl
async def test_the_readme_s_commands_do_what_it_says(tmp_path: Path):
    base = free_port_base()
    demo = await asyncio.create_subprocess_exec(
        str(BIN / "turnout"), "demo", "--dir", str(tmp_path / "data"), "--port-base", str(base),
        cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, start_new_session=True,
        env={name: value for name, value in os.environ.items() if not name.startswith(("TURNOUT_", "DATA", "DUAL"))},
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            said = await until_ready(demo)
        assert "ready in" in said, said
        (tmp_path / "config").mkdir()
        shutil.copy(tmp_path / "data" / "routing.yaml", tmp_path / "config" / "routing.yaml")
        async with shell(tmp_path, base) as typed:
            for block in blocks(read("README.md")):
                if block.kind:
                    await typed.run(block)
        demo.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            assert await demo.wait() == 0
    finally:
        if demo.returncode is None:
            os.killpg(demo.pid, signal.SIGKILL)
            await demo.wait()


async def until_ready(demo: asyncio.subprocess.Process) -> str:
    assert demo.stdout is not None
    said = ""
    while "ready in" not in said:
        line = await demo.stdout.readline()
        if not line:
            return said
        said += line.decode(errors="replace")
    return said


@pytest.mark.slow
@needs_curl
async def test_the_migration_guide_s_commands_do_what_it_says(tmp_path: Path):
    for name in ("assets/data/data.json", "config/routing.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    base = free_port_base()
    # The shipped routing.yaml names the ports by default; a reader's environment would too.
    routing = tmp_path / "config" / "routing.yaml"
    routing.write_text(re.sub(r":300([0-3])", lambda found: f":{base + int(found[1])}", routing.read_text()))
    async with shell(tmp_path, base) as typed:
        for block in blocks(read("docs/migration-guide.md")):
            assert block.kind in {"tried", "runs"}
            await typed.run(block)
