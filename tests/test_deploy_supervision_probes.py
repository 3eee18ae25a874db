"""A program that runs without working is replaced; one that starts, is busy or drains is not."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import redis
from stack import Stack, free_port

from deploy.local.servers import STATE_CONFIG, redis_server
from deploy.supervision import liveness, probes, supervisor
from deploy.supervision.liveness import Health, NoAnswer, Probe, Unhealthy, Unknown
from deploy.supervision.process import Program
from deploy.supervision.supervisor import Supervisor
from storage import catalogue
from storage.redis.calls import SyncRedis

SERVER = """
import http.server, json, pathlib, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        late = pathlib.Path(sys.argv[2]).exists()
        self.send_response(503 if late else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"late": ["the loop 'reaper' hangs"]}).encode())
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    """A supervisor in a hurry."""
    monkeypatch.setattr(liveness, "EVERY_S", 0.1)
    monkeypatch.setattr(probes, "ANSWER_S", 0.3)
    monkeypatch.setattr(supervisor, "REPLACE_GRACE_S", 0.5)
    said: list[str] = []
    made = Supervisor(tmp_path / "logs", said.append, lambda: None)
    made.said = said
    yield made
    made.stop()


class Page:
    """A program that answers as web does."""

    def __init__(self, kept: Supervisor, folder: Path) -> None:
        port, self.late = free_port(), folder / "late"
        self.url, self.kept = f"http://127.0.0.1:{port}", kept
        command = [sys.executable, "-c", SERVER, str(port), str(self.late)]
        kept.start(Program("web-1", command, {}), probes.web(self.url))
        kept.wait_for("web-1", self.answers, 20)
        time.sleep(0.5)  # it was seen to work

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=1).status_code > 0
        except httpx.HTTPError:
            return False

    @property
    def pid(self) -> int:
        return self.kept.pids.get("web-1", 0)


def poll(kept: Supervisor, until: Callable[[], object], seconds: float = 30) -> bool:
    """Do what `watch` does, until that is so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        kept.poll()
        if until():
            return True
        time.sleep(0.02)
    return False


def test_one_that_answers_no_more_is_replaced(kept: Supervisor, tmp_path: Path) -> None:
    page = Page(kept, tmp_path)
    kept.mark_ready()
    pid = page.pid

    os.kill(pid, signal.SIGSTOP)

    assert poll(kept, lambda: page.pid not in (0, pid) and page.answers())
    [line] = [line for line in kept.said if "does not work" in line]
    assert "web-1" in line and "does not answer" in line
    assert kept.replaced["web-1"][0] == 1


def test_one_that_ignores_sigterm_is_killed(kept: Supervisor) -> None:
    def silent(pid: int) -> None:
        raise NoAnswer("no answer")

    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    program = Program("stubborn", [sys.executable, "-c", stubborn], {})
    kept.start(program, Probe(silent, start_s=0.5))
    kept.mark_ready()

    assert poll(kept, lambda: any("killed by SIGKILL" in line for line in kept.said))
    assert poll(kept, lambda: "stubborn is started again" in kept.said)


def test_one_that_says_it_is_unwell_is_replaced_once_and_not_again_and_again(
    kept: Supervisor, tmp_path: Path
) -> None:
    page = Page(kept, tmp_path)
    kept.mark_ready()
    pid = page.pid

    page.late.touch()

    assert poll(kept, lambda: page.pid not in (0, pid) and page.answers())
    assert "'reaper' hangs" in kept.replaced["web-1"][1]
    again = page.pid
    assert not poll(kept, lambda: page.pid != again, seconds=2)


def test_nothing_is_replaced_while_the_installation_starts(
    kept: Supervisor, tmp_path: Path
) -> None:
    page = Page(kept, tmp_path)
    pid = page.pid
    os.kill(pid, signal.SIGSTOP)

    assert not poll(kept, lambda: page.pid != pid, seconds=3)


def test_nothing_is_held_against_one_that_is_still_starting() -> None:
    asked: list[int] = []

    def silent(pid: int) -> None:
        asked.append(pid)
        raise NoAnswer("no answer")

    starting, late = Health(Probe(silent)), Health(Probe(silent, start_s=0))
    for _ in range(3):
        starting.check(1)
        late.check(1)

    assert (starting.reason, late.reason) == ("", "no answer")


def test_failures_of_a_process_do_not_count_against_its_successor() -> None:
    def silent(pid: int) -> None:
        if pid == 1:
            raise NoAnswer("no answer")

    health = Health(Probe(silent, misses=1, start_s=0))
    health.check(1)
    assert health.reason
    health.check(2)

    assert health.reason == ""


def test_misses_count_only_in_a_row() -> None:
    answers = [
        NoAnswer("no"),
        NoAnswer("no"),
        None,
        NoAnswer("no"),
        NoAnswer("no"),
        Unknown("?"),
    ] * 5

    def ask(pid: int) -> None:
        if error := answers.pop(0):
            raise error

    health = Health(Probe(ask, start_s=0))
    while answers:
        health.check(1)
        assert health.reason == ""


@pytest.fixture
def own_redis(kept: Supervisor, tmp_path: Path) -> Iterator[tuple[str, "redis.Redis"]]:
    port = free_port()
    url = f"redis://:secret@127.0.0.1:{port}/0"
    program = redis_server("state", tmp_path / "state", port, "secret", config=STATE_CONFIG)
    kept.start(program, probes.redis_server(url))
    with redis.Redis.from_url(url, socket_timeout=5) as client:
        kept.wait_for("state", lambda: _pings(client), 20)
        kept.mark_ready()
        time.sleep(0.3)
        yield url, client


def _pings(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def test_a_redis_that_is_stopped_is_replaced_and_has_its_data(
    kept: Supervisor, own_redis: tuple[str, "redis.Redis"]
) -> None:
    _, client = own_redis
    client.set("key", "value")
    pid = kept.pids["state"]

    os.kill(pid, signal.SIGSTOP)

    assert poll(kept, lambda: kept.pids.get("state", pid) != pid and _pings(client))
    assert client.get("key") == b"value"


def test_a_redis_that_is_busy_with_a_script_is_left_alone(
    kept: Supervisor, own_redis: tuple[str, "redis.Redis"]
) -> None:
    """It answers BUSY: whoever kills it then may lose what it has not written."""
    url, client = own_redis
    client.config_set("busy-reply-threshold", 100)
    pid = kept.pids["state"]
    with (
        redis.Redis.from_url(url, socket_timeout=0.1, retry=None) as runaway,
        pytest.raises(redis.TimeoutError),
    ):
        runaway.eval("while true do end", 0)

    with pytest.raises(redis.ResponseError, match="BUSY"):
        client.ping()
    assert not poll(kept, lambda: kept.pids.get("state") != pid, seconds=3)
    client.execute_command("SCRIPT", "KILL")


def test_any_answer_of_an_s3_is_a_sign_of_life(servers: Stack) -> None:
    probes.http_server(servers.env["PIXELMILL_S3_URL"]).ask(1)  # 403

    with pytest.raises(NoAnswer):
        probes.http_server("http://127.0.0.1:1/").ask(1)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr(probes, "monotonic", lambda: clock[0])
    return clock


def announce(link: SyncRedis, **facts: object) -> None:
    worker = {"queues": ["cpu"], "pid": 7, "host": os.uname().nodename, **facts}
    link.do(catalogue.announce("cpu-7@host", worker, {}))


def test_a_worker_is_missed_only_while_the_state_redis_answers(
    servers: Stack, now: list[float], tmp_path: Path
) -> None:
    with Stack(tmp_path) as own:
        own.start_redis("state")
        link = SyncRedis(own.state)
        worker = probes.worker(own.env["PIXELMILL_STATE_URL"], 60)
        announce(link)
        worker.ask(7)
        link.do(catalogue.forget_workers())
        with pytest.raises(Unknown):
            worker.ask(7)

        now[0] += probes.MARGIN_S + 1
        own.kill("state")
        with pytest.raises(Unknown, match="did not answer"):
            worker.ask(7)
        own.start_redis("state")
        with pytest.raises(Unknown):  # the time without Redis is not held against it
            worker.ask(7)

        now[0] += probes.MARGIN_S + 1
        with pytest.raises(NoAnswer, match="missing from the catalogue for 16 s"):
            worker.ask(7)


def test_a_worker_that_says_what_hangs_is_unwell_unless_it_drains(tmp_path: Path) -> None:
    with Stack(tmp_path) as own:
        own.start_redis("state")
        link = SyncRedis(own.state)
        worker = probes.worker(own.env["PIXELMILL_STATE_URL"], 60)

        announce(link, late=["the loop 'tidy' hangs"])
        with pytest.raises(Unhealthy, match="'tidy' hangs"):
            worker.ask(7)

        announce(link, late=["the loop 'tidy' hangs"], draining=True, queues=[])
        worker.ask(7)
