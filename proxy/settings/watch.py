"""One file watched: its new text each time that its content changes, however the change was made.

Editors write a new file and rename it over the old one, Kubernetes swaps a symlink two folders up, NFS and some bind
mounts tell nobody at all. So events (watchfiles) only make it quick: a look twice a second decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import watchfiles

from proxy.limits import SETTINGS_BYTES_MAX

POLL_S = 0.4
"""Half a second with a slow disk: an edit acts within a second also where no event comes."""

SETTLE_S = 0.02
SETTLE_LOOKS_MAX = 10
"""A file that is being written is looked at again until it stands still, for at most a fifth of a second."""

Signature = tuple[int, int, int, int] | None


async def watch(
    path: Path, *, known: str | None = None, poll_s: float = POLL_S, events: bool = True
) -> AsyncGenerator[str]:
    """The text of ``path`` each time it differs from the last one, or from ``known`` at first.

    A file that is gone, or cannot be read now, yields nothing: what was read last stays. Ends when it is closed or
    cancelled. ``events=False`` polls only.
    """
    changed = asyncio.Event()
    async with _told(path, changed) if events else nullcontext():
        signature: Signature = None
        text = known
        while True:
            # An event is a reason to read also when the clock of the file system was too coarse to show a change.
            was_told = changed.is_set()
            changed.clear()
            latest = await asyncio.to_thread(_signature, path)
            if latest is not None and (was_told or latest != signature):
                signature, found = await _settled(path, latest)
                if found is not None and found != text:
                    text = found
                    yield found
            try:
                async with asyncio.timeout(poll_s):
                    await changed.wait()
            except TimeoutError:
                continue


def read_text(path: Path) -> str:
    """The file's text. Bytes that are not UTF-8 stay visible as what YAML refuses, so that the fault has a place.

    Raises OSError. No more is read than what ``load`` needs to see that there is too much.
    """
    with path.open("rb") as file:
        octets = file.read(4 * SETTINGS_BYTES_MAX + 1)
    return octets.decode("utf-8", "surrogateescape")


async def _settled(path: Path, signature: Signature) -> tuple[Signature, str | None]:
    """The text of a file that stood still around its reading; None where it cannot be read."""
    text: str | None = None
    for _ in range(SETTLE_LOOKS_MAX):
        # Not a wait for somebody: the time in which an editor may still be between two writes.
        await asyncio.sleep(SETTLE_S)
        before = await asyncio.to_thread(_signature, path)
        try:
            text = await asyncio.to_thread(read_text, path)
        except OSError:
            return None, None
        after = await asyncio.to_thread(_signature, path)
        if signature == before == after:
            return signature, text
        signature = after
    return signature, text


def _signature(path: Path) -> Signature:
    """What changes with the file: of the one that a symlink leads to."""
    try:
        found = path.stat()
    except OSError:
        return None
    # ctime too: a tool may set the mtime back, and one size can hold two texts.
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@asynccontextmanager
async def _told(path: Path, changed: asyncio.Event) -> AsyncGenerator[None]:
    """``changed`` is set at each event in the folders of the file, while the block runs."""
    folders = await asyncio.to_thread(_folders, path)
    stop = asyncio.Event()
    listener = asyncio.create_task(_listen(folders, changed, stop), name=f"events of {path}")
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(listener, return_exceptions=True)


def _folders(path: Path) -> set[Path]:
    """Where a change shows: beside the name, and beside the file that a symlink leads to."""
    return {path.absolute().parent, path.resolve().parent}


async def _listen(folders: set[Path], changed: asyncio.Event, stop: asyncio.Event) -> None:
    try:
        async for _ in watchfiles.awatch(
            *folders,
            watch_filter=None,
            debounce=50,
            step=10,
            stop_event=stop,
            recursive=False,
            rust_timeout=500,
        ):
            changed.set()
    except (OSError, RuntimeError):
        return  # no inotify here, none left, or the folder is gone: the polls go on
