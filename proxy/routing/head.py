"""A head made by hand, for ``explain`` and tests; a request's own is wire.request.RequestHead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from proxy.model import HeadView


class SimpleHead(HeadView):
    """``headers`` hold lower-case names, values joined already."""

    __slots__ = ("_query", "headers")

    def __init__(
        self, method: str, path: str, query: str, client_ip: str, headers: Mapping[str, str]
    ) -> None:
        super().__init__(method, path, client_ip)
        self._query = query
        self.headers = headers

    def __repr__(self) -> str:
        return f"<SimpleHead {self.method} {self.path}>"

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

    @property
    def query(self) -> str:
        return self._query

    def header(self, name: str) -> str | None:
        return self.headers.get(name)
