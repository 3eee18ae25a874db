"""Accounts and API keys, as routes and middleware ask for them."""

import asyncio
import hashlib
from typing import cast

from starlette.requests import Request

from storage import users
from storage.redis.calls import AsyncRedis
from storage.users import Account as Account  # for those who import no storage
from storage.users import Role as Role
from web.short_cache import ShortCache

KNOWN_S = 3.0
"""How long a process goes on using what it knows of a key or an account, and so how long a revoked
key or a disabled account may still work."""
UNKNOWN_S = 1.0
"""Unknown keys are cached for less time, since a key may be created or restored at any moment."""


class Accounts:
    """The accounts in the state Redis. Each method raises StorageDown when that does not answer."""

    def __init__(self, state: AsyncRedis) -> None:
        self._state = state
        self._owners: ShortCache[str | None] = ShortCache()
        self._accounts: ShortCache[Account] = ShortCache()

    async def user_of_key(self, key: str) -> str | None:
        """The user whom an API key belongs to; None if there is no such key."""
        digest = hashlib.sha256(key.encode()).hexdigest()
        if known := self._owners.get(digest):
            return known[0]
        user = await self._state.do(users.user_of_key(key))
        return self._owners.keep(digest, user, UNKNOWN_S if user is None else KNOWN_S)

    async def account(self, user: str) -> Account:
        """What is known of a user; users who have no account have the role `user`."""
        if known := self._accounts.get(user):
            return known[0]
        account = await self._state.do(users.account(user))
        return self._accounts.keep(user, account, KNOWN_S)

    async def is_password(self, user: str | None, password: str) -> bool:
        """Whether this is the password of this account.

        Takes as long for an account that does not exist, and for None, a name that none can have.
        """
        stored = None if user is None else await self._state.do(users.password_hash(user))
        return await asyncio.to_thread(users.is_password, stored, password)


def accounts_of(request: Request) -> Accounts:
    """The accounts of the app that serves this request."""
    return cast(Accounts, request.app.state.accounts)
