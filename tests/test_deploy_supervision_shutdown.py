"""`pixelmill up` is stopped amid work: web refuses first, what is in hand ends."""

import signal
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import httpx
import pytest
import redis
from local_up import Up
from stack import MODEL_PATHS, REPOSITORY, Stack, free_port

from storage import keys

JOBS = 18
ENV = {
    "PIXELMILL_MODELS": "slow",
    "PIXELMILL_MODEL_PATHS": MODEL_PATHS,
    "PIXELMILL_DEVICE": "cpu",
    "PIXELMILL_TASK_EVENTS": "false",
}


class Running(Up):
    """A running `up`, as its API is asked."""

    def __init__(self, folder: Path, port: int, **env: str) -> None:
        super().__init__(folder, "--port", str(port), env={**ENV, **env})
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
        """Runs that were ended well so far, each as often as it was."""
        with closing(self.state()) as state:
            names = state.scan_iter(match=keys.METRICS_PREFIX + "slow:[0-9]*", count=1000)
            return sum(int(state.hget(name, "done") or 0) for name in names)

    def hand_in(self, count: int, device_s: float) -> list[str]:
        """Ids of new jobs, once the gpu worker holds all of them."""
        jobs = [self.ask(number, device_s).json()["id"] for number in range(count)]
        end = time.monotonic() + 60
        while (states := self.states(jobs))["queued"] + states["preprocessing"] > 0:
            assert time.monotonic() < end, states
            time.sleep(0.1)
        time.sleep(0.5)
        return jobs

    def ended(self, jobs: list[str], seconds: float) -> Counter[str]:
        """Their states once all are done, or time is over."""
        end = time.monotonic() + seconds
        while (states := self.states(jobs))["done"] < len(jobs) and time.monotonic() < end:
            time.sleep(0.5)
        return states

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


def stopped_by(running: Running) -> None:
    running.process.send_signal(signal.SIGTERM)


def refusal(running: Running) -> httpx.Response:
    """The first answer to new work that is not taken."""
    end = time.monotonic() + 5
    while (answer := running.ask(time.time_ns(), 0)).status_code == 202:
        assert time.monotonic() < end
    return answer


def test_what_is_in_hand_ends_while_web_refuses_more(tmp_path: Path) -> None:
    port = free_port()
    running = Running(tmp_path, port)
    jobs = running.hand_in(JOBS, 0.8)

    stopped_by(running)
    refused = refusal(running)
    seen = running.states(jobs)
    ends_s = running.end()
    said = running.said
    running = Running(tmp_path, port)
    after, finished = running.states(jobs), running.finished()
    running.stop()

    print(f"stopped in {ends_s:.1f} s; while it stopped {dict(seen)}, then {dict(after)}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
    assert int(refused.headers["retry-after"]) > 0
    assert seen.total() == JOBS, "jobs can be asked for meanwhile"
    assert "killed" not in said and "waiting for gpu-worker-1" in said
    assert "runs are in progress" in said
    assert after == {"done": JOBS}, "at the first look after the start: nothing was left"
    assert finished == JOBS


def test_what_does_not_end_in_time_goes_back_and_is_done_after_the_next_start(
    tmp_path: Path,
) -> None:
    port = free_port()
    running = Running(tmp_path, port, PIXELMILL_STOP_S="4")
    jobs = running.hand_in(JOBS, 1.5)

    stopped_by(running)
    ends_s = running.end()
    said = running.said
    running = Running(tmp_path, port)
    after, finished = running.ended(jobs, 60), running.finished()
    running.stop()

    print(f"stopped in {ends_s:.1f} s")
    assert ends_s < 30
    assert "killed" not in said
    assert after == {"done": JOBS} and finished == JOBS


def test_a_second_signal_shortens_the_stop(tmp_path: Path) -> None:
    port = free_port()
    running = Running(tmp_path, port)
    jobs = running.hand_in(6, 5)

    stopped_by(running)
    time.sleep(1)
    assert running.process.poll() is None
    running.process.send_signal(signal.SIGINT)
    ends_s = running.end()
    running = Running(tmp_path, port)
    after = running.ended(jobs, 60)
    running.stop()

    assert ends_s < 20
    assert after == {"done": 6}


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_one_worker_told_to_stop_ends_what_it_holds(tmp_path: Path, kind: str) -> None:
    """As a rolling update does, with another worker of its kind beside it."""
    env = {**ENV, "PIXELMILL_CPU_PROCESSES": "2", "PIXELMILL_STOP_S": "60"}
    with Stack(tmp_path, env) as stack:
        stack.start_all()
        key = {"Authorization": f"Bearer {stack.api_key}"}
        with httpx.Client(base_url=stack.url, headers=key, timeout=60) as client:
            photo = (REPOSITORY / "examples" / "chelsea.jpg").read_bytes()
            what = {"device_s": "0.7"} if kind == "gpu" else {"conclude_s": "0.7"}
            jobs = [
                client.post(
                    "/api/v1/predict/slow",
                    params={"salt": str(number), "wait": "0", **what},
                    content=photo,
                ).json()["id"]
                for number in range(8)
            ]
            time.sleep(1)
            worker = stack.processes[f"{kind}-worker"]
            stack.start(f"{kind}-worker-2", list(worker.args))  # type: ignore[arg-type]
            worker.send_signal(signal.SIGTERM)
            code = worker.wait(50)
            end = time.monotonic() + 40
            states: Counter[str] = Counter()
            while states["done"] < 8 and time.monotonic() < end:
                answers = [client.get(f"/api/v1/jobs/{job}").json() for job in jobs]
                states = Counter(answer["state"] for answer in answers)
                time.sleep(0.2)

    assert code == 0
    assert states == {"done": 8}


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_a_stop_in_the_middle_counts_as_no_start(tmp_path: Path, kind: str) -> None:
    """Else three stops would make a run `poison`."""
    stage, slow = ("inference", "device_s") if kind == "gpu" else ("preprocess", "prepare_s")
    env = {**ENV, "PIXELMILL_CPU_PROCESSES": "1", "PIXELMILL_STOP_S": "1"}
    with Stack(tmp_path, env).start_all() as stack, stack.state as state:
        key = {"Authorization": f"Bearer {stack.api_key}"}
        photo = (REPOSITORY / "examples" / "chelsea.jpg").read_bytes()
        url = f"{stack.url}/api/v1/predict/slow?wait=0&{slow}=15"
        job = httpx.post(url, headers=key, content=photo).json()["id"]
        [run] = [keys.run(name.decode()) for name in state.zrange(keys.ACTIVE, 0, -1)]
        end = time.monotonic() + 40
        while state.hget(run, "stage") != stage.encode():
            assert time.monotonic() < end
            time.sleep(0.05)
        before = state.hget(run, f"starts:{stage}")

        worker = stack.processes[f"{kind}-worker"]
        worker.send_signal(signal.SIGTERM)
        code = worker.wait(30)
        after = state.hget(run, f"starts:{stage}")
        seen = httpx.get(f"{stack.url}/api/v1/jobs/{job}", headers=key).json()["state"]

    assert code == 0
    assert (before, after) == (b"1", b"0")
    assert seen in ("preprocessing", "inferring")
