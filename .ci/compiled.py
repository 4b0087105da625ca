"""`make compiled`: the proxy with its hot path as native code, in build/compiled, from the sources as they are now.

mypyc (part of mypy) compiles the modules that pyproject.toml names; nothing else differs. Built from a copy, for it leaves its
libraries beside the sources, where Python would take them instead of an edited module. Needs a C compiler.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / "build" / "compiling"
TARGET = ROOT / "build" / "compiled"
NEEDED = ("proxy", "backends", "assets", "config", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md")
TOOLS = ("hatchling", "hatch-mypyc", "mypy", "setuptools")


def main() -> None:
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        sys.exit("make compiled needs a C compiler; on Debian: apt-get install gcc python3-dev")
    for folder in (COPY, TARGET):
        shutil.rmtree(folder, ignore_errors=True)
    COPY.mkdir(parents=True)
    for name in NEEDED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, COPY / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    run([*pip, "-c", str(ROOT / "constraints.txt"), *TOOLS])
    environment = {**os.environ, "HATCH_BUILD_HOOK_ENABLE_MYPYC": "1"}
    run([*pip, "--no-build-isolation", "--no-deps", "--target", str(TARGET), str(COPY)], environment)
    shutil.rmtree(COPY)
    print(
        f"{TARGET.relative_to(ROOT)} is ready: PYTHONPATH={TARGET.relative_to(ROOT)} .venv/bin/turnout proxy …"
    )


def run(command: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    if done.returncode:
        sys.exit("make compiled failed (the message is above)")


if __name__ == "__main__":
    main()
