"""Several photos at a time, until all are done or Ctrl-C is pressed."""

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Self

from deploy.client.outcome import Outcome
from deploy.client.photos import Photo

GRACE_S = 15.0
"""After Ctrl-C, how long photos that are just being sent or saved may take."""
LOOK_S = 0.2


class Interrupts:
    """In its block the first Ctrl-C or SIGTERM sets `stopping`, and the second ends the process."""

    def __init__(self, stopping: threading.Event, clean_up: Callable[[], None]) -> None:
        """`clean_up` runs before the process ends at once."""
        self._stopping, self._clean_up = stopping, clean_up
        self._previous: dict[int, Any] = {}
        self.number = 0
        """The signal that has come; 0: none."""

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            self._clean_up()
            if sys.stderr.isatty():
                os.write(2, b"\x1b[?25h\n")  # the progress bars have hidden the cursor
            os._exit(128 + number)
        self.number = number
        self._stopping.set()


class Crew:
    """Works on some photos at a time, until all have ended or `stopping` is set."""

    def __init__(
        self,
        work: Callable[[Photo], Outcome],
        jobs: int,
        stopping: threading.Event,
        say_stop: Callable[[], None],
    ) -> None:
        """`jobs` photos are in progress at a time; `say_stop` is called once it stops early."""
        self._work, self._jobs = work, jobs
        self._stopping, self._say_stop = stopping, say_stop
        self._ended: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()
        self._lock = threading.Lock()

    def outcomes(self, photos: Sequence[Photo]) -> Iterator[Outcome]:
        """What becomes of each photo, as they end.

        Once `stopping` is set no more are begun, and those in progress have GRACE_S seconds.
        """
        waiting, running = iter(photos), min(self._jobs, len(photos))
        for number in range(running):
            # Daemons: a process that is told to end does not wait for them.
            threading.Thread(
                target=self._run, args=(waiting,), name=f"photo-{number}", daemon=True
            ).start()
        try:
            yield from self._until_ended(running)
        finally:
            self._stopping.set()

    def _run(self, waiting: Iterator[Photo]) -> None:
        try:
            while photo := self._next(waiting):
                self._ended.put(self._work(photo))
            self._ended.put(None)
        except BaseException as error:  # a mistake of ours: it must not leave the others waiting
            self._ended.put(error)

    def _next(self, waiting: Iterator[Photo]) -> Photo | None:
        with self._lock:
            return None if self._stopping.is_set() else next(waiting, None)

    def _until_ended(self, running: int) -> Iterator[Outcome]:
        stopped_s = 0.0
        while running:
            if self._stopping.is_set() and not stopped_s:
                stopped_s = time.monotonic()
                self._say_stop()
            if stopped_s and time.monotonic() - stopped_s > GRACE_S:
                return
            try:
                item = self._ended.get(timeout=LOOK_S)
            except queue.Empty:
                continue
            if isinstance(item, BaseException):
                raise item
            if item is None:
                running -= 1
            else:
                yield item
