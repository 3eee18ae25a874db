"""`python -m workers`: what the command line says is what starts."""

import os
import subprocess
import sys

import pytest

from tasks import log
from workers import __main__ as door
from workers import boot, environment
from workers.gpu import boot as gpu_boot


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What would have been started."""
    made: list[tuple[str, ...]] = []
    for name in ("restart_with_huge_pages", "let_threads_sleep"):
        monkeypatch.setattr(door, name, lambda *_: None)
    monkeypatch.setattr(log, "configure", lambda *_: None)
    monkeypatch.setattr(boot, "cpu", lambda: made.append(("cpu",)))
    monkeypatch.setattr(gpu_boot, "gpu", lambda models, gpu: made.append(("gpu", models, gpu)))
    return made


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["cpu"], ("cpu",)),
        (["gpu"], ("gpu", "", None)),
        (["gpu", "--models", "toy,noop"], ("gpu", "toy,noop", None)),
        (["gpu", "--gpu", "3"], ("gpu", "", 3)),
    ],
)
def test_the_kind_of_worker_that_is_named_starts(
    started: list[tuple[str, ...]], arguments: list[str], expected: tuple[str, ...]
) -> None:
    door.main(arguments)

    assert started == [expected]


@pytest.mark.parametrize("arguments", [[], ["tpu"], ["gpu", "--gpu", "first"]])
def test_a_command_that_makes_no_sense_starts_nothing(
    started: list[tuple[str, ...]], arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        door.main(arguments)

    assert caught.value.code == 2 and "usage: pixelmill worker" in capsys.readouterr().err
    assert started == []


def test_nothing_is_imported_before_a_worker_starts_anew() -> None:
    code = (
        "import sys, workers.__main__\n"
        "packages = {name.split('.')[0] for name in sys.modules}\n"
        "print(sorted(packages & {'tasks', 'storage', 'redis'}))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


SAYS = """import os
from workers import environment
print("once more", flush=True)
environment.restart_with_huge_pages()
environment.let_threads_sleep()
print(os.getpid(), os.environ["GLIBC_TUNABLES"], os.environ["OMP_WAIT_POLICY"])
import cv2
print(cv2.getNumThreads(), os.environ.get("OPENBLAS_NUM_THREADS"))
"""


def said(**given: str) -> list[str]:
    """What a process says that prepares itself for its libraries, and its pid."""
    own = {*environment.CPU, *environment.GPU}
    env = {name: value for name, value in os.environ.items() if name not in own} | given
    command = [sys.executable, "-c", SAYS]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        return [*process.communicate(timeout=120)[0].split("\n"), str(process.pid)]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_a_worker_starts_anew_for_its_libraries_and_keeps_its_pid() -> None:
    *lines, pid = said()

    tunables = environment.CPU["GLIBC_TUNABLES"]
    assert lines == ["once more"] * 2 + [f"{pid} {tunables} PASSIVE", "1 1", ""]


def test_what_somebody_has_set_already_stays() -> None:
    given = {"OMP_WAIT_POLICY": "ACTIVE", "OPENBLAS_NUM_THREADS": "3"}
    *lines, pid = said(GLIBC_TUNABLES="glibc.malloc.hugetlb=0", OPENCV_FOR_THREADS_NUM="2", **given)

    assert lines == ["once more", f"{pid} glibc.malloc.hugetlb=0 ACTIVE", "2 3", ""]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_a_worker_that_starts_anew_keeps_the_threads_that_were_asked_for() -> None:
    *lines, _ = said(OPENCV_FOR_THREADS_NUM="2", OPENBLAS_NUM_THREADS="3")

    assert lines[-2:] == ["2 3", ""]
