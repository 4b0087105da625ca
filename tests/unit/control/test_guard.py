"""Who may speak to the admin API."""

import hashlib

import pytest

from proxy.control.guard import AdminTokens, check_listen, is_loopback, refusal
from proxy.errors import UsageError

NONE = AdminTokens.of("", "")
ADMIN = AdminTokens.of("secret", f"# people\nann:viewer:{hashlib.sha256(b'look').hexdigest()}\n")


def asked(tokens: AdminTokens = NONE, **changes: object) -> int | None:
    request: dict = {
        "method": "POST", "host": "127.0.0.1:3001", "origin": None, "content_type": "application/json; charset=utf-8",
        "authorization": None, "tokens": tokens, "is_public": False,
    }  # fmt: skip
    refused = refusal(**(request | changes))
    return refused[0] if refused else None


def test_a_local_change_in_json_passes() -> None:
    assert asked() is None


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"host": "evil.example:3001"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:3001"}, None),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": ""}, 415),
        ({"method": "GET", "content_type": ""}, None),
        ({"host": "localhost:3001"}, None),
        ({"host": "[::1]:3001"}, None),
    ],
)
def test_a_page_of_another_site_cannot_change_anything(changes: dict, status: int | None) -> None:
    assert asked(**changes) == status


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Basic secret"}, 401),
        ({"authorization": "Bearer secret"}, None),
        ({"authorization": "Bearer look"}, 403),
        ({"authorization": "Bearer look", "method": "GET"}, None),
        ({"is_public": True, "method": "GET"}, None),
        ({"authorization": "Bearer secret", "host": "turnout.example"}, None),
    ],
)
def test_with_tokens_each_request_needs_one_that_may(changes: dict, status: int | None) -> None:
    assert asked(ADMIN, **changes) == status


def test_the_admin_api_never_listens_to_the_network_without_a_token() -> None:
    with pytest.raises(UsageError, match="needs a token"):
        check_listen("0.0.0.0", NONE)
    check_listen("0.0.0.0", ADMIN)
    check_listen("127.0.0.1", NONE)


@pytest.mark.parametrize("line", ["ann", "ann:root:" + "0" * 64, "ann:viewer:short"])
def test_a_malformed_token_line_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(UsageError, match="line 2"):
        AdminTokens.of("", f"\n{line}")


def test_loopback_is_told_from_the_network() -> None:
    assert [
        is_loopback(host) for host in ("127.0.0.1", "::1", "[::1]", "localhost", "10.0.0.1", "shop.example")
    ] == [True] * 4 + [False] * 2
