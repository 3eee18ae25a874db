"""Roles by the groups that an OpenID provider or a proxy says somebody is in."""

from collections.abc import Sequence
from typing import Any

from storage.users import Role
from tasks.settings import names_in, settings


def role_of(groups: Any) -> Role | None:
    """The role of somebody in these groups; None where no groups give roles."""
    admins = names_in(settings().admin_groups)
    if not admins:
        return None
    is_admin = isinstance(groups, Sequence) and any(group in admins for group in groups)
    return "admin" if is_admin else "user"
