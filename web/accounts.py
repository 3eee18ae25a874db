"""Accounts and API keys, as routes and middleware ask for them."""

import asyncio
from typing import cast

from starlette.requests import Request

from storage import users
from storage.redis.calls import AsyncRedis


class Accounts:
    """The accounts in the state Redis. Each method raises StorageDown when that does not answer."""

    def __init__(self, state: AsyncRedis) -> None:
        self._state = state

    async def user_of_key(self, key: str) -> str | None:
        """The user whom an API key belongs to; None if there is no such key."""
        return await self._state.do(users.user_of_key(key))

    async def is_admin(self, user: str) -> bool:
        """Whether the role of this account is admin."""
        return await self._state.do(users.role(user)) == "admin"

    async def is_password(self, user: str | None, password: str) -> bool:
        """Whether this is the password of this account.

        Takes as long for an account that does not exist, and for None, a name that none can have.
        """
        stored = None if user is None else await self._state.do(users.password_hash(user))
        return await asyncio.to_thread(users.is_password, stored, password)


def accounts_of(request: Request) -> Accounts:
    """The accounts of the app that serves this request."""
    return cast(Accounts, request.app.state.accounts)
