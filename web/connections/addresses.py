"""Who a client is where shares are counted: its address, or the one that a trusted proxy names."""

from collections.abc import Iterable
from functools import cache, lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope

from tasks.settings import names_in, settings

LOCAL = ""
"""The address of a client that has none: it came through a Unix socket."""
IPV6_SITE = 64
"""Bits that one IPv6 customer has in common: whoever has one address there has all of them."""


def client_of(scope: Scope) -> str:
    """The address of whoever sent this request, as far as we know.

    `X-Forwarded-For` counts only where a trusted proxy sent it, and of it only the last address
    that is no such proxy: what stands before that is whatever the client wrote.
    """
    client = scope.get("client")
    peer = site(client[0]) if client else LOCAL
    if not is_trusted(peer):
        return peer
    said = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    if not said:
        return peer
    named = (name for name in reversed(_names(said)) if name)
    return next((site(name) for name in named if not is_trusted(site(name))), peer)


@lru_cache(maxsize=4096)
def site(address: str) -> str:
    """The address, or of an IPv6 address the network of its site; what is no address as it is."""
    try:
        parsed = ip_address(address.strip())
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    if parsed.is_loopback:
        return str(parsed)
    return str(IPv6Network((parsed, IPV6_SITE), strict=False).network_address)


@lru_cache(maxsize=4096)
def is_trusted(address: str) -> bool:
    """Whether connections from there are a proxy's, which brings many clients."""
    try:
        return address == LOCAL or any(ip_address(address) in one for one in _trusted())
    except ValueError:
        return False


@cache
def _trusted() -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(name, strict=False) for name in names_in(settings().trusted_proxies))


def _names(headers: Iterable[bytes]) -> list[str]:
    return [part.strip() for part in b",".join(headers).decode("latin-1").split(",")]
