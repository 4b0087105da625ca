"""One condition of ``never`` or ``always`` as a test of a head, made once and asked often."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from functools import lru_cache
from urllib.parse import unquote_plus

from proxy.limits import REGEX_VALUE_CHARS_MAX
from proxy.model import HeadView, Match, MatchHow, MatchOn

Test = Callable[[HeadView], bool]
_Holds = Callable[[str], bool]


def test_of(match: Match) -> Test:
    """The test that a match stands for. Present means: there, also when empty."""
    holds = _holds(match)
    name = match.name
    if match.on is MatchOn.HEADER:

        def by_header(head: HeadView) -> bool:
            value = head.header(name)
            return value is not None and holds(value)

        return by_header
    if match.on is MatchOn.COOKIE:

        def by_cookie(head: HeadView) -> bool:
            value = cookie_value(head.header("cookie"), name)
            return value is not None and holds(value)

        return by_cookie
    if match.on is MatchOn.QUERY:

        def by_query(head: HeadView) -> bool:
            query = head.query
            return bool(query) and any(holds(value) for value in _query_values(query, name))

        return by_query
    return lambda head: holds(head.client_ip)


def cookie_value(header: str | None, name: str) -> str | None:
    """The first cookie of that name in a Cookie header, without the quotes around it."""
    if header is None or name not in header:
        return None
    for part in header.split(";"):
        found, separator, value = part.partition("=")
        if separator and found.strip(" \t") == name:
            value = value.strip(" \t")
            is_quoted = len(value) > 1 and value[0] == value[-1] == '"'
            return value[1:-1] if is_quoted else value
    return None


def _query_values(query: str, name: str) -> Iterator[str]:
    for part in query.split("&"):
        found, _, value = part.partition("=")
        if _query_text(found) == name:
            yield _query_text(value)


def _query_text(raw: str) -> str:
    """A raw part of the query as people write it in a rule: decoded, its bytes read as UTF-8."""
    if "%" not in raw and "+" not in raw and raw.isascii():
        return raw
    return unquote_plus(raw.encode("latin-1", "replace").decode("utf-8", "replace"))


def _holds(match: Match) -> _Holds:
    wanted = match.value
    match match.how:
        case MatchHow.EXACT:
            return wanted.__eq__
        case MatchHow.PREFIX:
            return lambda value: value.startswith(wanted)
        case MatchHow.SUFFIX:
            return lambda value: value.endswith(wanted)
        case MatchHow.CONTAINS:
            return lambda value: wanted in value
        case MatchHow.PRESENT:
            return lambda _: True
        case MatchHow.CIDR:
            return _in_network(wanted)
        case MatchHow.REGEX:
            return _by_pattern(match)


def _by_pattern(match: Match) -> _Holds:
    assert match.pattern is not None, "compiled with the settings, where a bad one is refused"
    search = match.pattern.search
    # Found anywhere, like `contains`: ^ and $ anchor. A value past the bound matches nothing: Python's regexes have no
    # time-out, and the client chooses the value.
    return lambda value: len(value) <= REGEX_VALUE_CHARS_MAX and search(value) is not None


def _in_network(block: str) -> _Holds:
    network = ipaddress.ip_network(block, strict=False)

    def holds(client_ip: str) -> bool:
        address = _address(client_ip)
        return address is not None and address in network

    return holds


@lru_cache(maxsize=4096)
def _address(client_ip: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(client_ip.partition("%")[0])
    except ValueError:
        return None
    # A dual-stack listener shows IPv4 clients as ::ffff:10.0.0.1; people write 10.0.0.0/8.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
