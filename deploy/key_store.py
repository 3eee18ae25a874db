"""What `pixelmill keys` does in the state Redis."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import redis

from storage import api_keys, audit, users
from storage.api_keys import DEFAULT_SCOPES, MOST_KEYS, SCOPES, ApiKey
from storage.audit import COMMAND_LINE
from storage.redis.calls import SyncRedis
from storage.redis.durable import do_durably
from tasks.errors import BadInput
from tasks.settings import settings

DAY_MS = 86_400_000


def add(user: str, *, name: str, scopes: Sequence[str] | None, days: float | None) -> str:
    """A new key of an account. Raises BadInput for an unknown account or scope."""
    link = _state()
    _check_account(link, user)
    wanted = scopes or DEFAULT_SCOPES
    if unknown := [scope for scope in wanted if scope not in SCOPES]:
        raise BadInput(f"no scope {unknown[0]!r}; there are: {', '.join(SCOPES)}")
    secret = api_keys.new_secret()
    expires_ms = int(time.time() * 1000 + days * DAY_MS) if days else 0
    call = api_keys.add(secret, user, name=name, scopes=wanted, expires_ms=expires_ms)
    added = do_durably(link, call)
    if added is None:
        raise BadInput(f"{user} has {MOST_KEYS} API keys already", hint="Revoke some of them.")
    _record(link, "key.add", user, added.id)
    return secret


def listed(user: str) -> list[ApiKey]:
    """The keys of an account, the oldest first."""
    _check_account(_state(), user)
    return _state().do(api_keys.of_user(user))


def revoke(user: str, key_id: str) -> bool:
    """End a key; False if the account has no such key."""
    is_revoked = do_durably(_state(), api_keys.revoke(user, key_id))
    if is_revoked:
        _record(_state(), "key.revoke", user, key_id)
    return is_revoked


def described(key: ApiKey) -> dict[str, Any]:
    """A key as JSON, with the fields of the API."""
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": [scope for scope in SCOPES if scope in key.scopes],
        "created": _date(key.created_ms),
        "expires": _date(key.expires_ms) if key.expires_ms else None,
        "last_used": _date(key.used_ms) if key.used_ms else None,
    }


def line(key: ApiKey) -> str:
    """A key as a line of text."""
    facts = described(key)
    has_expired = key.has_expired(time.time() * 1000)
    ends = f"{'expired' if has_expired else 'expires'} {facts['expires']}" if key.expires_ms else ""
    used = f"last used {facts['last_used']}" if key.used_ms else "never used"
    parts = [key.id, key.prefix and f"{key.prefix}...", key.name, "+".join(facts["scopes"])]
    return "  ".join(part for part in [*parts, used, ends] if part)


def _state() -> SyncRedis:
    client = redis.Redis.from_url(settings().state_url, socket_timeout=5)
    return SyncRedis(client, "the state Redis")


def _check_account(link: SyncRedis, user: str) -> None:
    if link.do(users.user(user)) is None:
        raise BadInput(f"no account {user!r}")


def _record(link: SyncRedis, action: str, user: str, key_id: str) -> None:
    link.do(audit.record(action, replace(COMMAND_LINE, user=user), key_id, "ok"))


def _date(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
