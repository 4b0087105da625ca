"""Who the client is, where proxies stand in front: the nearest address that none of the trusted ones vouches for."""

import pytest

from proxy.forward.peers import client_of, is_trusted

INNER = ("10.0.0.0/8", "::1/128")


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "7.7.7.7", "7.7.7.7"),
        ("10.0.0.1", "7.7.7.7, 10.0.0.2", "7.7.7.7"),
        ("10.0.0.1", "10.0.0.3,10.0.0.2", "10.0.0.3"),
        # What the client says of itself is not believed, whoever it names.
        ("10.0.0.1", "6.6.6.6, 7.7.7.7", "7.7.7.7"),
        ("10.0.0.1", "10.9.9.9, 7.7.7.7, 10.0.0.2", "7.7.7.7"),
        ("::1", "[2001:db8::1]", "2001:db8::1"),
        ("10.0.0.1", "6.6.6.6, , 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "6.6.6.6, unknown", "unknown"),
        ("7.7.7.7", "6.6.6.6", "7.7.7.7"),
    ],
)
def test_a_client_is_the_last_address_that_a_trusted_proxy_saw(
    peer: str, forwarded_for: str, client: str
) -> None:
    assert client_of(peer, forwarded_for, INNER) == client


def test_what_is_no_address_is_not_trusted() -> None:
    assert [is_trusted(one, INNER) for one in ("10.1.2.3", "::1", "11.0.0.1", "unknown", "", "10.0.0.1:80")] == [
        True, True, False, False, False, False,
    ]  # fmt: skip
