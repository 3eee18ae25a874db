"""The state Redis, and its disk, are nearly full: new work is refused and `doctor` says why."""

import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
import redis
from disks import fill, small_disk
from runs import RESULT
from stack import Stack, free_port
from test_deploy_doctor import read
from test_web_outage import without_workers

from deploy.doctor import host
from deploy.doctor import servers as server_checks
from storage import catalogue, keys, request_keys
from storage import results as stored_results
from storage.redis.calls import SyncRedis
from web.jobs import parameters, room
from web.jobs.room import EVERY_S, LAST_STATE_SHARE, STATE_SHARE
from web.jobs.submission import DEFAULT_OUTPUT
from web.jobs.uploads import SIGNED_TTL_S


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with without_workers(tmp_path_factory.mktemp("room")) as mill:
        yield mill


def test_new_work_is_refused_before_the_memory_of_the_state_redis_is_full(mill: Stack) -> None:
    key = {"Authorization": f"Bearer {mill.api_key}"}

    def ask() -> httpx.Response:
        time.sleep(EVERY_S + 0.1)
        return client.post(
            "/api/v1/predict/toy?wait=0", content=photo + str(time.time_ns()).encode()
        )

    photo = (Path(__file__).parent.parent / "examples" / "chelsea.jpg").read_bytes()
    with httpx.Client(base_url=mill.url, headers=key, timeout=20) as client, mill.state as state:
        before = ask()
        used = state.info("memory")["used_memory"]
        state.config_set("maxmemory", int(used / (STATE_SHARE + 0.1)))
        refused, lines = (
            ask(),
            list(server_checks.state_redis(read(None, state_url=state_url(mill)))),
        )
        job = client.get(f"/api/v1/jobs/{before.json().get('id')}")
        state.config_set("maxmemory", used * 10)
        after = ask()

    print(before.text, refused.text, after.text, sep="\n")
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (503, "no_room")
    assert "state Redis uses" in error["message"] and "MEMORY_MIB" in error["hint"]
    assert int(refused.headers["retry-after"]) > 0
    assert before.status_code == after.status_code == 202 and job.status_code == 200
    [memory] = [line for line in lines if line.what == "state memory"]
    assert memory.level != "ok" and "New work is refused" in memory.hint


def test_not_even_known_results_make_jobs_when_hardly_any_memory_is_left(mill: Stack) -> None:
    """Each hit writes a record that lives for a day: without a limit, hits alone fill a Redis."""
    headers = {"Authorization": f"Bearer {mill.api_key}"}
    digest = sha256(b"a photo that was seen before").hexdigest()
    asked = {"sha256": digest, "variant": "original", "model": "toy"}

    def ask() -> httpx.Response:
        time.sleep(EVERY_S + 0.1)
        return client.post("/api/v1/jobs", json=asked)

    with (
        httpx.Client(base_url=mill.url, headers=headers, timeout=20) as client,
        mill.state as state,
    ):
        remember(mill, digest)
        used = state.info("memory")["used_memory"]
        state.config_set("maxmemory", int(used / (STATE_SHARE + LAST_STATE_SHARE) * 2))
        nearly = ask()
        state.config_set("maxmemory", int(used / (LAST_STATE_SHARE + 0.05)))
        refused = ask()
        state.config_set("maxmemory", used * 10)
        after = ask()

    assert [nearly.status_code, after.status_code] == [200, 200], nearly.text
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_room")


def remember(mill: Stack, digest: str) -> None:
    """Put a result into the cache for this original, under the key that a request for it has."""
    card = SyncRedis(mill.state).do(catalogue.read()).models["toy"]
    key = request_keys.request_key(
        mill.env["PIXELMILL_SECRET"],
        "tester",
        image=f"{digest}:original",
        model="toy",
        weights=card["weights"],
        code=card["code"],
        params=parameters.canonical(card["params"], {}),
        output=DEFAULT_OUTPUT,
    )
    SyncRedis(mill.client("cache")).do(stored_results.write(key, RESULT, 60))


def test_an_upload_that_nobody_names_is_forgotten_after_an_hour(mill: Stack) -> None:
    headers = {"Authorization": f"Bearer {mill.api_key}"}
    photo = (Path(__file__).parent.parent / "examples" / "chelsea.jpg").read_bytes()
    with (
        httpx.Client(base_url=mill.url, headers=headers, timeout=20) as client,
        mill.state as state,
    ):
        asked = {"size": len(photo), "type": "image/jpeg"}
        place = client.post("/api/v1/uploads", json=asked).json()["upload"]
        record = keys.upload("tester", place["id"])
        before_s = state.ttl(record)
        client.put(place["url"], content=photo, headers=place["headers"]).raise_for_status()
        job = client.post("/api/v1/jobs", json={"upload": place["id"], "model": "toy"})
        after_s = state.ttl(record)

    assert 0 < before_s <= SIGNED_TTL_S
    assert job.status_code == 202 and after_s > 20 * 3600


def state_url(mill: Stack) -> str:
    return mill.env["PIXELMILL_STATE_URL"]


def test_doctor_says_that_the_disk_is_full(tmp_path: Path) -> None:
    port = free_port()
    with small_disk(16) as disk, Stack(tmp_path) as servers:
        servers.ports["state"], servers.folder = port, disk
        servers.start_redis("state", "--appendonly", "yes", "--maxmemory", "1gb")
        client = redis.Redis(port=port)
        fill(disk)
        end = time.monotonic() + 15
        while client.info("persistence")["aof_last_write_status"] == "ok":
            assert time.monotonic() < end
            with suppress(redis.ResponseError):
                client.set("key", b"x" * 5000)
            time.sleep(0.2)

        lines = list(server_checks.state_redis(read(None, state_url=f"redis://127.0.0.1:{port}/0")))
        [room] = host.disk(read(None, var_dir=disk))
        (disk / "filler").unlink()
        time.sleep(2)
        after = list(server_checks.state_redis(read(None, state_url=f"redis://127.0.0.1:{port}/0")))
        client.close()
        servers.stop()

    [writes] = [line for line in lines if line.what == "state writes"]
    assert writes.level == room.level == "fail"
    assert "Free some space" in writes.hint and "Free some space" in room.hint
    assert not [line for line in after if line.what == "state writes" and line.level == "fail"]


def test_data_on_a_disk_of_their_own_are_watched_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = read(None, var_dir=str(tmp_path), min_free_mib=16)
    monkeypatch.setattr(room, "settings", lambda: own)
    (tmp_path / "state-redis").mkdir()
    with small_disk(8) as disk:
        (tmp_path / "s3").symlink_to(disk)

        [reason] = room._full_disks()
        lines = {line.what: line.level for line in host.disk(own)}

    assert "8 MiB are free" in str(reason)
    assert lines.keys() == {"disk", "disk of s3"} and lines["disk of s3"] == "fail"
