"""Makes .venv what this checkout needs: once, under a lock, and without asking a package index when nothing changed.

    python3 .ci/venv.py run|dev

``run`` holds what `turnout` needs, ``dev`` the tests and checks too (and so serves for ``run``). What it was made from
(pyproject.toml, constraints.txt, the interpreter, this folder) is written to a stamp inside it: a fresh stamp means
that there is nothing to do. Two at once wait for each other. Only the standard library, for it runs before anything.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv"
LOCK = ROOT / ".venv.lock"
PYTHON_LEAST = (3, 11)
KINDS = {"run": ".", "dev": ".[dev]"}
MADE_FROM = ("pyproject.toml", "constraints.txt", ".ci/venv.py")


def fingerprint() -> str:
    """Of all that the environment is made from; a moved checkout needs a new one, as its scripts hold paths."""
    digest = hashlib.sha256(f"{ROOT}\n{sys.version}\n{sys.base_prefix}\n".encode())
    for name in MADE_FROM:
        digest.update((ROOT / name).read_bytes() + b"\0")
    return digest.hexdigest()


def is_fresh(kind: str, wanted: str) -> bool:
    """Whether a stamp says that it was made from the same, for this kind or for ``dev``, which holds both."""
    python = FOLDER / "bin" / "python"
    if not python.exists():
        return False
    for name in {kind, "dev"}:
        stamp = FOLDER / f"made-for-{name}"
        if stamp.is_file() and stamp.read_text() == wanted:
            return True
    return False


def make(kind: str, wanted: str) -> None:
    """Create what is missing, install, stamp. The stamps go first: a broken install leaves none behind."""
    for name in KINDS:
        (FOLDER / f"made-for-{name}").unlink(missing_ok=True)
    if not belongs_here():
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(FOLDER)], check=False)
        if made.returncode:
            sys.exit(
                f"{sys.executable} -m venv failed (its message is above); on Debian: apt-get install python3-venv"
            )
    # The build tools are pinned with the rest and used as they lie there: nothing is downloaded beside the pins.
    install("hatchling", "editables")
    install("--no-build-isolation", "-e", KINDS[kind])
    (FOLDER / f"made-for-{kind}").write_text(wanted)


def belongs_here() -> bool:
    """Whether the folder is a working environment of this interpreter."""
    python = FOLDER / "bin" / "python"
    if not python.exists():
        return False
    probe = [str(python), "-c", "import sys, pip; print(sys.version, sys.base_prefix, sys.prefix, sep='|')"]
    found = subprocess.run(probe, capture_output=True, text=True, check=False)
    return found.stdout.strip() == "|".join((sys.version, sys.base_prefix, str(FOLDER)))


def install(*what: str) -> None:
    pip = [str(FOLDER / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    done = subprocess.run([*pip, "-c", "constraints.txt", *what], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(
            "pip could not install (its message is above); nothing runs until it has: is the package index reachable?"
        )


def main(arguments: list[str]) -> None:
    if len(arguments) != 1 or arguments[0] not in KINDS:
        sys.exit("usage: python3 .ci/venv.py {}".format("|".join(KINDS)))
    if sys.version_info < PYTHON_LEAST:
        sys.exit(
            "Turnout needs Python {}.{} or newer; {} is {}. Choose another: make PYTHON=python3.12 …".format(
                *PYTHON_LEAST, sys.executable, sys.version.split()[0]
            )
        )
    kind = arguments[0]
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = fingerprint()
        if is_fresh(kind, wanted):
            return
        print(f"making .venv for {kind} with {sys.executable} …", file=sys.stderr, flush=True)
        # A dev environment stays one: to take its tools away would only make the next `make test` slow.
        make("dev" if (FOLDER / "bin" / "pytest").exists() and belongs_here() else kind, wanted)


if __name__ == "__main__":
    os.umask(os.umask(0) | 0o022)
    main(sys.argv[1:])
