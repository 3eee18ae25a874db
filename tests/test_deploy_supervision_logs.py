"""Logs are rotated and limited, and lose no line; programs write on when the supervisor dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from disks import fill, small_disk

from deploy.supervision.log_files import DAY_S, Limits, LogFile, prune
from deploy.supervision.process import Program
from deploy.supervision.supervisor import Supervisor

LINES = 20_000
MIB = 2**20
CHATTY = f"""
import sys, time
for number in range({LINES}):
    print(f"line {{number:06}} {{'x' * 90}}", flush=number % 50 == 0)
sys.stdout.flush()
time.sleep(60)
"""


@contextmanager
def supervised(folder: Path, limits: Limits) -> Iterator[Supervisor]:
    supervisor = Supervisor(folder, print, lambda: None, limits)
    try:
        yield supervisor
    finally:
        supervisor.stop()


def until(true) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def text_of(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def lines_of(folder: Path) -> list[str]:
    """All lines of one program, in the order of its files."""
    rotated = sorted(folder.glob("chatty.2*.log"), key=lambda path: path.stat().st_mtime_ns)
    return [
        line
        for file in [*rotated, folder / "chatty.log"]
        if file.exists()
        for line in file.read_text().splitlines()
    ]


def test_no_line_is_lost_or_torn_while_files_are_rotated(tmp_path: Path) -> None:
    with supervised(tmp_path, Limits(8 * MIB)) as supervisor:
        supervisor.start(Program("chatty", [sys.executable, "-c", CHATTY], {}))
        until(lambda: len(lines_of(tmp_path)) >= LINES)

    numbers = [int(line.split()[1]) for line in lines_of(tmp_path)]
    assert numbers == list(range(LINES))
    assert len(list(tmp_path.glob("chatty.2*.log"))) >= 5
    assert max(file.stat().st_size for file in tmp_path.iterdir()) <= MIB // 4 + 100


def test_all_together_stay_below_the_limit(tmp_path: Path) -> None:
    with supervised(tmp_path, Limits(MIB)) as supervisor:
        supervisor.start(Program("chatty", [sys.executable, "-c", CHATTY], {}))
        until(lambda: f"line {LINES - 1:06}" in text_of(tmp_path / "chatty.log"))

    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= MIB + MIB // 32
    assert len(list(tmp_path.glob("chatty.2*.log"))) >= 10, "the newest are kept"


def test_each_start_keeps_the_logs_of_those_before(tmp_path: Path) -> None:
    for number in range(3):
        with supervised(tmp_path, Limits()) as supervisor:
            code = f"print('start {number}', flush=True); import time; time.sleep(60)"
            supervisor.start(Program("one", [sys.executable, "-c", code], {}))
            until(lambda: "start" in text_of(tmp_path / "one.log"))

    assert (tmp_path / "one.log").read_text() == "start 2\n"
    kept = [file.read_text() for file in tmp_path.glob("one.2*.log")]
    assert sorted(kept) == ["start 0\n", "start 1\n"]


def test_a_day_old_file_is_rotated_and_old_ones_go(tmp_path: Path) -> None:
    now_s = time.time()
    log = LogFile(tmp_path / "one.log", MIB, clock=lambda: now_s)
    log.write(b"yesterday\n")
    now_s += DAY_S + 1
    log.write(b"today\n")
    [rotated] = tmp_path.glob("one.2*.log")
    before = rotated.read_text(), log.path.read_text()

    prune(tmp_path, Limits(MIB, days=14), rotated.stat().st_mtime + 13 * DAY_S)
    is_kept = rotated.exists()
    prune(tmp_path, Limits(MIB, days=14), rotated.stat().st_mtime + 15 * DAY_S)

    assert before == ("yesterday\n", "today\n")
    assert is_kept and not rotated.exists() and log.path.exists()


def test_a_dead_writer_is_started_again_and_nothing_is_lost(tmp_path: Path) -> None:
    with supervised(tmp_path, Limits(8 * MIB)) as supervisor:
        supervisor.start(Program("chatty", [sys.executable, "-c", CHATTY], {}))
        until(lambda: (tmp_path / "chatty.log").exists())
        writer = supervisor._writer
        assert writer
        old = writer._process.pid
        os.kill(old, signal.SIGSTOP)  # between two reads
        time.sleep(0.2)
        os.kill(old, signal.SIGKILL)
        until(lambda: supervisor.poll() or writer._process.pid != old)
        until(lambda: f"line {LINES - 1:06}" in "".join(lines_of(tmp_path)[-1:]))


def test_children_of_a_killed_supervisor_go_on_writing_until_they_are_done(tmp_path: Path) -> None:
    ends_slowly = """
import signal, sys, time
def stop(*_):
    for number in range(3000):
        print(f"going {number} " + "x" * 100, flush=True)
    print("done", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, stop)
print("up", flush=True)
time.sleep(60)
"""
    code = f"""
from pathlib import Path
from deploy.supervision.supervisor import Supervisor
from deploy.supervision.process import Program
import sys, time
s = Supervisor(Path({str(tmp_path)!r}), print, lambda: None)
s.start(Program('slow', [sys.executable, '-c', {ends_slowly!r}], {{}}))
print(s.pids['slow'], s._writer._process.pid, flush=True)
time.sleep(60)
"""
    log = tmp_path / "slow.log"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as own:
        assert own.stdout
        pids = [int(pid) for pid in own.stdout.readline().split()]
        family = [psutil.Process(pid) for pid in pids]
        until(lambda: log.exists() and "up" in log.read_text())
        own.kill()

    assert psutil.wait_procs(family, 10)[1] == [], "the writer ends as well"
    assert log.read_text().endswith("done\n")


def test_a_full_disk_stops_no_program_and_the_log_says_what_is_missing() -> None:
    talks = "import time\nwhile True:\n    print('x' * 99, flush=True); time.sleep(0.001)"
    with small_disk(16) as disk:
        with supervised(disk / "logs", Limits(8 * MIB)) as supervisor:
            supervisor.start(Program("one", [sys.executable, "-c", talks], {}))
            log = disk / "logs" / "one.log"
            until(lambda: log.exists() and log.stat().st_size)
            filler = fill(disk)
            time.sleep(1.0)
            pid, is_alive = supervisor.pids["one"], supervisor._children["one"].process.poll()
            filler.unlink()
            until(lambda: "were lost: the disk was full" in log.read_text())

        assert is_alive is None and pid


def test_a_log_is_rotated_however_many_have_its_name_already(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "web-1.log", MIB, clock=lambda: 0)
    taken = [f".{number}" for number in range(1, 10_000)]
    for name in ["", *taken]:
        (tmp_path / f"web-1.1970-01-01T00-00-00{name}.log").touch()
    log.write(b"a line\n")

    log.rotate()

    assert (tmp_path / "web-1.1970-01-01T00-00-00.10000.log").read_bytes() == b"a line\n"
