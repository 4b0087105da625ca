"""What all tests share: the session's PostgreSQL, started by the first test that asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import proxy.wire.request
from tests.support.postgres import DATABASES


def pytest_configure() -> None:
    """`make test-compiled` must not pass on what it is not about."""
    is_compiled = not str(proxy.wire.request.__file__).endswith(".py")
    assert is_compiled is ("TURNOUT_COMPILED" in os.environ), f"tests of {proxy.wire.request.__file__}"


@pytest.fixture(scope="session", autouse=True)
def no_server_is_left() -> Iterator[None]:
    yield
    DATABASES.stop()


@pytest.fixture(autouse=True)
def databases_are_taken_back() -> Iterator[None]:
    yield
    DATABASES.take_back()


@pytest.fixture
async def database_url(tmp_path: Path) -> str:
    """An empty database of the session's PostgreSQL, this test's alone."""
    return await DATABASES.url_for(tmp_path)
