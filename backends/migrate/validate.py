"""Prove that two upstreams hold the same records, byte for byte, while writes go on (P9).

Hashes of all records are compared in buckets, then the ids of the buckets that differ, then the bodies. A record that differs is
looked at again a few times before it counts, since the mirror may be bringing it. It counts as equal too once the secondary shows a
state that the primary was seen in since the validation began. Which of the two is right is not judged here.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from backends.contract.answers import key_of
from backends.migrate.client import Buckets, Scope, VersionedUpstream, session
from backends.migrate.diff import record_differences

DIFFERENCES_SHOWN_MAX: Final = 100
ROUNDS: Final = 5
ROUND_S: Final = 0.2
RECORDS_AT_ONCE: Final = 200
"""Records that are looked at again together; after DIFFERENCES_SHOWN_MAX real differences the rest is only counted."""

BUCKETS_ASKED_MAX: Final = 64
"""Where more buckets differ, the ids of the whole collection are asked for at once."""


@dataclass(slots=True)
class Compared:
    """One collection or singleton on both sides."""

    primary: int
    secondary: int
    buckets_differing: int

    def as_json(self) -> dict[str, int]:
        return {
            "primary": self.primary,
            "secondary": self.secondary,
            "buckets_differing": self.buckets_differing,
        }


@dataclass(slots=True)
class Suspect:
    """A record that differed when its hash was looked at."""

    scope: Scope
    id: str
    seen: set[bytes | None] = field(default_factory=set[bytes | None])
    """Digests of the states that the primary was in; None: there was none."""
    primary: bytes | None = None
    secondary: bytes | None = None

    async def is_equal(self, primary: VersionedUpstream, secondary: VersionedUpstream) -> bool:
        """Look at both once more."""
        self.primary = await primary.record(self.scope, self.id)
        self.seen.add(_digest(self.primary))
        self.secondary = await secondary.record(self.scope, self.id)
        return _digest(self.secondary) in self.seen

    def as_json(self) -> dict[str, object]:
        """How it differs, down to the field."""
        told: dict[str, object] = {"collection": self.scope.name, "id": self.id}
        if self.secondary is None:
            return {**told, "kind": "missing"}
        if self.primary is None:
            return {**told, "kind": "extra"}
        fields = record_differences(self.primary, self.secondary)
        return {**told, "kind": "differs", "fields": [one.as_json() for one in fields]}


@dataclass(slots=True)
class Findings:
    """What a validation found."""

    collections: dict[str, Compared] = field(default_factory=dict[str, Compared])
    compared: int = 0
    differences: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    different: int = 0
    not_looked_at: int = 0
    """Records whose hashes differed, and that were not looked at any further."""
    in_flight: int = 0
    """Records that differed at first and were equal soon after."""

    @property
    def is_equal(self) -> bool:
        return not self.different and not self.not_looked_at

    def as_json(self) -> dict[str, Any]:
        return {
            "equal": self.is_equal,
            "compared": self.compared,
            "collections": {name: one.as_json() for name, one in self.collections.items()},
            "differences": self.differences,
            "different": self.different,
            "not_looked_at": self.not_looked_at,
            "in_flight": self.in_flight,
        }


async def validate_upstreams(
    primary_url: str,
    secondary_url: str,
    *,
    token: str,
    epoch: str,
    secure: Mapping[str, tuple[ssl.SSLContext, str]] | None = None,
) -> Mapping[str, object]:
    """Compare every record of both; the shape is that of proxy.ports.Validator.

    ``secure`` says of an https URL how its certificate is verified, and for which name. ``epoch`` is the value of Turnout-Epoch: a switch meanwhile ends it with StaleEpochError. Raises the errors of
    backends.migrate.faults where one of the two does not answer.
    """
    async with session() as connections:
        known = secure or {}
        primary, secondary = (
            VersionedUpstream(connections, url, token=token, epoch=epoch, secure=known.get(url))
            for url in (primary_url, secondary_url)
        )
        findings = Findings()
        suspects: list[Suspect] = []
        for scope in await _scopes(primary, secondary):
            suspects += await _suspects(scope, primary, secondary, findings)
        await _look_again(suspects, primary, secondary, findings)
        return findings.as_json()


async def differing_keys(
    primary_url: str,
    secondary_url: str,
    *,
    token: str,
    epoch: str,
    secure: Mapping[str, tuple[ssl.SSLContext, str]] | None = None,
) -> list[str]:
    """Every key whose record's hash differs, at one look; the shape is that of proxy.ports.Differ. Ids are held in memory, no records."""
    async with session() as connections:
        known = secure or {}
        primary, secondary = (
            VersionedUpstream(connections, url, token=token, epoch=epoch, secure=known.get(url))
            for url in (primary_url, secondary_url)
        )
        findings = Findings()
        keys: list[str] = []
        for scope in await _scopes(primary, secondary):
            place = ("", scope.name) if scope.is_singleton else (scope.name, None)
            suspects = await _suspects(scope, primary, secondary, findings)
            keys += [key_of(place[0], place[1] or suspect.id) for suspect in suspects]
        return keys


async def _scopes(primary: VersionedUpstream, secondary: VersionedUpstream) -> list[Scope]:
    """All that either of the two has, by name."""
    catalogs = await asyncio.gather(primary.catalog(), secondary.catalog())
    scopes = {Scope(name) for catalog in catalogs for name in catalog.collections}
    scopes |= {Scope(name, is_singleton=True) for catalog in catalogs for name in catalog.singletons}
    return sorted(scopes, key=lambda scope: (scope.name, scope.is_singleton))


async def _suspects(
    scope: Scope, primary: VersionedUpstream, secondary: VersionedUpstream, findings: Findings
) -> list[Suspect]:
    """The records of one collection whose hashes differ. None: each record of both was equal when its bucket was read."""
    left, right = await asyncio.gather(primary.buckets(scope), secondary.buckets(scope))
    buckets = _differing(left, right)
    findings.collections[_unused(scope, findings)] = Compared(left.count, right.count, len(buckets))
    findings.compared += max(left.count, right.count)
    if not buckets:
        return []
    if scope.is_singleton:
        return [Suspect(scope, "")]
    wanted = buckets if len(buckets) <= BUCKETS_ASKED_MAX else None
    ours, theirs = await asyncio.gather(primary.ids(scope, wanted), secondary.ids(scope, wanted))
    ids = [record_id for record_id, digest in ours.items() if theirs.get(record_id) != digest]
    ids += [record_id for record_id in theirs if record_id not in ours]
    return [Suspect(scope, record_id) for record_id in ids]


def _differing(left: Buckets, right: Buckets) -> list[str]:
    """The buckets that are not equal; one that is left out holds nothing."""
    names = left.buckets.keys() | right.buckets.keys()
    return sorted((name for name in names if left.buckets.get(name) != right.buckets.get(name)), key=int)


async def _look_again(
    suspects: list[Suspect], primary: VersionedUpstream, secondary: VersionedUpstream, findings: Findings
) -> None:
    """Each suspect becomes a difference, or was in flight; beyond DIFFERENCES_SHOWN_MAX differences the rest is only counted."""
    for place in range(0, len(suspects), RECORDS_AT_ONCE):
        if findings.different >= DIFFERENCES_SHOWN_MAX:
            findings.not_looked_at = len(suspects) - place
            return
        group = suspects[place : place + RECORDS_AT_ONCE]
        left = await _still_different(group, primary, secondary)
        findings.in_flight += len(group) - len(left)
        findings.different += len(left)
        room = DIFFERENCES_SHOWN_MAX - len(findings.differences)
        findings.differences += [suspect.as_json() for suspect in left[:room]]


async def _still_different(
    group: list[Suspect], primary: VersionedUpstream, secondary: VersionedUpstream
) -> list[Suspect]:
    """Those that differ in each of ROUNDS looks."""
    for round_ in range(ROUNDS):
        if round_:
            await asyncio.sleep(ROUND_S)
        equal = await asyncio.gather(*(suspect.is_equal(primary, secondary) for suspect in group))
        group = [suspect for suspect, is_equal in zip(group, equal, strict=True) if not is_equal]
        if not group:
            break
    return group


def _unused(scope: Scope, findings: Findings) -> str:
    """The name in the report: one that is a collection here and a singleton there shows up twice."""
    return f"{scope.name} (singleton)" if scope.name in findings.collections else scope.name


def _digest(body: bytes | None) -> bytes | None:
    return None if body is None else hashlib.sha256(body).digest()
