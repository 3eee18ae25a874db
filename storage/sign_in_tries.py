"""Back-off of sign-ins: whoever tries passwords has to wait, for longer and longer.

Wrong tries are counted for the account, so that many addresses together gain nothing, and for the
address, so that trying one password with many names gains nothing. From a browser that has signed
in to the account before they are counted for that browser alone: nobody can lock a user out of
everywhere by trying passwords from elsewhere.
"""

import hashlib
from dataclasses import dataclass

from storage import keys
from storage.redis.calls import NUMBER, Call, script

FREE_OF_ACCOUNT = 5
FREE_OF_ADDRESS = 30
"""Higher, as many people may share an address. A try that the account's back-off refuses does not
count here."""
FIRST_MS = 1000
MOST_MS = 15 * 60_000
"""With these, at most 18 passwords of one account are tried in the first hour, and 4 in each later
one."""
KEEP_MS = 24 * 3600_000


@dataclass(frozen=True)
class Counted:
    """What a try is counted for."""

    names: tuple[str, ...]
    free: tuple[int, ...]


def of_stranger(name: str, address: str) -> Counted:
    """A try from a browser that has not signed in to the account of this name before.

    The name is any text: whether there is such an account makes no difference.
    """
    names = (_counted("account", name), _counted("address", address))
    return Counted(names, (FREE_OF_ACCOUNT, FREE_OF_ADDRESS))


def of_known_browser(name: str, browser: str) -> Counted:
    """A try from a browser that has; `browser` is a word that only this one knows."""
    return Counted((_counted("browser", f"{name}:{browser}"),), (FREE_OF_ACCOUNT,))


def allow(counted: Counted) -> Call[int]:
    """0 if a password may be tried now, else in how many ms. Counts the try as a wrong one."""
    values = {
        "free": counted.free,
        "first_ms": FIRST_MS,
        "most_ms": MOST_MS,
        "keep_ms": KEEP_MS,
    }
    return script("allow_try", int, counted.names, values, kinds=NUMBER)


def forgive(counted: Counted) -> Call[int]:
    """The password was right: forget the try, and the wrong ones of this account before it."""
    return script("forgive_try", int, counted.names, {}, kinds=NUMBER)


def _counted(what: str, text: str) -> str:
    """By a hash: what people type as a name may be a password."""
    return keys.sign_in_tries(f"{what}:{hashlib.sha256(text.encode()).hexdigest()[:32]}")
