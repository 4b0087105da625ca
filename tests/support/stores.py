"""The stores under test, each as an async context manager over a folder; the suites run over all of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from backends.json_store import JsonStore
from backends.postgres_store import PostgresStore
from backends.store import Store
from tests.support.postgres import DATABASES


@asynccontextmanager
async def json_store(folder: Path, content: str = "{}") -> AsyncGenerator[Store]:
    """A JSON store on ``folder/data.json``, which is made with ``content`` where it is missing."""
    data = folder / "data.json"
    if not data.exists():
        data.write_text(content)
    store = await JsonStore.open(data)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def postgres_store(folder: Path) -> AsyncGenerator[Store]:
    """A PostgreSQL store on a database that stands for the folder, on the session's embedded server."""
    store = await PostgresStore.open(await DATABASES.url_for(folder))
    try:
        yield store
    finally:
        await store.close()


STORES: dict[str, Callable[[Path], AbstractAsyncContextManager[Store]]] = {
    "json": json_store,
    "postgres": postgres_store,
}
"""Every store, by name; each call on the same folder finds the same data again."""
