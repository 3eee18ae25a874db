"""The process that writes the log files of all programs: `python -m deploy.supervision.log_writer`.

It ends by itself once the supervisor and all programs are gone.
"""

import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from deploy.supervision.log_files import Limits, LogFile, prune

MESSAGE_BYTES = 128
"""Size of a message from the supervisor: FLUSH or the name of a log, filled up with zeros."""
FLUSH = b"\0flush"
SHARES = 32
"""One file may take at most this part of what all log files together may take."""
TICK_S = 1.0
PRUNE_EVERY_S = 3600.0
CHUNK_BYTES = 65_536


class LogWriter:
    """Reads the programs' pipes and writes their log files."""

    def __init__(self, folder: Path, limits: Limits, control: socket.socket) -> None:
        """`control`: the socket on which the supervisor sends messages and pipes."""
        self._folder, self._limits, self._control = folder, limits, control
        self._files: dict[int, LogFile] = {}
        """File descriptor of a pipe -> the log of its program."""
        self._poller = select.poll()
        self._poller.register(control, select.POLLIN)
        self._has_supervisor = True
        self._pruned_s = 0.0

    def run(self) -> None:
        """Write until the supervisor and all programs are gone."""
        while self._has_supervisor or self._files:
            for descriptor, _ in self._poller.poll(TICK_S * 1000):
                if descriptor == self._control.fileno():
                    self._read_message()
                else:
                    self._read_pipe(descriptor)
            self._tick()

    def _read_message(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 1)
        except OSError:
            message, descriptors = b"", []
        if not message:
            self._has_supervisor = False
            self._poller.unregister(self._control)
        elif message.startswith(FLUSH):
            self._flush()
            with suppress(OSError):
                self._control.sendall(b".")
        elif descriptors:
            self._add_pipe(message.rstrip(b"\0").decode(), descriptors[0])

    def _add_pipe(self, name: str, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        most_bytes = self._limits.most_bytes // SHARES
        self._files[descriptor] = LogFile(self._folder / f"{name}.log", most_bytes)
        self._poller.register(descriptor, select.POLLIN)

    def _read_pipe(self, descriptor: int) -> bool:
        """Write a chunk; returns whether there was one."""
        try:
            data = os.read(descriptor, CHUNK_BYTES)
        except BlockingIOError:
            return False
        if not data:  # nobody can write into it any more
            self._poller.unregister(descriptor)
            self._files.pop(descriptor).close()
            os.close(descriptor)
            return False
        if self._files[descriptor].write(data):
            self._prune()
        return True

    def _flush(self) -> None:
        for descriptor in list(self._files):
            while self._read_pipe(descriptor):
                pass

    def _tick(self) -> None:
        for file in self._files.values():
            file.reopen_if_removed()
        if time.time() - self._pruned_s > PRUNE_EVERY_S:
            self._prune()

    def _prune(self) -> None:
        self._pruned_s = time.time()
        with suppress(OSError):
            prune(self._folder, self._limits, self._pruned_s)


def main() -> None:
    """Entry point. Arguments: folder, most bytes, days, file descriptor of the control socket."""
    folder, most_bytes, days, control = sys.argv[1:5]
    # A service manager may signal all processes at once: this one must outlive the programs.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    limits = Limits(int(most_bytes), float(days))
    LogWriter(Path(folder), limits, socket.socket(fileno=int(control))).run()


if __name__ == "__main__":
    main()
