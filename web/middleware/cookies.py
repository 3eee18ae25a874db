"""The cookie that says which user a browser is: its name, its signature, and how long it holds."""

import hashlib
import re
import time
from collections.abc import Sequence
from functools import lru_cache

from itsdangerous import BadSignature, TimestampSigner

from tasks.settings import settings

COOKIE_S = 30 * 86_400
"""A cookie is valid for this long after its issue."""
RENEW_S = 86_400
"""A cookie older than this is replaced by a new one."""


def cookie_name() -> str:
    """A name per installation: browsers share cookies between all ports of a host."""
    return f"pixelmill_{settings().installation}"


def signed(user: str) -> str:
    """The cookie's value: user, time of issue, signature."""
    return _signer(settings().auth).sign(user).decode()


def user_of_cookie(value: str) -> tuple[str, float] | None:
    """User and time of issue (Unix time in s), if the cookie is ours and not too old."""
    known = _verified(value, settings().auth)
    # Not by `max_age` of unsign(), which also refuses what another host's clock has signed ahead.
    return known if known and time.time() - known[1] < COOKIE_S else None


def set_cookie(user: str) -> str:
    """The Set-Cookie header that makes this browser this user."""
    secure = "; Secure" if settings().public_url.startswith("https://") else ""
    flags = f"Path=/; Max-Age={COOKIE_S}; HttpOnly; SameSite=Lax{secure}"
    return f"{cookie_name()}={signed(user)}; {flags}"


def end_cookie() -> str:
    """The Set-Cookie header that makes this browser nobody."""
    return f"{cookie_name()}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"


def own_cookie(values: Sequence[bytes]) -> bytes:
    """Our cookie out of the Cookie headers of a request, as `name=value`; empty if there is none.

    The headers may also have cookies of other applications on this host, with any content.
    """
    for value in values:
        if match := _own_cookie_pattern().search(value):
            return match[1]
    return b""


def value_of(cookie: bytes) -> str:
    """The value in what `own_cookie` returns."""
    return cookie.partition(b"=")[2].decode("ascii")


@lru_cache(maxsize=4096)
def _verified(value: str, auth: str) -> tuple[str, float] | None:
    """User and time of issue if the signature is ours. Browsers send the same cookie every time."""
    try:
        user, issued = _signer(auth).unsign(value, return_timestamp=True)
    except BadSignature:
        return None
    return user.decode(), issued.timestamp()


@lru_cache(maxsize=1)
def _own_cookie_pattern() -> re.Pattern[bytes]:
    name = re.escape(cookie_name().encode())
    return re.compile(rb"(?:^|;)[ \t]*(" + name + rb"=[A-Za-z0-9._@+-]{1,200})[ \t]*(?:;|$)")


@lru_cache(maxsize=4)
def _signer(auth: str) -> TimestampSigner:
    """By mode: what was signed for the visitors of open mode names nobody where accounts are."""
    # itsdangerous uses SHA-1 unless it is told otherwise.
    return TimestampSigner(settings().secret, salt=f"cookie-{auth}", digest_method=hashlib.sha256)
