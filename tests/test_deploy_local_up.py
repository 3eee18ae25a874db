"""`pixelmill up` as a user meets it: one command, everything killed and healed, nothing left."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
from local_up import Up
from stack import free_port

BACK_S = 60.0
NAMES = ("state-redis", "cache-redis", "s3", "web-1", "cpu-worker-1", "gpu-worker-1", "flower")
UNFINISHED = "var/s3/pixelmill/in/ada/.rclone_temp_put_0dcb8e15-0df3-4995-8c9d-fbeabe2319c1"
"""How rclone calls what it has not written to the end (see tests/test_deploy_local_servers.py)."""


NO_WAY_OUT = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy"), "http://127.0.0.1:1")
"""A proxy that leads nowhere: nothing on this machine may be looked for there."""
IMPATIENT = """#!{python}
from deploy.cli import main
from deploy.supervision import liveness, probes
probes.ANSWER_S, probes.MARGIN_S, liveness.EVERY_S = 2.5, 5.0, 1.0
main()
"""
"""`pixelmill` that soon replaces what does not answer."""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("up")
    (folder / UNFINISHED).parent.mkdir(parents=True)
    (folder / UNFINISHED).write_bytes(b"half an upload")
    program = folder / "pixelmill"
    program.write_text(IMPATIENT.format(python=sys.executable))
    program.chmod(0o755)
    up = Up(folder, "--port", str(free_port()), program=program, env=NO_WAY_OUT)
    try:
        up.wait_until_ready()
        yield up
    finally:
        if up.process.poll() is None:
            up.stop()


def test_it_says_where_everything_is(up: Up) -> None:
    mode = (up.folder / "var" / "run.json").stat().st_mode & 0o777

    assert str(up.run["url"]) in up.said
    assert up.run["own_url"] == up.run["url"], "there is no public address"
    assert up.password not in up.said, "it is printed to a terminal only"
    assert "admin_password in var/installation.json" in up.said
    assert mode == 0o600
    assert set(up.pids) == set(NAMES)


def test_what_an_earlier_run_left_of_an_upload_is_removed(up: Up) -> None:
    assert not (up.folder / UNFINISHED).exists()
    assert "unfinished uploads of an earlier run removed: 1" in up.said


def test_no_password_stands_on_a_command_line(up: Up) -> None:
    facts = json.loads((up.folder / "var" / "installation.json").read_text())
    secrets = [value for name, value in facts.items() if not name.endswith("_port")]

    lines = [" ".join(psutil.Process(pid).cmdline()) for pid in up.pids.values()]

    assert not [line for line in lines for secret in secrets if secret in line]


def shown_by_flower(url: str, login: tuple[str, str]) -> str:
    """Its page of workers, once both are on it: Flower starts last."""
    text, end = "", time.monotonic() + 60
    while not ("cpu-" in text and "gpu-" in text) and time.monotonic() < end:
        time.sleep(0.25)
        with suppress(httpx.TransportError):
            text = httpx.get(url, auth=login).text
    return text


def test_flower_shows_workers_and_tasks_to_those_who_sign_in(up: Up) -> None:
    url, login = str(up.run["flower_url"]), ("admin", up.password)

    workers = shown_by_flower(f"{url}/workers", login)
    assert up.predict().status_code == 200
    for _ in range(40):  # events come in batches
        tasks = httpx.get(f"{url}/api/tasks", auth=login).json()
        names = {task["name"] for task in tasks.values()}
        if len(names) == 3:
            break
        time.sleep(0.25)
    shutdown = httpx.post(f"{url}/api/worker/shutdown/x", auth=login)

    assert httpx.get(f"{url}/workers").status_code == 401
    assert "cpu-" in workers and "gpu-" in workers
    assert names == {"preprocess", "inference", "postprocess"}
    assert shutdown.status_code >= 400, "it is read-only"


def test_pictures_come_though_the_environment_names_a_proxy(up: Up) -> None:
    picture = up.predict().json()["result"]["objects"]["alpha"]

    answer = httpx.get(picture["url"], timeout=20)

    assert answer.status_code == 200
    assert len(answer.content) == picture["bytes"]


def test_a_second_one_in_the_same_folder_is_refused(up: Up) -> None:
    command = [str(Path(sys.executable).parent / "pixelmill"), "up"]

    second = subprocess.run(command, cwd=up.folder, capture_output=True, text=True, timeout=120)

    assert second.returncode == 1
    assert "running already" in second.stdout + second.stderr


@pytest.mark.parametrize("name", NAMES)
def test_what_is_killed_comes_back_and_the_next_photo_works(up: Up, name: str) -> None:
    pid = up.pids[name]

    os.kill(pid, signal.SIGKILL)

    end = time.monotonic() + BACK_S
    worked = False
    while time.monotonic() < end and not (worked and up.pids.get(name, pid) != pid):
        try:
            worked = up.predict().status_code == 200
        except httpx.HTTPError:
            time.sleep(0.2)
    assert worked and up.pids[name] != pid
    assert f"{name} is started again" in up.said


@pytest.mark.parametrize(
    ("name", "within_s"), [("web-1", 45), ("gpu-worker-1", 60), ("state-redis", 75)]
)
def test_what_runs_but_answers_no_more_is_replaced(up: Up, name: str, within_s: float) -> None:
    """kill -STOP: the process is there, and does nothing."""
    end = time.monotonic() + BACK_S
    while up.predict().status_code != 200 and time.monotonic() < end:
        time.sleep(0.5)  # whatever came back before this test works by now
    pid = up.pids[name]

    os.kill(pid, signal.SIGSTOP)

    end = time.monotonic() + within_s
    while up.pids.get(name, pid) == pid and time.monotonic() < end:
        time.sleep(0.1)
    assert up.pids[name] != pid
    assert f"{name} runs but does not work" in up.said
    end = time.monotonic() + BACK_S
    worked = False
    while time.monotonic() < end and not worked:
        try:
            worked = up.predict().status_code == 200
        except httpx.HTTPError:
            time.sleep(0.2)
    assert worked
    assert up.run["replaced"][name][0] == 1  # type: ignore[index]


def test_sigterm_leaves_nothing_behind(up: Up) -> None:
    started = [psutil.Process(pid) for pid in up.pids.values()]
    family = started + [child for process in started for child in process.children(recursive=True)]

    code = up.stop()

    gone, alive = psutil.wait_procs(family, timeout=5)
    assert code == 0
    assert not alive and not (up.folder / "var" / "run.json").exists()


def test_a_taken_port_is_one_clear_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        up = Up(tmp_path, "--port", port)
        code = up.process.wait(30)
    up.out.close()

    assert code == 1
    assert f"port {port}" in up.said and "Traceback" not in up.said
