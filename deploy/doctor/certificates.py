"""Checks how long the certificates of Redis, S3 and the page are valid."""

import socket
import ssl
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import SplitResult, urlsplit

from cryptography import x509

from deploy.doctor.finding import ANSWER_S, Finding
from tasks.settings import Settings

SOON = timedelta(days=14)
"""Certificates that end so soon should have been renewed by whatever renews them."""
PORTS: Mapping[str, int] = {"rediss": 6379, "https": 443}
"""Schemes of addresses with TLS, and their usual ports."""


def certificates(settings: Settings) -> Iterable[Finding]:
    """A line for each server with TLS. One that does not answer has a line of another check."""
    seen: set[tuple[str, int]] = set()
    for what, url in _addresses(settings):
        parts = urlsplit(url)
        if parts.scheme not in PORTS or (server := _server(parts)) in seen:
            continue
        seen.add(server)
        if ends := _end_of_certificate(*server):
            yield judged(what, f"{server[0]}:{server[1]}", ends, datetime.now(UTC))


def judged(what: str, server: str, ends: datetime, now: datetime) -> Finding:
    """What to say of a certificate that ends then."""
    left, name = ends - now, f"certificate of {what}"
    when = f"{ends:%Y-%m-%d %H:%M} UTC ({server})"
    if left <= timedelta():
        return Finding("fail", name, f"expired on {when}", "Renew it on that server.")
    value = f"valid until {when}"
    if left < SOON:
        hint = "Renew it on that server; no process of Pixelmill need be started again."
        return Finding("warn", name, value, hint)
    return Finding("ok", name, value)


def _addresses(settings: Settings) -> Iterable[tuple[str, str]]:
    yield "the state Redis", settings.state_url
    yield "the cache Redis", settings.cache_url
    yield "the scratch Redis", settings.scratch_url
    yield "S3", settings.s3_url
    yield "S3 as browsers reach it", settings.s3_public_url
    yield "the page", settings.public_url


def _server(parts: SplitResult) -> tuple[str, int]:
    return parts.hostname or "", parts.port or PORTS[parts.scheme]


def _end_of_certificate(host: str, port: int) -> datetime | None:
    """When the certificate that this server shows ends; None if none is shown.

    Who has signed it is not judged here: browsers may trust others than this host does.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=ANSWER_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            shown = secured.getpeercert(binary_form=True)
    except OSError:
        return None
    return x509.load_der_x509_certificate(shown).not_valid_after_utc if shown else None
