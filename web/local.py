"""Whether a request comes from this machine."""

from ipaddress import ip_address

from starlette.requests import Request

from web.middleware.hosts import name_of


def is_local(request: Request) -> bool:
    """Whether it comes from this machine, and not through a proxy on it."""
    peer = request.client.host if request.client else ""
    asked = name_of(request.headers.get("host", ""))
    is_forwarded = any(name in request.headers for name in ("x-forwarded-for", "forwarded"))
    return _is_loopback(peer) and _is_loopback(asked) and not is_forwarded


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
