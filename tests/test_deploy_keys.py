"""`pixelmill keys`: makes, lists and revokes API keys, as an operator does."""

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner, Result

from deploy import cli
from storage import api_keys, users
from storage.redis.calls import SyncRedis
from tasks.errors import BadInput

pytest_plugins = ["inprocess"]


@pytest.fixture
def account(in_process: None, link: SyncRedis) -> Iterator[SyncRedis]:
    link.do(users.set_password("ada", "secret", role="user"))
    yield link


def keys(*words: str) -> Result:
    return CliRunner().invoke(cli.app, ["keys", *words])


def test_a_key_that_is_made_opens(account: SyncRedis) -> None:
    made = keys("add", "ada", "--name", "laptop", "--scope", "read", "--days", "1")

    found = account.do(api_keys.look_up(made.stdout.strip()))
    assert found and (found.user, found.name, found.scopes) == ("ada", "laptop", {"read"})
    assert found.expires_ms - found.created_ms == pytest.approx(86_400_000, abs=2000)
    assert "not shown again" in made.stderr


def test_a_key_for_a_file_comes_without_advice(account: SyncRedis) -> None:
    made = keys("add", "ada", "--quiet")

    assert account.do(api_keys.look_up(made.stdout.strip())) and made.stderr == ""


def test_the_list_has_all_but_the_key(account: SyncRedis) -> None:
    secret = keys("add", "ada", "--name", "laptop").stdout.strip()

    text, listed = keys("list", "ada").stdout, json.loads(keys("list", "ada", "--json").stdout)

    assert secret not in text and secret[:10] in text
    assert "laptop" in text and "run+read" in text and "never used" in text
    assert listed[0]["id"] == api_keys.id_of(secret)


def test_a_revoked_key_has_ended(account: SyncRedis) -> None:
    secret = keys("add", "ada").stdout.strip()

    said = keys("revoke", "ada", api_keys.id_of(secret)).stdout

    assert "has ended" in said
    assert account.do(api_keys.look_up(secret)) is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("add", "nobody"), "no account 'nobody'"),
        (("list", "nobody"), "no account 'nobody'"),
        (("add", "ada", "--scope", "all"), "no scope 'all'; there are: run, read, admin"),
        (("revoke", "ada", "0" * 16), f"ada has no API key '{'0' * 16}'"),
    ],
)
def test_what_is_not_there_is_named(
    account: SyncRedis, words: tuple[str, ...], message: str
) -> None:
    failed = keys(*words)

    assert isinstance(failed.exception, BadInput) and str(failed.exception) == message
