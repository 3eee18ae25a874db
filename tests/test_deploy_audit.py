"""pixelmill audit: lines for people, JSON lines for programs."""

import json

import pytest
from typer.testing import CliRunner

from deploy import cli
from storage import audit
from storage.audit import COMMAND_LINE
from storage.redis.calls import SyncRedis

pytest_plugins = ["inprocess"]


def said(*words: str) -> list[str]:
    done = CliRunner().invoke(cli.app, ["audit", *words])
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


@pytest.fixture(autouse=True)
def _events(in_process: None, link: SyncRedis) -> None:
    for number in range(3):
        link.do(audit.record("key.add", COMMAND_LINE, f"k{number}", "ok"))
    link.do(audit.record("user.add", COMMAND_LINE, "ada", "ok"))


def test_the_newest_events_are_shown_a_line_each() -> None:
    newest, other = said("--lines", "2")

    assert "(cli)  user.add  ada  -  ok" in newest
    assert "key.add  k2" in other


def test_events_are_found_by_action_and_time() -> None:
    assert [line.split("  ")[3] for line in said("--action", "key")] == ["k2", "k1", "k0"]
    assert said("--since", "2100-01-01") == []
    assert len(said("--since", "1960-01-01")) == 4


def test_json_lines_have_everything_oldest_first() -> None:
    events = [json.loads(line) for line in said("--json")]

    assert [event["target"] for event in events] == ["k0", "k1", "k2", "ada"]
    assert set(events[0]) == {
        "id", "at", "user", "kind", "action", "target", "network", "outcome"
    }  # fmt: skip
