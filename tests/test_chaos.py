"""The short form of `make chaos`: fewer jobs, and the faults that are over soon."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "chaos"))
from faults import FAULTS, Fault
from run import attempt
from scene import DISK_MIB, SCRATCH_MIB, Scene, SmallDisk

JOBS = 40
SHORT = (
    "kill -9 a prefork child",
    "kill -9 the gpu worker",
    "kill -9 a web process",
    "kill -9 the state Redis, 3 s",
    "empty the cache Redis",
    "pictures that crash",
)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with (
        SmallDisk(SCRATCH_MIB) as scratch,
        SmallDisk(DISK_MIB) as disk,
        Scene(disk, scratch) as scene,
    ):
        yield scene.start_all()


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.name in SHORT], ids=lambda fault: fault.name
)
def test_no_accepted_job_comes_to_harm(scene: Scene, fault: Fault) -> None:
    outcome = attempt(scene, fault, JOBS)

    assert outcome.harm == []
    assert outcome.in_flight >= JOBS
