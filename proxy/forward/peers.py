"""Who the client is: the peer itself, or what trusted proxies in front of us say of it."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from proxy.wire.heads import forwarded
from proxy.wire.request import RequestFields, RequestHead

BLOCKS = tuple[str, ...]
"""CIDR blocks of the proxies in front of us whose word is taken."""


class Peer:
    """The other end of one client's connection, and the header lines that tell an upstream of it: made once for a client that
    says the same again."""

    __slots__ = ("_blocks", "_fields", "_host", "_lines", "_onward", "ip", "proto")

    def __init__(self, ip: str, proto: bytes) -> None:
        self.ip = ip
        self.proto = proto
        self._blocks: BLOCKS = ()
        self._fields: RequestFields | None = None
        self._onward = b""
        self._host: bytes | None = None
        self._lines = b""

    def client_ip(self, parsed: RequestFields, blocks: BLOCKS) -> str:
        """The client's address, as far as it can be known."""
        if blocks and is_trusted(self.ip, blocks):
            return client_of(self.ip, parsed.forwarded_for.decode("latin-1"), blocks)
        return self.ip

    def onward(self, head: RequestHead, blocks: BLOCKS) -> bytes:
        """All header lines for the upstream but those of one request alone; for a head whose line goes on as it came."""
        parsed = head.fields
        if self._fields is not parsed or self._blocks is not blocks:
            self._fields, self._blocks = parsed, blocks
            self._onward = parsed.forward + self.forwarded(head, blocks)
        return self._onward

    def forwarded(self, head: RequestHead, blocks: BLOCKS) -> bytes:
        """X-Forwarded-* and Via."""
        parsed = head.fields
        host = parsed.host if head.authority is None else head.authority
        trusts = bool(blocks) and is_trusted(self.ip, blocks)
        if host == self._host and head.minor == b"1" and not trusts:
            return self._lines
        lines = forwarded(
            parsed,
            self.ip.encode("latin-1"),
            proto=self.proto,
            host=host,
            is_trusted=trusts,
            minor=head.minor,
        )
        if head.minor == b"1" and not trusts:
            self._host, self._lines = host, lines
        return lines


@lru_cache(maxsize=64)
def _networks(blocks: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(block, strict=False) for block in blocks)


@lru_cache(maxsize=4096)
def is_trusted(ip: str, blocks: tuple[str, ...]) -> bool:
    """Whether an address lies in one of the CIDR blocks; what is no address does not."""
    try:
        address = ip_address(ip)
    except ValueError:
        return False
    return any(address in network for network in _networks(blocks))


def client_of(peer_ip: str, forwarded_for: str, blocks: tuple[str, ...]) -> str:
    """The nearest address that no trusted proxy vouches for: X-Forwarded-For read from its end, as long as it is trusted."""
    client = peer_ip
    for hop in reversed(forwarded_for.split(",")):
        if not is_trusted(client, blocks):
            return client
        known = hop.strip().strip("[]")
        if not known:
            return client
        client = known
    return client
