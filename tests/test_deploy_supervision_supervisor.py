"""Processes are kept running, given up on with a sentence, and never orphaned."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import redis

from deploy.local import embedded, run_file
from deploy.local.installation import free_ports
from deploy.local.servers import STATE_CONFIG, redis_server, s3_server
from deploy.supervision.process import CannotStart, Program, created_at, stop_leftovers
from deploy.supervision.supervisor import Supervisor

SLEEP = "import time; time.sleep(60)"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]).wait()"


def python(name: str, code: str) -> Program:
    return Program(name, [sys.executable, "-c", code], {})


@pytest.fixture
def supervisor(tmp_path: Path):
    said: list[str] = []
    supervisor = Supervisor(tmp_path / "logs", said.append, lambda: None)
    supervisor.said = said
    yield supervisor
    supervisor.stop()


def until(true) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_what_dies_is_started_again_and_it_says_so(supervisor: Supervisor) -> None:
    supervisor.start(python("one", SLEEP))
    pid = supervisor.pids["one"]

    os.kill(pid, signal.SIGKILL)
    until(lambda: supervisor.poll() or supervisor.pids.get("one", pid) != pid)

    assert any("killed by SIGKILL" in line for line in supervisor.said)
    assert any("started again" in line for line in supervisor.said)


def test_what_never_runs_is_given_up_with_its_last_words(supervisor: Supervisor) -> None:
    supervisor.start(python("broken", "raise SystemExit('no such port: [red]42')"))

    with pytest.raises(CannotStart) as error:
        supervisor.wait_for("broken", lambda: False, 20)

    assert "broken cannot start" in str(error.value)
    assert "no such port: [red]42" in str(error.value)


def test_a_missing_program_is_a_sentence(supervisor: Supervisor) -> None:
    with pytest.raises(CannotStart, match="No such file"):
        supervisor.start(Program("redis", ["/nowhere/redis-server"], {}))


def test_grandchildren_end_with_their_parents(supervisor: Supervisor) -> None:
    supervisor.start(python("parent", PARENT))
    parent = psutil.Process(supervisor.pids["parent"])
    until(lambda: parent.children())
    family = [parent, *parent.children()]

    supervisor.stop()

    assert psutil.wait_procs(family, 5)[1] == []


def test_a_killed_supervisor_leaves_nobody_behind(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from deploy.supervision.supervisor import Supervisor
from deploy.supervision.process import Program
import sys, time
s = Supervisor(Path({str(tmp_path)!r}), print, lambda: None)
s.start(Program('child', [sys.executable, '-c', {SLEEP!r}], {{}}))
print(s.pids['child'], flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as own:
        assert own.stdout
        child = psutil.Process(int(own.stdout.readline()))
        own.kill()

    assert psutil.wait_procs([child], 10)[1] == []


def test_leftovers_are_known_by_pid_and_start_time() -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True) as stranger:
        recycled = {"web-1": (stranger.pid, created_at(stranger.pid) - 100)}
        assert list(stop_leftovers(recycled)) == []
        assert stranger.poll() is None

        own = {"web-1": (stranger.pid, created_at(stranger.pid))}
        assert list(stop_leftovers(own)) == ["web-1"]
        assert stranger.wait(5) is not None


def test_a_damaged_run_file_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"supervisor": [1')

    assert run_file.read(tmp_path) == run_file.RunFile()


def test_the_state_redis_keeps_what_it_was_told_through_a_kill(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    [port] = free_ports(1)
    folder = tmp_path / "with a space"
    supervisor.start(redis_server("state", folder, port, "secret", config=STATE_CONFIG))
    client = redis.Redis(port=port, password="secret")
    supervisor.wait_for("state", lambda: embedded._answers_ping(client), 10)
    client.set("key", "value")
    supervisor.mark_ready()

    os.kill(supervisor.pids["state"], signal.SIGKILL)
    time.sleep(0.2)
    supervisor.wait_for("state", lambda: embedded._answers_ping(client), 10)

    assert client.get("key") == b"value"
    with redis.Redis(port=port) as anybody, pytest.raises(redis.AuthenticationError):
        anybody.ping()
    client.close()


def test_passwords_lie_in_files_of_ones_own(tmp_path: Path) -> None:
    program = redis_server("state", tmp_path / "redis", 1, "secret", config="")
    store = s3_server(tmp_path / "s3", 1, "key", "s3-secret", "http://127.0.0.1")

    config = tmp_path / "redis" / "redis.conf"
    assert config.stat().st_mode & 0o777 == 0o600 and "secret" in config.read_text()
    assert "secret" not in json.dumps([program.command, store.command])


def test_a_program_that_retires_ends_its_work_and_is_not_started_again(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    code = (
        "import pathlib, signal, sys, time\n"
        f"def end(*_): time.sleep(0.5); pathlib.Path({str(done)!r}).touch(); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\nprint('ready', flush=True)\ntime.sleep(60)"
    )
    supervisor.start(python("one", code))
    until(
        lambda: (
            supervisor.poll()
            or (tmp_path / "logs" / "one.log").exists()
            and "ready" in (tmp_path / "logs" / "one.log").read_text()
        )
    )

    supervisor.retire("one")

    assert (supervisor.names, supervisor.kept) == ({"one"}, [])
    until(lambda: supervisor.poll() or not supervisor.names)
    assert done.exists() and not supervisor.said
