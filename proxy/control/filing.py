"""The routing file as control writes it: one edit of several values, and what becomes of those that cannot be edited in place."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from proxy.journal.store import Override
from proxy.settings import edit
from proxy.settings.load import Settings, load
from proxy.settings.overrides import heard, laid_over, spoken
from proxy.settings.tree import CannotEditError

ALWAYS = "canary.always"


@dataclass(slots=True)
class Filed:
    """The text with every change that it can hold; the others, by path."""

    text: str
    overrides: dict[str, str] = field(default_factory=dict[str, str])


def in_force(
    text: str, env: Mapping[str, str], source: str, overrides: Iterable[Override]
) -> tuple[Settings, list[Override]]:
    """A text with the overrides that still stand, and those: an override ends when its value in the file resolves to something
    else than when it was made, or to what it says itself. SettingsError where the text is refused, or what comes of it. Pure."""
    filed = load(text, env, source)
    kept = [one for one in overrides if filed.filed(one.path) == one.file_value != one.value]
    if not kept:
        return filed, []
    return load(text, env, source, {one.path: one.value for one in kept}), kept


def with_changes(settings: Settings, changes: Mapping[str, str], match: tuple[str, str] | None) -> Filed:
    """``changes`` (dotted path → text) and a match put first in ``canary.always``, in the file's text as far as it can hold them.

    A scalar that contains ``${``, or that an anchor shares, becomes an override. Pure.
    """
    filed = Filed(settings.text)
    if match is not None:
        wanted = spoken(_with_match(settings, match))
        if ALWAYS in settings.overrides:
            filed.overrides[ALWAYS] = wanted
        else:
            try:
                filed.text = edit.put_always(filed.text, *match)
            except CannotEditError:
                filed.overrides[ALWAYS] = wanted
    for path, value in changes.items():
        try:
            # A scalar whose text is a word is written as that word.
            said = heard(value)
            filed.text = edit.set_scalar(
                filed.text, tuple(path.split(".")), said if isinstance(said, str) else value
            )
        except CannotEditError:
            filed.overrides[path] = value
    return filed


def only_overrides(settings: Settings, changes: Mapping[str, str], match: tuple[str, str] | None) -> Filed:
    """The same where the file cannot be written at all."""
    always = {} if match is None else {ALWAYS: spoken(_with_match(settings, match))}
    return Filed(settings.text, {**always, **changes})


def _with_match(settings: Settings, match: tuple[str, str]) -> list[object]:
    value = laid_over(settings.document.value, settings.overrides)
    canary = cast("dict[str, object]", value).get("canary") if isinstance(value, dict) else None
    always = cast("dict[str, object]", canary).get("always") if isinstance(canary, dict) else None
    there = cast("list[object]", always) if isinstance(always, list) else []
    new = {"header": match[0], "exact": match[1]}
    return there if new in there else [new, *there]


async def write(path: Path, text: str) -> None:
    """Whole or not at all, synced; a symbolic link keeps pointing where it did. OSError where it cannot be, or is not to be."""
    await asyncio.to_thread(_replace, path, text)


def _replace(path: Path, text: str) -> None:
    path = path.resolve()
    mode = path.stat().st_mode & 0o777
    if not mode & 0o222:
        # To root every file can be written; whoever took all rights to write away meant it.
        raise PermissionError(errno.EACCES, "is read-only")
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8", newline="") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
