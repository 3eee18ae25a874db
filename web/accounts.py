"""Accounts and sessions, as routes and middleware ask for them."""

from typing import cast

from starlette.requests import Request

from storage import sessions, users
from storage.redis.calls import AsyncRedis
from storage.redis.durable import DurableRedis
from storage.sessions import Known as Known  # for those who import no storage
from storage.sessions import Life, id_of
from storage.sessions import Session as Session
from storage.users import Account as Account
from storage.users import Provided
from storage.users import Role as Role
from tasks.settings import settings
from web.short_cache import ShortCache

KNOWN_S = 2.0
"""How long a process goes on using what it knows of a session or an account, and so how long one
that was ended or disabled may still work."""


class Accounts:
    """The accounts in the state Redis. Each method raises StorageDown when that does not answer."""

    def __init__(self, state: AsyncRedis, durable: DurableRedis) -> None:
        self._state, self._durable = state, durable
        self._accounts: ShortCache[Account] = ShortCache()
        self._provided: ShortCache[Provided] = ShortCache()
        self._sessions: ShortCache[Known | None] = ShortCache()

    async def account(self, user: str) -> Account:
        """What is known of a user; users who have no account have the role `user`."""
        if known := self._accounts.get(user):
            return known[0]
        account = await self._state.do(users.account(user))
        return self._accounts.keep(user, account, KNOWN_S)

    async def epoch(self, user: str) -> str:
        """What changes whenever a user's password is replaced, or all their sessions are ended."""
        return (await self._state.do(users.credentials(user))).epoch

    async def provided(self, user: str, role: Role | None) -> Provided:
        """The record of a user whom the proxy names, made if need be."""
        key = f"{user} {role}"
        if known := self._provided.get(key):
            return known[0]
        provided = await self._state.do(users.provision(user, "proxy", role=role))
        return self._provided.keep(key, provided, KNOWN_S)

    async def session(self, user: str, session_id: str) -> Known | None:
        """A session, if it still counts."""
        if known := self._sessions.get(session_id):
            # The id says nothing of whose it is; the record's key does.
            return known[0] if known[0] is None or known[0].user == user else None
        call = sessions.use(user, session_id, mode=settings().auth, life=life())
        return self._sessions.keep(session_id, await self._state.do(call), KNOWN_S)

    async def sessions(self, user: str) -> list[Session]:
        """The sessions of a user, newest first."""
        return await self._state.do(sessions.of_user(user))

    async def id_token(self, user: str, session_id: str) -> str:
        """What the OpenID provider gave when this session began; empty if there is nothing."""
        return await self._state.do(sessions.id_token(user, session_id)) or ""

    async def end_session(self, user: str, session_id: str) -> bool:
        """End a session; False if the user has none of this id."""
        try:
            return await self._durable.do(sessions.end(user, session_id))
        finally:  # not before: a request meanwhile would have it known again
            self._sessions.forget(session_id)

    async def end_sessions(self, user: str) -> None:
        """End all sessions of a user, in all web processes."""
        try:
            await self._durable.do(users.end_sessions(user))
        finally:
            self._sessions.clear()


session_id_of = id_of
"""The id of the session that a token belongs to."""


def life() -> Life:
    """How long sessions last."""
    return Life(settings().session_idle_hours * 3600, settings().session_days * 86_400)


def accounts_of(request: Request) -> Accounts:
    """The accounts of the app that serves this request."""
    return cast(Accounts, request.app.state.accounts)
