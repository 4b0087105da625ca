"""Who the client is: the peer itself, or what trusted proxies in front of us say of it."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network


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
