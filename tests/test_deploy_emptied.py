"""The state Redis of `pixelmill up` is emptied, or its file damaged, while it runs."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import redis
from stack import MODEL_PATHS, REPOSITORY, Stack, free_port
from test_deploy_up import Up

from deploy import aof, backup
from deploy.servers import redis_server, state_config
from deploy.supervisor import CannotStart, Supervisor
from storage import users
from tasks.settings import settings

BACK_S = 30.0


class Mill(Up):
    """A running `up` with the model `slow`."""

    def __init__(self, folder: Path) -> None:
        env = {
            "PIXELMILL_MODELS": "slow",
            "PIXELMILL_MODEL_PATHS": MODEL_PATHS,
            "PIXELMILL_DEVICE": "cpu",
            "PIXELMILL_TASK_EVENTS": "false",
            "PIXELMILL_OPEN": "false",
        }
        super().__init__(folder, "--port", str(free_port()), env=env)
        self.wait_until_ready()
        key = {"Authorization": f"Bearer {self.run['api_key']}"}
        self.client = httpx.Client(base_url=str(self.run["url"]), headers=key, timeout=40)

    def stop(self) -> int:
        self.client.close()
        return super().stop()

    def ask(self, salt: int, wait: float = 30, device_s: float = 0) -> httpx.Response:
        """Asked again while there is no answer: the machine of the tests is too busy, or what was
        emptied is not all there again. A web process knows the workers of a second ago, so that one
        job may be done before they are missed, and have to announce themselves again.
        """
        photo = (REPOSITORY / "examples" / "chelsea.jpg").read_bytes()
        query = {"salt": str(salt), "wait": str(wait), "device_s": str(device_s)}
        give_up_at = time.monotonic() + BACK_S
        while True:
            answer = self.client.post("/api/v1/predict/slow", params=query, content=photo)
            if answer.status_code != 503 or time.monotonic() > give_up_at:
                return answer
            time.sleep(0.2)

    def state(self) -> "redis.Redis":
        facts = json.loads((self.folder / "var" / "installation.json").read_text())
        return redis.Redis(port=facts["state_port"], password=facts["state_password"])

    def back_after(self) -> tuple[float, set[tuple[int, str]]]:
        """Seconds until work is done again, and what was answered until then."""
        began, seen = time.monotonic(), set()
        while time.monotonic() - began < BACK_S:
            try:
                answer = self.ask(time.time_ns())
            except httpx.HTTPError:
                continue
            if answer.status_code == 200:
                return time.monotonic() - began, seen
            seen.add((answer.status_code, answer.json().get("error", {}).get("code", "")))
            time.sleep(0.1)
        raise AssertionError(f"no work {BACK_S} s later; answers were {seen}")


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mill]:
    mill = Mill(tmp_path_factory.mktemp("emptied"))
    yield mill
    if mill.process.poll() is None:
        mill.stop()


def test_an_emptied_state_is_prepared_again_by_itself(mill: Mill) -> None:
    before = mill.ask(1)
    jobs = [mill.ask(100 + number, 0, 0.5).json()["id"] for number in range(4)]
    with mill.state() as state:
        state.flushall()
    back_s, seen = mill.back_after()
    again = mill.ask(1)
    end = time.monotonic() + BACK_S
    while "the state Redis was empty" not in mill.said and time.monotonic() < end:
        time.sleep(0.1)  # the account comes after the key
    gone = {mill.client.get(f"/api/v1/jobs/{job}").status_code for job in jobs}
    login = {"user": "admin", "password": mill.password}
    signed_in = httpx.post(f"{mill.run['url']}/login", data=login)

    print(f"work again after {back_s:.1f} s; until then {seen}")
    assert seen <= {
        (401, "not_signed_in"),
        (503, "no_worker"),
        (503, "unavailable"),
        (404, "no_job"),
    }
    assert (404, "no_model") not in seen
    assert before.status_code == 200
    assert again.status_code == 200 and again.json()["cached"], "results are found again"
    assert gone == {404}
    assert signed_in.status_code < 400 and signed_in.cookies
    assert "the state Redis was empty" in mill.said


def test_who_waits_is_answered_when_the_state_is_emptied(mill: Mill) -> None:
    job = mill.ask(time.time_ns(), 0, 5).json()["id"]
    began = time.monotonic()
    with (
        mill.client.stream("GET", f"/api/v1/jobs/{job}/events") as events,
        mill.state() as state,
    ):
        state.flushall()
        with suppress(httpx.HTTPError):
            for _ in events.iter_lines():
                pass
    took_s = time.monotonic() - began
    mill.back_after()

    assert took_s < 10


def test_damage_inside_the_file_is_cut_off_and_said(mill: Mill) -> None:
    with mill.state() as state:
        state.set("px2:last", "x" * 2000)
    time.sleep(1.5)  # it is written each second
    folder = mill.folder / "var" / "state-redis"
    [file] = folder.glob("appendonlydir/*.incr.aof")
    with open(file, "r+b") as damaged:
        damaged.seek(file.read_bytes().index(b"px2:last") - len("*3\r\n$3\r\nSET\r\n$8\r\n"))
        damaged.write(b"DAMAGE")

    os.kill(mill.pids["state-redis"], signal.SIGKILL)
    back_s, _ = mill.back_after()

    print(f"work again after {back_s:.1f} s")
    said = " ".join(mill.said.split())
    assert "was damaged inside: the last" in said and "A copy of all as it was is in" in said
    [copy] = folder.glob("damaged-*")
    assert b"DAMAGE" in (copy / file.name).read_bytes()


def test_accounts_and_keys_come_back_from_a_backup(
    servers: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"redis://127.0.0.1:{servers.ports['state']}/11"
    monkeypatch.setenv("PIXELMILL_STATE_URL", url)
    settings.cache_clear()
    file = tmp_path / "accounts.json"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        for call in (
            users.set_password("ada", "correct horse"),
            users.add_key("key-of-ada", "ada"),
        ):
            client.execute_command(*call.words)
        client.set("px2:job:1", "no account")
        written = backup.backup(file)
        client.flushdb()
        read = backup.restore(file)
        stored, owner = (
            client.execute_command(*call.words).decode()
            for call in (users.password_hash("ada"), users.user_of_key("key-of-ada"))
        )
        jobs = client.exists("px2:job:1")
        client.flushdb()
    settings.cache_clear()

    assert (written, read, jobs) == (2, 2, 0)
    assert users.is_password(stored, "correct horse") and owner == "ada"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "correct horse" not in file.read_text() and "key-of-ada" not in file.read_text()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pixelmill_backup": 1, "records": {"a": 1}}'])
def test_what_is_no_backup_is_refused(tmp_path: Path, text: str) -> None:
    from tasks.errors import BadInput

    file = tmp_path / "some.json"
    file.write_text(text)

    with pytest.raises(BadInput, match="backup"):
        backup.restore(file)


def test_a_damaged_base_stops_the_start_with_what_to_do(tmp_path: Path) -> None:
    folder, said = tmp_path / "state", []
    supervisor = Supervisor(tmp_path / "logs", said.append, lambda: None)
    program = redis_server("state", folder, free_port(), "secret", config=state_config(64))
    supervisor.start(program)
    supervisor.wait_for("state", lambda: bool(list(folder.glob("appendonlydir/*.rdb"))), 20)
    supervisor.stop()
    [base] = folder.glob("appendonlydir/*.base.rdb")
    whole = bytearray(base.read_bytes())
    whole[20:40] = b"DAMAGE" * 3 + b"XX"
    base.write_bytes(whole)

    supervisor = Supervisor(tmp_path / "logs", said.append, lambda: None)
    supervisor.start(program)
    try:
        with pytest.raises(CannotStart, match="the base of its append-only file is damaged"):
            supervisor.wait_for("state", lambda: False, 20)
    finally:
        supervisor.stop()

    assert base.read_bytes() == bytes(whole), "nothing was changed"
    assert "move" in said[-1] or "move" in " ".join(said)


def test_an_old_complaint_in_the_log_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / aof.FOLDER).mkdir()
    old = (
        f"{aof.START} Valkey is starting\n# Bad file format reading the append only file x.aof: y\n"
        f"{aof.START} Valkey is starting {aof.START}\n* {aof.READY} tcp\n# killed"
    )

    assert aof.mend(tmp_path, "/nowhere", old) == ""
