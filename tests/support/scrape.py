"""What Prometheus would see of a running proxy: samples of /metrics, and how far they moved between two looks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.support.line import Line

Labels = frozenset[tuple[str, str]]


class Samples:
    """Every sample of one scrape, by name and labels."""

    def __init__(self, families: list[Metric]) -> None:
        self.families = families
        self.values: dict[tuple[str, Labels], float] = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    def get(self, name: str, **labels: str) -> float:
        """0 where there is no such sample yet, as a rate() would have it."""
        return self.values.get((name, frozenset(labels.items())), 0.0)

    def labelled(self, name: str) -> set[Labels]:
        return {labels for known, labels in self.values if known == name}


class Moved:
    """Filled in when its block ends."""

    def __init__(self, before: Samples) -> None:
        self.before = self.after = before

    def by(self, name: str, **labels: str) -> float:
        return self.after.get(name, **labels) - self.before.get(name, **labels)


async def scrape(line: Line) -> Samples:
    async with line.session.get(line.url("admin") + "/metrics") as response:
        assert response.status == 200
        assert response.content_type == "text/plain"
        return Samples(list(text_string_to_metric_families(await response.text())))


@asynccontextmanager
async def moving(line: Line) -> AsyncIterator[Moved]:
    """Two scrapes, around a block."""
    moved = Moved(await scrape(line))
    yield moved
    moved.after = await scrape(line)
