"""What other threads of a process can do while one of them works."""

from collections.abc import Callable
from threading import Event, Thread


def ticks_during(work: Callable[[], object]) -> int:
    """How often another thread, which sleeps for a millisecond at a time, woke up meanwhile."""
    ticks, done = 0, Event()

    def tick() -> None:
        nonlocal ticks
        while not done.wait(0.001):
            ticks += 1

    thread = Thread(target=tick)
    thread.start()
    work()
    done.set()
    thread.join()
    return ticks
