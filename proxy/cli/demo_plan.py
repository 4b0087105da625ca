"""What `turnout demo` runs: addresses, command lines and environments of its three processes. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy.cli.parent import PARENT_VARIABLE

HOST = "127.0.0.1"
PORT_BASE = 3000
PORTS = {"proxy": 0, "admin": 1, "json": 2, "postgres": 3}
"""Offset from the port base."""

PORT_BASE_MAX = 65535 - max(PORTS.values())


@dataclass(frozen=True, slots=True)
class ChildPlan:
    """One process, and where it says that it is well."""

    name: str
    argv: tuple[str, ...]
    health_url: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything of a demo follows from its folder and its port base."""

    folder: Path
    port_base: int

    def port(self, name: str) -> int:
        return self.port_base + PORTS[name]

    def address(self, name: str) -> str:
        return f"{HOST}:{self.port(name)}"

    def url(self, name: str) -> str:
        return f"http://{self.address(name)}"

    @property
    def data(self) -> Path:
        return self.folder / "data.json"

    @property
    def routing(self) -> Path:
        return self.folder / "routing.yaml"

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def servers(self) -> tuple[ChildPlan, ChildPlan]:
        """Both upstreams."""
        postgres = self.folder / "postgres"
        return (
            self._child("json", "json", "serve", "json", "--data", str(self.data)),
            self._child("postgres", "postgres", "serve", "postgres", "--embedded", str(postgres)),
        )

    def proxy(self) -> ChildPlan:
        options = (
            "proxy", "--config", str(self.routing), "--state", str(self.folder / "state"),
            "--admin", self.address("admin"), "--ready-when-validated",
        )  # fmt: skip
        return self._child("proxy", "admin", *options)

    def _child(self, name: str, health_from: str, *words: str) -> ChildPlan:
        argv = (sys.executable, "-P", "-m", "proxy.cli", *words, "--listen", self.address(name))
        return ChildPlan(name, argv, f"{self.url(health_from)}/healthz")

    def environment(
        self, real: Mapping[str, str], *, token: str, parent: int, is_first: bool
    ) -> dict[str, str]:
        """Of each child. The demo's addresses win over the environment's; its other settings pass."""
        # -P keeps the working directory off the module path, so the package's own place has to be on it.
        root = str(Path(__file__).parent.parent.parent)
        path = real.get("PYTHONPATH", "")
        env = {
            **real,
            "PYTHONPATH": f"{root}:{path}" if path else root,
            "PYTHONUNBUFFERED": "1",
            "JSON_URL": self.url("json"),
            "POSTGRES_URL": self.url("postgres"),
            "DATABASE_URL": "",
            "TURNOUT_MIRROR_TOKEN": token,
            PARENT_VARIABLE: str(parent),
        }
        if is_first:
            # The sample data lies in data.json: the move begins there, whatever is wanted later.
            env["DATA_BACKEND"] = "json"
        return env


def next_lines(plan: Plan, command: str) -> list[str]:
    """What to type next, in the order of a move."""
    proxy = plan.url("proxy")
    lines = [
        f"curl -i '{proxy}/api/orders?_limit=2'",
        f"curl -i {proxy}/api/orders -H 'Content-Type: application/json' -d '{{\"note\": \"hello\"}}'",
        f"{command} canary enable X-Canary canary=true 10",
        f"curl -i {proxy}/api/orders/1 -H 'X-Canary: canary=true'",
        f'{command} switch postgres "Full migration"',
        f'{command} rollback "Emergency rollback"',
        f"{command} status --watch",
    ]
    if plan.port_base != PORT_BASE:
        lines.insert(0, f"export TURNOUT_ADMIN={plan.url('admin')}")
    return lines
