"""Whatever the child does, the parent gets an answer or a BadInput, and nothing is left over."""

import mmap
import os
import signal
import socket
import threading
import time

import numpy as np
import psutil
import pytest

from tasks.errors import BadInput
from tasks.imaging import sandbox

SMALL = sandbox.Allowance(memory_bytes=200 * 2**20, cpu_s=0.3, wall_s=0.6)


@pytest.fixture(autouse=True)
def nothing_left_over():
    """No zombie, no open pipe, no living child."""
    me = psutil.Process()
    children, files = set(me.children()), me.num_fds()
    yield
    assert set(me.children()) == children
    assert me.num_fds() == files


def refused(work):
    with pytest.raises(BadInput) as caught:
        sandbox.run(work, 100, SMALL)
    assert (caught.value.status, caught.value.code) == (422, "decode_failed")
    return str(caught.value.__cause__)


def test_answer_and_memory_come_back():
    def work(memory):
        memory[:3] = [7, 8, 9]
        return {"height": 3}

    answer, memory = sandbox.run(work, 100, SMALL)

    assert answer == {"height": 3}
    assert memory[:4].tolist() == [7, 8, 9, 0]


def test_an_error_is_bad_input_and_its_text_is_for_the_log():
    def work(memory):
        raise RuntimeError("broken data stream at 0x7f")

    assert "0x7f" in refused(work)


def test_a_crash_is_bad_input():
    assert "died" in refused(lambda memory: os.kill(os.getpid(), signal.SIGSEGV))


def test_leaving_early_is_bad_input():
    assert "died" in refused(lambda memory: os._exit(0))


def test_a_loop_is_stopped_by_its_cpu_time():
    def work(memory):
        while True:
            pass

    start = time.monotonic()
    refused(work)

    assert time.monotonic() - start < 5


def test_a_stall_is_stopped_by_the_clock():
    start = time.monotonic()
    refused(lambda memory: time.sleep(60))

    assert time.monotonic() - start < 5


def test_too_much_memory_is_bad_input():
    assert refused(lambda memory: np.ones(300 * 2**20, np.uint8)) == "out of memory"


@pytest.mark.parametrize("answer", [[1], "x" * 10_000, float("nan"), None, object()])
def test_an_answer_of_another_shape_is_bad_input(answer):
    refused(lambda memory: answer)


def test_the_child_has_no_files_and_opens_none():
    listener = socket.socket()

    def work(memory):
        with pytest.raises(OSError):
            os.fstat(listener.fileno())
        with pytest.raises(OSError):
            open("/etc/passwd")  # noqa: SIM115 - it must fail
        with pytest.raises(OSError):
            socket.socket()
        return {}

    assert sandbox.run(work, 100, SMALL)[0] == {}
    listener.close()


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTFORK"), reason="Linux only")
def test_a_child_cannot_see_the_picture_before():
    _, before = sandbox.run(lambda memory: {}, 2**20, SMALL)

    refused(lambda memory: {"seen": int(before[0])})


def test_a_caller_that_is_interrupted_leaves_no_child():
    def interrupt(*_):
        raise InterruptedError("soft time limit")

    handler = signal.signal(signal.SIGUSR1, interrupt)
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    try:
        with pytest.raises(InterruptedError):
            sandbox.run(lambda memory: time.sleep(60), 100, SMALL)
    finally:
        signal.signal(signal.SIGUSR1, handler)
