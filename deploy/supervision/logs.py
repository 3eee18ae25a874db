"""The supervisor's side of the log files: gives each program a pipe, keeps the writer alive.

Programs write into pipes, and a process of its own (`log_writer`) writes the files. So no program
has to reopen its log, no line is lost when a file is rotated, a full disk fails no program, and
programs go on writing when the supervisor dies.
"""

import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from deploy.supervision.log_files import Limits
from deploy.supervision.log_writer import FLUSH, MESSAGE_BYTES


class Logs:
    """The pipes of all programs, and the process that writes their log files."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.folder, self.limits = folder, limits or Limits()
        folder.mkdir(parents=True, exist_ok=True)
        self._pipes: dict[str, tuple[int, int]] = {}
        self._start()

    def path(self, name: str) -> Path:
        """The file that the log of this program is written to now."""
        return self.folder / f"{name}.log"

    def pipe(self, name: str) -> int:
        """The file descriptor that a program writes to; it stays the same over restarts."""
        if name not in self._pipes:
            self._pipes[name] = os.pipe()
            self._send(name)
        return self._pipes[name][1]

    def poll(self) -> None:
        """Start the writer again if it has died; what is in the pipes meanwhile is kept."""
        if self._process.poll() is not None:
            self._control.close()
            self._start()
            for name in self._pipes:
                self._send(name)

    def flush(self) -> None:
        """Return when what was written so far is in the files, or after a second."""
        with suppress(OSError):
            self._control.sendall(FLUSH.ljust(MESSAGE_BYTES, b"\0"))
            self._control.recv(1)

    def close(self) -> None:
        """Close the pipes: the writer ends by itself once every program has ended."""
        for ends in self._pipes.values():
            for end in ends:
                os.close(end)
        self._pipes.clear()
        self._control.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2)

    def _start(self) -> None:
        self._control, theirs = socket.socketpair()
        self._control.settimeout(1)
        command = [sys.executable, "-m", "deploy.supervision.log_writer", str(self.folder)]
        command += [str(self.limits.most_bytes), str(self.limits.days), str(theirs.fileno())]
        own = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONMALLOC": "malloc"}
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **own},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()

    def _send(self, name: str) -> None:
        """Hand the reading end of a program's pipe to the writer."""
        with suppress(OSError):  # a dead writer: the next poll starts another and sends it again
            message = name.encode().ljust(MESSAGE_BYTES, b"\0")
            socket.send_fds(self._control, [message], [self._pipes[name][0]])
