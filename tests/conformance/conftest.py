"""Which gateway the cases are put to: Turnout, or with ``--gateway`` a peer, to see whether the cases are sane."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import uvloop
from hypothesis import Phase, settings

from tests.support import raw_http
from tests.support.gateways import GATEWAYS, Gateway

OUTCOMES: dict[str, str] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--gateway", choices=sorted(GATEWAYS), default="turnout", help="what the cases are put to"
    )
    parser.addoption("--outcomes", help="a JSON file for each case's outcome")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--gateway") != "turnout":
        # A peer's failure is looked for once and not made small: each try of it may wait for an answer in vain.
        settings.register_profile("peer", phases=[Phase.explicit, Phase.generate])
        settings.load_profile("peer")
        raw_http.WAIT_S = 3.0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A peer is asked only what any gateway can be asked."""
    if config.getoption("--gateway") == "turnout":
        return
    mine = [item for item in items if "gateway" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in mine])
    items[:] = mine


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, object]:
    """What runs in production. (The cases with generated input run on plain asyncio, those of TLS on both.)"""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def gateway(request: pytest.FixtureRequest) -> Gateway:
    return GATEWAYS[request.config.getoption("--gateway")]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed or (report.when == "call" and report.nodeid not in OUTCOMES):
        OUTCOMES[report.nodeid] = report.outcome


def pytest_sessionfinish(session: pytest.Session) -> None:
    file = session.config.getoption("--outcomes")
    if file:
        Path(file).write_text(json.dumps(OUTCOMES, indent=1))
