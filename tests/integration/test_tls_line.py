"""The whole line over TLS: clients, forwarder, mirror, health checks and validation, in real processes."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import ssl
from pathlib import Path

import aiohttp
import pytest

from tests.support.certificates import Authority
from tests.support.line import Line
from tests.support.processes import Process
from tests.support.raw_http import RawClient
from tests.support.relay import tls_relay

pytestmark = pytest.mark.slow

ROUTING = """\
version: 1
upstreams:
  json:     {{endpoints: ["https://127.0.0.1:{json}"], health: {{interval: 200ms}}, tls: {{ca: {ca}}}}}
  postgres:
    endpoints: ["https://127.0.0.1:{postgres}"]
    health: {{interval: 200ms}}
    tls: {{ca: {ca}, server_name: shop.internal}}
primary: json
routes:
  - {{path: "/api/*", key: "/api/{{collection}}/{{id}}", singletons: [settings]}}
tls: {{certificate: {certificate}, key: {key}}}
"""


async def names_shown(port: int, trusting: ssl.SSLContext) -> set[str]:
    async with await RawClient.connect(port, trusting) as client:
        return {value for _, value in client.writer.get_extra_info("peercert")["subjectAltName"]}


async def test_a_backfill_over_tls_trusts_the_given_ca_for_the_given_names(
    tmp_path: Path, database_url: str
) -> None:
    authority = Authority(tmp_path)
    line = Line(tmp_path, database_url=database_url, data={"orders": [{"id": 1, "customer": "ann"}]})
    async with line, contextlib.AsyncExitStack() as stack:
        await line.open_for_writes()
        await line.secondary_known()
        source, target = [
            f"https://127.0.0.1:{await stack.enter_async_context(tls_relay(line.ports[name], authority.serving(host)))}"
            for name, host in (("json", "127.0.0.1"), ("postgres", "shop.internal"))
        ]

        async def backfill(*options: str, target: str = target) -> tuple[int, dict]:
            verb = Process(
                "backfill", "--from", source, "--to", target, "--json", *options, env=line.env, cwd=tmp_path
            )
            await verb.spawn()
            code = await verb.wait()
            return code, json.JSONDecoder().raw_decode("".join(verb.text))[
                0
            ]  # behind it: the message for people

        code, said = await backfill()
        assert (code, said["error"]) == (1, "untrusted"), said
        assert source in said["detail"]
        assert "--ca" in said["hint"]
        code, said = await backfill("--ca", authority.ca)
        assert (code, said["error"]) == (1, "untrusted"), "the name is another one"
        assert target in said["detail"]
        plain = line.url("postgres").replace("http", "https")
        code, said = await backfill("--ca", authority.ca, target=plain)
        assert (code, said["error"]) == (1, "untrusted"), "what listens there speaks no TLS"
        assert await line.records("postgres") == {}

        code, said = await backfill("--ca", authority.ca, "--to-server-name", "shop.internal")
        assert (code, said["clean"], said["records"]) == (0, True, 1), said
        assert await line.records("postgres") == await line.records("json")


async def test_a_write_is_forwarded_mirrored_and_validated_over_tls(
    tmp_path: Path, database_url: str
) -> None:
    authority = Authority(tmp_path)
    line = Line(tmp_path, database_url=database_url, data={"orders": []})
    async with contextlib.AsyncExitStack() as stack:
        ports = {
            name: await stack.enter_async_context(tls_relay(line.ports[name], authority.serving(host)))
            for name, host in (("json", "127.0.0.1"), ("postgres", "shop.internal"))
        }
        soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=5)
        shown = authority.sign("127.0.0.1", ends=soon)
        line.config.write_text(
            ROUTING.format(**ports, ca=authority.ca, certificate=shown.certificate, key=shown.key)
        )
        await stack.enter_async_context(line)
        await line.open_for_writes()
        url = f"https://127.0.0.1:{line.ports['proxy']}/api/orders"
        trusting = authority.trusting()
        async with line.session.post(url, json={"customer": "ann"}, ssl=trusting) as response:
            assert (response.status, response.headers["X-Served-By"]) == (201, "json")
            body = await response.read()
        mirror = await line.settled()
        assert mirror["replayed"] == 1, mirror
        assert list((await line.records("postgres")).values()) == [body]
        assert (await line.validate())["state"] == "equal"
        status = await line.status()
        assert [one["endpoints"][0]["up"] for one in status["upstreams"].values()] == [True, True]

        with pytest.raises(aiohttp.ClientError):
            async with line.session.get(url.replace("https", "http")):
                pass

        proxy = line.processes["proxy"]
        ending = await proxy.told("certificate_expires", level="warning")
        assert (ending["file"], round(ending["days_left"])) == (shown.certificate, 5)
        assert "renew" in ending["next"]

        # A renewal, as certbot does it: the files change, nobody is told. One that went wrong replaces nothing.
        whole = Path(shown.certificate).read_bytes()
        Path(shown.certificate).write_bytes(whole[:100])
        assert (await proxy.told("certificate_refused"))["kept"] == "the last good one"
        assert await names_shown(line.ports["proxy"], trusting) == {"127.0.0.1"}
        authority.sign("127.0.0.1", "renewed.example")
        async with asyncio.timeout(10):
            while "renewed.example" not in await names_shown(line.ports["proxy"], trusting):
                await asyncio.sleep(0.1)
        assert await line.processes["proxy"].stop() == 0
