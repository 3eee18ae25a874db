"""Web processes and workers have accounts of their own at the state Redis, with few rights."""

import re

import fresh
import httpx
import pytest
import redis
from stack import ACCOUNT_PASSWORD, API_KEY, Stack

from deploy import redis_users
from storage import keys


def as_account(stack: Stack, name: str, password: str = ACCOUNT_PASSWORD) -> "redis.Redis":
    return redis.Redis(port=stack.ports["state"], username=name, password=password)


def test_an_installation_does_nothing_that_its_accounts_may_not(stack: Stack) -> None:
    answer = httpx.post(
        f"{stack.url}/api/v1/predict/toy?wait=60",
        content=fresh.fresh_photo(),
        headers={"Authorization": f"Bearer {API_KEY}"},
        timeout=90,
    )

    assert answer.json()["state"] == "done"
    refused = [item for item in stack.state.acl_log() if item["username"] in redis_users.RULES]
    assert refused == [], "tests before this one are looked at too"


@pytest.mark.parametrize(
    "command",
    [
        ("HGETALL", keys.user("ada")),
        ("HSET", keys.user("eve"), "role", "admin"),
        ("HGETALL", keys.session("ada", "0")),
        ("HSET", keys.api_key("of-eve"), "user", "ada"),
        ("SMEMBERS", keys.user_shares("ada")),
        ("XTRIM", keys.AUDIT, "MAXLEN", 0),
        ("XTRIM", keys.AUDIT_OF_STRANGERS, "MAXLEN", 0),
    ],
    ids=lambda command: " ".join(map(str, command)),
)
def test_a_worker_reaches_no_account_session_key_link_or_audit_event(
    servers: Stack, command: tuple[str, ...]
) -> None:
    worker = as_account(servers, redis_users.WORKER)

    with pytest.raises(redis.exceptions.NoPermissionError):
        worker.execute_command(*command)


@pytest.mark.parametrize("name", redis_users.RULES)
@pytest.mark.parametrize(
    "command", ["FLUSHALL", "CONFIG GET *", "ACL LIST", "KEYS *", "SHUTDOWN", "MONITOR"]
)
def test_no_account_configures_empties_copies_or_stops_redis(
    servers: Stack, name: str, command: str
) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        as_account(servers, name).execute_command(*command.split())


def test_what_is_printed_makes_the_accounts(
    servers: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    redis_users.main()

    out, passwords = capsys.readouterr()
    for line in out.splitlines():
        user, name, *rules = line.split()
        [password] = re.findall(rf"^{name}: password (\S+)$", passwords, re.MULTILINE)
        assert user == "user" and password not in out
        servers.state.execute_command("ACL", "SETUSER", f"printed-{name}", *rules)
        assert as_account(servers, f"printed-{name}", password).info("memory")
        servers.state.execute_command("ACL", "DELUSER", f"printed-{name}")
