"""Sign-ins on their way to the OpenID provider and back: each can be finished once."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from storage import keys
from storage.redis.answers import text
from storage.redis.calls import MAYBE_TEXT, TEXT, Call, command


@dataclass(frozen=True)
class OnItsWay:
    """What only this server and the provider may know of a sign-in."""

    nonce: str
    verifier: str
    """Of PKCE."""


def begin(state: str, sign_in: OnItsWay, life_s: int) -> Call[bool]:
    """Keep what is needed to finish a sign-in."""
    words = ("SET", keys.oidc_sign_in(state), json.dumps(asdict(sign_in)), "EX", life_s)
    return command(bool, *words, kinds=TEXT)


def take(state: str) -> Call[OnItsWay | None]:
    """What was kept, this once; None if there is nothing, or if it took too long."""

    def parse(answer: Any) -> OnItsWay | None:
        return OnItsWay(**json.loads(text(answer))) if answer else None

    return command(parse, "GETDEL", keys.oidc_sign_in(state), kinds=MAYBE_TEXT)
