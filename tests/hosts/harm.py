"""What happens to the hosts while jobs are in flight."""

import time
from collections.abc import Callable, Sequence

from installation import Installation

DOWN_S = 10.0
"""How long a link is down."""
PAUSE_S = 2.0

Fault = Callable[[Installation], None]


def a_web_process_is_killed(hosts: Installation) -> None:
    hosts.kill("web1")
    time.sleep(PAUSE_S)
    hosts.start_web("web1")


def a_cpu_worker_is_killed(hosts: Installation) -> None:
    hosts.kill("cpu1")
    time.sleep(PAUSE_S)
    hosts.start_worker("cpu1")


def a_gpu_worker_is_killed(hosts: Installation) -> None:
    hosts.kill("gpu1")
    time.sleep(PAUSE_S)
    hosts.start_worker("gpu1")


def s3_is_killed(hosts: Installation) -> None:
    hosts.kill("s3")
    time.sleep(PAUSE_S)
    hosts.start_s3()


def the_load_balancer_is_killed(hosts: Installation) -> None:
    hosts.kill("lb")
    time.sleep(PAUSE_S)
    hosts.start_balancer()


def the_link_of_a_host_is_down(hosts: Installation) -> None:
    hosts.hosts["cpu2"].set_link("down")
    time.sleep(DOWN_S)
    hosts.hosts["cpu2"].set_link("up")


def a_host_joins(hosts: Installation) -> None:
    hosts.start_worker("gpu3")
    hosts.wait_for_workers("gpu3")


FAULTS: Sequence[Fault] = (
    a_host_joins,
    a_web_process_is_killed,
    a_cpu_worker_is_killed,
    a_gpu_worker_is_killed,
    s3_is_killed,
    the_load_balancer_is_killed,
    the_link_of_a_host_is_down,
)
