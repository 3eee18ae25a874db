"""Which host names this server answers to, and whether a request comes from its own pages."""

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.requests import Request

from tasks.errors import BadInput
from tasks.settings import settings
from web.middleware.validation import HEAD
from web.text import shown

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITES = frozenset({b"same-origin", b"none"})
"""Values of Sec-Fetch-Site for requests of the page itself and for addresses typed by a person."""


@lru_cache(maxsize=1024)
def origin_at(host: str, server: str, public_url: str) -> str:
    """The address at which a browser that sent this Host sees this server; empty if unknown. It is
    an origin, with the path of `public_url` if that has one.

    Known are loopback names, `server` (the address that the connection came in on) and the host of
    `public_url`. With a forged Host, no URL is signed and no work is started.
    """
    public = urlsplit(public_url)
    if public.netloc and host.lower() == public.netloc.lower():
        return f"{public.scheme}://{host}{public.path.rstrip('/')}"
    name = name_of(host)
    is_known = name in LOOPBACK or name == server
    return f"http://{host}" if name and is_known else ""


def name_of(host: str) -> str:
    """The name or address in a Host header, in lower case; empty if the header is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        return (parts.hostname or "") if parts.port != 0 else ""
    except ValueError:
        return ""


def origin_of(request: Request) -> str:
    """The origin for which URLs in this answer are signed. Raises BadInput for an unknown host."""
    if settings().s3_public_url:
        return settings().s3_public_url.rstrip("/")
    return own_origin(request)


def own_origin(request: Request) -> str:
    """The origin of this server as the client sees it. Raises BadInput for an unknown host."""
    server = request.scope.get("server") or ("", 0)
    host = request.scope[HEAD].get(b"host", b"").decode("ascii")
    return origin_at(host, server[0], settings().public_url) or refuse_host(host)


def address_of(request: Request, path: str) -> str:
    """The address of a page of this server, as others must know it."""
    return f"{settings().public_url.rstrip('/') or own_origin(request)}{path}"


def refuse_host(host: str) -> str:
    """Raises the BadInput that answers a request for an unknown host; never returns."""
    raise BadInput(
        f"this server does not answer to the name {shown(host)}",
        code="unknown_host",
        status=421,
        hint="Start it with --public-url (PIXELMILL_PUBLIC_URL) set to the address you type.",
    )


def is_foreign(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a page of another origin made the browser send this request.

    A browser says so in Sec-Fetch-Site (for https and loopback addresses) and, unless the method is
    GET, in Origin. A page on another port of this host is another origin. Programs send neither.
    """
    site = headers.get(b"sec-fetch-site")
    if site is not None and site not in OWN_SITES:
        return True
    origin = headers.get(b"origin")
    return origin is not None and not _is_own(origin, headers.get(b"host", b""))


def may_be_foreign(headers: Mapping[bytes, bytes]) -> bool:
    """As `is_foreign`, but uses Referer if a browser sends neither; such requests get no cookie."""
    if is_foreign(headers):
        return True
    referer = headers.get(b"referer")
    if referer is None or b"sec-fetch-site" in headers or b"origin" in headers:
        return False
    return not _is_own(b"/".join(referer.split(b"/")[:3]), headers.get(b"host", b""))


def is_authorised(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the request has an API key. Unlike a cookie, a browser never adds one by itself."""
    return headers.get(b"authorization", b"")[:7].lower() == b"bearer "


def _is_own(origin: bytes, host: bytes) -> bool:
    """Whether an Origin is that of the page at `host`, or of PIXELMILL_PUBLIC_URL."""
    public = settings().public_origin.encode()
    origin, host = origin.lower(), host.lower()
    if public and origin == public:
        return True
    if public and host == public.partition(b"://")[2]:
        return False  # the scheme is known, and `origin` has a different one
    return bool(host) and origin in (b"http://" + host, b"https://" + host)
