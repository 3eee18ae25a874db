"""`pixelmill up` is stopped amid work: web refuses first, then the work in progress ends.

Starting an installation takes longer than most of what is tested. So the tests of `up` share one
folder, each of their stops being followed by the start that the next test needs; those of single
workers share one stack.
"""

import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
import redis
from local_up import Up
from stack import MODEL_PATHS, REPOSITORY, Stack, free_port

from storage import keys

JOBS = 12
ENV = {
    "PIXELMILL_MODELS": "slow",
    "PIXELMILL_MODEL_PATHS": MODEL_PATHS,
    "PIXELMILL_DEVICE": "cpu",
    "PIXELMILL_TASK_EVENTS": "false",
}
STOP_S = 60.0
SHORT_STOP_S = 2.0


class Running(Up):
    """A running `up`, as its API is asked."""

    def __init__(self, folder: Path, port: int, stop_s: float) -> None:
        super().__init__(folder, "--port", str(port), env={**ENV, "PIXELMILL_STOP_S": str(stop_s)})
        self.stop_s = stop_s
        self.wait_until_ready()
        key = {"Authorization": f"Bearer {self.run['api_key']}"}
        self.client = httpx.Client(base_url=str(self.run["url"]), headers=key, timeout=40)

    def ask(self, salt: int, device_s: float) -> httpx.Response:
        photo = (REPOSITORY / "examples" / "chelsea.jpg").read_bytes()
        query = {"salt": str(salt), "device_s": str(device_s), "wait": "0", "deadline_s": "900"}
        return self.client.post("/api/v1/predict/slow", params=query, content=photo)

    def states(self, jobs: list[str]) -> Counter[str]:
        return Counter(self.client.get(f"/api/v1/jobs/{job}").json()["state"] for job in jobs)

    def state(self) -> "redis.Redis":
        text = (self.folder / "var" / "env").read_text()
        [line] = [line for line in text.splitlines() if line.startswith("PIXELMILL_STATE_URL")]
        return redis.Redis.from_url(line.split("=", 1)[1].strip('"'))

    def finished(self) -> int:
        """How many runs have been ended well so far; one that was done twice counts twice."""
        with closing(self.state()) as state:
            names = state.scan_iter(match=keys.METRICS_PREFIX + "slow:[0-9]*", count=1000)
            return sum(int(state.hget(name, "done") or 0) for name in names)

    def hand_in(self, count: int, device_s: float) -> list[str]:
        """Ids of new jobs, once the gpu worker holds all of them."""
        jobs = [self.ask(time.time_ns(), device_s).json()["id"] for _ in range(count)]
        end = time.monotonic() + 60
        while (states := self.states(jobs))["queued"] + states["preprocessing"] > 0:
            assert time.monotonic() < end, states
            time.sleep(0.1)
        return jobs

    def ended(self, jobs: list[str], seconds: float) -> Counter[str]:
        """Their states once all are done, or time is over."""
        end = time.monotonic() + seconds
        while (states := self.states(jobs))["done"] < len(jobs) and time.monotonic() < end:
            time.sleep(0.2)
        return states

    def log(self) -> str:
        """What the gpu worker has written since the first start."""
        files = (self.folder / "var" / "logs").glob("gpu-worker-1*.log")
        return "".join(file.read_text() for file in files)

    def stop(self) -> int:
        self.client.close()
        return super().stop()

    def end(self) -> float:
        """Wait until it has ended, as it was told to; seconds that it took."""
        began = time.monotonic()
        assert self.process.wait(90) == 0
        self.out.close()
        self.client.close()
        return time.monotonic() - began


class Installation:
    """One folder in which `up` is started again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._port = folder, free_port()
        self._running: Running | None = None

    def up(self, stop_s: float = STOP_S) -> Running:
        """A running `up` with this setting: the one that runs already, or a new one."""
        running = self._running
        if running and running.process.poll() is None:
            if running.stop_s == stop_s:
                return running
            running.stop()
        self._running = Running(self.folder, self._port, stop_s)
        return self._running

    def stop(self) -> None:
        if self._running and self._running.process.poll() is None:
            self._running.stop()


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("drain"))
    yield made
    made.stop()


def refusal(running: Running) -> tuple[httpx.Response, int]:
    """The first answer to new work that is not taken, and how many jobs were taken before it."""
    end, taken = time.monotonic() + 5, 0
    while (answer := running.ask(time.time_ns(), 0)).status_code == 202:
        assert time.monotonic() < end
        taken += 1
    return answer, taken


def test_work_in_progress_ends_while_web_refuses_more(installation: Installation) -> None:
    running = installation.up()
    finished_before = running.finished()
    jobs = running.hand_in(JOBS, 1.0)

    running.process.send_signal(signal.SIGTERM)
    refused, taken = refusal(running)
    seen = running.states(jobs)
    ends_s = running.end()
    said = running.said
    running = installation.up(SHORT_STOP_S)
    after, finished = running.states(jobs), running.finished() - finished_before

    print(f"stopped in {ends_s:.1f} s; while it stopped {dict(seen)}, then {dict(after)}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
    assert int(refused.headers["retry-after"]) > 0
    assert seen.total() == JOBS, "jobs can be asked for meanwhile"
    assert "killed" not in said and "waiting for gpu-worker-1" in said
    assert "runs are in progress" in said
    assert after == {"done": JOBS}, "at the first look after the start: nothing was left"
    assert finished == JOBS + taken


@pytest.mark.measures_time
def test_what_does_not_end_in_time_goes_back_and_is_done_after_the_next_start(
    installation: Installation,
) -> None:
    running = installation.up(SHORT_STOP_S)
    finished_before = running.finished()
    jobs = running.hand_in(JOBS, 1.0)

    before = running.log().count("stopped before all work was done")
    running.process.send_signal(signal.SIGTERM)
    ends_s = running.end()
    said, cut_short = running.said, running.log().count("stopped before all work was done")
    running = installation.up()
    after, finished = running.ended(jobs, 60), running.finished() - finished_before

    print(f"stopped in {ends_s:.1f} s")
    assert ends_s < 30 and cut_short == before + 1
    assert "killed" not in said
    assert after == {"done": JOBS} and finished == JOBS


@pytest.mark.measures_time
def test_a_second_signal_shortens_the_stop(installation: Installation) -> None:
    running = installation.up()
    jobs = running.hand_in(3, 5)

    before = running.log().count("stopped before all work was done")
    running.process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert running.process.poll() is None
    running.process.send_signal(signal.SIGINT)
    ends_s = running.end()
    cut_short = running.log().count("stopped before all work was done")
    running = installation.up()
    after = running.ended(jobs, 60)

    assert ends_s < 20 and cut_short == before + 1
    assert after == {"done": 3}


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    env = {**ENV, "PIXELMILL_CPU_PROCESSES": "2", "PIXELMILL_STOP_S": str(STOP_S)}
    with Stack(tmp_path_factory.mktemp("workers"), env) as mill:
        yield mill.start_all()


@pytest.fixture
def client(mill: Stack) -> Iterator[httpx.Client]:
    key = {"Authorization": f"Bearer {mill.api_key}"}
    with httpx.Client(base_url=mill.url, headers=key, timeout=60) as client:
        yield client


def job_id(client: httpx.Client, **params: float) -> str:
    """A new job."""
    photo = (REPOSITORY / "examples" / "chelsea.jpg").read_bytes()
    query = {"salt": time.time_ns(), "wait": 0, **params}
    return str(client.post("/api/v1/predict/slow", params=query, content=photo).json()["id"])


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_one_worker_told_to_stop_ends_what_it_holds(
    mill: Stack, client: httpx.Client, kind: str
) -> None:
    """As a rolling update does, with another worker of its kind beside it."""
    what = {"device_s": 0.7} if kind == "gpu" else {"conclude_s": 0.7}
    jobs = [job_id(client, **what) for _ in range(8)]
    time.sleep(1)
    worker = mill.processes[f"{kind}-worker"]
    mill.start(f"{kind}-worker", [sys.executable, "-m", "workers", kind])
    worker.send_signal(signal.SIGTERM)
    code = worker.wait(50)
    end = time.monotonic() + 40
    states: Counter[str] = Counter()
    while states["done"] < 8 and time.monotonic() < end:
        states = Counter(client.get(f"/api/v1/jobs/{job}").json()["state"] for job in jobs)
        time.sleep(0.2)

    assert code == 0
    assert states == {"done": 8}


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_a_stop_in_the_middle_counts_as_no_start(
    mill: Stack, client: httpx.Client, kind: str
) -> None:
    """Otherwise three stops would make a run `poison`."""
    stage, slow = ("inference", "device_s") if kind == "gpu" else ("preprocess", "prepare_s")
    quick = {"PIXELMILL_CPU_PROCESSES": "1", "PIXELMILL_STOP_S": "1"}
    mill.processes[f"{kind}-worker"].terminate()
    mill.processes[f"{kind}-worker"].wait(50)
    mill.start(f"{kind}-worker", [sys.executable, "-m", "workers", kind], quick)
    mill.wait_until_live()
    job = job_id(client, **{slow: 15})
    with mill.state as state:
        [run] = [keys.run(name.decode()) for name in state.zrange(keys.ACTIVE, 0, -1)]
        end = time.monotonic() + 40
        while state.hget(run, "stage") != stage.encode():
            assert time.monotonic() < end
            time.sleep(0.05)
        before = state.hget(run, f"starts:{stage}")

        worker = mill.processes[f"{kind}-worker"]
        worker.send_signal(signal.SIGTERM)
        code = worker.wait(30)
        after = state.hget(run, f"starts:{stage}")
        seen = client.get(f"/api/v1/jobs/{job}").json()["state"]
    client.delete(f"/api/v1/jobs/{job}")
    mill.start(f"{kind}-worker", [sys.executable, "-m", "workers", kind])

    assert code == 0
    assert (before, after) == (b"1", b"0")
    assert seen in ("preprocessing", "inferring")
