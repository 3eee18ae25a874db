"""Sign-ins: a password is tried, or another's word is taken for it, and a session begins."""

import asyncio
import re
from dataclasses import dataclass
from time import time
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
from web import first_password
from web.accounts import life
from web.addresses import client_of
from web.audit import AuditLog
from web.jobs import counters
from web.new_passwords import WeakPassword, check_new_password

MOST_CHECKED = 2
"""Passwords that a process checks at a time: each takes 64 MiB and all cores."""
MOST_WAITING = 32
"""Sign-ins that may wait for that."""
MOST_STRANGERS = 24
"""Of these, from browsers that have not signed in before: a flood of them keeps nobody else out."""
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
class Begun:
    """A session that has begun."""

    user: str
    token: str
    epoch: str
    """The account's: with another one, the session counts no longer."""


@dataclass(frozen=True)
class Person:
    """Whom an OpenID provider names."""

    user: str
    subject: str
    """Issuer and `sub`: no other person ever has the same."""
    role: users.Role | None
    """By PIXELMILL_ADMIN_GROUPS; None where that is not set."""
    id_token: str = ""
    """What the provider wants to see again when it is to sign them out."""


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


class FirstPassword(JobError):
    """The password is right, but it was made for the user, who has to choose one of their own."""

    code = "first_password"
    status = 403

    def __init__(self, proof: str) -> None:
        super().__init__("choose a password of your own first", hint="Sign in at /login to do so.")
        self.proof = proof
        """That the password was typed, for `choose_password`."""


class NameTaken(JobError):
    """A provider names somebody as another user is named already."""

    code = "sign_in_refused"
    status = 403


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


class TooBusy(Unavailable):
    """So many people sign in at this moment that nobody else's password can be checked."""

    code = "busy"
    status = 429

    def __init__(self) -> None:
        super().__init__("too many people sign in at this moment", hint="Try again in a second.")
        self.retry_after_s = 1


class SignIn:
    """Begins sessions, and changes passwords. Methods raise StorageDown as Redis does."""

    def __init__(self, state: AsyncRedis, durable: DurableRedis, log: AuditLog) -> None:
        self._state, self._durable, self._log = state, durable, log
        self._checking = asyncio.Semaphore(MOST_CHECKED)
        self._waiting = 0
        self._judging = asyncio.Semaphore(1)

    async def by_password(
        self, name: str, password: str, client: Client, *, is_valid: bool
    ) -> Begun:
        """A new session.

        Raises WrongPassword, TooManyTries, TooBusy, Disabled or FirstPassword. `is_valid`: whether
        an account can have this name, and this be a password. Both are tried even if not, so that
        the answer takes as long.
        """
        stored = await self._check(name, password, client, is_valid=is_valid)
        if stored.first_until_ms:
            await self._refuse_first(name, stored, client)
        if passwords.is_outdated(stored.password or ""):
            await self._rehash(name, stored.password or "", password)
        return await self.begin(name, stored.epoch, "account", client)

    async def begin(
        self, user: str, epoch: str, kind: Kind, client: Client, id_token: str = ""
    ) -> Begun:
        """A new session of a user whose sign-in was checked. Raises Disabled."""
        token = sessions.new_token()
        network = audit.network_of(client.address)
        origin = Origin(kind, settings().auth, network, client.agent, id_token)
        call = sessions.begin(user, token, epoch, origin, life())
        if not await self._state.do(call):  # disabled, or changed at this very moment
            await self._note("disabled", user, kind, client, user)
            raise Disabled("this account is disabled", hint="Ask an admin.")
        await self._note("ok", user, kind, client, user)
        return Begun(user, token, epoch)

    async def by_provider(self, person: Person, client: Client) -> Begun:
        """A new session of somebody whom the OpenID provider names.

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
        return await self.begin(person.user, provided.epoch, "oidc", client, person.id_token)

    async def change_password(self, user: str, old: str, new: str, client: Client) -> None:
        """Replace a password and end all sessions of the user.

        Raises WrongPassword, TooManyTries, TooBusy or WeakPassword.
        """
        await self._judge(user, new)
        stored = await self._check(user, old, client, is_valid=True)
        await self._replace(user, stored.password or "", new, client)

    async def _judge(self, user: str, password: str) -> None:
        """Raises WeakPassword. One at a time: some take a good part of a second."""
        async with self._judging:
            await asyncio.to_thread(check_new_password, user, password)

    async def _replace(self, user: str, stored: str, new: str, client: Client) -> None:
        call = await asyncio.to_thread(users.replace_password, user, stored, new)
        if not await self._durable.do(call):
            raise WrongPassword("the password was changed elsewhere meanwhile")
        await self._log.record("password.change", _Actor(user, "account", client.address), user)

    async def choose_password(self, proof: str, new: str, client: Client) -> Begun:
        """Replace a first password that was typed; a new session of its user.

        Raises WeakPassword, Disabled, or WrongPassword if the proof does not count any more.
        """
        user = first_password.user_of(proof)
        known = await self._state.do(users.credentials(user)) if user else users.NOBODY
        if not first_password.is_of(proof, known):
            raise WrongPassword("this took too long", hint="Sign in again.")
        await self._judge(user, new)
        if await self._is_password(known.password, new):
            raise WeakPassword("the new password must not be the one that you were given")
        await self._replace(user, known.password or "", new, client)
        known = await self._state.do(users.credentials(user))
        return await self.begin(user, known.epoch, "account", client)

    async def _refuse_first(self, name: str, stored: users.Credentials, client: Client) -> None:
        """Raises FirstPassword, or Disabled if it is too late."""
        if stored.is_disabled or stored.first_until_ms < time() * 1000:
            await self._note("disabled", name, "account", client, name)
            raise Disabled(
                "this account is disabled, or its first password was not used in time",
                hint="Ask an admin.",
            )
        await self._note("first", name, "account", client, name)
        raise FirstPassword(first_password.proof(name, stored))

    async def _check(
        self, name: str, password: str, client: Client, *, is_valid: bool
    ) -> users.Credentials:
        """The credentials whose password this is."""
        if self._waiting >= (MOST_WAITING if client.browser else MOST_STRANGERS):
            counters.SIGN_INS.labels("too_busy").inc()
            raise TooBusy  # before the try is counted, as it is none
        self._waiting += 1
        try:
            return await self._checked(name, password, client, is_valid=is_valid)
        finally:
            self._waiting -= 1

    async def _checked(
        self, name: str, password: str, client: Client, *, is_valid: bool
    ) -> users.Credentials:
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
        async with self._checking:
            return await asyncio.to_thread(passwords.is_password, stored, password)

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


def _counted(name: str, client: Client) -> Counted:
    if client.browser:
        return sign_in_tries.of_known_browser(name, client.browser)
    return sign_in_tries.of_stranger(name, client.address)


def _words(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{-(-seconds // 60)} minutes"
