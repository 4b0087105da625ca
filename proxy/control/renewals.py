"""The clients' certificate is renewed while the proxy runs, without anybody telling it."""

from __future__ import annotations

import asyncio

import structlog

from proxy.errors import UsageError
from proxy.ports import Snapshots
from proxy.tls import Certificate

log = structlog.get_logger("control")

LOOK_S = 1.0
"""How often its files are looked at."""


async def follow_certificate(certificate: Certificate, snapshots: Snapshots) -> None:
    """Forever. A renewed one is shown to the next client, without a restart; one that cannot be used replaces nothing."""
    while True:
        await asyncio.sleep(LOOK_S)
        settings = snapshots.current.tls
        if settings is None:
            continue
        try:
            if certificate.look(settings):
                log.info("certificate", file=settings.certificate)
        except UsageError as error:
            log.error("certificate_refused", error=error.message, kept="the last good one", next=error.hint)
