"""The cookies of browsers: their names and values, what is signed, and how long they hold.

A visitor of open mode has a signed name. Whoever has signed in has the token of a session
(storage/sessions.py), so that it can be ended.
"""

import hashlib
import re
import secrets
import time
from collections.abc import Sequence
from functools import lru_cache

from itsdangerous import BadSignature, TimestampSigner

from tasks.settings import settings

COOKIE_S = 30 * 86_400
"""A cookie is valid for this long after its issue."""
RENEW_S = 86_400
"""A cookie older than this is replaced by a new one."""
SESSION = "s."
"""What the values of sessions begin with; no visitor's name does."""
KNOWN = "_known"
"""End of the name of a second cookie: that of a browser that has signed in before."""
KNOWN_S = 180 * 86_400
OIDC = "_oidc"
"""The same of a third one: that of a browser that is on its way to the OpenID provider and back."""
OIDC_S = 600
LANGUAGE = "pixelmill_lang"
"""Name of the cookie of the language that was chosen, which the page's scripts read too."""
SCHEME = "pixelmill_scheme"
"""The same of the colour scheme, which the page's scripts set."""
SCHEMES = ("light", "dark")


def cookie_name(suffix: str = "") -> str:
    """A name per installation: browsers share cookies between all ports of a host.

    Where people type https, it has a prefix by which a browser takes the cookie from this very host
    over https alone: no neighbour of a domain can give a visitor another identity.
    """
    prefix = ("__Secure-" if suffix else "__Host-") if is_https() else ""
    return f"{prefix}pixelmill_{settings().installation}{suffix}"


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
    return _set(cookie_name(), signed(user), COOKIE_S)


def set_session(user: str, token: str) -> str:
    """The Set-Cookie header that makes this browser's session the one of this token."""
    life_s = int(settings().session_days * 86_400)
    return _set(cookie_name(), f"{SESSION}{user}.{token}", life_s)


def session_of_cookie(value: str) -> tuple[str, str] | None:
    """User and token, if the cookie is that of a session; whether it counts, the record says."""
    if not value.startswith(SESSION):
        return None
    user, _, token = value.removeprefix(SESSION).rpartition(".")
    return (user, token) if user and token else None


def end_cookie() -> str:
    """The Set-Cookie header that removes the cookie."""
    return _set(cookie_name(), "", 0)


def set_known_browser(user: str, epoch: str) -> str:
    """The Set-Cookie header by which the sign-in form knows a browser that has signed in before.

    `epoch`: the account's at that sign-in, as storage.users.Credentials has it.
    """
    value = _signer(KNOWN).sign(f"{user}.{epoch}.{secrets.token_hex(12)}").decode()
    return _set(cookie_name(KNOWN), value, KNOWN_S, path=f"{settings().sub_path}/login")


def set_oidc(state: str) -> str:
    """The Set-Cookie header that ties a sign-in at the provider to this browser; empty: removes."""
    return _set(
        cookie_name(OIDC), state, OIDC_S if state else 0, path=f"{settings().sub_path}/login"
    )


def known_browser(cookie: bytes, user: str) -> tuple[str, str]:
    """A word of its own for a browser that has signed in as this user before, else empty; and the
    account's epoch at that sign-in. With another epoch, the browser is a stranger again."""
    value = value_of(cookie, KNOWN)
    try:
        stored, issued = _signer(KNOWN).unsign(value, return_timestamp=True)
    except BadSignature:
        return "", ""
    name, epoch, word = stored.decode().rsplit(".", 2)
    is_valid = name == user and time.time() - issued.timestamp() < KNOWN_S
    return (word, epoch) if is_valid else ("", "")


def own_cookies(values: Sequence[bytes]) -> bytes:
    """Our cookies out of the Cookie headers of a request; empty if there are none.

    The headers may also have cookies of other applications on this host, with any content.
    """
    found: dict[bytes, bytes] = {}
    for value in values:
        for match in _own_cookie_pattern().finditer(value):
            found.setdefault(match[1], match[2])
    return b"; ".join([name + b"=" + value for name, value in found.items()])


def value_of(cookie: bytes, suffix: str = "") -> str:
    """The value of our cookie whose name ends so, in what `own_cookies` returns; else empty."""
    if not suffix and b";" not in cookie:  # nearly always
        name, _, value = cookie.partition(b"=")
        return value.decode("ascii") if name == cookie_name().encode() else ""
    return _value(cookie, cookie_name(suffix))


def chosen_language(cookie: bytes) -> str:
    """What `?lang=` has chosen before, in what `own_cookies` returns; else empty."""
    return _value(cookie, LANGUAGE)


def chosen_scheme(cookie: bytes) -> str:
    """`light` or `dark` as the page's switch says, in what `own_cookies` returns; else empty."""
    value = _value(cookie, SCHEME)
    return value if value in SCHEMES else ""


def _value(cookie: bytes, name: str) -> str:
    pairs = (pair.partition(b"=") for pair in cookie.split(b"; "))
    return next((value.decode("ascii") for key, _, value in pairs if key == name.encode()), "")


def is_https() -> bool:
    """Whether browsers reach this server by https."""
    return settings().public_url.startswith("https://")


def _set(name: str, value: str, life_s: int, path: str = "/") -> str:
    secure = "; Secure" if is_https() else ""
    return f"{name}={value}; Path={path}; Max-Age={life_s}; HttpOnly; SameSite=Lax{secure}"


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
    known = [LANGUAGE, SCHEME, *map(cookie_name, ("", KNOWN, OIDC))]
    names = b"|".join(re.escape(name.encode()) for name in known)
    return re.compile(rb"(?:^|;)[ \t]*(" + names + rb")=([A-Za-z0-9._@+-]{1,200})[ \t]*(?=;|$)")


@lru_cache(maxsize=4)
def _signer(auth: str) -> TimestampSigner:
    """By mode: what was signed for the visitors of open mode names nobody where accounts are."""
    # itsdangerous uses SHA-1 unless it is told otherwise.
    return TimestampSigner(settings().secret, salt=f"cookie-{auth}", digest_method=hashlib.sha256)
