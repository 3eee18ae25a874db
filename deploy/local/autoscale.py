"""The gpu workers of `pixelmill up`; with `--autoscale 1..4`, as many as the pilot wants."""

import time
from collections.abc import Callable, Sequence
from functools import partial

import redis

from deploy import gpu_workers
from deploy.supervision import probes
from deploy.supervision.liveness import Probe
from deploy.supervision.probes import impatient_redis
from deploy.supervision.process import CannotStart, Program
from deploy.supervision.supervisor import Supervisor
from storage import pilot
from storage.errors import StorageDown
from storage.redis.calls import SyncRedis
from tasks.settings import Settings

EVERY_S = 1.0
ANSWER_S = 0.5
"""A Redis that hangs holds up the supervisor no longer than this."""


def start(
    supervisor: Supervisor, settings: Settings, env: dict[str, str], report: Callable[[str], None]
) -> None:
    """Start the workers that there are at first. Raises CannotStart, Unavailable."""
    least, most = settings.worker_bounds or (None, 0)
    if least and settings.pilot != "on":
        raise CannotStart("--autoscale needs the pilot: set PIXELMILL_PILOT=on")
    programs = gpu_workers.programs(settings, env=env, count=most)
    state_url = env["PIXELMILL_STATE_URL"]
    probe = partial(probes.worker, state_url, gpu_workers.READY_S)
    for program in programs[:least]:
        supervisor.start(program, probe())
    if least:
        scaler = Autoscaler(supervisor, programs, probe, least, state_url, report)
        supervisor.chores.append(scaler.poll)


class Autoscaler:
    """Starts and stops workers. One that was started counts from then on, though it still loads
    its models; one that is stopped takes no more work, and ends what it has."""

    def __init__(
        self,
        supervisor: Supervisor,
        programs: Sequence[Program],
        probe: Callable[[], Probe],
        least: int,
        state_url: str,
        report: Callable[[str], None],
    ) -> None:
        """`programs`: as many as there may be; the first `least` run already."""
        self._supervisor, self._report, self._probe = supervisor, report, probe
        self._programs, self._least = list(programs), least
        self._state = SyncRedis(impatient_redis(state_url, ANSWER_S))
        self._looked_s = 0.0

    def poll(self) -> None:
        """Look if EVERY_S have passed, and start or stop workers. No data: nothing changes."""
        if time.monotonic() - self._looked_s < EVERY_S:
            return
        self._looked_s = time.monotonic()
        if (wanted := self._wanted()) is not None:
            self._scale(min(max(wanted, self._least), len(self._programs)))

    def _wanted(self) -> int | None:
        """The most that any model needs, as each worker serves all; None if that is not known."""
        try:
            views = self._state.do(pilot.views())
        except (redis.RedisError, OSError, StorageDown):
            return None
        now_ms = time.time() * 1000
        fresh = [view for view in views.values() if pilot.is_fresh(view, now_ms)]
        return max((view.scaling.workers_wanted for view in fresh), default=None)

    def _scale(self, wanted: int) -> None:
        names = {program.name for program in self._programs}
        running = [name for name in self._supervisor.kept if name in names]
        taken = self._supervisor.names
        free = [program for program in self._programs if program.name not in taken]
        for program in free[: max(0, wanted - len(running))]:
            self._report(f"starting {program.name}: {wanted} gpu workers are wanted")
            self._supervisor.start(program, self._probe(), is_steady=True)
        for name in running[wanted:]:
            self._report(f"stopping {name}: {wanted} gpu workers are wanted")
            self._supervisor.retire(name)
