"""`pixelmill users quota`: shows and sets what one user may use."""

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner, Result

from deploy import cli
from storage import quotas, users
from storage.redis.calls import SyncRedis
from tasks.errors import BadInput

pytest_plugins = ["inprocess"]


@pytest.fixture(autouse=True)
def account(in_process: None, link: SyncRedis) -> Iterator[SyncRedis]:
    link.do(users.set_password("ada", "secret", role="user"))
    yield link


def quota(*words: str) -> Result:
    return CliRunner().invoke(cli.app, ["users", "quota", "ada", *words])


def test_a_quota_is_set_for_one_user(account: SyncRedis) -> None:
    said = quota("--images-per-hour", "5", "--mib-per-day", "1.5").stdout

    assert "images_per_hour  0 of 5 (own)" in said
    assert "bytes_per_day    0.0 MiB of 1.5 MiB (own)" in said
    assert "images_per_day   0 of no limit (default)" in said
    assert account.do(quotas.own("ada")) == {"images_per_hour": 5, "bytes_per_day": 1_572_864}


def test_none_is_no_limit_and_default_the_setting(account: SyncRedis) -> None:
    quota("--jobs-in-flight", "none", "--images-per-hour", "5")

    listed = json.loads(quota("--images-per-hour", "default", "--json").stdout)

    assert listed["jobs_in_flight"] == {"limit": None, "used": 0, "resets_in_s": None, "own": True}
    assert listed["images_per_hour"]["own"] is False


@pytest.mark.parametrize("value", ["-1", "0", "many", "nan", "inf"])
def test_what_is_no_number_is_refused(value: str) -> None:
    failed = quota("--images-per-hour", value)

    assert isinstance(failed.exception, BadInput)


def test_an_unknown_user_is_named() -> None:
    failed = CliRunner().invoke(cli.app, ["users", "quota", "bob"])

    assert isinstance(failed.exception, BadInput) and str(failed.exception) == "no account 'bob'"
