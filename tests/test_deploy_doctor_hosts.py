"""What `pixelmill doctor` says of all hosts: who they are, and where they do not agree."""

import socket
from importlib.metadata import version
from typing import Any

import pytest

from deploy.doctor import hosts
from deploy.doctor.finding import Finding
from storage.catalogue import WorkerInfo
from storage.scratch import boot_id
from tasks.settings import Settings, read

SCRATCH = "redis://:hunter2@scratch.test:6379/0"


def worker(host: str, **given: Any) -> WorkerInfo:
    """A healthy gpu worker on this host, but for what is `given`."""
    versions = {"pixelmill": version("pixelmill"), "celery": "5", "python": "3.11"}
    info = {"kind": "gpu", "host": host, "boot": f"boot of {host}", "host_id": f"folder of {host}",
            "versions": versions, "clock_ms": 3, "scratch_server": "scratch.test:6379",
            "metrics": f"{host}:9101", "model_versions": {"matting": "aa-bb"}}  # fmt: skip
    return {**info, **given}  # type: ignore[typeddict-item, return-value]  # what hosts.py reads


def found(*workers: WorkerInfo, settings: Settings | None = None) -> dict[str, Finding]:
    lines = hosts.compare(workers, settings or read(None, scratch_url=SCRATCH))
    return {line.what: line for line in lines}


def test_hosts_that_agree_are_named_and_well() -> None:
    here = socket.gethostname()

    lines = found(worker("a"), worker("a", kind="cpu"), worker(here, boot=boot_id()))

    assert {line.level for line in lines.values()} == {"ok"}
    assert lines["hosts"].value == "2 with workers: a (1 cpu, 1 gpu); " + (
        f"{here} (1 gpu, this host)"
    )
    assert lines["arrays between workers"].value == "through scratch.test:6379"


@pytest.mark.parametrize(("ms", "level"), [(-2_000, "warn"), (40_000, "fail")])
def test_a_host_whose_clock_is_wrong_is_named(ms: int, level: str) -> None:
    line = found(worker("a"), worker("b", clock_ms=ms))["clocks"]

    assert line.level == level
    assert line.value.startswith(f"b {ms / 1000:+.1f} s")


def test_hosts_with_other_software_are_named() -> None:
    versions = {"pixelmill": "0.0.1", "celery": "5", "python": "3.13"}

    lines = found(worker("a"), worker("b", versions=versions))

    assert lines["pixelmill versions"].value.endswith(f"0.0.1 on b; {version('pixelmill')} here")
    assert lines["python versions"].level == "warn"
    assert "celery versions" not in lines


def test_hosts_with_other_weights_are_named() -> None:
    line = found(worker("a"), worker("b", model_versions={"matting": "cc-bb"}))

    assert line["model matting of hosts"].value == "aa-bb on a; cc-bb on b"


@pytest.mark.parametrize(("code", "said"), [({"matting": "cc"}, "cc"), ({"toy": "bb"}, "none")])
def test_a_cpu_worker_with_another_file_of_a_model_is_named(
    code: dict[str, str], said: str
) -> None:
    lines = found(worker("a"), worker("b", kind="cpu", model_versions={}, model_code=code))

    assert lines["code of matting of cpu workers"].level == "warn"
    assert lines["code of matting of cpu workers"].value == f"{said} on b; gpu workers have bb"
    assert "models of hosts" not in lines


def test_cpu_workers_of_the_same_code_and_of_an_earlier_build_are_well() -> None:
    agreeing = worker("b", kind="cpu", model_versions={}, model_code={"matting": "bb", "x": "y"})

    lines = found(worker("a"), agreeing, worker("c", kind="cpu", model_versions={}))

    assert lines["models of hosts"].level == "ok"


def test_hosts_with_different_scratch_servers_fail_without_a_password() -> None:
    line = found(worker("a"), worker("b", scratch_server=""))["scratch Redis of hosts"]

    assert (line.level, line.value) == (
        "fail",
        "workers use none, scratch.test:6379; here it is scratch.test:6379",
    )


def test_several_folders_without_a_scratch_redis_fail() -> None:
    workers = [worker(host, scratch_server="") for host in "ab"]

    assert found(*workers, settings=read(None))["scratch Redis of hosts"].level == "fail"


def test_metrics_that_nobody_else_reaches_are_named() -> None:
    line = found(worker("a"), worker("b", metrics="127.0.0.1:9101"))["metrics of workers"]

    assert line.value == "only their own host reaches those of b"


def test_two_hosts_of_one_name_are_told_apart() -> None:
    line = found(worker("a", boot="11111111-x"), worker("a", boot="22222222-x"))["hosts"]

    assert line.value.startswith("2 with workers: a (11111111) (1 gpu); a (22222222)")
