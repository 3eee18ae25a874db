"""Accounts, as routes and middleware ask for them."""

import asyncio
from typing import cast

from starlette.requests import Request

from storage import users
from storage.redis.calls import AsyncRedis
from storage.users import Account as Account  # for those who import no storage
from storage.users import Role as Role
from web.short_cache import ShortCache

KNOWN_S = 3.0
"""How long a process goes on using what it knows of an account, and so how long a disabled account
may still work."""


class Accounts:
    """The accounts in the state Redis. Each method raises StorageDown when that does not answer."""

    def __init__(self, state: AsyncRedis) -> None:
        self._state = state
        self._accounts: ShortCache[Account] = ShortCache()

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
