"""``turnout backfill``: bring the secondary up to what the primary holds, beside the running traffic."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from proxy.cli import admin_client, tools
from proxy.cli.options import AsJson
from proxy.cli.output import FAILED, complain, errors_told, note, say, say_json
from proxy.errors import UsageError
from proxy.model import UpstreamTls
from proxy.tls import Secure, upstream_context

if TYPE_CHECKING:
    from backends.migrate.backfill import Progress, Report

NOTE_S = 1.0


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("backfill")(backfill)


def backfill(
    source: Annotated[
        str,
        typer.Option(
            "--from", metavar="FILE|URL", help="The primary's data.json, or the primary's own address."
        ),
    ],
    target: Annotated[str, typer.Option("--to", metavar="URL", help="The secondary's own address.")],
    source_url: Annotated[
        str | None,
        typer.Option(
            "--source-url",
            metavar="URL",
            help="With a FILE: the server that writes it. Left out: the primary of the running proxy (TURNOUT_ADMIN).",
        ),
    ] = None,
    ca: Annotated[
        str,
        typer.Option(
            "--ca",
            metavar="FILE",
            help="A PEM file with the certificates that sign those of https servers. Left out: the system's.",
        ),
    ] = "",
    from_server_name: Annotated[
        str,
        typer.Option(
            "--from-server-name",
            metavar="NAME",
            help="What the primary's certificate must be for. Left out: its URL's host.",
        ),
    ] = "",
    to_server_name: Annotated[
        str,
        typer.Option("--to-server-name", metavar="NAME", help="The same for the secondary's certificate."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Copy what was there before, while writes go on; nothing newer is overwritten. May be run again at any time.

    Exit 1 where something was rejected or the source ends early: then nothing was swept, and what was read stays.

    Example: turnout backfill --from data.json --to http://127.0.0.1:3003
    """
    with errors_told(as_json):
        file, url = _source(source, source_url)
        if not _is_url(target):
            raise UsageError(f"--to {target} is no URL", "write it as http://127.0.0.1:3003")
        if url is None:
            url = tools.primary_url(admin_client.from_environment())
        secure = {
            **_secure(url, UpstreamTls(ca, from_server_name), "--from-server-name"),
            **_secure(target, UpstreamTls(ca, to_server_name), "--to-server-name"),
        }
        if ca and not secure:
            raise UsageError(
                "--ca is for https, and neither server is asked so", "leave --ca out, or write https://"
            )
        report = asyncio.run(_run(file, url, target, secure))
        if as_json:
            say_json(report.as_json())
        else:
            _tell(report)
    if not report.is_clean:
        raise typer.Exit(FAILED)


def _source(given: str, server: str | None) -> tuple[Path | None, str | None]:
    """The file (None: read from the server itself) and the server's URL (None: the proxy knows)."""
    if _is_url(given):
        if server is not None and server.rstrip("/") != given.rstrip("/"):
            raise UsageError("--source-url names another server than --from", "leave --source-url out")
        return None, given
    if server is not None and not _is_url(server):
        raise UsageError(f"--source-url {server} is no URL", "write it as http://127.0.0.1:3002")
    file = Path(given)
    if not file.is_file():
        raise UsageError(
            f"there is no file {given}", "give the data.json that the primary writes, or its URL"
        )
    return file, server


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def _secure(url: str, settings: UpstreamTls, option: str) -> dict[str, Secure]:
    """How the certificate of an https URL is verified, by the URL: the same as an upstream's in the settings."""
    if not url.startswith("https://"):
        if settings.server_name:
            raise UsageError(f"{option} is for https, and {url} is not", f"leave {option} out")
        return {}
    host = urlsplit(url).hostname
    if not host:
        raise UsageError(f"{url} names no server", "write it as https://shop.example:3003")
    return {url: (upstream_context(settings), settings.server_name or host)}


async def _run(file: Path | None, url: str, target: str, secure: Mapping[str, Secure]) -> Report:
    from backends.migrate.backfill import backfill as run

    shown = _Shown()
    with tools.failures_told():
        return await run(file, url, target, token=tools.mirror_token(), secure=secure, progress=shown.show)


class _Shown:
    """A line on stderr now and then: how far it is."""

    def __init__(self) -> None:
        self._last_s = time.monotonic()

    def show(self, progress: Progress) -> None:
        now_s = time.monotonic()
        if now_s - self._last_s < NOTE_S or not sys.stderr.isatty():
            return
        self._last_s = now_s
        share = f"{progress.bytes_read / progress.bytes_total:.0%} " if progress.bytes_total else ""
        note(f"{share}{progress.records:,} records, in {progress.name or '…'}")


def _tell(report: Report) -> None:
    for name, count in sorted(report.counts.items()):
        say(
            f"  {name}: {count.records:,} read, {count.applied:,} applied, {count.kept:,} newer kept, {count.swept:,} swept"
        )
    for one in report.rejects:
        say(f"  rejected {one.place}: {one.reason}")
    if report.is_clean:
        say(f"backfilled: {report.records:,} records in {report.seconds:.1f} s; next: turnout validate")
        return
    why = report.stopped or f"{report.rejected:,} records were rejected"
    complain(
        f"not clean: {why}; nothing was swept",
        "mend what is named at the source, then run it again as it was",
    )
