"""Durations, sizes, percents, addresses and URLs as people write them. Each parser says what would be right."""

from __future__ import annotations

import ipaddress
import math
import re
from typing import NoReturn
from urllib.parse import urlsplit

from pydantic_core import PydanticCustomError

from proxy.model import Endpoint

DURATION_PATTERN = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"
SIZE_PATTERN = r"^[0-9]+(B|KiB|MiB|GiB)$"
TOKEN_PATTERN = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"  # noqa: S105 - RFC 9110 section 5.6.2, not a secret

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµ]*)\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"([0-9]+)\s*([A-Za-z]*)\Z")
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_TOKEN = re.compile(TOKEN_PATTERN.removesuffix("$") + r"\Z")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\Z")

PORTS = {"http": 80, "https": 443}


def refuse(message: str) -> NoReturn:
    """A fault of one value, in words that stand as they are."""
    raise PydanticCustomError("turnout", "{message}", {"message": message})


def duration_s(value: object) -> float:
    """``500ms``, ``2s``, ``1.5s``, ``5m``, ``1h`` in seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        refuse(f"a duration needs its unit: `{value}s` or `{value}ms`")
    found = _DURATION.match(value) if isinstance(value, str) else None
    if found is None or found[2] not in _SECONDS:
        refuse(f"{_shown(value)} is no duration: write it as `500ms`, `2s`, `5m` or `1h`")
    return float(found[1]) * _SECONDS[found[2]]


def size_bytes(value: object) -> int:
    """``512B``, ``64KiB``, ``1MiB``, ``1GiB`` in bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        refuse(f"a size needs its unit: `{value}B`, or in KiB or MiB")
    found = _SIZE.match(value) if isinstance(value, str) else None
    if found is None:
        refuse(f"{_shown(value)} is no size: write it as `512B`, `64KiB` or `1MiB`")
    if found[2] not in _BYTES:
        meant = {"k": "KiB", "m": "MiB", "g": "GiB"}.get(found[2][:1].lower(), "B")
        refuse(f"{_shown(value)} is no size: did you mean `{found[1]}{meant}`?")
    return int(found[1]) * _BYTES[found[2]]


def percent_bp(value: object) -> int:
    """A number from 0 to 100 with at most two decimals, in hundredths of a percent."""
    if isinstance(value, str) and re.fullmatch(r"[0-9.]+\s*%", value):
        refuse(f"the percent sign is not written here: `{value.rstrip('% ')}`")
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse(f"{_shown(value)} is no number: write a percentage from 0 to 100, such as `10` or `0.25`")
    if not 0 <= value <= 100:
        refuse(f"`{value}` is out of range: a percentage from 0 to 100")
    hundredths = round(value * 100)
    if not math.isclose(value * 100, hundredths, abs_tol=1e-7):
        refuse(f"`{value}` is too fine: at most two decimals, such as `{hundredths / 100:g}`")
    return hundredths


def endpoint(value: object) -> Endpoint:
    """``http://host:port`` or ``https://…``; the port is 80 or 443 where it is left out."""
    example = "`http://127.0.0.1:3002`"
    if not isinstance(value, str):
        refuse(f"{_shown(value)} is no URL: write it as {example}")
    if "://" not in value:
        refuse(
            f"`{value}` is no URL: did you mean `http://{value}`?"
            if value
            else f"an empty URL: write it as {example}"
        )
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        refuse(f"`{value}` is no URL: write it as {example}")
    if parts.scheme not in PORTS:
        refuse(f"`{value}` is not http or https: write it as {example}")
    if not _is_host(host) or port == 0:
        refuse(f"`{value}` names no host and port: write it as {example}")
    if (
        parts.path not in ("", "/")
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
        or "?" in value
        or "#" in value
    ):
        refuse(
            f"`{value}` is more than a host and a port: write it as `{parts.scheme}://{host}:{port or PORTS[parts.scheme]}`"
        )
    return Endpoint(host, port or PORTS[parts.scheme], parts.scheme == "https")


def cidr(value: object) -> str:
    """``10.0.0.0/8`` or one address, in its ordinary form."""
    if not isinstance(value, str):
        refuse(f"{_shown(value)} is no address: write it as `10.0.0.0/8` or `192.0.2.7`")
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError:
        refuse(f"`{value}` is no address: write it as `10.0.0.0/8`, `192.0.2.7` or `2001:db8::/32`")
    if "/" in value and str(network) != str(ipaddress.ip_interface(value)):
        refuse(f"`{value}` has bits set behind its mask: did you mean `{network}`?")
    return str(network)


def token(value: object) -> str:
    """A name of a header or cookie (RFC 9110 section 5.6.2)."""
    if not isinstance(value, str) or not _TOKEN.match(value):
        refuse(f"{_shown(value)} is no name: letters, digits and any of !#$%&'*+-.^_`|~")
    return value


def is_token(value: str) -> bool:
    """Whether a header, cookie or method may be called so."""
    return _TOKEN.match(value) is not None


def _is_host(host: str) -> bool:
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            return False
        return True
    return _HOST.match(host) is not None


def _shown(value: object) -> str:
    """A value in a message: as YAML would show it, never long."""
    if isinstance(value, str):
        return f"`{value[:60]}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else f"`{value}`"
