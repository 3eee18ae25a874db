"""`pixelmill users`: who has an account, with which role. They are in the state Redis."""

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deploy import user_quota
from deploy.client.command import AsJson

if TYPE_CHECKING:
    from storage.redis.calls import Call
    from storage.users import User

app = typer.Typer(
    no_args_is_help=True,
    help="Users: add, list, disable, enable, reset, role, quota, sign-in, sign-out, erase.",
    epilog="Example: pixelmill users add ada",
)

app.command(epilog="Example: pixelmill users quota ada --images-per-day 500 --stored-mib 2000")(
    user_quota.quota
)

Name = Annotated[str, typer.Argument(help="Name of the user.")]
Role = Annotated[Literal["user", "admin"], typer.Option(help="What the user may do.")]
Ask = Annotated[
    bool, typer.Option("--ask", help="Ask for the password instead of making up a random one.")
]


@app.command(epilog="Example: pixelmill users add ada --role admin")
def add(name: Name, role: Role = "user", ask: Ask = False) -> None:
    """Add an account; a first password, which the user has to replace, is printed once."""
    from storage import users
    from tasks.errors import BadInput

    _check_name(name)
    password = _password(name, ask)
    first_ms = 0 if ask else users.FIRST_PASSWORD_MS
    if not _do("user.add", name, users.add(name, password, role, first_ms=first_ms)):
        raise BadInput(f"there is a user {name} already", hint="See `pixelmill users list`.")
    print(f"added {name} ({role})")
    _show(password, ask)


@app.command("list", epilog="Example: pixelmill users list --json")
def list_users(
    as_json: AsJson = False,
) -> None:
    """List the users: name, role, how they sign in, when last."""
    import json
    from dataclasses import asdict

    from rich.table import Table

    from deploy.tables import print_table

    found = sorted(_users(), key=lambda user: user.name)
    if as_json:
        print(json.dumps([asdict(user) for user in found], indent=1))
        return
    table = Table("name", "role", "signs in by", "state", "added", "last sign-in")
    for user in found:
        state = "disabled" if user.is_disabled else ""
        times = (_day(user.created_ms), _day(user.signed_in_ms))
        table.add_row(user.name, user.role, user.kind, state, *times)
    print_table(table)


@app.command(epilog="Example: pixelmill users disable ada")
def disable(name: Name) -> None:
    """Refuse a user's sign-ins, sessions and API keys, from now on."""
    from storage import users

    _change("user.disable", name, users.set_disabled(name, True))
    print(f"disabled {name}; jobs and results are kept")


@app.command(epilog="Example: pixelmill users enable ada")
def enable(name: Name) -> None:
    """Let a user in again who was disabled."""
    from storage import users

    _change("user.enable", name, users.set_disabled(name, False))
    print(f"enabled {name}")


@app.command(epilog="Example: pixelmill users reset ada")
def reset(name: Name, ask: Ask = False) -> None:
    """End all sessions of the user and print a first password, once, which they have to replace."""
    from storage import users

    password = _password(name, ask)
    first_ms = 0 if ask else users.FIRST_PASSWORD_MS
    _change("user.reset", name, users.reset_password(name, password, first_ms=first_ms))
    print(f"reset {name}; all sessions have ended")
    _show(password, ask)


@app.command(epilog="Example: pixelmill users role ada admin")
def role(
    name: Name,
    role: Annotated[Literal["user", "admin"], typer.Argument(help="The new role.")],
) -> None:
    """Change the role of a user, and end all sessions."""
    from storage import users

    _change("user.role", name, users.set_role(name, role))
    print(f"{name} is {'an admin' if role == 'admin' else 'a user'} now")


@app.command("sign-in", epilog="Example: pixelmill users sign-in ada oidc")
def sign_in(
    name: Name,
    kind: Annotated[
        Literal["account", "oidc", "proxy"],
        typer.Argument(help="`account`: by a password, which `reset` sets."),
    ],
) -> None:
    """Let a user sign in otherwise: at the OpenID provider, by the proxy, or by a password."""
    from storage import users

    _change("user.sign_in", name, users.set_kind(name, kind))
    print(f"{name} signs in by {kind} from now on; a password was removed, and all sessions ended")


@app.command("sign-out", epilog="Example: pixelmill users sign-out ada")
def sign_out(name: Name) -> None:
    """End all sessions of a user, in all browsers."""
    from storage import users

    _change("user.sign_out", name, users.end_sessions(name))
    print(f"all sessions of {name} have ended")


@app.command(epilog="Example: pixelmill users erase ada --yes")
def erase(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether this is meant.")] = False,
) -> None:
    """Erase a user for ever: account, keys, jobs, uploads, results, links.

    A visitor of open mode is named as the audit log shows them.
    """
    from deploy import erasure
    from web.middleware.validation import USER, matches

    if not matches(USER, name):
        raise typer.BadParameter(f"{name!r} cannot be a name")
    if not yes:
        typer.confirm(f"Erase {name} and all that belongs to them?", abort=True)
    print(f"nothing of {name} is left after {erasure.erase(name):.0f} s")


def _change(action: str, name: str, call: "Call[bool]") -> None:
    from tasks.errors import BadInput

    if not _do(action, name, call):
        raise BadInput(f"there is no user {name}", hint="See `pixelmill users list`.")


def _do(action: str, name: str, call: "Call[bool]") -> bool:
    """Whether it was done; it is on the disk then, and in the audit log."""
    from storage import audit
    from storage.redis.durable import do_durably
    from tasks.clients import state

    is_done = do_durably(state(), call)
    outcome = "ok" if is_done else "not_found"
    state().do(audit.record(action, audit.COMMAND_LINE, name, outcome))
    return is_done


def _users() -> "Iterator[User]":
    from storage import keys, users
    from tasks.clients import state

    for key in _keys(keys.user("*")):
        if user := state().do(users.user(key.removeprefix(keys.user("")))):
            yield user


def _keys(pattern: str) -> Iterator[str]:
    """The names of the keys that match; asks for some at a time, so that nobody else waits."""
    import redis

    from storage.errors import StorageDown, refusal
    from tasks.settings import settings

    try:
        with redis.Redis.from_url(settings().state_url, socket_timeout=5) as client:
            yield from sorted({key.decode() for key in client.scan_iter(pattern, count=1000)})
    except redis.RedisError as error:
        raise StorageDown(refusal("the state Redis", error)) from error


def _check_name(name: str) -> None:
    from tasks.errors import BadInput
    from web.middleware.validation import USER, matches
    from web.names import VISITOR

    if not matches(USER, name):
        raise BadInput(
            f"{name!r} cannot be a name",
            hint="It has at most 64 letters, digits and . _ @ + -, and begins with no dot.",
        )
    if matches(VISITOR, name):
        raise BadInput(f"{name} is a name as visitors of open mode get it")


def _password(name: str, ask: bool) -> str:
    from web.new_passwords import check_new_password

    if not ask:
        return secrets.token_urlsafe(12)
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    check_new_password(name, password)
    return password


def _show(password: str, ask: bool) -> None:
    if not ask:
        print(
            f"password: {password}\nIt is not shown again. Within three days, it lets the user "
            "choose a password of their own at /login; it opens nothing else."
        )


def _day(at_ms: float) -> str:
    from storage.times import day

    return day(at_ms) if at_ms else "never"
