"""Whether there is room for new work: on the disk of `pixelmill up`, and in the state Redis.

New work is refused before either is full, so that runs under way can end.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from storage.redis.calls import TEXT, AsyncRedis, Call, command
from tasks.errors import Unavailable
from tasks.settings import MIB, settings
from web.jobs import counters

EVERY_S = 1.0
"""How old the answer of the last check may be."""
STATE_SHARE = 0.8
"""New work is refused when the state Redis uses more than this share of its `maxmemory`: the rest
is for runs under way."""
HISTORY_SHARE = 0.7
"""Above this share, the oldest jobs leave their users' histories."""
LAST_STATE_SHARE = 0.9
"""Above this share, and below half of the required disk space, jobs with a known result are refused
as well: each writes a record that is kept."""
DATA = ("s3", "state-redis")
"""Folders below `var_dir` in which servers of `pixelmill up` keep what must not be lost."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class NoRoom(Unavailable):
    """A disk or a Redis is nearly full; `limit` names the setting."""

    code = "no_room"
    retry_after_s = 15

    def __init__(self, message: str, *, limit: str, hint: str, is_last: bool) -> None:
        """`is_last`: jobs with a known result are refused as well."""
        super().__init__(message, hint=hint)
        self.limit, self.is_last = limit, is_last


class Stopping(Unavailable):
    """This process is about to end."""

    code = "stopping"
    retry_after_s = 15

    def __init__(self) -> None:
        super().__init__("this server is being stopped", hint="Try again in half a minute.")


class Room:
    """Checks at most once in EVERY_S, when somebody submits work."""

    def __init__(self, state: AsyncRedis, clock: Callable[[], float] = monotonic) -> None:
        self._state, self._clock = state, clock
        self._checked_s = -EVERY_S
        self._reasons: tuple[NoRoom, ...] = ()
        self.is_stopping = False

    def stop(self) -> None:
        """Refuse new work from now on: the process is about to end."""
        self.is_stopping = True

    def check_stopping(self) -> None:
        """Raise Stopping after `stop`."""
        if self.is_stopping:
            counters.REFUSED.labels("", "stopping").inc()
            raise Stopping

    async def check_new(self) -> None:
        """Raise Stopping or NoRoom where new work is refused."""
        self.check_stopping()
        _refuse(await self.reasons())

    async def check_known(self) -> None:
        """Raise NoRoom where there is no room for the record of a job with a known result."""
        _refuse([reason for reason in await self.reasons() if reason.is_last])

    async def reasons(self) -> tuple[NoRoom, ...]:
        """Why new work is refused, as of at most EVERY_S ago.

        Raises StorageDown when the state Redis does not answer: the caller would need it next, and
        is spared a second wait.
        """
        if self._clock() - self._checked_s >= EVERY_S:
            self._checked_s = self._clock()
            self._reasons = (*_full_disks(), *await self._full_state())
        return self._reasons

    async def _full_state(self) -> tuple[NoRoom, ...]:
        used, most = await self._state.do(memory())
        if not most or used < most * STATE_SHARE:
            return ()
        return (
            NoRoom(
                f"the state Redis uses {used / MIB:.0f} of {most / MIB:.0f} MiB",
                limit="state_memory_mib",
                hint="Wait until jobs have ended, or give it more memory by "
                "PIXELMILL_STATE_MEMORY_MIB, or `maxmemory` of a Redis of your own.",
                is_last=used > most * LAST_STATE_SHARE,
            ),
        )


def _refuse(reasons: Sequence[NoRoom]) -> None:
    """Raise a copy of the first: an error that is raised twice would keep both tracebacks."""
    for reason in reasons:
        counters.REFUSED.labels("", reason.limit).inc()
        raise NoRoom(
            str(reason), limit=reason.limit, hint=reason.hint or "", is_last=reason.is_last
        )


def memory() -> Call[tuple[int, int]]:
    """Bytes that a Redis uses, and its `maxmemory` (0 for no limit)."""
    return command(_memory, "INFO", "memory", kinds=TEXT)


def folders() -> Iterator[Path]:
    """Folders in which servers on this machine store what each job writes."""
    own = settings()
    urls = [urlsplit(url) for url in (own.state_url, own.s3_url)]
    if any(url.hostname in LOOPBACK for url in urls) and own.var_dir.is_dir():
        yield from disks(own.var_dir)
    yield from (Path(url.path) for url in urls if url.scheme == "file")


def disks(var_dir: Path) -> Iterator[Path]:
    """This folder, and those of its servers' data that are on disks of their own."""
    yield var_dir
    for folder in (var_dir / name for name in DATA):
        with suppress(OSError):  # it is not there
            if folder.stat().st_dev != var_dir.stat().st_dev:
                yield folder


def _full_disks() -> Iterator[NoRoom]:
    for folder in folders():
        with suppress(OSError):
            free_mib = shutil.disk_usage(folder).free / MIB
            if free_mib < settings().min_free_mib:
                yield NoRoom(
                    f"the disk is nearly full: {free_mib:.0f} MiB are free, "
                    f"{settings().min_free_mib:g} are needed for new work",
                    limit="min_free_mib",
                    hint="Free some disk space on the server, or lower PIXELMILL_MIN_FREE_MIB.",
                    is_last=free_mib < settings().min_free_mib / 2,
                )


def _memory(answer: Any) -> tuple[int, int]:
    text = answer.decode() if isinstance(answer, bytes) else str(answer)
    info = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
