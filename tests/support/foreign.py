"""Three small servers that know nothing of Turnout: plain upstreams, with ways of their own. Each is one process, one file of records.

``python -m tests.support.foreign KIND PORT FILE BASE``; it prints a `ready` line, and keeps its records in FILE, so that it may be killed.
BASE is "" or the folder in which its collections lie.

- ``strict``: no idempotency keys, no PUT on a missing record (404), POST honours a given id. Answers are JSON with spaces, fields
  sorted. `DELETE /items?color=x` deletes many. `POST /ping` changes nothing and names nothing. `POST /upload` takes any body.
- ``renumbering``: like strict, but every POST gets the server's own next number as its id.
- ``abbreviating``: like strict, but its list shows only the ids.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

SLOW = "X-Slow-Seconds"
"""A request with it is executed at once, and answered only after so long."""


class Foreign:
    def __init__(self, file: Path, *, renumbers: bool, abbreviates: bool) -> None:
        self.abbreviates = abbreviates
        self.file = file
        self.renumbers = renumbers
        self.collections: dict[str, dict[str, dict[str, Any]]] = (
            json.loads(file.read_text()) if file.exists() else {"items": {}}
        )
        self.last = max(
            (int(one) for rows in self.collections.values() for one in rows if one.isdigit()), default=0
        )

    def save(self) -> None:
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps(self.collections))
        os.replace(fresh, self.file)

    def app(self, base: str) -> web.Application:
        app = web.Application()
        app.router.add_post("/ping", self.ping)
        app.router.add_get(f"{base}/{{collection}}", self.list)
        app.router.add_post(f"{base}/{{collection}}", self.create)
        app.router.add_delete(f"{base}/{{collection}}", self.delete_many)
        app.router.add_get(f"{base}/{{collection}}/{{id}}", self.get)
        app.router.add_put(f"{base}/{{collection}}/{{id}}", self.put)
        app.router.add_patch(f"{base}/{{collection}}/{{id}}", self.patch)
        app.router.add_delete(f"{base}/{{collection}}/{{id}}", self.delete)
        return app

    def rows(self, request: web.Request) -> dict[str, dict[str, Any]]:
        name = request.match_info["collection"]
        if name not in self.collections:
            raise web.HTTPNotFound
        return self.collections[name]

    async def answer(self, request: web.Request, value: object, status: int = 200) -> web.Response:
        await asyncio.sleep(float(request.headers.get(SLOW, "0")))
        text = json.dumps(value, indent=1, sort_keys=True)
        return web.Response(text=text, status=status, content_type="application/json")

    async def ping(self, request: web.Request) -> web.Response:
        return await self.answer(request, {"pong": True})

    async def list(self, request: web.Request) -> web.Response:
        """Three a page, with Link to the next."""
        rows = list(self.rows(request).values())
        start = int(request.query.get("start", "0"))
        page = rows[start : start + 3]
        response = await self.answer(
            request, [{"id": row["id"]} for row in page] if self.abbreviates else page
        )
        if start + 3 < len(rows):
            response.headers["Link"] = f'<{request.path}?start={start + 3}>; rel="next"'
        return response

    async def get(self, request: web.Request) -> web.Response:
        record = self.rows(request).get(request.match_info["id"])
        if record is None:
            raise web.HTTPNotFound
        return await self.answer(request, record)

    async def create(self, request: web.Request) -> web.Response:
        rows = self.rows(request)
        if request.content_type == "application/json":
            record = await request.json()
        else:
            record = {"bytes": len(await request.read()), "kind": request.content_type}
        given = record.get("id")
        if given is None or self.renumbers:
            self.last += 1
            record["id"] = self.last
        elif str(given) in rows:
            raise web.HTTPConflict
        else:
            self.last = max(self.last, int(given))
        rows[str(record["id"])] = record
        self.save()
        return await self.answer(request, record, 201)

    async def put(self, request: web.Request) -> web.Response:
        rows = self.rows(request)
        record_id = request.match_info["id"]
        body = await request.json()
        if record_id not in rows:
            raise web.HTTPNotFound
        rows[record_id] = {**body, "id": rows[record_id]["id"]}
        self.save()
        return await self.answer(request, rows[record_id])

    async def patch(self, request: web.Request) -> web.Response:
        rows = self.rows(request)
        record_id = request.match_info["id"]
        body = await request.json()
        if record_id not in rows:
            raise web.HTTPNotFound
        rows[record_id] = {**rows[record_id], **body, "id": rows[record_id]["id"]}
        self.save()
        return await self.answer(request, rows[record_id])

    async def delete(self, request: web.Request) -> web.Response:
        if self.rows(request).pop(request.match_info["id"], None) is None:
            raise web.HTTPNotFound
        self.save()
        return web.Response(status=204)

    async def delete_many(self, request: web.Request) -> web.Response:
        rows = self.rows(request)
        gone = [
            one for one, row in rows.items() if all(str(row.get(n)) == v for n, v in request.query.items())
        ]
        for one in gone:
            del rows[one]
        self.save()
        return await self.answer(request, {"deleted": len(gone)})


async def main(kind: str, port: int, file: Path, base: str) -> None:
    foreign = Foreign(file, renumbers=kind == "renumbering", abbreviates=kind == "abbreviating")
    runner = web.AppRunner(foreign.app(base), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print(json.dumps({"event": "ready"}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]))
