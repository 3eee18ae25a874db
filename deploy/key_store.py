"""What `pixelmill keys` does in the state Redis."""

import time
from collections.abc import Sequence
from dataclasses import replace

from deploy.accounts import check_account
from storage import api_keys, audit
from storage.api_keys import DEFAULT_SCOPES, MOST_KEYS, SCOPES, ApiKey, KeyBody
from storage.audit import COMMAND_LINE
from storage.redis.durable import do_durably
from tasks.clients import state
from tasks.errors import BadInput


def add(user: str, *, name: str, scopes: Sequence[str] | None, days: float | None) -> str:
    """A new key of an account. Raises BadInput for an unknown account or scope."""
    check_account(user)
    wanted = scopes or DEFAULT_SCOPES
    if unknown := [scope for scope in wanted if scope not in SCOPES]:
        raise BadInput(f"no scope {unknown[0]!r}; there are: {', '.join(SCOPES)}")
    secret = api_keys.new_secret()
    expires_ms = api_keys.expiry_ms(days)
    call = api_keys.add(secret, user, name=name, scopes=wanted, expires_ms=expires_ms)
    added = do_durably(state(), call)
    if added is None:
        raise BadInput(f"{user} has {MOST_KEYS} API keys already", hint="Revoke some of them.")
    _record("key.add", user, added.id)
    return secret


def listed(user: str) -> list[ApiKey]:
    """The keys of an account, the oldest first."""
    check_account(user)
    return state().do(api_keys.of_user(user))


def revoke(user: str, key_id: str) -> bool:
    """End a key; False if the account has no such key."""
    is_revoked = do_durably(state(), api_keys.revoke(user, key_id))
    if is_revoked:
        _record("key.revoke", user, key_id)
    return is_revoked


def described(key: ApiKey) -> KeyBody:
    """A key as JSON, with the fields of the API."""
    return api_keys.as_json(key, "seconds")


def line(key: ApiKey) -> str:
    """A key as a line of text."""
    facts = described(key)
    has_expired = key.has_expired(time.time() * 1000)
    ends = f"{'expired' if has_expired else 'expires'} {facts['expires']}" if key.expires_ms else ""
    used = f"last used {facts['last_used']}" if key.used_ms else "never used"
    parts = [key.id, key.prefix and f"{key.prefix}...", key.name, "+".join(facts["scopes"])]
    return "  ".join(part for part in [*parts, used, ends] if part)


def _record(action: str, user: str, key_id: str) -> None:
    state().do(audit.record(action, replace(COMMAND_LINE, user=user), key_id, "ok"))
