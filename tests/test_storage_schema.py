"""A state Redis that an earlier Pixelmill has used is refused at the start, and says what to do."""

import os
import subprocess
import sys

import pytest
import redis
from stack import REPOSITORY, Stack

from deploy import bootstrap
from deploy.doctor import servers as doctor
from storage import keys, schema, users
from storage.errors import OldLayout
from storage.redis.calls import SyncRedis
from storage.s3.objects import S3Objects
from tasks.settings import settings

pytest_plugins = ["inprocess"]


def leave_records(state: "redis.Redis", layout: int) -> None:
    """What a layout has left in a Redis that was in use."""
    state.hset(f"px{layout}:user:admin", mapping={"password": "salt:hash", "role": "admin"})
    state.set(f"px{layout}:prepared", 1)
    state.sadd(f"px{layout}:models", "matting")
    state.hset(f"px{layout}:seen", "gpu.matting", 1)
    state.hset(f"px{layout}:job:{'0' * 32}", mapping={"v": 1, "state": "queued", "n": 1})


@pytest.fixture
def old(state: "redis.Redis") -> None:
    """Records of the first layout."""
    leave_records(state, 1)


def test_an_empty_redis_is_taken(link: SyncRedis) -> None:
    schema.refuse_old_layout(link)


def test_a_redis_of_this_layout_is_taken(link: SyncRedis, state: "redis.Redis") -> None:
    state.set(keys.PREPARED, 1)
    state.sadd(keys.MODELS, "matting")

    schema.refuse_old_layout(link)


@pytest.mark.parametrize("layout", range(1, keys.LAYOUT))
def test_a_redis_of_an_earlier_layout_is_refused(
    link: SyncRedis, state: "redis.Redis", layout: int
) -> None:
    leave_records(state, layout)

    with pytest.raises(OldLayout, match="Empty it .* or go on with the version that wrote them"):
        schema.refuse_old_layout(link)


@pytest.mark.parametrize("program", [["web"], ["workers", "cpu"], ["workers", "gpu"]])
def test_no_process_starts_beside_old_records(
    old: None, servers: Stack, state_url: str, program: list[str]
) -> None:
    environment = {**os.environ, **servers.env, "PIXELMILL_STATE_URL": state_url}

    done = subprocess.run(
        [sys.executable, "-m", *program],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 1
    assert "records of an earlier version of Pixelmill" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_account_is_made_beside_old_records(
    old: None, link: SyncRedis, state: "redis.Redis", s3: S3Objects
) -> None:
    with pytest.raises(OldLayout):
        bootstrap.prepare(link, s3, password="secret")

    assert link.do(users.credentials("admin")).password is None
    assert not state.exists(keys.PREPARED)


def test_doctor_says_so(old: None, in_process: None) -> None:
    findings = {finding.what: finding for finding in doctor.state_redis(settings())}

    assert findings["state layout"].level == "fail"
    assert "go on with the version that wrote them" in findings["state layout"].hint
