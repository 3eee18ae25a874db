"""The accounts that commands name."""

from storage import users
from tasks.clients import state
from tasks.errors import BadInput


def check_account(user: str) -> None:
    """Raises BadInput if there is no such account."""
    if state().do(users.user(user)) is None:
        raise BadInput(f"no account {user!r}")
