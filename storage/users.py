"""Users in the state Redis: who has an account, with which password and role.

A user of another sign-in (OpenID, a proxy) has a record too once they were here: without a
password, but with a role, and it can be disabled. A visitor of open mode has none.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from storage import keys, passwords
from storage.redis.answers import fields as as_fields
from storage.redis.answers import maybe_text, texts
from storage.redis.calls import ARRAY, FIELDS, NUMBER, Call, command, script

Role = Literal["user", "admin"]
Kind = Literal["account", "oidc", "proxy"]
"""By what a user signs in: a password of ours, an OpenID provider, or a proxy in front."""


def as_role(text: str | None) -> Role:
    """What a record says of a role; whoever is no admin is a user."""
    return "admin" if text == "admin" else "user"


@dataclass(frozen=True)
class Account:
    """What requests need to know of a user."""

    role: Role
    is_disabled: bool = False
    exists: bool = True


@dataclass(frozen=True)
class Credentials:
    """What a sign-in with a password needs to know of a user."""

    password: str | None
    """Its hash; None if there is no such account, or none with a password."""
    epoch: str
    """Changes whenever all sessions are ended: one of another epoch does not count."""
    is_disabled: bool
    first_until_ms: float = 0
    """Until when the password, which was made for the user, may be replaced by one of their own. It
    opens nothing else. 0: it is their own."""


@dataclass(frozen=True)
class Provided:
    """What became of a user whom somebody else names."""

    outcome: str
    """`ok`, `disabled`, or `taken`: another user has this name."""
    role: Role
    epoch: str


NOBODY = Credentials(None, "", False)
FIRST_PASSWORD_MS = 3 * 86_400_000
"""How long a password that was made for somebody opens the way to one of their own."""


@dataclass(frozen=True)
class User:
    """What an admin sees of a user."""

    name: str
    role: Role
    kind: Kind
    is_disabled: bool
    created_ms: float
    signed_in_ms: float
    """0: never."""


def add(user: str, password: str, role: Role = "user", *, first_ms: int = 0) -> Call[bool]:
    """Make an account; False if there is one of this name.

    `first_ms`: how long the password lasts if it is a first one (FIRST_PASSWORD_MS); 0: it is not.
    """
    fields = {"password": passwords.hashed(password), "role": role, "kind": "account"}
    return _change(user, fields, must="be_new", first_ms=first_ms)


def set_password(
    user: str, password: str, role: Role = "admin", *, first_ms: int = 0
) -> Call[bool]:
    """Make an account, or replace the password and role of an existing one and end its sessions.

    `first_ms`: as in `add`.
    """
    fields = {"password": passwords.hashed(password), "role": role, "kind": "account"}
    return _change(user, fields | _ended_sessions(), first_ms=first_ms)


def replace_password(user: str, stored: str, password: str) -> Call[bool]:
    """Replace the password whose hash is `stored` and end all sessions; False if another is set."""
    fields = {"password": passwords.hashed(password)} | _ended_sessions()
    return _change(user, fields, stored=stored)


def reset_password(user: str, password: str, *, first_ms: int = 0) -> Call[bool]:
    """Replace the password, whatever it was, and end all sessions; False: there is no account.

    `first_ms`: as in `add`.
    """
    fields = {"password": passwords.hashed(password), "kind": "account"} | _ended_sessions()
    return _change(user, fields, must="exist", first_ms=first_ms)


def rehash(user: str, stored: str, password: str) -> Call[bool]:
    """Replace an outdated hash of the same password."""
    return _change(user, {"password": passwords.hashed(password)}, stored=stored)


def set_role(user: str, role: Role) -> Call[bool]:
    """Change the role and end all sessions; False if there is no such user."""
    return _change(user, {"role": role} | _ended_sessions(), must="exist")


def set_disabled(user: str, is_disabled: bool) -> Call[bool]:
    """Disable or enable a user and end all sessions; False if there is no such user."""
    state = {"disabled": "1" if is_disabled else ""}
    return _change(user, state | _ended_sessions(), must="exist")


def set_kind(user: str, kind: Kind) -> Call[bool]:
    """Let a user sign in otherwise from now on; the first one whom it names so is bound to it.

    A password is forgotten, and all sessions end. False if there is no such user.
    """
    fields = {"kind": kind, "subject": "", "password": ""} | _ended_sessions()
    return _change(user, fields, must="exist")


def provision(user: str, kind: Kind, subject: str = "", role: Role | None = None) -> Call[Provided]:
    """Make the record of a user whom an OpenID provider or a proxy names, or find it.

    `subject`: what the provider calls them for ever. `role`: what it says that they may do, which
    counts from now on; None: it says nothing of that.
    """
    values = {"kind": kind, "subject": subject, "role": role or "", "epoch": new_epoch()}

    def parse(answer: Sequence[Any]) -> Provided:
        outcome, of_user, epoch = texts(answer)
        return Provided(outcome, as_role(of_user), epoch)

    return script("provision_user", parse, [keys.user(user)], values, kinds=ARRAY)


def end_sessions(user: str) -> Call[bool]:
    """End all sessions of a user everywhere; False if there is no such user."""
    return _change(user, _ended_sessions(), must="exist")


def account(user: str) -> Call[Account]:
    """What is known of a user, who may have no account."""
    words = ("HMGET", keys.user(user), "role", "disabled", "created")
    return command(_account, *words, kinds=ARRAY)


def credentials(user: str) -> Call[Credentials]:
    """What a sign-in needs; NOBODY if there is no such account."""
    words = ("HMGET", keys.user(user), "password", "epoch", "disabled", "first_until")
    return command(_credentials, *words, kinds=ARRAY)


def user(name: str) -> Call[User | None]:
    """All that an admin may see of a user; None if there is none of this name."""

    def parse(answer: Any) -> User | None:
        record = as_fields(answer)
        return _user(name, record) if record else None

    return command(parse, "HGETALL", keys.user(name), kinds=FIELDS)


def new_epoch() -> str:
    """An epoch that no session has: all those of before are ended."""
    return secrets.token_hex(8)


def _ended_sessions() -> dict[str, str]:
    return {"epoch": new_epoch()}


def _change(
    user: str,
    fields: Mapping[str, str],
    *,
    must: Literal["exist", "be_new", ""] = "",
    stored: str = "",
    first_ms: int = 0,
) -> Call[bool]:
    values = {"fields": fields, "must": must, "stored": stored, "first_ms": first_ms}
    return script("change_user", bool, [keys.user(user)], values, kinds=NUMBER)


def _account(answer: Sequence[Any]) -> Account:
    role, disabled, created = (maybe_text(word) for word in answer)
    exists = role is not None or created is not None
    return Account(as_role(role), disabled == "1", exists)


def _credentials(answer: Sequence[Any]) -> Credentials:
    password, epoch, disabled, first = (maybe_text(word) for word in answer)
    return Credentials(password or None, epoch or "", disabled == "1", float(first or 0))


def _user(name: str, record: Mapping[str, str]) -> User:
    kind = record.get("kind", "account")
    return User(
        name=name,
        role=as_role(record.get("role")),
        kind=kind if kind in ("oidc", "proxy") else "account",  # type: ignore[arg-type]  # one of three
        is_disabled=record.get("disabled") == "1",
        created_ms=float(record.get("created", 0)),
        signed_in_ms=float(record.get("signed_in", 0)),
    )
