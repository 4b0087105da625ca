"""TLS by the standard library: what clients' connections and those to upstreams are made with. Owns no socket.

Files are read when they are first needed and again when they change. What cannot be read replaces nothing: the last
good one stays, as with the routing (P8).
"""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

from proxy.errors import UsageError
from proxy.model import ClientTls, Endpoint, Upstream, UpstreamTls

PROTOCOLS = ["http/1.1"]
"""ALPN, RFC 7301: nothing newer is spoken."""

Secure = tuple[ssl.SSLContext, str]
"""A context, and the name that the server's certificate must be for."""

Signature = tuple[tuple[int, int, int], ...]


def client_context(settings: ClientTls) -> ssl.SSLContext:
    """For a listener. UsageError where certificate and key cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(PROTOCOLS)
    try:
        # An empty password: an encrypted key is refused, where OpenSSL would ask at the terminal.
        context.load_cert_chain(settings.certificate, settings.key, password="")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"certificate {settings.certificate} with key {settings.key} cannot be used: {_why(error)}",
            "give a PEM file with the certificate and its chain, and one with its key, without a password",
        ) from error
    return context


def upstream_context(settings: UpstreamTls) -> ssl.SSLContext:
    """For connections to an upstream: always verified. UsageError where the CA cannot be used and none was before."""
    signature = _signature(settings.ca)
    kept = _KEPT.get(settings)
    if kept is not None and kept[0] == signature:
        return kept[1]
    try:
        context = ssl.create_default_context(cafile=settings.ca or None)
    except (OSError, ValueError) as error:
        if kept is not None:
            return kept[1]
        raise UsageError(
            f"the CA in {settings.ca} cannot be used: {_why(error)}",
            "give a PEM file with the certificates that sign the upstream's",
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(PROTOCOLS)
    _KEPT[settings] = signature, context
    return context


_KEPT: dict[UpstreamTls, tuple[Signature, ssl.SSLContext]] = {}
"""A few: one for each way in which an upstream was ever configured."""


def secure_for(upstream: Upstream, endpoint: Endpoint) -> Secure | None:
    """How to reach an endpoint: None over plain TCP. UsageError as ``upstream_context``."""
    if not endpoint.is_tls:
        return None
    settings = upstream.tls or UpstreamTls()
    return upstream_context(settings), settings.server_name or endpoint.host


class Certificate:
    """What a listener shows to clients. ``entrance`` is for the listener; each handshake gets the newest certificate.

    ``ends_wall_s`` is when that one ends (seconds since 1970), None where its file has a form that does not tell.
    """

    def __init__(self, settings: ClientTls) -> None:
        """UsageError where it cannot be used."""
        self._settings = settings
        self._signature = _signature(settings.certificate, settings.key)
        self._newest = client_context(settings)
        self.ends_wall_s = _end_of(settings.certificate)
        self.entrance = client_context(settings)
        self.entrance.sni_callback = self._on_hello

    @property
    def file(self) -> str:
        return self._settings.certificate

    def _on_hello(self, connection: ssl.SSLObject, _name: str | None, _entrance: ssl.SSLContext) -> None:
        connection.context = self._newest

    def look(self, settings: ClientTls) -> bool:
        """Whether a new certificate is in use from now on. UsageError, once for each change, where it cannot be: the last good one stays."""
        signature = _signature(settings.certificate, settings.key)
        if (settings, signature) == (self._settings, self._signature):
            return False
        self._settings, self._signature = settings, signature
        self._newest = client_context(settings)
        self.ends_wall_s = _end_of(settings.certificate)
        return True


def _end_of(path: str) -> float | None:
    try:
        return ends_wall_s(Path(path).read_text("ascii", "replace"))
    except (OSError, ValueError, IndexError):
        return None


def ends_wall_s(pem: str) -> float:
    """When the first certificate of a PEM file ends, in seconds since 1970 (RFC 5280, 4.1.2.5: ``notAfter``).

    The standard library tells it of a peer only, so the one field is read here. ValueError where there is no certificate.
    """
    begin = pem.index(_BEGIN)
    end = pem.index(_END, begin) + len(_END)
    certificate = _inside(ssl.PEM_cert_to_DER_cert(pem[begin:end]))
    to_be_signed = _parts(_inside(certificate))
    if to_be_signed[0][0] == _VERSION:  # left out by version 1
        to_be_signed = to_be_signed[1:]
    _serial, _algorithm, _issuer, (_, validity), *_ = to_be_signed
    _, (tag, not_after) = _parts(validity)
    text = not_after.decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year: 50 and above are of the last century
        text = f"{'19' if text >= '50' else '20'}{text}"
    moment = datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ")  # noqa: DTZ007 - Z is UTC
    return moment.replace(tzinfo=datetime.UTC).timestamp()


def _parts(der: bytes) -> list[tuple[int, bytes]]:
    """Tag and content of each value in a row of them (X.690, definite lengths)."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length & 0x80:
            octets = length & 0x7F
            length, at = int.from_bytes(der[at : at + octets]), at + octets
        found.append((tag, der[at : at + length]))
        at += length
    return found


def _inside(der: bytes) -> bytes:
    """The content of the first value."""
    return _parts(der)[0][1]


_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_VERSION, _UTC_TIME = 0xA0, 0x17


def _signature(*paths: str) -> Signature:
    """What changes with the files; nothing for one that is not there."""
    found: list[tuple[int, int, int]] = []
    for path in paths:
        try:
            stat = Path(path).stat()
        except OSError:
            continue
        found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return tuple(found)


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason.lower().replace("_", " ") if error.reason else "it is no PEM file"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
