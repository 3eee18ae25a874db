"""Whom a proxy in front names (PIXELMILL_AUTH=proxy): its word counts from its own address only."""

from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from starlette.types import Scope

from tasks.errors import BadInput
from tasks.settings import names_in, settings
from web.accounts import Role
from web.groups import role_of
from web.middleware.validation import HEAD, USER, matches
from web.names import VISITOR

UNIX = "unix"
"""Stands in PIXELMILL_PROXY_ADDRESSES for a proxy that connects through a Unix socket."""


def named_by_proxy(scope: Scope) -> tuple[str, Role | None] | None:
    """The user, and their role if groups give roles; None if no proxy of ours names anybody.

    Raises BadInput if what it says cannot be a name, or if it says it twice.
    """
    if not _is_proxy(scope):
        return None
    name = settings().proxy_user_header.lower().encode()
    values = [value for header, value in scope["headers"] if header == name]
    if not values:
        return None
    user = scope[HEAD][name].decode("latin-1")
    if len(values) > 1 or not matches(USER, user) or matches(VISITOR, user):
        raise BadInput(
            f"the header {settings().proxy_user_header} names no user",
            code="bad_request",
            status=400,
            hint="The proxy must replace what clients send in it, and send one name.",
        )
    return user, role_of(_groups(scope))


def _groups(scope: Scope) -> list[str]:
    name = settings().proxy_groups_header.lower().encode()
    values = [value.decode("latin-1") for header, value in scope["headers"] if header == name]
    # Twice: a client's own stands beside the proxy's, and nobody can say which is which.
    return names_in(values[0]) if len(values) == 1 else []


def _is_proxy(scope: Scope) -> bool:
    """By the connection itself; no header changes it."""
    client = scope.get("client")
    if not client:
        return UNIX in names_in(settings().proxy_addresses)
    try:
        address = ip_address(client[0])
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in _networks(settings().proxy_addresses))


@cache
def _networks(addresses: str) -> tuple[IPv4Network | IPv6Network, ...]:
    names = [name for name in names_in(addresses) if name != UNIX]
    return tuple(ip_network(name, strict=False) for name in names)
