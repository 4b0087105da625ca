"""Which keys lie under a prefix, asked of both upstreams (DESIGN section 5, "A write without a key").

Between versioned upstreams sums of hashes are compared first (protocol B5, B6), and only keys that differ are named: what has no
unsettled entry and is equal needs no repair. Anywhere else every key of both lists is named. Owns no order: the lanes do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from proxy.errors import UpstreamError
from proxy.limits import (
    MIRROR_LISTING_KEYS_MAX,
    MIRROR_LISTING_PAGES_MAX,
    MIRROR_LISTING_TIMEOUT_S,
)
from proxy.mirror.state import MirrorState
from proxy.model import Reply, key_segment
from proxy.ports import Sender
from proxy.protocol import parse_stale, path_of
from proxy.routing.paths import covers

BUCKETS_A_REQUEST = 256
API = "/api"
"""Where the keys of a versioned upstream lie (protocol V1)."""

Shape = TypeVar("Shape")

Keys = dict[str, None]
"""In the order in which they were found: the same two lists are repaired in the same order."""


class Catalog(msgspec.Struct, frozen=True):
    """B4."""

    collections: dict[str, int]
    singletons: list[str]


class Buckets(msgspec.Struct, frozen=True):
    """B5."""

    buckets: dict[str, tuple[int, str, str]]


class Ids(msgspec.Struct, frozen=True):
    """B6."""

    ids: dict[str, str]


class Row(msgspec.Struct, frozen=True):
    """All of a listed record that is looked at."""

    id: int | str


_ROWS = msgspec.json.Decoder(list[Row])


@dataclass(frozen=True, slots=True)
class Listed:
    """What a plain upstream lists under a path."""

    ids: dict[str, None] | None
    """None: it is no list of objects with ids."""
    pages: int
    rows: int = 0
    """More than there are ids: an id came twice."""
    total: int | None = None
    """What `X-Total-Count` says, if it is there."""
    status: int = 200


class SecondaryStaleError(UpstreamError):
    """The secondary does not know the present epoch: asking again does not help, telling it does."""


class UnlistableError(Exception):
    """What lies under the prefix cannot be told by listing it (unlistable-gap)."""


class Listing:
    """Asks with the present roles and kinds; UpstreamError where an upstream does not answer."""

    def __init__(self, state: MirrorState, sender: Sender) -> None:
        self._state = state
        self._sender = sender

    async def keys(self, prefixes: tuple[str, ...]) -> Keys:
        """Every key under the prefixes that may differ. UnlistableError where one of them cannot be listed at all."""
        found: Keys = {}
        for prefix in prefixes:
            found |= await (self._differing(prefix) if self._state.is_exact else self._listed(prefix))
            if len(found) > MIRROR_LISTING_KEYS_MAX:
                raise UnlistableError(f"more than {MIRROR_LISTING_KEYS_MAX} keys lie under {prefix or '/'}")
        return found

    # -- two versioned upstreams -------------------------------------------------------------------

    async def _differing(self, prefix: str) -> Keys:
        roles = self._state.roles
        pair = (roles.primary, roles.secondary)
        catalogs = [await self._catalog(name) for name in pair]
        whole, keys = scopes(prefix, catalogs)
        for name in whole:
            buckets = [
                (
                    await self._ask(one, f"/_turnout/buckets?collection={quote(name, safe='')}", Buckets)
                ).buckets
                for one in pair
            ]
            differing = iter(
                sorted(
                    one for one in {*buckets[0], *buckets[1]} if buckets[0].get(one) != buckets[1].get(one)
                )
            )
            while some := list(islice(differing, BUCKETS_A_REQUEST)):
                ours, theirs = [await self._ids(one, name, some) for one in pair]
                keys |= {_key(name, one): None for one in ours | theirs if ours.get(one) != theirs.get(one)}
        return keys

    async def _catalog(self, upstream: str) -> Catalog:
        return await self._ask(upstream, "/_turnout/collections", Catalog)

    async def _ids(self, upstream: str, collection: str, buckets: list[str]) -> dict[str, str]:
        chosen = f"&bucket={','.join(buckets)}" if buckets else ""
        target = f"/_turnout/ids?collection={quote(collection, safe='')}{chosen}"
        return (await self._ask(upstream, target, Ids)).ids

    async def _ask(self, upstream: str, target: str, shape: type[Shape]) -> Shape:
        reply = await self._get(upstream, target)
        try:
            if reply.status == 200:
                return msgspec.json.decode(reply.body, type=shape)
        except msgspec.MsgspecError:
            pass
        raise UpstreamError(f"{upstream} answers {reply.status} to GET {target.partition('?')[0]}")

    # -- at least one plain upstream ---------------------------------------------------------------

    async def _listed(self, prefix: str) -> Keys:
        roles, kinds = self._state.roles, self._state.kinds
        found: Keys = {}
        is_listable = False
        for upstream in (roles.primary, roles.secondary):
            if kinds.is_versioned(upstream):
                keys = await self._all_of(upstream, prefix)
            else:
                keys = await self._rows(upstream, prefix)
                is_listable = is_listable or keys is not None
            found |= keys or {}
        if not is_listable:
            raise UnlistableError(f"GET {prefix or '/'} is no list of records with ids")
        return found

    async def _all_of(self, upstream: str, prefix: str) -> Keys:
        whole, keys = scopes(prefix, [await self._catalog(upstream)])
        for name in whole:
            keys |= {_key(name, one): None for one in await self._ids(upstream, name, [])}
        return keys

    async def _rows(self, upstream: str, prefix: str) -> Keys | None:
        """The keys of a JSON list of objects with ids; None where it is none."""
        listed = await self.listed(upstream, prefix)
        if listed.ids is None:
            return None
        if any("/" in one for one in listed.ids):  # where such a record lies, only the server knows
            raise UnlistableError(f"GET {prefix or '/'} lists a record whose id holds a slash")
        return {f"{prefix}/{key_segment(one)}": None for one in listed.ids}

    async def listed(self, upstream: str, prefix: str) -> Listed:
        """The ids of a JSON list of objects with ids, page by page where `Link` names the next."""
        ids: dict[str, None] = {}
        rows_seen, total = 0, None
        target = path_of(prefix) or "/"
        for page in range(1, MIRROR_LISTING_PAGES_MAX + 1):
            reply = await self._get(upstream, target)
            if reply.status in (401, 403, 408, 429) or reply.status >= 500:
                raise UpstreamError(f"{upstream} answers {reply.status} to GET {target}")
            rows = rows_of(reply.body) if reply.status == 200 else None
            if rows is None:
                return Listed(None, page, status=reply.status)
            ids |= dict.fromkeys(rows)
            rows_seen += len(rows)
            total = reply.header("x-total-count")
            following = next_page(target, reply.header("link"))
            if following is None:
                is_told = total is not None and total.isdigit()
                return Listed(ids, page, rows_seen, int(total or 0) if is_told else None)
            target = following
        raise UnlistableError(f"GET {prefix} at {upstream} has more than {MIRROR_LISTING_PAGES_MAX} pages")

    async def catalog(self, upstream: str) -> Catalog:
        """What a versioned upstream holds (B4)."""
        return await self._catalog(upstream)

    async def ids(self, upstream: str, collection: str) -> list[str]:
        """Every id of a collection of a versioned upstream (B6)."""
        return list(await self._ids(upstream, collection, []))

    async def _get(self, upstream: str, target: str) -> Reply:
        reply = await self._sender.send(
            upstream, "GET", target, self._state.looking(upstream), timeout_s=MIRROR_LISTING_TIMEOUT_S
        )
        if upstream == self._state.roles.secondary and reply.status == 409 and parse_stale(reply.body):
            raise SecondaryStaleError(f"{upstream} is in another epoch")
        return reply


def scopes(prefix: str, catalogs: list[Catalog]) -> tuple[list[str], Keys]:
    """Collections that lie under the prefix whole, and single keys. UnlistableError where no key of a versioned upstream can."""
    if not covers(prefix, API) and not covers(API, prefix):
        raise UnlistableError(f"{prefix} lies outside {API}, where the records are")
    whole: dict[str, None] = {}
    keys: Keys = {}
    for catalog in catalogs:
        for name in catalog.collections:
            path = f"{API}/{key_segment(name)}"
            if covers(prefix, path):
                whole[name] = None
            elif covers(path, prefix):
                keys["/".join(prefix.split("/")[:4])] = None
        singletons = [f"{API}/{key_segment(name)}" for name in catalog.singletons]
        keys |= {path: None for path in singletons if _meet(prefix, path)}
    return list(whole), keys


def _key(collection: str, record_id: str) -> str:
    return f"{API}/{key_segment(collection)}/{key_segment(record_id)}"


def _meet(one: str, other: str) -> bool:
    return covers(one, other) or covers(other, one)


def rows_of(body: bytes) -> list[str] | None:
    """The ids of a JSON list of objects with ids, as paths name them; None where it is none."""
    try:
        return [str(row.id) for row in _ROWS.decode(body)]
    except msgspec.MsgspecError:
        return None


def next_page(target: str, link: str | None) -> str | None:
    """The target of ``rel="next"`` (RFC 8288), if it leads on within the same server."""
    for url, relations in _links(link or ""):
        if "next" in relations:
            parts = urlsplit(urljoin(target, url))
            following = parts.path + (f"?{parts.query}" if parts.query else "")
            return following if following != target else None
    return None


def _links(text: str) -> Iterator[tuple[str, list[str]]]:
    for one in text.split("<")[1:]:
        url, _, parameters = one.partition(">")
        for parameter in parameters.split(";"):
            name, _, value = parameter.strip().rstrip(",").strip().partition("=")
            if name.strip().lower() == "rel":
                yield url.strip(), value.strip().strip('"').lower().split()
