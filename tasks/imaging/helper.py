"""The fork server of this process and its children: started when needed, replaced when gone."""

import errno
import os
import select
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import Unavailable
from tasks.imaging import fork_server

ANSWER_S = 10.0
"""A helper that has not forked within this time hangs."""
END_S = 10.0
_KIND = socket.SOCK_SEQPACKET if sys.platform.startswith("linux") else socket.SOCK_DGRAM
_INHERITED = ("GLIBC_TUNABLES", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL")
"""All that a helper gets of the environment, which contains secrets."""


class HelperGone(Exception):
    """The helper has ended or hangs; the picture is not to blame."""


@dataclass(frozen=True)
class Helper:
    """A fork server, and the socket through which it gets requests."""

    process: "subprocess.Popen[bytes]"
    link: socket.socket
    owner: int
    """The process that started it; processes forked from that one use it as well."""

    def send(self, request: bytes, files: list[int]) -> None:
        """Send it a request. Raises HelperGone."""
        try:
            socket.send_fds(self.link, [request], files)
        except OSError as error:
            raise HelperGone from error

    def is_gone(self) -> bool:
        """Whether it has ended."""
        poll = select.poll()
        poll.register(self.link, 0)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Stop using it. It ends when no other process uses it."""
        self.link.close()
        if self.owner != os.getpid():
            return
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


_lock = threading.Lock()
_current: Helper | None = None


def get() -> Helper:
    """The present helper; starts one if there is none. Raises Unavailable."""
    global _current
    with _lock:
        if _current is None:
            _current = _started()
        return _current


def forget(helper: Helper) -> None:
    """Have another helper started when one is needed, unless that has happened already."""
    global _current
    with _lock:
        if _current is helper:
            _current = None
            helper.close()


def stop() -> None:
    """Stop using the helper; the next piece of work starts another one."""
    global _current
    with _lock:
        helper, _current = _current, None
    if helper:
        helper.close()


def _started() -> Helper:
    ours, theirs = socket.socketpair(socket.AF_UNIX, _KIND)
    ours.settimeout(ANSWER_S)
    with theirs:
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-m", fork_server.__name__, str(theirs.fileno())],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
        except OSError as error:
            ours.close()
            reason = errno.errorcode.get(error.errno or 0, str(error))
            raise Unavailable(f"no process can be started to decode with: {reason}") from error
    return Helper(process, ours, os.getpid())


def _environment() -> dict[str, str]:
    """What a helper needs to import the same modules as this process, and nothing else.

    Libraries use one thread: a fork has its parent's locks, but not the threads that release them.
    """
    ours = os.environ  # noqa: TID251 - for the helper, no settings of ours
    kept = {name: ours[name] for name in _INHERITED if name in ours}
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(dict.fromkeys([root, *(p or os.getcwd() for p in sys.path)]))
    return {**kept, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
