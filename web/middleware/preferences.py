"""Finds the language of a page: what `?lang=` says, else what it has said before, else what the
browser prefers. What `?lang=` says is remembered in a cookie, which the page's JavaScript reads.
So is the colour scheme in a second one, which the page's switch sets.

The API is English whatever a browser prefers.
"""

import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from urllib.parse import parse_qsl

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.middleware.cookies import LANGUAGE, chosen_language, chosen_scheme, is_https
from web.middleware.validation import HEAD
from web.words import LANGUAGES, can_be_asked_again, language

scheme: ContextVar[str] = ContextVar("scheme", default="")
"""`light` or `dark` as the page's switch says; empty where the system decides."""
LIFE_S = 365 * 86_400
_PREFERENCE = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]+)?\s*(?:;\s*q=([0-9.]{1,5})\s*)?")


class Preferences:
    """Sets `scheme` and `web.words.language` while a page is made."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or scope["path"].startswith(("/api/", "/static/")):
            await self.app(scope, receive, send)
            return
        asked = _asked(scope["query_string"])
        language.set(asked or _preferred(scope[HEAD]))
        scheme.set(chosen_scheme(scope[HEAD].get(b"cookie", b"")))
        can_be_asked_again.set(scope["method"] == "GET")
        await self.app(scope, receive, _remembering(send, asked) if asked else send)


def _asked(query: bytes) -> str:
    if b"lang=" not in query:
        return ""
    wanted = dict(parse_qsl(query.decode("ascii"))).get("lang", "")
    return wanted if wanted in LANGUAGES else ""


def _preferred(head: Mapping[bytes, bytes]) -> str:
    remembered = chosen_language(head.get(b"cookie", b""))
    accepted = _accepted(head.get(b"accept-language", b"").decode("latin-1"))
    return next((name for name in (remembered, *accepted) if name in LANGUAGES), LANGUAGES[0])


def _accepted(header: str) -> Iterator[str]:
    """The languages of an Accept-Language header, those that are liked best first."""
    matches = filter(None, map(_PREFERENCE.fullmatch, header.split(",")))
    ranked = [(_weight(match[2]), match[1].lower()) for match in matches]
    return (name for weight, name in sorted(ranked, key=lambda item: -item[0]) if weight > 0)


def _weight(text: str | None) -> float:
    try:
        return float(text or 1)
    except ValueError:
        return 0.0


def _remembering(send: Send, chosen: str) -> Send:
    secure = "; Secure" if is_https() else ""
    cookie = f"{LANGUAGE}={chosen}; Path=/; Max-Age={LIFE_S}; SameSite=Lax{secure}"

    async def with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).append("set-cookie", cookie)
        await send(message)

    return with_cookie
