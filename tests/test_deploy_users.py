"""`pixelmill users`: accounts by the command line."""

import json

import pytest
from typer.testing import CliRunner, Result

from deploy.cli import app
from storage import audit, passwords, users
from storage.redis.calls import SyncRedis
from tasks.errors import BadInput

pytest_plugins = ["inprocess"]


@pytest.fixture(autouse=True)
def _on_the_tests_redis(in_process: None) -> None:
    pass


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["users", *words])


def test_an_account_is_added_with_a_password_that_opens_it_and_is_shown_once(
    link: SyncRedis,
) -> None:
    done = run("add", "ada", "--role", "admin")

    password = done.stdout.partition("password: ")[2].splitlines()[0]
    assert done.exit_code == 0, done.output
    assert passwords.is_password(link.do(users.password_hash("ada")), password)
    assert len(password) >= 16
    listed = run("list", "--json")
    [user] = json.loads(listed.stdout)
    assert (user["name"], user["role"], user["is_disabled"]) == ("ada", "admin", False)
    assert password not in listed.stdout
    assert "ada" in run("list").stdout


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("add", "../x"), "cannot be a name"),
        (("add", "u" + "0" * 24), "visitors of open mode"),
        (("reset", "nobody"), "there is no user nobody"),
        (("role", "nobody", "admin"), "there is no user nobody"),
        (("disable", "nobody"), "there is no user nobody"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(words: tuple[str, ...], reason: str) -> None:
    done = run(*words)

    assert isinstance(done.exception, BadInput) and reason in str(done.exception)


def test_accounts_are_changed_and_the_audit_log_says_so(link: SyncRedis) -> None:
    link.do(users.add("ada", "correct horse"))
    epochs = [link.do(users.credentials("ada")).epoch]

    for words in (
        ("role", "ada", "admin"),
        ("disable", "ada"),
        ("enable", "ada"),
        ("reset", "ada"),
        ("sign-out", "ada"),
    ):
        assert run(*words).exit_code == 0, words
        epochs.append(link.do(users.credentials("ada")).epoch)

    assert len(set(epochs)) == 6, "each ends all sessions"
    user = link.do(users.user("ada"))
    assert user and user.role == "admin" and not user.is_disabled
    assert not passwords.is_password(link.do(users.password_hash("ada")), "correct horse")
    events = link.do(audit.read(most=10))
    assert [event.action for event in reversed(events)] == [
        "user.role", "user.disable", "user.enable", "user.reset", "user.sign_out",
    ]  # fmt: skip
    assert {(event.kind, event.target, event.outcome) for event in events} == {("cli", "ada", "ok")}


def test_an_account_is_not_added_twice(link: SyncRedis) -> None:
    link.do(users.add("ada", "correct horse"))

    done = run("add", "ada")

    assert "there is a user ada already" in str(done.exception)
    assert passwords.is_password(link.do(users.password_hash("ada")), "correct horse")
