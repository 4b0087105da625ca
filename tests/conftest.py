"""What all tests share: the session's PostgreSQL, started by the first test that asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres import DATABASES


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
