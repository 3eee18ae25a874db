"""Sign-ins: a password is tried, or another's word is taken for it, and a session begins."""

import asyncio
import re
from dataclasses import dataclass
from typing import cast

from starlette.requests import Request

from storage import audit, passwords, sessions, sign_in_tries, users
from storage.redis.calls import AsyncRedis
from storage.redis.durable import DurableRedis
from storage.sessions import Origin
from storage.sign_in_tries import Counted
from storage.users import Kind
from tasks.errors import JobError, Unavailable
from tasks.settings import settings
from web.accounts import life
from web.addresses import client_of
from web.audit import AuditLog
from web.jobs import counters

MOST_CHECKED = 2
"""Passwords that a process checks at a time: each takes 64 MiB and all cores."""
MOST_WAITING = 32
"""Sign-ins that may wait for that."""
MIN_PASSWORD = 8
"""Characters of a new password."""
OWN_WORDS = ("pixelmill", "matting", "cutout", "photo", "admin")
"""What guessers of passwords of this application try first."""
GUESSES = 10**7
LONGEST_JUDGED = 64
_NOT_SHOWN = re.compile(r"[^\x20-\x7e]")


@dataclass(frozen=True)
class Client:
    """Where a sign-in comes from."""

    address: str
    agent: str = ""
    """What the browser calls itself."""
    browser: str = ""
    """A word by which a browser is known that has signed in to this account before; else empty."""


@dataclass(frozen=True)
class Person:
    """Whom an OpenID provider names."""

    user: str
    subject: str
    """Issuer and `sub`: no other person ever has the same."""
    role: users.Role | None
    """By PIXELMILL_ADMIN_GROUPS; None where that is not set."""


@dataclass(frozen=True)
class _Actor:
    """Who the audit log says did it."""

    user: str
    kind: str
    address: str


class WrongPassword(JobError):
    """There is no such account, or it has another password. Which of both is not said."""

    code = "not_signed_in"
    status = 401


class Disabled(JobError):
    """The password is right, but an admin has disabled the account."""

    code = "account_disabled"
    status = 403


class NameTaken(JobError):
    """A provider names somebody as another user is named already."""

    code = "sign_in_refused"
    status = 403


class WeakPassword(JobError):
    """A new password that is not accepted."""

    code = "weak_password"
    status = 422


class TooManyTries(Unavailable):
    """Wrong passwords were tried: the next try has to wait."""

    code = "too_many_tries"
    status = 429

    def __init__(self, wait_s: int) -> None:
        super().__init__(
            "too many wrong tries for this name or from this address",
            hint=f"Try again in {_words(wait_s)}.",
        )
        self.retry_after_s = wait_s


class SignIn:
    """Begins sessions, and changes passwords. Methods raise StorageDown as Redis does."""

    def __init__(self, state: AsyncRedis, durable: DurableRedis, log: AuditLog) -> None:
        self._state, self._durable, self._log = state, durable, log
        self._checking = asyncio.Semaphore(MOST_CHECKED)
        self._waiting = 0

    async def by_password(self, name: str, password: str, client: Client, *, is_valid: bool) -> str:
        """The token of a new session. Raises WrongPassword, TooManyTries or Disabled.

        `is_valid`: whether an account can have this name, and this be a password. Both are tried
        even if not, so that the answer takes as long.
        """
        stored = await self._check(name, password, client, is_valid=is_valid)
        if passwords.is_outdated(stored.password or ""):
            await self._rehash(name, stored.password or "", password)
        return await self.begin(name, stored.epoch, "account", client)

    async def begin(self, user: str, epoch: str, kind: Kind, client: Client) -> str:
        """The token of a new session of a user whose sign-in was checked. Raises Disabled."""
        token = sessions.new_token()
        network = audit.network_of(client.address)
        origin = Origin(kind, settings().auth, network, client.agent)
        call = sessions.begin(user, token, epoch, origin, life())
        if not await self._state.do(call):  # disabled, or changed at this very moment
            await self._note("disabled", user, kind, client, user)
            raise Disabled("this account is disabled", hint="Ask an admin.")
        await self._note("ok", user, kind, client, user)
        return token

    async def by_provider(self, person: Person, client: Client) -> str:
        """The token of a new session of somebody whom the OpenID provider names.

        Raises Disabled, or NameTaken if another user has this name.
        """
        call = users.provision(person.user, "oidc", person.subject, person.role)
        provided = await self._durable.do(call)
        if provided.outcome == "taken":
            await self._note("refused", person.user, "oidc", client, person.user)
            raise NameTaken(
                "another user of this installation has your name",
                hint="If that is you, an admin can run `pixelmill users sign-in NAME oidc`.",
            )
        if provided.outcome == "disabled":
            await self._note("disabled", person.user, "oidc", client, person.user)
            raise Disabled("this account is disabled", hint="Ask an admin.")
        return await self.begin(person.user, provided.epoch, "oidc", client)

    async def change_password(self, user: str, old: str, new: str, client: Client) -> None:
        """Replace a password and end all sessions of the user.

        Raises WrongPassword, TooManyTries or WeakPassword.
        """
        check_new_password(user, new)
        stored = await self._check(user, old, client, is_valid=True)
        call = await asyncio.to_thread(users.replace_password, user, stored.password or "", new)
        if not await self._durable.do(call):
            raise WrongPassword("the password was changed elsewhere meanwhile")
        actor = _Actor(user, "account", client.address)
        await self._log.record("password.change", actor, user)

    async def _check(
        self, name: str, password: str, client: Client, *, is_valid: bool
    ) -> users.Credentials:
        """The credentials whose password this is."""
        counted = _counted(name, client)
        wait_ms = await self._state.do(sign_in_tries.allow(counted))
        if wait_ms:
            counters.SIGN_INS.labels("too_many_tries").inc()
            raise TooManyTries(-(-wait_ms // 1000))
        stored = await self._state.do(users.credentials(name)) if is_valid else users.NOBODY
        if not await self._is_password(stored.password, password) or not is_valid:
            await self._note("wrong", "", "account", client, name if stored.password else "")
            raise WrongPassword("name or password is wrong")
        await self._state.do(sign_in_tries.forgive(counted))
        return stored

    async def _is_password(self, stored: str | None, password: str) -> bool:
        if self._waiting >= MOST_WAITING:
            raise TooManyTries(1)
        self._waiting += 1
        try:
            async with self._checking:
                return await asyncio.to_thread(passwords.is_password, stored, password)
        finally:
            self._waiting -= 1

    async def _rehash(self, user: str, stored: str, password: str) -> None:
        call = await asyncio.to_thread(users.rehash, user, stored, password)
        await self._state.do(call)

    async def _note(self, outcome: str, user: str, kind: Kind, client: Client, target: str) -> None:
        counters.SIGN_INS.labels(outcome).inc()
        actor = _Actor(user, kind, client.address)
        await self._log.record("sign_in", actor, target, outcome)


def sign_in_of(request: Request) -> SignIn:
    """The sign-ins of the app that serves this request."""
    return cast(SignIn, request.app.state.sign_in)


def client_in(request: Request, browser: str = "") -> Client:
    """Where a request comes from."""
    agent = _NOT_SHOWN.sub("", request.headers.get("user-agent", ""))
    return Client(client_of(request.scope), agent, browser)


def check_new_password(user: str, password: str) -> None:
    """Raises WeakPassword for one that is not accepted."""
    if len(password) < MIN_PASSWORD:
        raise WeakPassword(f"a password has at least {MIN_PASSWORD} characters")
    if password.casefold() == user.casefold():
        raise WeakPassword("the password must not be the name")
    if is_guessable(password, user):
        raise WeakPassword(
            "the password is too easy to guess",
            hint="Avoid common passwords, names and rows of keys; a few words in a row do well.",
        )


def is_guessable(password: str, user: str) -> bool:
    """Whether a guesser who knows common passwords, words, and this user's name finds it soon:
    within 10^7 guesses, by Wheeler, zxcvbn, USENIX Security 2016."""
    from zxcvbn import zxcvbn  # half a second, for its lists of words

    # Its time grows with the square of the length, and so many characters are never guessed.
    beginning = password[:LONGEST_JUDGED]
    return float(zxcvbn(beginning, [user, *OWN_WORDS])["guesses"]) < GUESSES


def _counted(name: str, client: Client) -> Counted:
    if client.browser:
        return sign_in_tries.of_known_browser(name, client.browser)
    return sign_in_tries.of_stranger(name, client.address)


def _words(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{-(-seconds // 60)} minutes"
