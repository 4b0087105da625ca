"""What the conformance suite looks at: Turnout in this process, or a peer (HAProxy, nginx) as a process of its own.

The peers are set as their own documents advise for a reverse proxy that streams: HTTP/1.1 and kept connections to the
upstream, no buffering, WebSockets passed, X-Forwarded-* set.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from tests.support.forward_world import proxy, snapshot
from tests.support.processes import die_with_parent, free_port

READY_S = 5.0

Gateway = Callable[[int], AbstractAsyncContextManager[int]]
"""``async with gateway(upstream_port) as port``: in front of that upstream until the block ends."""


@asynccontextmanager
async def turnout(upstream_port: int) -> AsyncIterator[int]:
    async with proxy(snapshot(upstream_port, upstream_port)) as it:
        yield it.port


HAPROXY = """\
global
    maxconn 100
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
    timeout tunnel 60s
    option forwardfor
    http-reuse safe
frontend front
    bind 127.0.0.1:{port}
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    default_backend back
backend back
    server upstream 127.0.0.1:{upstream}
"""

NGINX = """\
daemon off;
master_process off;
pid {folder}/pid;
error_log /dev/null crit;
events {{ worker_connections 100; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_to_upstream {{ default ""; ~*websocket upgrade; }}
    upstream back {{ server 127.0.0.1:{upstream}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://back;
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_pass_header Date;
            proxy_pass_header Server;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_to_upstream;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
        }}
    }}
}}
"""


@asynccontextmanager
async def haproxy(upstream_port: int) -> AsyncIterator[int]:
    async with _process("haproxy", HAPROXY, upstream_port, "-f") as port:
        yield port


@asynccontextmanager
async def nginx(upstream_port: int) -> AsyncIterator[int]:
    async with _process("nginx", NGINX, upstream_port, "-c") as port:
        yield port


@asynccontextmanager
async def _process(name: str, config: str, upstream_port: int, option: str) -> AsyncIterator[int]:
    program = shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    assert program is not None, f"{name} is not installed: apt-get install {name}"
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config"
        file.write_text(config.format(port=port, upstream=upstream_port, folder=folder))
        process = await asyncio.create_subprocess_exec(
            program,
            option,
            str(file),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )
        try:
            async with asyncio.timeout(READY_S):
                while not await _answers(port):
                    assert process.returncode is None, f"{name} did not start"
                    await asyncio.sleep(0.01)
            yield port
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return False
    writer.close()
    return True


GATEWAYS: dict[str, Gateway] = {"turnout": turnout, "haproxy": haproxy, "nginx": nginx}
