"""The contract suite's server: the same application over each store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.api import Api, serving
from tests.support.stores import STORES


@pytest.fixture(params=sorted(STORES))
def store_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def api(store_name: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with STORES[store_name](tmp_path) as store, serving(store) as served:
        yield served
