"""What operators type, as values: addresses, percentages, durations. Wrong ones are told as wrong use (exit 2)."""

from __future__ import annotations

import typer

ANY_HOST = "0.0.0.0"  # noqa: S104 - only where the operator leaves the host out
LOOPBACK = "127.0.0.1"


def address(text: str, *, no_host: str) -> tuple[str, int]:
    """``HOST:PORT``, ``[::1]:PORT``, ``:PORT`` or ``PORT``; without a host it is ``no_host``. Port 0: any free one."""
    host, separator, port = text.rpartition(":")
    if not separator:
        host, port = "", text
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise typer.BadParameter(f"{text!r} is no address: write HOST:PORT or :PORT, such as 127.0.0.1:3000")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise typer.BadParameter(f"{text!r}: write an IPv6 address in brackets, such as [::1]:{port}")
    return host or no_host, int(port)


def percent(text: str) -> float:
    """0 to 100 with at most two decimals."""
    from pydantic_core import PydanticCustomError

    from proxy.settings.scalars import percent_bp

    try:
        return percent_bp(float(text.removesuffix("%"))) / 100
    except PydanticCustomError as error:
        raise typer.BadParameter(error.message()) from error
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(f"{text!r} is no percentage: write 10 or 0.25") from error


def seconds(text: str) -> float:
    """``30s``, ``500ms``, ``1m``."""
    from pydantic_core import PydanticCustomError

    from proxy.settings.scalars import duration_s

    try:
        return duration_s(text)
    except PydanticCustomError as error:
        raise typer.BadParameter(error.message()) from error
