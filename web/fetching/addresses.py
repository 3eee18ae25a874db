"""Which IP addresses belong to the public internet, so that a user may have us connect to them."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_GLOBAL_V6 = ip_network("2000::/3")
"""All that is given to IPv6 networks so far. What lies outside stands for other things, for example
for IPv4 addresses (`::ffff:0:0/96`, `64:ff9b::/96`), and would lead into our network."""
_NEVER = [
    ip_network(text)
    for text in (
        # IANA's registries of special addresses. Python's `is_global` has fewer of them in some
        # versions, and others that are none of ours, so both must agree.
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
        # Azure's own services, which its virtual machines alone reach.
        "168.63.129.16/32",
    )
]  # fmt: skip


def is_public(text: str) -> bool:
    """Whether this address, as a resolver gives it, is one of the public internet."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if not address.is_global or any(address in network for network in _NEVER):
        return False
    return isinstance(address, IPv4Address) or _is_public_v6(address)


def _is_public_v6(address: IPv6Address) -> bool:
    return address in _GLOBAL_V6 and address.scope_id is None
