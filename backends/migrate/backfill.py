"""Bring a secondary up to a past state of its primary while writes go on: nothing newer is ever overwritten.

S0 is the primary's watermark, taken *before* anything is read. Every record read is applied with ``at`` = S0 and without a
version, so that whatever the mirror brought after S0 stays. After a clean end the secondary holds nothing
older than S0: what the source did not have is swept, and the floor keeps late messages out. The argument, and the model that was checked, is in
the research on data at rest, section (c).
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final, cast

from backends.contract import canonical
from backends.migrate.client import Applied, Scope, VersionedUpstream, session
from backends.migrate.datafile import Part, Record, Rejected
from backends.migrate.faults import SourceFileError
from backends.migrate.pair import Pair
from backends.migrate.sources import BATCH_BYTES_MAX, FileSource, ServerSource, Source

BATCH_RECORDS: Final = 1000
REJECTS_SHOWN_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is. ``bytes_total`` 0: not known."""

    name: str
    records: int
    rejected: int
    bytes_read: int
    bytes_total: int


@dataclass(slots=True)
class Count:
    """What became of one collection or singleton."""

    records: int = 0
    applied: int = 0
    kept: int = 0
    """Records of which the secondary had a newer state already."""
    swept: int = 0
    """Records that the secondary had and the source did not."""

    def as_json(self) -> dict[str, int]:
        return {"records": self.records, "applied": self.applied, "kept": self.kept, "swept": self.swept}


@dataclass(slots=True)
class Report:
    """What a backfill did. Only a clean one swept and set floors; any other may be run again as it is."""

    watermark: int
    """S0."""
    counts: dict[str, Count] = field(default_factory=dict[str, Count])
    rejected: int = 0
    rejects: list[Rejected] = field(default_factory=list[Rejected])
    """The first REJECTS_SHOWN_MAX."""
    stopped: str = ""
    """Why the source could not be read to its end."""
    bytes_read: int = 0
    seconds: float = 0.0

    @property
    def is_clean(self) -> bool:
        return not self.rejected and not self.stopped

    @property
    def records(self) -> int:
        return sum(count.records for count in self.counts.values())

    def as_json(self) -> dict[str, Any]:
        return {
            "clean": self.is_clean,
            "watermark": self.watermark,
            "records": self.records,
            "collections": {name: count.as_json() for name, count in self.counts.items()},
            "rejected": self.rejected,
            "rejects": [{"place": one.place, "reason": one.reason} for one in self.rejects],
            "stopped": self.stopped or None,
            "bytes": self.bytes_read,
            "seconds": round(self.seconds, 3),
        }


async def backfill(
    source_file: Path | None,
    source_url: str,
    target_url: str,
    *,
    token: str = "",
    secure: Mapping[str, tuple[ssl.SSLContext, str]] | None = None,
    batch_records: int = BATCH_RECORDS,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Bring the secondary at ``target_url`` up to the primary at ``source_url``, from its data.json where one is given.

    ``secure`` says of an https URL how its certificate is verified, and for which name.
    A report that is not clean says what was rejected or why the reading stopped; nothing was swept then. Raises
    NotPairedError where the two are not primary and secondary of one epoch and journal, and the other errors of
    backends.migrate.faults where a server fails.
    """
    began_s = time.monotonic()
    async with session() as connections:
        known = secure or {}
        pair = Pair(
            VersionedUpstream(connections, source_url, token=token, secure=known.get(source_url)),
            VersionedUpstream(connections, target_url, token=token, secure=known.get(target_url)),
        )
        await pair.meet()
        held = (await pair.in_epoch(pair.source.catalog)).collections
        report = Report(await pair.in_epoch(pair.source.checkpoint))
        pair.demand_number(report.watermark)
        # The file is opened only now: the checkpoint made it hold all up to S0.
        with closing(_source(source_file, pair)) as source:
            run = _Run(pair, source, report, progress or _silent)
            try:
                await run.read(batch_records)
                run.demand_all(name for name, count in held.items() if count)
            except SourceFileError as error:
                report.stopped = str(error)
        if report.is_clean:
            await run.sweep()
    report.seconds = time.monotonic() - began_s
    return report


class _Run:
    """One backfill under way."""

    def __init__(
        self, pair: Pair, source: Source, report: Report, progress: Callable[[Progress], None]
    ) -> None:
        self._pair = pair
        self._source = source
        self._report = report
        self._progress = progress
        self._scopes: set[Scope] = set()

    async def read(self, batch_records: int) -> None:
        """Apply all that the source has."""
        report = self._report
        async for step in self._source.parts(batch_records):
            for part in step:
                if isinstance(part, Rejected):
                    self._reject(part)
                else:
                    self._scopes.add(part.scope)
                    report.counts.setdefault(part.scope.name, Count())
            for scope, records in _batches(step):
                await self._apply(scope, records)
            report.bytes_read = self._source.bytes_read
            name = step[-1].scope.name if step and not isinstance(step[-1], Rejected) else ""
            self._progress(
                Progress(
                    name, report.records, report.rejected, self._source.bytes_read, self._source.bytes_total
                )
            )

    def demand_all(self, names: Iterator[str]) -> None:
        """SourceFileError where the source lacks a collection that the primary held records of: it is another shop's file."""
        lacking = sorted(set(names) - {scope.name for scope in self._scopes})
        if lacking:
            raise SourceFileError(
                f"the source has no {', '.join(lacking)}, of which the primary holds records",
                "give the data.json that the primary itself writes",
            )

    async def sweep(self) -> None:
        """What the source did not have goes, and nothing older than S0 comes back."""
        pair, report = self._pair, self._report
        there = await pair.in_epoch(pair.target.catalog)
        read = {scope.name for scope in self._scopes if not scope.is_singleton}
        for name in sorted(read | set(there.collections)):
            swept = await pair.in_epoch(lambda name=name: pair.target.floor(name, report.watermark))
            report.counts.setdefault(name, Count()).swept += swept
        for name in there.singletons:
            scope = Scope(name, is_singleton=True)
            if scope not in self._scopes:
                gone = await self._send(scope, [_line(name, None, report.watermark)])
                report.counts.setdefault(name, Count()).swept += gone.applied

    async def _apply(self, scope: Scope, records: list[Record]) -> None:
        lines = [_line(record.id or scope.name, record.body, self._report.watermark) for record in records]
        answer = await self._send(scope, lines)
        count = self._report.counts[scope.name]
        count.records += len(records)
        count.applied += answer.applied
        count.kept += answer.kept
        for refused in answer.rejected:
            self._reject(_refused(scope, records, refused))

    async def _send(self, scope: Scope, lines: list[bytes]) -> Applied:
        return await self._pair.in_epoch(lambda: self._pair.target.apply(scope, lines))

    def _reject(self, rejected: Rejected) -> None:
        self._report.rejected += 1
        if len(self._report.rejects) < REJECTS_SHOWN_MAX:
            self._report.rejects.append(rejected)


def _source(source_file: Path | None, pair: Pair) -> Source:
    return ServerSource(pair) if source_file is None else FileSource(source_file)


def _batches(step: list[Part]) -> Iterator[tuple[Scope, list[Record]]]:
    """Runs of records of one collection, each of at most BATCH_BYTES_MAX (a single longer record goes alone)."""
    records = (part for part in step if isinstance(part, Record))
    for scope, run in groupby(records, key=lambda record: record.scope):
        batch: list[Record] = []
        size = 0
        for record in run:
            if batch and size + len(record.body) > BATCH_BYTES_MAX:
                yield scope, batch
                batch, size = [], 0
            batch.append(record)
            size += len(record.body)
        if batch:
            yield scope, batch


def _line(record_id: str, body: bytes | None, at: int) -> bytes:
    """A line of B2. The body goes in as its bytes are: they are the record."""
    what = b'"deleted":true' if body is None else b'"body":' + body
    return b'{"id":' + canonical.encode(record_id) + b"," + what + b',"at":' + str(at).encode() + b"}\n"


def _refused(scope: Scope, records: list[Record], refused: object) -> Rejected:
    """A line that the secondary refused: ``{"line": 3, "id": …, "reason": …}``, lines counted from 1."""
    told = cast("dict[str, Any]", refused) if isinstance(refused, dict) else {}
    line = told.get("line")
    record_id = told.get("id")
    if isinstance(line, int) and 1 <= line <= len(records):
        record_id = records[line - 1].id
    return Rejected(f"{scope.name}/{record_id}".rstrip("/"), str(told.get("reason", refused)))


def _silent(_progress: Progress) -> None:
    """Nobody looks."""
