"""`pixelmill users`: accounts by the command line."""

import json
import time
from io import StringIO

import pytest
import redis
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner, Result

from deploy import bootstrap
from deploy.cli import app
from deploy.tables import print_table
from storage import api_keys, audit, keys, object_keys, passwords, users
from storage.redis.calls import SyncRedis
from storage.s3.objects import S3Objects
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
    assert passwords.is_password(link.do(users.credentials("ada")).password, password)
    assert len(password) >= 16
    left_ms = link.do(users.credentials("ada")).first_until_ms - time.time() * 1000
    assert 0.9 < left_ms / users.FIRST_PASSWORD_MS <= 1.01
    listed = run("list", "--json")
    [user] = json.loads(listed.stdout)
    assert (user["name"], user["role"], user["is_disabled"]) == ("ada", "admin", False)
    assert password not in listed.stdout
    assert "ada" in run("list").stdout


def test_a_table_folds_what_is_too_long_and_cuts_nothing() -> None:
    name = "ada.lovelace-with-a-long-name@mill.example.com"
    table = Table("name", "state")
    table.add_row(name, "disabled")
    said = StringIO()

    print_table(table, Console(file=said, width=40))

    cells = [line.split("│")[1].strip() for line in said.getvalue().splitlines() if "│" in line]
    assert "".join(cells) == name


@pytest.mark.parametrize(
    ("s3_public_url", "has_rule"), [("", False), ("https://s3.example.com", True)]
)
def test_init_writes_s3_a_rule_for_browsers_only_if_they_go_there_themselves(
    s3_public_url: str, has_rule: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELMILL_PUBLIC_URL", "https://mill.example.com")
    monkeypatch.setenv("PIXELMILL_S3_PUBLIC_URL", s3_public_url)
    written: list[str] = []
    monkeypatch.setattr(S3Objects, "allow_origin", lambda _, origin: written.append(origin))

    done = CliRunner().invoke(app, ["init"])

    assert done.exit_code == 0, done.output
    assert written == ["https://mill.example.com"] * has_rule


def test_the_first_password_of_admin_lasts_anew_until_it_was_replaced(
    link: SyncRedis, s3: S3Objects
) -> None:
    def first_until_ms() -> float:
        bootstrap.prepare(link, s3, password="made-by-the-installation")
        return link.do(users.credentials("admin")).first_until_ms

    before, after = first_until_ms(), first_until_ms()
    assert after > before > 0
    link.do(users.set_password("admin", "chosen by somebody"))
    assert first_until_ms() == 0
    stored = link.do(users.credentials("admin")).password
    assert passwords.is_password(stored, "chosen by somebody")


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
    assert not passwords.is_password(link.do(users.credentials("ada")).password, "correct horse")
    events = link.do(audit.read(most=10))
    assert [event.action for event in reversed(events)] == [
        "user.role", "user.disable", "user.enable", "user.reset", "user.sign_out",
    ]  # fmt: skip
    assert {(event.kind, event.target, event.outcome) for event in events} == {("cli", "ada", "ok")}


def test_a_user_is_erased_with_the_account_and_everything(
    link: SyncRedis, state: "redis.Redis", s3: S3Objects
) -> None:
    link.do(users.add("ada", "correct horse"))
    link.do(users.add("adam", "correct horse"))
    link.do(api_keys.add("key-of-ada-for-this-test-alone-1234", "ada"))
    s3.put(object_keys.upload_object("ada", "u1"), b"x", "image/png")

    done = run("erase", "ada", "--yes")

    assert done.exit_code == 0 and "nothing of ada is left" in done.output
    left = [name for name in state.scan_iter() if name not in audit.STREAMS]
    assert keys.user("adam") in left
    assert not [name for name in left if "ada" in name.replace("adam", "")]
    assert s3.page(object_keys.uploads_folder("ada"), "", 10) == []
    assert [event.action for event in link.do(audit.read(most=2))] == ["data.erased", "data.erase"]


def test_nobody_is_erased_by_a_slip_of_the_finger(link: SyncRedis) -> None:
    link.do(users.add("ada", "correct horse"))

    assert run("erase", "ada").exit_code != 0
    assert link.do(users.user("ada"))


def test_an_account_is_not_added_twice(link: SyncRedis) -> None:
    link.do(users.add("ada", "correct horse"))

    done = run("add", "ada")

    assert "there is a user ada already" in str(done.exception)
    assert passwords.is_password(link.do(users.credentials("ada")).password, "correct horse")
