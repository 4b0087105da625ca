"""Who may speak to the admin API: host, origin, token. Decided apart from the routes, so that no route can forget it."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass

from proxy.errors import UsageError

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class AdminTokens:
    """SHA-256 of each accepted token, with its role (``admin`` may change, ``viewer`` may look)."""

    by_digest: dict[str, tuple[str, str]]

    @classmethod
    def of(cls, token: str, lines: str) -> AdminTokens:
        """From TURNOUT_ADMIN_TOKEN, and the text of the TURNOUT_ADMIN_TOKENS file (``name:role:sha256`` a line)."""
        found: dict[str, tuple[str, str]] = {}
        if token:
            found[_digest(token)] = ("admin", "admin")
        for number, line in enumerate(lines.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            parts = line.strip().split(":")
            if len(parts) != 3 or parts[1] not in ("admin", "viewer") or len(parts[2]) != 64:
                raise UsageError(f"TURNOUT_ADMIN_TOKENS, line {number}: expected name:admin|viewer:sha256")
            found[parts[2].lower()] = (parts[0], parts[1])
        return cls(found)

    def who(self, authorization: str | None) -> tuple[str, str] | None:
        """(name, role) of a bearer token; None where it is absent or wrong."""
        if not authorization or not authorization.lower().startswith("bearer "):
            return None
        digest = _digest(authorization[7:].strip())
        for known, identity in self.by_digest.items():
            if hmac.compare_digest(known, digest):
                return identity
        return None


def _digest(token: str) -> str:
    """Of the bytes as they were sent or set: those that are no UTF-8 have come as lone surrogates."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def is_loopback(host: str) -> bool:
    """Of a host name or address, as in ``--admin``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_listen(host: str, tokens: AdminTokens) -> None:
    """UsageError where the admin API would be open to the network without a token."""
    if not is_loopback(host) and not tokens.by_digest:
        raise UsageError(
            f"the admin API on {host} needs a token",
            "set TURNOUT_ADMIN_TOKEN or TURNOUT_ADMIN_TOKENS, or listen on 127.0.0.1",
        )


def refusal(
    *,
    method: str,
    host: str,
    origin: str | None,
    content_type: str,
    authorization: str | None,
    tokens: AdminTokens,
    is_public: bool,
) -> tuple[int, str, str] | None:
    """(status, code, detail) where the request must not pass; None lets it.

    Host is checked against DNS rebinding: without tokens only a loopback name will do. A change needs JSON and no
    foreign Origin, which no page of another site can send without asking first.
    """
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if not tokens.by_digest and not is_loopback(name):
        return 421, "bad-host", f"the admin API answers to localhost and 127.0.0.1, not to {host!r}"
    if origin is not None and origin.split("://", 1)[-1] != host:
        return 403, "foreign-origin", f"a page of {origin} may not speak to the admin API"
    if tokens.by_digest and not is_public:
        who = tokens.who(authorization)
        if who is None:
            return 401, "unauthorized", "send Authorization: Bearer <token>"
        if method not in SAFE and who[1] != "admin":
            return 403, "forbidden", f"{who[0]} may look, not change"
    if method not in SAFE and content_type.split(";", maxsplit=1)[0].strip().lower() != "application/json":
        return 415, "unsupported-media", "send Content-Type: application/json"
    return None
