"""What a path that an operator names is by the routing: a key, or a collection's list."""

from __future__ import annotations

from proxy.model import Place, Snapshot
from proxy.routing.decide import row_of
from proxy.routing.head import SimpleHead
from proxy.routing.place import place_of
from proxy.routing.table import Plan


def place_of_path(path: str, snapshot: Snapshot) -> Place:
    """The place that a GET of it reads."""
    rule = row_of(SimpleHead.of("GET", path), snapshot).read
    return place_of(rule.weighed.primary.route if isinstance(rule, Plan) else rule.route, path)
