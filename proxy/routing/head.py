"""What routing sees of a request: a few strings, and headers only when a rule asks for one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


class HeadView(Protocol):
    """A request's head. Properties, so that a parser may work them out when they are first read."""

    @property
    def method(self) -> str:
        """As sent: methods are case-sensitive (RFC 9110 section 9.1)."""
        ...

    @property
    def path(self) -> str:
        """Raw path without the query; one character a byte (latin-1)."""
        ...

    @property
    def query(self) -> str:
        """Raw query without the ``?``; "" where there is none."""
        ...

    @property
    def client_ip(self) -> str:
        """The client's address as text, without port or brackets."""
        ...

    def header(self, name: str) -> str | None:
        """The value of a header by its lower-case name, or None. Several are joined by ", "; cookies by "; "."""
        ...


@dataclass(frozen=True, slots=True)
class SimpleHead:
    """A head made by hand, for ``explain`` and tests. ``headers`` hold lower-case names, values joined already."""

    method: str
    path: str
    query: str
    client_ip: str
    headers: dict[str, str]

    @classmethod
    def of(
        cls, method: str, target: str, headers: Iterable[tuple[str, str]] = (), client_ip: str = "127.0.0.1"
    ) -> SimpleHead:
        """From a target such as ``/api/orders?x=1`` (any text: what is not latin-1 goes as its UTF-8 bytes)."""
        raw = target.encode("utf-8").decode("latin-1")
        path, _, query = raw.partition("?")
        joined: dict[str, str] = {}
        for name, value in headers:
            key = name.lower()
            separator = "; " if key == "cookie" else ", "
            joined[key] = f"{joined[key]}{separator}{value}" if key in joined else value
        return cls(method, path, query, client_ip, joined)

    def header(self, name: str) -> str | None:
        return self.headers.get(name)
