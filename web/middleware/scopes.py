"""Scopes: what an API key may do. Which request needs which scope is decided here alone."""

from tasks.errors import JobError
from web.api_keys import SCOPES, Scope, ordered
from web.middleware.hosts import SAFE_METHODS

ALL_SCOPES: frozenset[str] = frozenset(SCOPES)
MANAGEMENT = (
    "/account",
    *(f"/api/v1/{name}" for name in ("me/keys", "me/sessions", "me/data", "users", "audit")),
)
"""Paths that manage an account or the installation, and all below them; reading is part of it."""


class NotAllowed(JobError):
    """The identity is known, and may not do this."""

    code = "not_allowed"
    status = 403


def needed(method: str, path: str) -> Scope:
    """The scope that a request needs."""
    if path.startswith(MANAGEMENT):
        return "admin"
    return "read" if method in SAFE_METHODS else "run"


def check(wanted: Scope, scopes: frozenset[str]) -> None:
    """Raise NotAllowed unless the scope is among these."""
    if wanted not in scopes:
        own = ", ".join(ordered(scopes)) or "none"
        raise NotAllowed(
            f"this API key lacks the scope `{wanted}`; it has: {own}",
            code="missing_scope",
            hint="Make a key with that scope: at /account/keys, or by `pixelmill keys add`.",
        )
