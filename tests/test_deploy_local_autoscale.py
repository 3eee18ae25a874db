"""As many local workers as the pilot wants; programs are stand-ins, Redis is real."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.autoscale import Autoscaler
from deploy.supervision.liveness import Probe
from deploy.supervision.process import Program
from deploy.supervision.supervisor import Supervisor
from storage import pilot
from storage.pilot import Scaling, View
from storage.redis.calls import SyncRedis
from tasks.settings import read

pytest_plugins = ["inprocess"]

PROGRAMS = [
    Program(f"gpu-worker-{number}", [sys.executable, "-c", "import time; time.sleep(60)"], {})
    for number in range(1, 5)
]


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path / "logs", lambda line: None, lambda: None)
    supervisor.start(PROGRAMS[0])
    yield supervisor
    supervisor.stop()


@pytest.fixture
def scaler(supervisor: Supervisor, state_url: str, monkeypatch: pytest.MonkeyPatch) -> Autoscaler:
    monkeypatch.setattr("deploy.local.autoscale.EVERY_S", 0)
    nothing = Probe(lambda pid: None)
    return Autoscaler(supervisor, PROGRAMS, lambda: nothing, 1, state_url, lambda line: None)


def want(link: SyncRedis, age_s: float = 0.0, **workers: int) -> None:
    at_ms = int((time.time() - age_s) * 1000)
    link.do(pilot.show({n: View(at_ms, Scaling(w, 0.0), {}, {}) for n, w in workers.items()}))


def test_workers_come_and_go_as_the_model_with_most_work_needs(
    supervisor: Supervisor, scaler: Autoscaler, link: SyncRedis
) -> None:
    want(link, toy=3, noop=1)
    scaler.poll()
    scaler.poll()  # those that still start count already

    assert supervisor.kept == ["gpu-worker-1", "gpu-worker-2", "gpu-worker-3"]

    want(link, toy=1)
    scaler.poll()

    assert supervisor.kept == ["gpu-worker-1"]
    while len(supervisor.names) > 1:
        supervisor.poll()


def test_no_more_than_there_may_be_and_no_fewer(
    supervisor: Supervisor, scaler: Autoscaler, link: SyncRedis
) -> None:
    want(link, toy=9)
    scaler.poll()
    assert len(supervisor.kept) == 4

    want(link, toy=0)
    scaler.poll()
    assert supervisor.kept == ["gpu-worker-1"]


def test_old_numbers_are_no_reason_to_do_anything(
    supervisor: Supervisor, scaler: Autoscaler, link: SyncRedis
) -> None:
    want(link, age_s=60, toy=4)

    scaler.poll()

    assert len(supervisor.kept) == 1


def test_bounds_are_the_smaller_number_first() -> None:
    assert read(None, pilot_workers="1..4").worker_bounds == (1, 4)
    assert read(None).worker_bounds is None
    for wrong in ("4..1", "0..2", "many"):
        with pytest.raises(ValueError, match="pilot_workers"):
            read(None, pilot_workers=wrong)
