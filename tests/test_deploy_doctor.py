import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from stack import REPOSITORY, Stack

from deploy.doctor import host, report, web, workers
from deploy.doctor import servers as server_checks
from deploy.doctor.finding import GIB, Finding
from storage import api_keys, users
from storage.redis.calls import SyncRedis
from tasks.settings import Settings, read
from workers.pinning import Gpu

CLOSED = "127.0.0.1:1"
PATIENT = """
import sys
from deploy.doctor import finding
finding.ANSWER_S = 20
from deploy.doctor import report, servers
servers.SLOW_MS, report.ALL_S = 1000, 30
from deploy.cli import main
sys.exit(main())
"""
"""The command, on a machine that may be too busy for what it promises on others."""
Usage = namedtuple("Usage", "total used free")


def run_doctor(
    folder: Path, env: Mapping[str, str], *words: str
) -> "subprocess.CompletedProcess[str]":
    """`pixelmill doctor` in a folder of its own; it waits for busy servers."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIXELMILL_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PATIENT, "doctor", *words],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(REPOSITORY), **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def levels(lines: Iterable[Finding]) -> dict[str, str]:
    return {line.what: line.level for line in lines}


@pytest.fixture
def of_servers(servers: Stack, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings that lead to real Redis and S3, which may be busy."""
    monkeypatch.setattr(server_checks, "ANSWER_S", 20)
    monkeypatch.setattr(server_checks, "SLOW_MS", 1000)
    names = ("state_url", "cache_url", "s3_url", "s3_key", "s3_secret")
    return read(None, **{name: servers.env[f"PIXELMILL_{name.upper()}"] for name in names})


@pytest.mark.measures_time  # a clock that is read late is warned of
def test_a_healthy_installation_passes(stack: Stack, tmp_path: Path) -> None:
    tries = (run_doctor(tmp_path, stack.env, "--json") for _ in range(3))

    # A server that has no CPU for three seconds is named as a failure, and it may be one next time.
    done = next((done for done in tries if done.returncode == 0), None)

    assert done is not None, run_doctor(tmp_path, stack.env, "--json").stdout
    findings = {line["what"]: line for line in json.loads(done.stdout)}
    for what in ("versions", "state Redis", "state keeps data", "clock", "cache Redis", "S3",
                 "workers", "sandbox", "model matting", "model toy", "model noop"):  # fmt: skip
        assert findings[what]["level"] == "ok", findings[what]
    assert findings["workers"]["value"] == "1 cpu, 1 gpu"
    assert " ms per image on cpu" in findings["model matting"]["value"]
    assert "torch 2" in findings["versions"]["value"]


def test_a_worker_without_seccomp_is_warned_of() -> None:
    layers = {"user": "on", "seccomp": "off: Invalid argument"}

    [line] = workers.sandboxes([{"kind": "gpu"}, {"kind": "cpu", "sandbox": layers}])

    assert (line.level, line.value) == ("warn", "user on, seccomp off: Invalid argument")


def test_a_redis_that_is_away_is_named(servers: Stack, tmp_path: Path) -> None:
    env = {**servers.env, "PIXELMILL_STATE_URL": f"redis://:hunter2@{CLOSED}/0"}

    done = run_doctor(tmp_path, env)

    assert done.returncode == 1
    [failed] = [line for line in done.stdout.splitlines() if line.startswith("fail")]
    assert "state Redis" in failed
    assert "hunter2" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_with_everything_down_each_server_is_named_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, never answers
        at = f"127.0.0.1:{silent.getsockname()[1]}"
        down = read(
            None, state_url=f"redis://{at}/0", cache_url=f"redis://{CLOSED}/0",
            scratch_url=f"redis://{at}/0", s3_url=f"http://{at}", s3_key="key", s3_secret="secret",
        )  # fmt: skip
        monkeypatch.setattr(report, "settings", lambda: down)
        monkeypatch.setattr(report, "ALL_S", 30)  # a busy machine needs longer than three seconds
        lines = report.examine()

    failed = {line.what for line in lines if line.level == "fail"}
    assert failed == {"state Redis", "cache Redis", "scratch Redis", "S3"}


@pytest.mark.measures_time  # a clock that is read late is warned of
def test_the_servers_are_measured_and_their_rules_looked_at(of_servers: Settings) -> None:
    lines = [
        *server_checks.state_redis(of_servers),
        *server_checks.cache_redis(of_servers),
        *server_checks.s3(of_servers),
    ]

    assert levels(lines) == {
        "state Redis": "ok",
        "state keeps data": "ok",
        "state memory": "ok",
        "clock": "ok",
        "cache Redis": "ok",
        "cache evicts": "warn",  # the tests' cache has no maxmemory
        "S3": "ok",
    }
    assert "write, read and delete" in lines[-1].value


def test_a_state_redis_that_forgets_is_warned_of(of_servers: Settings) -> None:
    forgetful = of_servers.model_copy(update={"state_url": of_servers.cache_url})

    [line] = [
        line for line in server_checks.state_redis(forgetful) if line.what == "state keeps data"
    ]

    assert line.level == "warn"
    assert line.value == "expected appendonly yes, maxmemory-policy noeviction"
    assert line.hint


def test_a_missing_s3_key_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HOME", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    [line] = server_checks.s3(read(None, s3_url=f"http://{CLOSED}"))

    assert line.level == "fail"
    assert "PIXELMILL_S3_KEY" in line.hint


def test_a_missing_bucket_is_sent_to_init(of_servers: Settings) -> None:
    [line] = server_checks.s3(of_servers.model_copy(update={"s3_bucket": "nowhere"}))

    assert line.level == "fail"
    assert "pixelmill init" in line.hint


def test_a_wrong_clock_is_not_blamed_on_the_keys_of_s3(
    monkeypatch: pytest.MonkeyPatch, of_servers: Settings
) -> None:
    later = datetime.now(UTC) + timedelta(hours=2)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_: later)

    [line] = server_checks.s3(of_servers)

    assert line.level == "fail"
    assert line.hint == "Set the clocks of this host and of S3 by NTP."


def test_no_worker_is_a_warning_that_says_what_to_start(of_servers: Settings) -> None:
    [line] = workers.workers(of_servers)

    assert (line.level, line.value) == ("warn", "none")
    assert "pixelmill worker cpu" in line.hint


@pytest.mark.parametrize(
    ("away_s", "level"), [(0.0, "ok"), (-2.0, "warn"), (2.0, "warn"), (31.0, "fail")]
)
def test_the_clock_of_redis_is_compared(away_s: float, level: str) -> None:
    class Client:
        def time(self) -> tuple[int, int]:
            now = time.time() + away_s
            return int(now), int(now % 1 * 1e6)

    assert server_checks._clock(Client()).level == level  # type: ignore[arg-type]  # a clock will do


@pytest.mark.parametrize(("wanted", "level"), [("auto", "ok"), ("cpu", "ok"), ("cuda", "fail")])
def test_no_gpu_is_wrong_only_where_one_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, wanted: str, level: str
) -> None:
    monkeypatch.setattr(host, "gpus", list)

    [line] = host.device(read(None, device=wanted))

    assert line.level == level
    assert "no NVIDIA GPU found" in line.value


def test_a_gpu_is_shown_with_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "gpus", lambda: [Gpu(0, "H200", 2 * GIB, 138 * GIB, 140 * GIB)])
    monkeypatch.setattr(host, "version", lambda package: "2.13.0+cu130")

    [line] = host.device(read(None, device="auto"))

    assert line == Finding("ok", "GPU 0", "H200, 2.0 GiB used, 138.0 GiB free of 140.0 GiB")


@pytest.mark.parametrize(("wanted", "level"), [("auto", "warn"), ("cuda", "fail")])
def test_a_torch_that_cannot_use_the_gpu_is_told(
    monkeypatch: pytest.MonkeyPatch, wanted: str, level: str
) -> None:
    monkeypatch.setattr(host, "gpus", lambda: [Gpu(0, "H200", 0, 140 * GIB, 140 * GIB)])
    monkeypatch.setattr(host, "version", lambda package: "2.13.0+cpu")

    assert levels(host.device(read(None, device=wanted)))["torch"] == level


@pytest.mark.parametrize(("free_gib", "level"), [(20.0, "ok"), (4.9, "warn"), (0.4, "fail")])
def test_free_disk_is_judged(monkeypatch: pytest.MonkeyPatch, free_gib: float, level: str) -> None:
    usage = Usage(0, 0, int(free_gib * GIB))
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)

    [line] = host.disk(read(None, var_dir="not/there/yet"))

    assert line.level == level
    assert bool(line.hint) == (level != "ok")


@pytest.mark.parametrize(("free_mib", "level"), [(300, "ok"), (200, "warn"), (8, "fail")])
def test_free_shared_memory_is_judged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free_mib: int, level: str
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage(0, 0, free_mib * 2**20))

    [line] = host.shared_memory(read(None, scratch_dir=tmp_path))

    assert line.level == level


def test_a_scratch_folder_that_is_not_there_fails(tmp_path: Path) -> None:
    [line] = host.shared_memory(read(None, scratch_dir=tmp_path / "gone"))

    assert line.level == "fail"


def test_a_setting_that_nothing_reads_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELMILL_DEVISE", "cuda")
    monkeypatch.setenv("PIXELMILL_API_KEY", "of the client")

    line = next(iter(host.sources(read(None))))

    assert line.level == "warn"
    assert "PIXELMILL_DEVISE" in line.hint
    assert "PIXELMILL_API_KEY" not in line.hint


def test_a_missing_secret_is_warned_of() -> None:
    assert levels(host.sources(read(None, secret="short")))["secret"] == "warn"


def test_a_setting_that_cannot_be_read_is_a_line(tmp_path: Path) -> None:
    done = run_doctor(tmp_path, {"PIXELMILL_PORT": "hunter2"})

    assert done.returncode == 1
    assert "PIXELMILL_PORT" in done.stdout
    assert "hunter2" not in done.stdout


def test_a_page_and_a_flower_that_are_gone_are_told(tmp_path: Path) -> None:
    run: dict[str, Any] = {"url": f"http://{CLOSED}", "flower_url": f"http://{CLOSED}"}
    (tmp_path / "run.json").write_text(json.dumps(run))

    lines = web.pages(read(None, var_dir=tmp_path))

    assert levels(lines) == {"page": "fail", "Flower": "warn"}


def test_a_flower_that_is_up_is_ok(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"url": stack.url, "flower_url": stack.url}))

    lines = web.pages(read(None, var_dir=tmp_path))

    assert levels(lines) == {"page": "ok", "Flower": "ok"}


def test_one_broken_check_stops_no_other() -> None:
    def broken(now: Settings) -> Iterable[Finding]:
        yield Finding("ok", "half", "done")
        raise ValueError("what now?")

    lines = report.run_together([broken, host.versions], read(None))

    assert [line.what for line in lines] == ["half", "broken", "versions"]
    assert lines[1] == Finding("fail", "broken", "ValueError: what now?")


def test_one_hanging_check_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()

    def hanging(now: Settings) -> Iterable[Finding]:
        assert end.wait(60), "the report waits for it"
        yield Finding("ok", "late", "")

    monkeypatch.setattr(report, "ALL_S", 0.3)

    lines = report.run_together([hanging, host.versions], read(None))
    end.set()

    assert lines[0] == Finding("fail", "hanging", "no answer within 0.3 s")
    assert lines[1].what == "versions"


def test_a_no_op_job_shows_whether_work_gets_through(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = SyncRedis(stack.state)
    link.do(users.set_password("ada", "secret"))
    link.do(api_keys.add("key-of-ada", "ada"))
    (tmp_path / "run.json").write_text(json.dumps({"url": stack.url, "api_key": "key-of-ada"}))
    here = read(None, var_dir=tmp_path)

    lines = web.no_op_jobs(here)

    assert levels(lines) == {
        f"no-op job {name}": "ok" for name in ("matting", "noop", "slow", "toy", "toyvolume")
    }
    assert all("inference" in line.value and " ms" in line.value for line in lines)
    monkeypatch.setenv("PIXELMILL_API_KEY", stack.api_key)
    [refused] = web.no_op_jobs(here)
    assert refused.level == "warn" and "admins only" in refused.value and refused.hint


def test_without_a_known_server_no_job_is_sent(tmp_path: Path) -> None:
    assert web.no_op_jobs(read(None, var_dir=tmp_path)) == []


def test_a_probe_that_is_stuck_says_where() -> None:
    report = {"ok": False, "ms": {"upload": 3.2}, "reason": "not through within 20 s",
              "stuck": "waiting for inference in the queue 'gpu.toy'"}  # fmt: skip

    line = web.job_finding("toy", report)

    assert line.level == "fail"
    assert "waiting for inference" in line.value and "upload 3 ms" in line.value


def test_what_was_replaced_is_told(tmp_path: Path) -> None:
    run = {"url": "", "replaced": {"web-1": [2, "it does not answer"]}}
    (tmp_path / "run.json").write_text(json.dumps(run))

    [line] = web.pages(read(None, var_dir=tmp_path))

    assert (line.level, line.what) == ("warn", "web-1")
    assert "replaced 2 times: it does not answer" in line.value
