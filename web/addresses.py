"""Which client a request belongs to when limits per client are counted.

It is the address of the connection, or the address that a trusted reverse proxy reports.
"""

from collections.abc import Iterable
from functools import cache, lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope

from tasks.settings import names_in, settings

LOCAL = ""
"""Stands for the address of a client that connected through a Unix socket and has none."""
IPV6_SITE = 64
"""Prefix length of one IPv6 customer: somebody who has one address there has all of them."""


def client_of(scope: Scope) -> str:
    """The address of the client that sent this request, as far as it can be known.

    `X-Forwarded-For` counts only if a trusted proxy sent it. Of its addresses the last one that is
    not a trusted proxy itself is taken: the client could have written anything in front of it.
    """
    client = scope.get("client")
    peer = site(client[0]) if client else LOCAL
    if not is_trusted(peer):
        return peer
    forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    if not forwarded:
        return peer
    addresses = (site(name) for name in reversed(_names(forwarded)) if name)
    return next((address for address in addresses if not is_trusted(address)), peer)


@lru_cache(maxsize=4096)
def site(address: str) -> str:
    """The unit that limits are counted for: an IPv4 address, or the /64 network of an IPv6 address.

    Text that is not an address is returned unchanged.
    """
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
    """Whether this is the address of a trusted proxy, which brings the requests of many clients."""
    try:
        return address == LOCAL or any(ip_address(address) in network for network in _trusted())
    except ValueError:
        return False


@cache
def _trusted() -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(name, strict=False) for name in names_in(settings().trusted_proxies))


def _names(headers: Iterable[bytes]) -> list[str]:
    return [part.strip() for part in b",".join(headers).decode("latin-1").split(",")]
