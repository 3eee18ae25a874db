"""The addresses that a user names: which of them may be asked at all, before any name is resolved.

An address is asked over https on port 443, at a host of the public internet. Origins that the
settings list (PIXELMILL_FETCH_HOSTS) may be anywhere, use another port, or http.
"""

from dataclasses import dataclass
from functools import lru_cache

import httpx

from tasks.errors import BadInput
from tasks.settings import names_in
from web.middleware.validation import is_text

MAX_URL = 2048
PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int]
"""(scheme, host, port)"""


@dataclass(frozen=True)
class Rules:
    """Who may be asked."""

    public: bool = True
    """Whether all of the public internet may."""
    listed: frozenset[Origin] = frozenset()
    """Origins that may be asked wherever they are."""


@dataclass(frozen=True)
class Target:
    """An address that may be asked."""

    url: httpx.URL
    is_listed: bool
    """Whether its origin is listed, so that its host may be inside our network."""

    @property
    def port(self) -> int:
        """The port that is connected to."""
        return self.url.port or PORTS[self.url.scheme]


@lru_cache(maxsize=16)
def rules(public: bool, hosts: str) -> Rules:
    """The rules of the settings PIXELMILL_FETCH_URLS and PIXELMILL_FETCH_HOSTS."""
    names = (name if "://" in name else f"https://{name}" for name in names_in(hosts))
    urls = [httpx.URL(name) for name in names]
    return Rules(
        public, frozenset((url.scheme, url.host, url.port or PORTS[url.scheme]) for url in urls)
    )


def parse(text: str, rules: Rules) -> Target:
    """The address that a user names. Raises BadInput if it is not one, or may not be asked."""
    if not (rules.public or rules.listed):
        raise BadInput(
            "this server fetches no pictures from addresses (PIXELMILL_FETCH_URLS is off)",
            code="fetch_off",
            status=403,
            hint="Send the file itself, or ask whoever runs this server to set "
            "PIXELMILL_FETCH_URLS=true.",
        )
    if len(text) > MAX_URL or not is_text(text, MAX_URL) or any(sign in text for sign in " \n\t"):
        raise _bad_url(f"expected is an address without spaces, of at most {MAX_URL} characters")
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise _bad_url("it is not one like https://example.com/photo.jpg") from None
    if url.userinfo:
        raise _bad_url("it must not contain a name or a password")
    return _checked(url, rules)


def redirected(target: Target, location: str, rules: Rules) -> Target:
    """Where an answer leads on. Raises BadInput as if that could not be reached."""
    try:
        url = target.url.join(location)
        if len(location) > MAX_URL or not is_text(location, MAX_URL) or url.userinfo:
            raise unreachable()
        return _checked(url, rules)
    except (httpx.InvalidURL, BadInput):
        raise unreachable() from None


def unreachable() -> BadInput:
    """The one error for all that has not led to an answer: a name that does not exist, an address
    that is not public, a closed port. It must not tell anybody what there is in our network."""
    return BadInput(
        "this address could not be reached: expected is a public https server with a valid "
        "certificate, on port 443",
        code="not_reached",
        hint="Open the address in a browser without being signed in, or send the file itself.",
    )


def _checked(url: httpx.URL, rules: Rules) -> Target:
    if url.scheme not in PORTS or not url.host:
        raise _bad_url("it must begin with https://")
    target = Target(url, is_listed=False)
    if (url.scheme, url.host, target.port) in rules.listed:
        return Target(url, is_listed=True)
    if not rules.public:
        raise BadInput(
            "this server fetches pictures from the hosts of PIXELMILL_FETCH_HOSTS alone",
            code="fetch_off",
            status=403,
            hint="Send the file itself.",
        )
    if url.scheme != "https" or target.port != PORTS["https"]:
        raise _bad_url("it must begin with https:// and name no other port than 443")
    return target


def _bad_url(why: str) -> BadInput:
    return BadInput(f"the picture's address cannot be used: {why}", code="bad_url")
