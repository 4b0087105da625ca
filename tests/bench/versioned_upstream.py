"""A cheap versioned upstream: ``python -m tests.bench.versioned_upstream PORT``.

It keeps as much of docs/protocol.md as a mirror needs (E1–E3, W1's numbers, W2, V1, R1, M1, M2), in memory and for bodies that
are JSON objects, so that in a measurement the proxy is what is measured. It forgets everything when it ends: never a store.
``GET /_bench/count`` says how many writes it took, and how many of them were replays and repairs.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import cast

import uvloop

_HEADER = re.compile(rb"\n(content-length|turnout-[a-z]+): ?([^\r]*)", re.IGNORECASE)
_ID = re.compile(rb',"id":(?:"?([A-Za-z0-9_-]+)"?)\}$')


class Store:
    """Records of every collection by path: the body after the id, and the version."""

    def __init__(self) -> None:
        self.records: dict[str, tuple[bytes, int | None, int]] = {}
        self.epoch, self.role, self.journal, self.number = 0, "none", "", 0
        self.next_id = 0
        self.decided: dict[int, tuple[str, int]] = {}
        self.counts = {"writes": 0, "replays": 0, "repairs": 0, "refused": 0}
        self._last = b""

    def kept(self, rest: bytes) -> bytes:
        """Load generators say the same again: one copy is enough."""
        if rest != self._last:
            self._last = rest
        return self._last

    def take_number(self) -> int:
        self.number += 1
        return self.number


def _answer(status: bytes, body: bytes, extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n%b" % (
        status,
        len(body),
        extra,
        body,
    )


def _problem(status: bytes, code: bytes) -> bytes:
    return _answer(status, b'{"code":"%b"}' % code)


class Connection(asyncio.Protocol):
    """One request at a time; a request may come in several reads."""

    __slots__ = ("_buffer", "_store", "_transport")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            headers = {name.lower(): value for name, value in _HEADER.findall(data, 0, end)}
            body_at = end + 4
            size = body_at + int(headers.get(b"content-length", b"0"))
            if len(data) >= size:
                self._buffer = b""
                method, target, _ = data[: data.index(b"\r\n")].split(b" ")
                self._transport.write(self._serve(method, target.decode(), headers, data[body_at:size]))
                if len(data) > size:
                    self.data_received(data[size:])
                return
        self._buffer = data

    def _serve(self, method: bytes, path: str, headers: dict[bytes, bytes], body: bytes) -> bytes:
        store = self._store
        if path.startswith("/_"):
            return self._tell(path, body)
        if method in (b"GET", b"HEAD"):
            return self._read(path)
        mirror = headers.get(b"turnout-mirror")
        if mirror is not None and store.role != "secondary":
            return _problem(b"409 Conflict", b"stale-epoch")
        match mirror:
            case b"replay":
                return self._replay(method, path, headers, body)
            case b"repair":
                return self._repair(method, path, headers, body)
            case _:
                return self._write(method, path, headers, body)

    # -- writes ------------------------------------------------------------------------------------

    def _write(self, method: bytes, path: str, headers: dict[bytes, bytes], body: bytes) -> bytes:
        store = self._store
        store.counts["writes"] += 1
        status = b"200 OK"
        if method == b"POST":
            store.next_id += 1
            path = f"{path}/{store.next_id}"
            status = b"201 Created"
        old = store.records.get(path)
        base = b"none" if old is None else b"unknown" if old[1] is None else b"%d" % old[1]
        number = store.take_number()
        rest = store.kept(body[1:])
        store.records[path] = (rest, number, number)
        request = headers.get(b"turnout-request")
        if request is not None:
            store.decided[int(request.partition(b";")[0])] = (path, number)
        location = b"Location: %b\r\n" % path.encode() if method == b"POST" else b""
        said = b"%bTurnout-Version: %d; base=%b\r\n" % (location, number, base)
        return _answer(status, _body(path, rest), said)

    def _replay(self, method: bytes, path: str, headers: dict[bytes, bytes], body: bytes) -> bytes:
        store = self._store
        version, _, base = headers[b"turnout-version"].partition(b"; base=")
        found = _ID.search(body)
        if method == b"POST":
            if found is None:
                return _problem(b"400 Bad Request", b"bad-json")
            path = f"{path}/{found[1].decode()}"
        old = store.records.get(path)
        if (base == b"none") != (old is None) or (old is not None and b"%d" % (old[1] or 0) != base):
            store.counts["refused"] += 1
            return _problem(b"409 Conflict", b"version-conflict")
        store.counts["replays"] += 1
        number = int(version)
        rest = store.kept(body[1 : found.start()] + b"}" if found is not None else body[1:])
        store.records[path] = (rest, number, number)
        return _answer(b"201 Created" if method == b"POST" else b"200 OK", _body(path, rest))

    def _repair(self, method: bytes, path: str, headers: dict[bytes, bytes], body: bytes) -> bytes:
        store = self._store
        version, _, at = headers[b"turnout-version"].partition(b"; at=")
        old = store.records.get(path)
        if old is None or int(at) >= old[2]:
            store.counts["repairs"] += 1
            if method == b"DELETE":
                store.records.pop(path, None)
            else:
                rest = body[body.index(b",") + 1 :]
                store.records[path] = (rest, None if version == b"none" else int(version), int(at))
        return _answer(b"200 OK", body or b"{}")

    def _read(self, path: str) -> bytes:
        store = self._store
        record = store.records.get(path)
        if record is None:
            return _answer(b"404 Not Found", b"{}", b"Turnout-Version: none; at=%d\r\n" % store.number)
        rest, version, at = record
        said = b"Turnout-Version: %b; at=%d\r\n" % (
            b"none" if version is None else b"%d" % version,
            max(at, store.number) if store.role != "secondary" else at,
        )
        return _answer(b"200 OK", _body(path, rest), said)

    # -- the protocol's own paths ------------------------------------------------------------------

    def _tell(self, path: str, body: bytes) -> bytes:
        store = self._store
        if path == "/_bench/count":
            return _answer(b"200 OK", json.dumps(store.counts).encode())
        if path == "/_turnout/epoch":
            if body:
                told = json.loads(body)
                store.epoch, store.role, store.journal = told["epoch"], told["role"], told["journal"]
                store.number = max(store.number, store.epoch << 40)
            known = {
                "turnout": 1, "epoch": store.epoch, "role": store.role, "journal": store.journal or None,
                "number": store.number, "counters": {},
            }  # fmt: skip
            return _answer(b"200 OK", json.dumps(known).encode())
        if path == "/_turnout/void":
            done = store.decided.get(json.loads(body)["request"])
            said = (
                {"state": "never"} if done is None else {"state": "done", "key": done[0], "version": done[1]}
            )
            return _answer(b"200 OK", json.dumps(said).encode())
        return _answer(b"404 Not Found", b"{}")


def _body(path: str, rest: bytes) -> bytes:
    return b'{"id":"%b",%b' % (path.rpartition("/")[2].encode(), rest)


async def main() -> None:
    store = Store()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(store), "127.0.0.1", int(sys.argv[1]), backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
