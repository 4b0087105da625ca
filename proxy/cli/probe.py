"""``turnout check FILE --probe``: what both upstreams of a routing.yaml are, and which promises hold with them.

Asks with GET and OPTIONS alone: nothing is written anywhere. What only a write would show (whether a server keeps a
given id, say) is told as unknown, with what will happen if it does not.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from proxy.errors import UpstreamError
from proxy.kinds import Kind, Kinds, kind_shown
from proxy.mirror.listing import next_page, rows_of
from proxy.model import Reply, Route, Snapshot, key_segment
from proxy.ports import Sender
from proxy.protocol import EPOCH_PATH, path_of
from proxy.sender import HttpSender

PROBE_TIMEOUT_S = 5.0
PROMISES = {
    Kind.VERSIONED: "P1 to P9 hold in full",
    Kind.PLAIN: "P4 and P7 by time, not by numbers; P9 (validate) reports; a switch: not yet",
    Kind.UNKNOWN: "nothing is mirrored while it does not say what it is",
}


@dataclass(slots=True)
class Found:
    """One upstream, as it showed itself."""

    upstream: str
    kind: Kind
    facts: list[tuple[str, bool | None, str]] = field(default_factory=list[tuple[str, bool | None, str]])
    """What was asked, whether it is as the mirror needs it (None: it cannot be told without a write), and in words."""

    @property
    def is_fit(self) -> bool:
        return self.kind is not Kind.UNKNOWN and all(ok is not False for _, ok, _ in self.facts)

    def as_json(self) -> dict[str, object]:
        return {
            "upstream": self.upstream,
            "kind": str(self.kind),
            "promises": PROMISES[self.kind],
            "facts": [{"asked": asked, "ok": ok, "detail": detail} for asked, ok, detail in self.facts],
        }

    def lines(self) -> list[str]:
        marks = {True: "yes", False: "NO", None: "?"}
        told = [f"{self.upstream}: {self.kind}: {PROMISES[self.kind]}"]
        return told + [f"  {marks[ok]:4}{asked}: {detail}" for asked, ok, detail in self.facts]


async def probe_upstreams(snapshot: Snapshot, token: str) -> list[Found]:
    """Both upstreams of a routing, the one after the other. ``token``: TURNOUT_MIRROR_TOKEN, which a plain one is not sent."""
    kinds = Kinds()
    sender = HttpSender(snapshot.upstream, token=token, is_plain=kinds.is_plain)
    credentials = snapshot.mirror.given_credentials
    try:
        return [
            await _Probe(upstream.name, sender, kinds, credentials).run(collections_of(snapshot.routes))
            for upstream in snapshot.upstreams
        ]
    finally:
        await sender.close()


def collections_of(routes: Sequence[Route]) -> list[str]:
    """The collections that routes name themselves: templates with nothing but the record's own segment left open."""
    found: dict[str, None] = {}
    for route in routes:
        segments = route.template.segments[:-1] if route.template is not None else ()
        literal = [one for one in segments if one is not None]
        if literal and len(literal) == len(segments):
            found["/" + "/".join(literal)] = None
        elif (
            route.template is not None
            and route.is_exact is False
            and route.prefix.count("/") == len(segments)
        ):
            found[route.prefix] = None
    return list(found)


class _Probe:
    def __init__(
        self, upstream: str, sender: Sender, kinds: Kinds, credentials: list[tuple[str, str]]
    ) -> None:
        self._kinds = kinds
        self._upstream = upstream
        self._sender = sender
        self._credentials = credentials

    async def run(self, collections: list[str]) -> Found:
        found = Found(self._upstream, Kind.UNKNOWN)
        try:
            reply = await self._sender.send(
                self._upstream, "GET", EPOCH_PATH, self._credentials, timeout_s=PROBE_TIMEOUT_S
            )
            found.kind, epoch = kind_shown(reply.status, reply.body, was_versioned=False)
            self._kinds.shown(self._upstream, found.kind)
            if epoch is not None:
                owner = f", journal {epoch.journal}" if epoch.journal else ", of no journal yet"
                found.facts.append(
                    ("keeps the protocol", True, f"epoch {epoch.epoch}, role {epoch.role}{owner}")
                )
                return found
            if found.kind is Kind.UNKNOWN:
                found.facts.append(
                    (
                        "says what it is",
                        False,
                        f"GET {EPOCH_PATH} is answered {reply.status}; 404 would say plain",
                    )
                )
                return found
            for collection in collections:
                await self._collection(found, collection)
            if not collections:
                found.facts.append(
                    ("lists its records", None, "no route's key names a collection: a bulk write shows it")
                )
            found.facts.append(
                (
                    "keeps a given id",
                    None,
                    "only a POST shows it; where it does not, each new record is a dead letter",
                )
            )
        except UpstreamError as error:
            found.facts.append(("answers", False, error.message))
        return found

    async def _collection(self, found: Found, path: str) -> None:
        """Its list, one record of it, and a record that is not there."""
        target = path_of(path)
        reply = await self._ask("GET", target)
        rows = rows_of(reply.body) if reply.status == 200 else None
        if rows is None:
            detail = f"GET {path} is answered {reply.status}, no JSON list of objects with ids: a bulk write leaves a gap mark"
            found.facts.append((f"lists {path}", False, detail))
        else:
            more = ", and names the next page" if next_page(target, reply.header("link")) else ""
            found.facts.append((f"lists {path}", True, f"{len(rows)} records{more}"))
        missing = await self._ask("GET", f"{target}/turnout-probe-{secrets.token_hex(6)}")
        found.facts.append(
            (
                "says that a record is missing",
                missing.status in (404, 410),
                f"GET of an id that cannot be there is answered {missing.status}",
            )
        )
        if rows:
            await self._record(found, f"{target}/{path_of(key_segment(rows[0]))}", rows[0])

    async def _record(self, found: Found, target: str, record_id: str) -> None:
        reply = await self._ask("GET", target)
        try:
            shown = (
                msgspec.json.decode(reply.body, type=dict[str, msgspec.Raw]) if reply.status == 200 else None
            )
        except msgspec.MsgspecError:
            shown = None
        found.facts.append(
            (
                "shows a record by its id",
                shown is not None and "id" in shown,
                f"GET of {record_id} is answered {reply.status}{'' if shown else ', and no JSON object'}",
            )
        )
        allowed = (await self._ask("OPTIONS", target)).header("allow")
        if allowed is None:
            found.facts.append(
                ("takes PUT and DELETE", None, "OPTIONS names no methods: only a write shows it")
            )
            return
        methods = {one.strip().upper() for one in allowed.split(",")}
        found.facts.append(("takes PUT and DELETE", {"PUT", "DELETE"} <= methods, f"it allows {allowed}"))

    async def _ask(self, method: str, target: str) -> Reply:
        return await self._sender.send(
            self._upstream, method, target, self._credentials, timeout_s=PROBE_TIMEOUT_S
        )
