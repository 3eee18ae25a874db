"""What `pixelmill users quota` does in the state Redis."""

import json

from deploy.accounts import check_account
from storage import audit, quotas
from storage.audit import COMMAND_LINE
from storage.quota_kinds import NAMES, Name
from storage.quotas import Allowance
from storage.redis.durable import do_durably
from tasks.clients import state
from tasks.errors import BadInput
from tasks.settings import MIB
from web.jobs.quotas import defaults


def set_quota(user: str, name: str, value: float | None) -> None:
    """Set one quota of an account, in images, MiB or jobs; 0: no limit, None: the default."""
    kind = _kind(name)
    check_account(user)
    most = round((value or 0) * (MIB if "bytes" in name else 1))
    if value and not most:
        raise BadInput(f"{value} is less than 1")
    call = quotas.unset_own(user, kind) if value is None else quotas.set_own(user, kind, most)
    do_durably(state(), call)
    state().do(audit.record(f"quota.{kind}", COMMAND_LINE, user, "ok"))


def as_text(user: str) -> str:
    """All quotas of a user, one a line."""
    own = state().do(quotas.own(user))
    return "\n".join(_line(item, is_own=item.name in own) for item in _read(user))


def as_json(user: str) -> str:
    """All quotas of a user as JSON, in images, bytes and jobs."""
    own = state().do(quotas.own(user))
    body = {
        item.name: {
            "limit": item.most or None,
            "used": item.used,
            "resets_in_s": item.resets_in_s or None,
            "own": item.name in own,
        }
        for item in _read(user)
    }
    return json.dumps(body, indent=1)


def _read(user: str) -> list[Allowance]:
    check_account(user)
    return state().do(quotas.read(user, defaults()))


def _line(item: Allowance, *, is_own: bool) -> str:
    whose = "own" if is_own else "default"
    ends = f", more in {item.resets_in_s} s" if item.resets_in_s else ""
    most = _amount(item.name, item.most) if item.most else "no limit"
    return f"{item.name:16} {_amount(item.name, item.used)} of {most} ({whose}{ends})"


def _amount(name: str, value: int) -> str:
    return f"{value / MIB:.1f} MiB" if "bytes" in name else f"{value}"


def _kind(name: str) -> Name:
    [kind] = [kind for kind in NAMES if kind == name]
    return kind
