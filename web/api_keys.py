"""API keys, as middleware and routes ask for them."""

import hashlib
from collections.abc import Iterable
from typing import cast

from starlette.requests import Request

from storage import api_keys
from storage.api_keys import (
    DEFAULT_SCOPES as DEFAULT_SCOPES,
)  # these for those who import no storage
from storage.api_keys import MOST_KEYS as MOST_KEYS
from storage.api_keys import SCOPES as SCOPES
from storage.api_keys import ApiKey as ApiKey
from storage.api_keys import KeyBody as KeyBody
from storage.api_keys import Scope as Scope
from storage.api_keys import as_json as as_json
from storage.api_keys import expiry_ms as expiry_ms
from storage.api_keys import ordered as ordered
from storage.audit import Actor
from storage.redis.calls import AsyncRedis
from storage.redis.durable import DurableRedis
from web.audit import AuditLog
from web.short_cache import ShortCache

KNOWN_S = 3.0
"""How long a process goes on using what it knows of a key, and so how long a revoked key may still
work: each key in use costs a question to Redis in so many seconds."""
UNKNOWN_S = 1.0
"""Unknown keys are cached for less time, since a key may be created or restored at any moment."""


class ApiKeys:
    """The API keys in the state Redis. Each method raises StorageDown when that does not answer."""

    def __init__(self, state: AsyncRedis, durable: DurableRedis, log: AuditLog) -> None:
        self._state, self._durable, self._log = state, durable, log
        self._known: ShortCache[ApiKey | None] = ShortCache()

    async def find(self, secret: str) -> ApiKey | None:
        """What is known of a key, as of at most KNOWN_S ago; None if it opens nothing."""
        digest = hashlib.sha256(secret.encode()).hexdigest()
        if known := self._known.get(digest):
            return known[0]
        found = await self._state.do(api_keys.look_up(secret))
        return self._known.keep(digest, found, KNOWN_S if found else UNKNOWN_S)

    async def of_user(self, user: str) -> list[ApiKey]:
        """All keys of a user, the oldest first."""
        return await self._state.do(api_keys.of_user(user))

    async def add(
        self, actor: Actor, *, name: str, scopes: Iterable[str], expires_ms: int
    ) -> tuple[str, ApiKey] | None:
        """A new key of this user: the key itself, and what is known of it.

        None if the user has too many already.
        """
        secret = api_keys.new_secret()
        call = api_keys.add(secret, actor.user, name=name, scopes=scopes, expires_ms=expires_ms)
        added = await self._durable.do(call)
        if added is None:
            await self._log.record("key.add", actor, "", "too_many_keys")
            return None
        await self._log.record("key.add", actor, added.id)
        return secret, added

    async def revoke(self, actor: Actor, key_id: str) -> bool:
        """End a key of this user; False if there is no such key."""
        is_revoked = await self._durable.do(api_keys.revoke(actor.user, key_id))
        await self._log.record("key.revoke", actor, key_id, "ok" if is_revoked else "no_key")
        return is_revoked


def api_keys_of(request: Request) -> ApiKeys:
    """The API keys of the app that serves this request."""
    return cast(ApiKeys, request.app.state.api_keys)
