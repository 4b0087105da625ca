"""Certificates for tests: an authority of the test's own, and what it signs, as PEM files."""

from __future__ import annotations

import datetime
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

from proxy.model import ClientTls


@dataclass
class Authority:
    """Signs for one test. ``ca`` is its own certificate."""

    folder: Path

    def __post_init__(self) -> None:
        self._made = trustme.CA()
        self.ca = str(self.folder / "ca.pem")
        self._made.cert_pem.write_to_path(self.ca)

    def sign(self, *names: str, to: str = "server", ends: datetime.datetime | None = None) -> ClientTls:
        """A certificate for these names; one of the same ``to`` is replaced, as a renewal does."""
        made = self._made.issue_cert(*(names or ("127.0.0.1",)), not_after=ends)
        files = ClientTls(str(self.folder / f"{to}.pem"), str(self.folder / f"{to}.key"))
        made.private_key_pem.write_to_path(files.key)
        Path(files.certificate).write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        return files

    def trusting(self) -> ssl.SSLContext:
        """What a client needs that trusts this authority alone."""
        return ssl.create_default_context(cafile=self.ca)

    def serving(self, *names: str) -> ssl.SSLContext:
        """What a server needs that this authority vouches for."""
        files = self.sign(*names, to="upstream")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        return context
